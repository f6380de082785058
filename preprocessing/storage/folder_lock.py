"""One writer at a time for a folder or a file, on this machine, a shared file system or an object store.

Where the file system has working locks (`flock`), the operating system keeps the lock and frees it when its
holder dies, however. Elsewhere (an object store; Lustre without ``-o flock``) a small note names the holder, is
renewed while the holder lives, and counts for nothing when it has not been renewed for a while.

A note is never replaced by another holder. The note of a dead holder is superseded by one with the next
number, which only one can create, so that of any number that try at once exactly one gets it. The holder with
the highest number holds the lock; any other finds a higher one when it renews its own, and stops.

Ages are read off the storage's own clock. A note that looks dead is watched for longer than a renewal takes
before it counts as dead, for clients whose clocks disagree.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from preprocessing.common.errors import InputError, LockLostError, StorageFullError, is_disk_full
from preprocessing.storage import files
from preprocessing.storage.files import make_private
from preprocessing.storage.lock_notes import (
    DEAD_AFTER_S,
    LOCK_NAME,
    Holder,
    Notes,
    ObjectNotes,
    in_words,
    is_dead,
    is_lock,
    read_holder,
    uptime,
)

_RENEW_S = 15.0
# A note with a higher number may be one that is about to be withdrawn.
_WITHDRAWN_AFTER_S = 1.0
_LET_GO_S = 5.0
_RETRY_S = 0.5
_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL)
# Mount options by which flock holds on one machine only, though others see the same files.
_LOCAL_FLOCK = {"localflock", "nolock", "local_lock=all", "local_lock=flock"}
_MOUNTS = Path("/proc/self/mountinfo")
# Tells the main thread that its lock is lost, though it waits in a system call.
_LOST_SIGNAL = signal.SIGRTMIN + 5


@contextmanager
def exclusive(
    url: str | Path, what: str = "store", *, patience_s: float = 0.0, private: bool = False
) -> Iterator[None]:
    """Hold a folder's lock.

    The folder is made where it is missing, and removed where nothing was put into it.

    Parameters
    ----------
    what
        The kind of folder, for messages: a store, a run, a report.
    patience_s
        How long to wait for another holder: one that is known to end has perhaps not ended yet.
    private
        Whether a folder that is made here is closed to other users; see `make_private`.

    Raises
    ------
    InputError
        If another process holds it.
    LockLostError
        In the block, or at its end, if another process took the lock over meanwhile.
    """
    url = files.absolute(url)
    if not files.is_local(url):
        with _held(_Lock(url, what, files.join(url, LOCK_NAME)), patience_s):
            yield
        return
    folder = Path(url)
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{url} is a file, expected a folder: name a new folder for the {what}")
    existed = folder.exists()
    if private:
        make_private(url)
    try:
        with _held(_Lock(url, what, str(folder / LOCK_NAME)), patience_s):
            yield
    finally:
        if not existed:
            with suppress(OSError):  # not empty, or gone
                folder.rmdir()


@contextmanager
def exclusive_beside(url: str | Path, what: str, *, patience_s: float = 0.0) -> Iterator[None]:
    """Hold the lock of a file, or of a folder that is to appear as a whole, by a file beside it.

    Raises
    ------
    InputError
        If another process holds it.
    LockLostError
        In the block, or at its end, if another process took the lock over meanwhile.
    """
    url = files.absolute(url)
    parent, _, name = url.rpartition("/")
    if not files.is_local(url) and parent.endswith(":/"):  # a whole bucket has nothing beside it
        parent, name = url, ""
    with _held(_Lock(url, what, f"{parent}/{f'.{name}' * bool(name)}{LOCK_NAME}"), patience_s):
        yield


@dataclass(frozen=True)
class _Lock:
    """What is locked, and the file that says so.

    Parameters
    ----------
    place
        URL of the lock file; notes with higher numbers stand beside it.
    """

    url: str
    what: str
    place: str

    def refused(self, holder: Holder | None, place: str) -> _RefusedError:
        """Return the sentence about another holder."""
        who, where, if_killed = "another process", "its machine", ""
        name_another = f"name another {self.what}"
        if holder is not None:
            since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.started))
            age = max(0.0, time.time() - holder.started)
            who = (
                f"another run (process {holder.process} on {holder.host}, since {since},"
                f" {in_words(age)} ago)"
            )
            where = holder.host
        begin = f"{who} is writing to {self.what} {self.url}: wait until it has ended"
        if holder is not None and holder.is_of_this_machine:
            return _RefusedError(f"{begin}, or {name_another}")
        if holder is None or holder.by == "note":
            if_killed = f", or for {DEAD_AFTER_S:.0f} s if it was killed"
        return _RefusedError(
            f"{begin}{if_killed}, {name_another}, or, if {where} is gone for good, remove {place}"
        )


def _token(holder: Holder | None) -> str:
    return "" if holder is None else holder.token


class _RefusedError(InputError):
    """Another process holds the lock."""


class _Kept(Protocol):
    """A lock that is held."""

    lock: _Lock

    def renew(self) -> None:
        """Confirm that it is still held, or raise `LockLostError`."""

    def check(self) -> None:
        """Do the same, or nothing where it was confirmed just now."""

    def let_go(self) -> None:
        """Give it back."""

    def forget(self) -> None:
        """Drop it in a copy of the process, whose lock it is not."""


# Those of this process, by where they are, and what to say of those that it has lost.
_HELD: dict[str, _Kept] = {}
_LOST: dict[str, LockLostError] = {}


@contextmanager
def _held(lock: _Lock, patience_s: float) -> Iterator[None]:
    kept = _take_patiently(lock, patience_s)
    process, ended = os.getpid(), threading.Event()
    thread = threading.current_thread()
    if thread is threading.main_thread():
        signal.signal(_LOST_SIGNAL, _raise_lost)
    watch = threading.Thread(target=_watch, args=(kept, thread, ended), daemon=True)
    _HELD[lock.place] = kept
    watch.start()
    try:
        yield
        _check(kept)
    except LockLostError as error:
        raise _LOST.get(lock.place, error) from None
    finally:
        # A copy of the process that leaves the block leaves the lock to its parent.
        if os.getpid() == process:
            ended.set()
            _HELD.pop(lock.place, None)
            watch.join(_LET_GO_S)
            _LOST.pop(lock.place, None)
            _in_time(kept.let_go)


def _take_patiently(lock: _Lock, patience_s: float) -> _Kept:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return _take(lock)
        except _RefusedError:
            if time.monotonic() >= deadline:
                raise
        time.sleep(_RETRY_S)


def _take(lock: _Lock) -> _Kept:
    if not files.is_local(lock.place):
        return _NoteLock.take(lock, ObjectNotes(lock.place))
    try:
        try:
            return _take_local(lock)
        except FileNotFoundError:
            # Another process that made nothing has just removed the folder again.
            return _take_local(lock)
    except OSError as error:
        if is_disk_full(error) and not isinstance(error, StorageFullError):
            raise StorageFullError(
                f"disk full while writing {lock.what} {lock.url}: nothing finished is lost, free"
                " some space and run the same command again to resume"
            ) from error
        raise


def _take_local(lock: _Lock) -> _Kept:
    folder = Path(lock.place).parent
    folder.mkdir(parents=True, exist_ok=True)
    if _has_flock(folder):
        return _FlockLock.take(lock)
    return _NoteLock.take(lock, Notes(lock.place))


# ---------------------------------------------------------------------------------------------------------
# Losing it


def _watch(kept: _Kept, holder: threading.Thread, ended: threading.Event) -> None:
    """Renew a lock until it is let go; where it is lost, interrupt its holder until that stops."""
    while not ended.wait(_RENEW_S):
        try:
            kept.renew()
        except LockLostError as error:
            _LOST[kept.lock.place] = error
            _interrupt(holder)
        # The next renewal may get through; three may fail.
        except Exception:  # noqa: BLE001, S112
            continue


def _interrupt(thread: threading.Thread) -> None:
    if thread.ident is None or not thread.is_alive():
        return
    if thread is threading.main_thread():
        # Ends a system call, too.
        signal.pthread_kill(thread.ident, _LOST_SIGNAL)
        return
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread.ident), ctypes.py_object(LockLostError)
    )


def _raise_lost(_number: int, _frame: object) -> None:
    for place in list(_HELD):
        if place in _LOST:
            raise _LOST[place]


def _check(kept: _Kept) -> None:
    """Raise `LockLostError` where a lock is known to be lost, or is found to be."""
    if kept.lock.place in _LOST:
        raise _LOST[kept.lock.place]
    try:
        kept.check()
    except LockLostError as error:
        _LOST[kept.lock.place] = error
        raise


def _lost_error(lock: _Lock, holder: Holder | None) -> LockLostError:
    by = f" (process {holder.process} on {holder.host})" if holder is not None else ""
    return LockLostError(
        f"another process{by} has taken over {lock.what} {lock.url} from this one, which did not"
        " renew its lock in time or whose lock file was removed: this one stops without writing"
        " more, and the same command resumes once the other has ended"
    )


def _check_before_write(url: str) -> None:
    """Refuse to write below a folder whose lock was lost."""
    if not _HELD or is_lock(url.rpartition("/")[2]):
        return
    for kept in list(_HELD.values()):
        if url == kept.lock.url or url.startswith(kept.lock.url + "/"):
            _check(kept)


files.before_write.append(_check_before_write)


def _forget_all() -> None:
    """Leave the locks to the process that this one is a copy of, and that may die before it."""
    for kept in _HELD.values():
        kept.forget()
    _HELD.clear()


os.register_at_fork(after_in_child=_forget_all)


def _in_time(action: Callable[[], None]) -> None:
    """Do something, if that can be done soon: where nothing answers, the note dies by itself."""

    def run() -> None:
        with suppress(Exception):
            action()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(_LET_GO_S)


# ---------------------------------------------------------------------------------------------------------
# Locks of the operating system


@dataclass
class _FlockLock:
    """A lock that the operating system keeps."""

    lock: _Lock
    descriptor: int

    @staticmethod
    def take(lock: _Lock) -> _FlockLock:
        path = Path(lock.place)
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                raise lock.refused(read_holder(str(path)), str(path)) from None
            # Its last holder may have removed it between our two steps.
            if _is_same(path, descriptor):
                break
            os.close(descriptor)
        try:
            _check_notes(lock)
        except BaseException:
            os.close(descriptor)
            raise
        _write_holder(descriptor)
        return _FlockLock(lock, descriptor)

    def renew(self) -> None:
        path = Path(self.lock.place)
        if not _is_same(path, self.descriptor):
            raise _lost_error(self.lock, read_holder(str(path)))

    def check(self) -> None:
        self.renew()

    def let_go(self) -> None:
        # Removed while still held, so that no other can lock a file that is about to go.
        if _is_same(Path(self.lock.place), self.descriptor):
            Path(self.lock.place).unlink(missing_ok=True)
        os.close(self.descriptor)

    def forget(self) -> None:
        os.close(self.descriptor)


def _is_same(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_holder(descriptor: int) -> None:
    """Write the holder of a lock; on a full disk the lock does without."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, Holder.here("flock").to_text().encode(), 0)
    except OSError:
        return


