"""Lock files: the process that each names, and numbered notes renewed while it lives."""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from preprocessing.storage import files

LOCK_NAME = ".writing.json"
# Also the next notes, and what is there while one is written.
_ANY_LOCK = re.compile(r"\.+(?:.+\.)?writing\.json(?:\..+)?")

By = Literal["flock", "note"]


def is_lock(name: str) -> bool:
    """Tell whether a file of this name is a lock's."""
    return _ANY_LOCK.fullmatch(name) is not None


@dataclass(frozen=True)
class Holder:
    """A process that writes, and since when (seconds since 1970).

    Parameters
    ----------
    boot, pid_namespace, process_started
        Tell the process from one with the same number, after a reboot or on another machine.
    by
        Whether the operating system keeps the lock, or this note, which is renewed.
    """

    host: str
    process: int
    started: float
    token: str
    boot: str = ""
    pid_namespace: str = ""
    process_started: str = ""
    by: By = "note"

    @staticmethod
    def here(by: By = "note") -> Holder:
        """Return this process."""
        return Holder(
            socket.gethostname(),
            os.getpid(),
            time.time(),
            uuid.uuid4().hex,
            *_machine(),
            _process_started(os.getpid()),
            by,
        )

    @property
    def is_of_this_machine(self) -> bool:
        """Whether its process can be seen from here."""
        return bool(self.boot) and (self.boot, self.pid_namespace) == _machine()

    @property
    def is_gone(self) -> bool:
        """Whether it was a process of this machine and has ended."""
        return self.is_of_this_machine and _process_started(self.process) != self.process_started

    def to_text(self) -> str:
        """Return what stands in the lock file."""
        return json.dumps(asdict(self)) + "\n"


def read_holder(place: str) -> Holder | None:
    """Return the holder that a lock file names, None where there is none that can be read."""
    try:
        values: Mapping[str, Any] = json.loads(files.read_text(place))
        known = {one.name for one in fields(Holder)}
        return Holder(**{name: value for name, value in values.items() if name in known})
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return None


def _machine() -> tuple[str, str]:
    """Return what tells this running machine, and this container's process numbers, from all others."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return boot, str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return "", ""


def _process_started(process: int) -> str:
    """Return when a process began, in the kernel's ticks; empty where there is none."""
    try:
        text = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return ""
    # After the name, which may hold anything: state is the 3rd, the start the 22nd.
    words = text.rpartition(")")[2].split()
    return "" if words[0] in "ZX" else words[19]


def uptime() -> float:
    """Return seconds that go on while the machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def in_words(seconds: float) -> str:
    """Return a duration as text."""
    for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} s"


# Three renewals missed: a network may hiccup.
DEAD_AFTER_S = 60.0
# A living holder renews its note within this time, whatever the clocks say.
_WATCH_S = 20.0
# How long an object store without conditional writes may take to show the last of several writes.
_SETTLE_S = 2.0


@dataclass(frozen=True)
class Notes:
    """Notes on a file system.

    Parameters
    ----------
    place
        URL of the first note; the next ones have its name and a number.
    """

    place: str

    def url(self, number: int) -> str:
        """Return where the note with a number is."""
        return f"{self.place}.{number}" if number else self.place

    def numbers(self) -> list[int]:
        """Return the numbers of the notes."""
        parent, _, first = self.place.rpartition("/")
        found = []
        for name in files.list_names(parent):
            start, _, number = name.rpartition(".")
            if name == first:
                found.append(0)
            elif start == first and number.isdigit():
                found.append(int(number))
        return sorted(found)

    def read(self, number: int) -> Holder | None:
        """Return a note's holder, None where there is no note that can be read."""
        return read_holder(self.url(number))

    def read_all(self) -> dict[int, Holder | None]:
        """Return all notes' holders."""
        return {number: self.read(number) for number in self.numbers()}

    def create(self, number: int, text: str) -> None:
        """Write a note, unless there is one; which it was shows when it is read."""
        # What another process sweeps away is found missing.
        with suppress(FileExistsError, FileNotFoundError):
            files.write_new(self.url(number), text)

    def stamp(self, number: int) -> float | None:
        """Return when a note was renewed, by the storage's clock; None where there is none."""
        try:
            return Path(self.url(number)).stat().st_mtime
        except FileNotFoundError:
            return None

    def now(self) -> float:
        """Return the time, by the storage's clock."""
        probe = self._probe()
        descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            os.utime(descriptor)
            return os.fstat(descriptor).st_mtime
        finally:
            Path(probe).unlink(missing_ok=True)
            os.close(descriptor)

    def renew(self, number: int, text: str) -> None:
        """Show that a note's holder lives."""
        del text  # its age is what counts, and a note that was removed does not come back
        os.utime(self.url(number))

    def remove(self, number: int) -> None:
        """Remove a note, if it is there."""
        files.remove(self.url(number))

    def _probe(self) -> str:
        return f"{self.place}.{uuid.uuid4().hex}{files.PARTIAL}"


@dataclass(frozen=True)
class ObjectNotes(Notes):
    """Notes on an object store."""

    def create(self, number: int, text: str) -> None:
        """Write a note, unless there is one; which it was shows when it is read."""
        with suppress(FileExistsError):
            files.write_new(self.url(number), text)
            # A server that takes no notice of the condition lets this through as well.
            files.write_new(self.url(number), text)
            time.sleep(_SETTLE_S)

    def stamp(self, number: int) -> float | None:
        """Return when a note was renewed, by the storage's clock; None where there is none."""
        return _modified(self.url(number))

    def now(self) -> float:
        """Return the time, by the storage's clock."""
        probe = self._probe()
        files.write_text(probe, "")
        try:
            return _modified(probe) or time.time()
        finally:
            files.remove(probe)

    def renew(self, number: int, text: str) -> None:
        """Show that a note's holder lives."""
        files.write_text(self.url(number), text)


def _modified(url: str) -> float | None:
    fs, path = files.filesystem(url)
    fs.invalidate_cache()
    try:
        found: datetime = fs.modified(path)
    except FileNotFoundError:
        return None
    return found.timestamp()


def is_dead(notes: Notes, number: int, holder: Holder | None) -> bool:
    """Tell whether a note's holder can be taken for dead."""
    if holder is not None and holder.is_gone:
        return True
    if holder is not None and holder.by == "flock":
        return False  # not renewed: says nothing by its age
    stamp = notes.stamp(number)
    if stamp is None:
        return True
    # Objects' times are whole seconds.
    if -2.0 <= notes.now() - stamp <= DEAD_AFTER_S:
        return False
    deadline = time.monotonic() + _WATCH_S
    while time.monotonic() < deadline:
        if notes.stamp(number) not in (stamp, None):
            return False
        time.sleep(min(1.0, _WATCH_S / 4))
    return True
