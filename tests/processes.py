"""Processes of this machine, looked at and waited for."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        time.sleep(0.01)


def makers_of(pid: int) -> list[int]:
    """Return the processes below a process that load what others need and make copies, and these copies."""
    return [p for p in descendants(pid) if b"multiprocessing.forkserver" in command_line(p)]


def workers_of(pid: int) -> list[int]:
    """Return the worker processes below a process: copies of one below it, or spawned."""
    copies = [p for maker in makers_of(pid) for p in descendants(maker)]
    return copies or [p for p in descendants(pid) if b"multiprocessing.spawn" in command_line(p)]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def descendants(pid: int) -> list[int]:
    """Return the processes below a process."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