def _check_notes(lock: _Lock) -> None:
    """Refuse where a machine without flock holds the same folder by a note."""
    notes = Notes(lock.place)
    numbers = notes.numbers()
    holder = notes.read(max(numbers, default=0))
    if holder is None or holder.by != "note":
        return
    if not is_dead(notes, max(numbers), holder):
        raise lock.refused(holder, notes.url(max(numbers)))
    for number in numbers:
        if number:
            notes.remove(number)


def _has_flock(folder: Path) -> bool:
    """Tell whether locks of the operating system hold on a folder, for all machines that see it."""
    if _locks_are_local(folder):
        return False
    probe = folder / f"{LOCK_NAME}.{uuid.uuid4().hex}{files.PARTIAL}"
    descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_FLOCK:
            return False
        raise
    finally:
        probe.unlink(missing_ok=True)
        os.close(descriptor)
    return True


def _locks_are_local(folder: Path) -> bool:
    device = folder.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    with suppress(OSError):
        for line in _MOUNTS.read_text().splitlines():
            words = line.split()
            if len(words) > 5 and words[2] == number:
                return bool(_LOCAL_FLOCK & {*words[5].split(","), *words[-1].split(",")})
    return False


# ---------------------------------------------------------------------------------------------------------
# Locks by notes


