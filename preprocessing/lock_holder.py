"""Lock files, and the processes that they name."""

from __future__ import annotations

import json
import os
import re
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

from preprocessing import files

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
