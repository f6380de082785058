"""One run at a time on a store.

On a folder the operating system keeps the lock and frees it when its holder dies, however. An
object store has no locks: there a small object says who writes, is renewed while they live, and
counts for nothing when it has not been renewed for a while.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preprocessing import files
from preprocessing.errors import InputError
from preprocessing.store.layout import LOCK_NAME
from preprocessing.store.writer import guard_full

_RENEW_S = 15.0
# Three renewals missed: a network may hiccup, a clock may be off by some seconds.
_DEAD_AFTER_S = 60.0
_LET_GO_S = 5.0


@dataclass(frozen=True)
class Holder:
    """Who writes to a store, and since when (seconds since 1970)."""

    host: str
    process: int
    started: float
    renewed: float
    token: str

    @staticmethod
    def here() -> Holder:
        """Return this process."""
        now = time.time()
        return Holder(socket.gethostname(), os.getpid(), now, now, uuid.uuid4().hex)

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this machine and has ended."""
        return self.host == socket.gethostname() and not Path(f"/proc/{self.process}").exists()


@contextmanager
def exclusive(url: str) -> Iterator[None]:
    """Hold a store's lock.

    Raises
    ------
    InputError
        If another run holds it.
    """
    url = files.absolute(url)
    held = _folder_lock if files.is_local(url) else _object_lock
    with held(url):
        yield


@contextmanager
def _folder_lock(url: str) -> Iterator[None]:
    folder = Path(url)
    existed = folder.exists()
    if existed and not folder.is_dir():
        raise InputError(f"{url} is a file, expected a folder: name a new folder for the store")
    path = folder / LOCK_NAME
    descriptor = guard_full(url, lambda: _lock_file(url, path))
    try:
        _note_holder(descriptor)
        yield
    finally:
        # Removed while still held, so that nobody can lock a file that is about to go.
        path.unlink(missing_ok=True)
        os.close(descriptor)
        if not existed and not any(folder.iterdir()):
            folder.rmdir()


def _lock_file(url: str, path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise _refused(url, _read_holder(str(path))) from None
        # Its last holder may have removed it between our two steps.
        if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
            return descriptor
        os.close(descriptor)


def _note_holder(descriptor: int) -> None:
    """Write who holds the lock; on a full disk the lock does without."""
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(Holder.here())).encode(), 0)
    except OSError:
        return


@contextmanager
def _object_lock(url: str) -> Iterator[None]:
    place = files.join(url, LOCK_NAME)
    mine = Holder.here()
    _take(url, place, mine)
    ended = threading.Event()
    renewing = threading.Thread(target=_keep_renewing, args=(place, mine, ended), daemon=True)
    renewing.start()
    try:
        yield
    finally:
        ended.set()
        _let_go(place, renewing)


def _take(url: str, place: str, mine: Holder) -> None:
    found = _read_holder(place)
    if found is not None and not found.is_gone and time.time() - found.renewed < _DEAD_AFTER_S:
        raise _refused(url, found)
    if found is not None:
        files.remove(place)
    with suppress(FileExistsError):
        files.write_new_object(place, json.dumps(asdict(mine)))
    # Of two that began at once, the one whose note is there has the lock.
    winner = _read_holder(place)
    if winner is None or winner.token != mine.token:
        raise _refused(url, winner)


def _let_go(place: str, renewing: threading.Thread) -> None:
    """Remove the note, if that can be done soon: where nothing answers, it dies by itself."""

    def remove() -> None:
        renewing.join()
        with suppress(Exception):
            files.remove(place)

    thread = threading.Thread(target=remove, daemon=True)
    thread.start()
    thread.join(_LET_GO_S)


def _keep_renewing(place: str, mine: Holder, ended: threading.Event) -> None:
    while not ended.wait(_RENEW_S):
        # The next renewal may get through; three may fail.
        with suppress(Exception):
            _renew(place, mine)


def _renew(place: str, mine: Holder) -> None:
    values = asdict(mine) | {"renewed": time.time()}
    files.write_text(place, json.dumps(values))


def _read_holder(place: str) -> Holder | None:
    try:
        values: dict[str, Any] = json.loads(files.read_text(place))
        return Holder(**values)
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _refused(url: str, holder: Holder | None) -> InputError:
    who = "another run"
    if holder is not None:
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(holder.started))
        who = f"another run (process {holder.process} on {holder.host}, since {since})"
    wait = "wait until it has ended"
    if not files.is_local(url):
        wait += f", or for {_DEAD_AFTER_S:.0f} s if it was killed"
    return InputError(f"{who} is writing to store {url}: {wait}, or name another store")