@dataclass
class _NoteLock:
    """A lock that a renewed note stands for."""

    lock: _Lock
    notes: Notes
    number: int
    holder: Holder
    confirmed: float = field(default_factory=lambda: uptime())
    guard: Any = field(
        default_factory=threading.RLock
    )  # the main thread's signal may come in between

    @staticmethod
    def take(lock: _Lock, notes: Notes) -> _NoteLock:
        seen = notes.read_all()
        highest = max(seen, default=None)
        if highest is not None and not is_dead(notes, highest, seen[highest]):
            raise lock.refused(seen[highest], notes.url(highest))
        mine = Holder.here()
        number = 0 if highest is None else highest + 1
        notes.create(number, mine.to_text())
        found = notes.read_all()
        others = {n: who for n, who in found.items() if n != number}
        # Created by another, or one that was not there when it was decided that the holder is dead.
        is_mine = found.get(number) is not None and _token(found[number]) == mine.token
        new = [n for n, who in others.items() if n not in seen or _token(who) != _token(seen[n])]
        if not is_mine or new:
            if is_mine:
                notes.remove(number)
            winner = max(new, default=number)
            raise lock.refused(found.get(winner), notes.url(winner))
        for other in others:
            notes.remove(other)
        return _NoteLock(lock, notes, number, mine)

    def renew(self) -> None:
        with self.guard:
            self._confirm()
            with suppress(FileNotFoundError):  # found missing by the next one
                self.notes.renew(self.number, self.holder.to_text())
            self.confirmed = uptime()

    def _confirm(self) -> None:
        for is_last in (False, True):
            numbers = self.notes.numbers()
            found = self.notes.read(self.number)
            is_mine = self.number in numbers and _token(found) == self.holder.token
            if is_mine and max(numbers) == self.number:
                return
            if is_last or not is_mine:
                other = self.notes.read(max(numbers)) if numbers else None
                raise _lost_error(self.lock, other)
            time.sleep(_WITHDRAWN_AFTER_S)

    def check(self) -> None:
        # Asleep, or without a network: another may have taken it for dead.
        if uptime() - self.confirmed > DEAD_AFTER_S / 2:
            self.renew()

    def let_go(self) -> None:
        if _token(self.notes.read(self.number)) == self.holder.token:
            self.notes.remove(self.number)

    def forget(self) -> None:
        """Do nothing: there is no descriptor."""
