"""A TensorBoard event file whose name puts it behind those that are there."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

_SECONDS = re.compile(r"events\.out\.tfevents\.(\d+)\.")


def next_name(names: Iterable[str]) -> str:
    """Return a name for an event file that sorts behind all of `names`, those of a folder.

    TensorBoard reads a folder's files in the order of their names, and what an interrupted run
    had written is taken back only by a file that is read later. Names begin with the second, by
    the clock of the machine: by it alone, a run that goes on within the same second, or on a
    machine whose clock is behind, would come before what it takes back.
    """
    seconds = [int(match[1]) for name in names if (match := _SECONDS.match(name))]
    second = max([int(time.time()), *(s + 1 for s in seconds)])
    return f"events.out.tfevents.{second:010d}.{socket.gethostname()}.{os.getpid()}"


class EventFile:
    """Appends summaries to a TensorBoard event file; each is in the file when a call returns.

    Parameters
    ----------
    path
        A new file, in a folder that need not exist.
    purge_step
        Where given, steps from there on are not shown of the files that sort before.
    """

    def __init__(self, path: Path, purge_step: int | None = None) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog
        from tensorboard.summary.writer.record_writer import RecordWriter

        path.parent.mkdir(parents=True, exist_ok=True)
        self._event = Event
        self._records = RecordWriter(path.open("ab"))
        try:
            self._write(Event(file_version="brain.Event:2"), purge_step or 0)
            if purge_step is not None:
                self._write(Event(session_log=SessionLog(status=SessionLog.START)), purge_step)
        except BaseException:
            with suppress(Exception):
                self.close()
            raise

    def add_summary(self, summary: Any, step: int) -> None:
        """Append a `Summary` protocol buffer."""
        self._write(self._event(summary=summary), step)

    def close(self) -> None:
        """Close the file."""
        self._records.close()

    def _write(self, event: Any, step: int) -> None:
        event.wall_time, event.step = time.time(), step
        self._records.write(event.SerializeToString())
        # By the call that wrote it a full disk is told, and readers see whole events.
        self._records.flush()
