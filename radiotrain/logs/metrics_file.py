"""``metrics.jsonl``: one line an epoch, in a file that can be followed with ``tail -f``."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from preprocessing import files
from preprocessing.errors import StorageFullError, is_disk_full
from radiotrain.training.metrics import EpochMetrics


def append_metrics(url: str, history: Sequence[EpochMetrics]) -> None:
    """Make a file hold these epochs.

    A local file that holds all but the last gets one line more, on the disk before this returns;
    whoever follows it sees it. Any other, and one on an object store, is written anew, whole: so
    is one whose last line was cut short by a crash.

    Parameters
    ----------
    url
        Of the file itself.

    Raises
    ------
    StorageFullError
        If the disk is full. What was there before still is.
    """
    lines = [json.dumps(metrics.to_json(), allow_nan=False) + "\n" for metrics in history]
    there = _read(url)
    if there == "".join(lines):
        return
    if lines and files.is_local(url) and there == "".join(lines[:-1]):
        _append(Path(files.filesystem(url)[1]), lines[-1].encode())
    else:
        files.write_text(url, "".join(lines))


def read_metrics(url: str) -> tuple[EpochMetrics, ...]:
    """Return the epochs in a file, none if there is none; a line that is being written is left out."""
    lines = (_read(url) or "").splitlines(keepends=True)
    return tuple(EpochMetrics.from_json(json.loads(line)) for line in lines if line.endswith("\n"))


def _read(url: str) -> str | None:
    """Return the text of a file, None if there is none; what a crash garbled is no text either."""
    try:
        return files.read_bytes(url).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _append(path: Path, line: bytes) -> None:
    size = path.stat().st_size
    try:
        with path.open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        os.truncate(path, size)
        if is_disk_full(error):
            raise StorageFullError(
                f"disk full while writing {path}: free some space and run the same command again"
            ) from error
        raise
