"""``metrics.jsonl``: one line an epoch, in a file that can be followed with ``tail -f``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocessing.common.errors import StorageFullError, is_disk_full
from preprocessing.storage import files
from preprocessing.storage.digests import NO_LINE, line_digest, line_with_digest, read_lines
from radiotrain.training.metrics import EpochMetrics


@dataclass(frozen=True)
class MetricsFile:
    """What a file holds.

    Parameters
    ----------
    digests
        Of each line; it covers the lines before.
    is_torn
        Whether a line follows that has no end: it is being written, or was cut short.
    """

    epochs: tuple[EpochMetrics, ...] = ()
    digests: tuple[str, ...] = ()
    is_torn: bool = False


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
    lines = _lines(history)
    there = _read(url)
    if there == "".join(lines):
        return
    if lines and files.is_local(url) and there == "".join(lines[:-1]):
        _append(Path(files.filesystem(url)[1]), lines[-1].encode())
    else:
        files.write_text(url, "".join(lines))


def read_metrics(url: str, remedy: str) -> MetricsFile:
    """Return the epochs in a file, none if there is none.

    Raises
    ------
    DamagedFileError
        If a line that has an end is not what was written.
    """
    text = _read(url) or ""
    found = read_lines(text, url, remedy)
    whole = text.split("\n")[: len(found.values)]
    epochs = tuple(EpochMetrics.from_json(values, url, remedy) for values in found.values)
    return MetricsFile(epochs, tuple(map(line_digest, whole)), bool(found.torn))


def history_digest(history: Sequence[EpochMetrics]) -> str:
    """Return the digest of the last line that a file of these epochs has."""
    lines = _lines(history)
    return line_digest(lines[-1]) if lines else NO_LINE


def _lines(history: Sequence[EpochMetrics]) -> list[str]:
    lines, previous = [], NO_LINE
    for metrics in history:
        lines.append(line_with_digest(metrics.to_json(), previous))
        previous = line_digest(lines[-1])
    return lines


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
