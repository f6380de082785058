"""TensorBoard tracker."""

from __future__ import annotations

import os
import re
import socket
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.storage import files
from radiotrain.tracking.tracker import plain

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


# One table for all runs: TensorBoard takes its columns from any of them.
_RUN_TAGS = ("run/best_validation_auc", "run/best_validation_loss", "run/best_epoch")
# What runs usually differ in, shown first; a run by itself cannot know.
_FIRST_COLUMNS = ("targets", "network.name", "fold", "seed", "train.lr")


class TensorBoardLog:
    """Writes TensorBoard events into the folder ``tensorboard`` of a run.

    Events for an object store are gathered in a temporary folder and put there whole after
    each epoch, because it cannot append.

    Parameters
    ----------
    run_url
        The run folder.
    first_epoch
        Where the run begins or goes on: steps from there on, written before an interruption,
        are not shown.
    parameters
        The configuration, flattened; a row of the HPARAMS table.
    """

    name = "TensorBoard"
    takes_patients = True

    def __init__(
        self, run_url: str, first_epoch: int = 0, parameters: Mapping[str, object] | None = None
    ) -> None:
        self._url = files.join(run_url, "tensorboard")
        self._first_epoch, self._parameters = first_epoch, dict(parameters or {})
        self._temporary: tempfile.TemporaryDirectory[str] | None = None
        self._folder = Path(files.filesystem(self._url)[1])
        if not files.is_local(run_url):
            self._temporary = tempfile.TemporaryDirectory(prefix="radiotrain-events-")
            self._folder = Path(self._temporary.name)
        self._uploaded: dict[str, int] = {}
        self._purge_step: int | None = first_epoch
        self._file: EventFile | None = None

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add numbers, by tag."""
        from torch.utils.tensorboard.summary import scalar

        for tag, value in values.items():
            self._add(scalar(tag, value), epoch)  # type: ignore[no-untyped-call]

    def picture(self, tag: str, epoch: int, pixels: NDArray[np.uint8]) -> None:
        """Add a picture, uint8 (height, width, 3)."""
        from torch.utils.tensorboard.summary import image

        self._add(image(tag, pixels, dataformats="HWC"), epoch)  # type: ignore[no-untyped-call]

    def flush(self) -> None:
        """Put what was added to the object store; in a local folder it is already."""
        if self._temporary is None:
            return
        for path in self._folder.iterdir():
            content = path.read_bytes()
            if self._uploaded.get(path.name) != len(content):
                files.write_bytes(files.join(self._url, path.name), content)
                self._uploaded[path.name] = len(content)

    def finish(self, epoch: int, values: Mapping[str, float]) -> None:
        """Add the metrics of the HPARAMS table, and say that the run ended well."""
        self.scalars(epoch, values)
        if self._parameters:
            self._add(_hparams({})[2], epoch)
        self.flush()

    def close(self) -> None:
        """Flush, and forget temporary files."""
        try:
            if self._file is not None:
                self._file.close()
            self.flush()
        finally:
            if self._temporary is not None:
                self._temporary.cleanup()

    def _add(self, summary: Any, step: int) -> None:
        """Append to the file; one that failed is left, for its last event may be half there."""
        try:
            (self._file or self._open()).add_summary(summary, step)
        except Exception:
            broken, self._file = self._file, None
            if broken is not None:
                with suppress(Exception):
                    broken.close()
            raise

    def _open(self) -> EventFile:
        # Not yet uploaded, a file that failed is in the temporary folder alone.
        there = [*files.list_names(self._url), *files.list_names(str(self._folder))]
        self._file = EventFile(self._folder / next_name(there), self._purge_step)
        self._purge_step = None
        for summary in self._session():
            self._file.add_summary(summary, self._first_epoch)
        return self._file

    def _session(self) -> tuple[Any, ...]:
        """Return the row of the HPARAMS table: its columns, and a session's start.

        Not by `add_hparams`, which makes a run of its own out of it, in a folder below.
        """
        if not self._parameters:
            return ()
        values = {name: plain(value) for name, value in self._parameters.items()}
        columns, _, _ = _hparams({k: "" if v is None else v for k, v in values.items()})
        _put_first(columns)
        _, start, _ = _hparams({k: v for k, v in values.items() if v is not None})
        return columns, start


def _put_first(columns: Any) -> None:
    """Mark the columns that TensorBoard is to show without being asked."""
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    plugin = columns.value[0].metadata.plugin_data
    data = HParamsPluginData.FromString(plugin.content)
    for column in data.experiment.hparam_infos:
        column.differs = column.name in _FIRST_COLUMNS
    plugin.content = data.SerializeToString()


def _hparams(values: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Return the summaries of the table's columns, of a session's start and of its end."""
    from torch.utils.tensorboard.summary import hparams

    summaries: tuple[Any, Any, Any] = hparams(values, dict.fromkeys(_RUN_TAGS, 0.0))  # type: ignore[no-untyped-call]
    return summaries
