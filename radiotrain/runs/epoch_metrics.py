"""Metrics of an epoch, and ``metrics.jsonl``."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import StorageFullError, is_disk_full
from preprocessing.common.json_values import parse_values
from preprocessing.storage import files
from preprocessing.storage.digests import NO_LINE, line_digest, line_with_digest, read_lines


@dataclass(frozen=True)
class EpochMetrics:
    """One line of ``metrics.jsonl``. NaN is an undefined AUC or validation loss (null in the file).

    Parameters
    ----------
    epoch
        Counted from 0.
    train_loss
        Mean over the epoch's labels.
    validation_auc
        Mean over the targets of which both classes validate; undefined where a prediction is not finite.
    validation_auc_per_target
        AUC of each target.
    lr
        Learning rate of the last step.
    is_best
        Whether this is the epoch that would be kept if the run ended with it.
    samples_per_s
        Training patients a second, over all workers.
    seconds
        Of the whole epoch, validation included.
    peak_memory_bytes
        Most memory of the device in use during the epoch, on the worker that writes; None
        where it is not measured.
    energy_joules
        Used in the epoch by that worker's device; None where the device does not report it.
    """

    epoch: int
    num_epochs: int
    train_loss: float
    validation_loss: float
    validation_auc: float
    validation_auc_per_target: Mapping[str, float]
    lr: float
    is_best: bool
    samples_per_s: float
    seconds: float
    peak_memory_bytes: int | None = None
    energy_joules: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, null for NaN."""
        values = asdict(self)
        values["validation_auc_per_target"] = dict(self.validation_auc_per_target)
        return dict(null_for_nan(values))

    @staticmethod
    def from_json(values: Mapping[str, Any], place: str, remedy: str) -> EpochMetrics:
        """Rebuild from `to_json`; lines written before a field was known do without it.

        Parameters
        ----------
        place, remedy
            The file that the values come from, and what to do about a damaged one.

        Raises
        ------
        DamagedFileError
            If the values are of anything else.
        """
        plain = dict(values)
        for name in ("train_loss", "validation_loss", "validation_auc"):
            if name in plain:
                plain[name] = nan_for_null(plain[name])
        per_target = plain.get("validation_auc_per_target")
        if isinstance(per_target, Mapping):
            found = {target: nan_for_null(value) for target, value in per_target.items()}
            plain["validation_auc_per_target"] = found
        parse_values(EpochMetrics, plain, place, remedy)
        # The values as they were: 1 and 1.0 are written as different lines, with different checksums.
        return EpochMetrics(**plain)

    def describe(self, *, has_validation: bool = True) -> str:
        """Return one line for a person.

        Parameters
        ----------
        has_validation
            Whether any patient validates.
        """
        remaining = self.num_epochs - self.epoch - 1
        aucs = ", ".join(f"{t} {v:.3f}" for t, v in self.validation_auc_per_target.items())
        validation = (
            f" validation loss {self.validation_loss:.4f}, validation AUC {aucs}"
            f"{' (kept)' if self.is_best else ''},"
        )
        if not has_validation:
            validation = " no validation set,"
        elif not math.isfinite(self.validation_loss):
            validation = (
                " validation loss and mean AUC undefined because predictions are not finite"
                f" (AUC {aucs}),"
            )
        memory = self.peak_memory_bytes
        return (
            f"epoch {self.epoch + 1}/{self.num_epochs}: loss {self.train_loss:.4f},"
            f"{validation} lr {self.lr:.2e},"
            f" {self.samples_per_s:.1f} patients/s"
            f"{'' if memory is None else f', {memory / 1e9:.1f} GB'}"
            f"{f', {human_time(remaining * self.seconds)} to go at most' if remaining else ''}"
        )


def human_time(seconds: float) -> str:
    """Return a duration as people say it: ``40 s``, ``5 min``, ``3 h 20 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"


def auc(labels: NDArray[np.int8], scores: NDArray[np.float32]) -> float:
    """Return the area under the ROC curve over labelled patients; NaN without both classes.

    Parameters
    ----------
    labels
        int8 (N,) of 0, 1 or -1 (missing).
    scores
        float (N,), higher means positive.
    """
    # A machine that only measures speed need not have it.
    from sklearn.metrics import roc_auc_score

    known = labels != MISSING_LABEL
    if len(np.unique(labels[known])) < 2 or not np.all(np.isfinite(scores[known])):
        return math.nan
    return float(roc_auc_score(labels[known], scores[known]))


def auc_per_target(
    labels: NDArray[np.int8], scores: NDArray[np.float32], targets: Sequence[str]
) -> dict[str, float]:
    """Return each target's AUC from (N, T) labels and scores."""
    return {t: auc(labels[:, i], scores[:, i]) for i, t in enumerate(targets)}


def mean_auc(
    labels: NDArray[np.int8], scores: NDArray[np.float32], per_target: Mapping[str, float]
) -> float:
    """Return the mean AUC over targets, undefined where it would leave one out that it has else.

    Parameters
    ----------
    labels, scores
        (N, T), as `auc` has them.
    per_target
        Their AUCs. One is undefined in every epoch where its patients have one class, and is left out.

    Returns
    -------
    NaN where any score of a labelled patient is not finite: the mean over the other targets would be
    compared with means over all.
    """
    if not np.all(np.isfinite(scores[labels != MISSING_LABEL])):
        return math.nan
    return mean_defined(list(per_target.values()))


def mean_defined(values: Sequence[float]) -> float:
    """Return the mean of the values that are not NaN; NaN if there are none."""
    defined = [v for v in values if not math.isnan(v)]
    return sum(defined) / len(defined) if defined else math.nan


def null_for_nan(value: Any) -> Any:
    """Return JSON values with None for every number that JSON does not have."""
    if isinstance(value, dict):
        return {k: null_for_nan(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [null_for_nan(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def nan_for_null(value: float | None) -> float:
    """Return NaN for None."""
    return math.nan if value is None else value


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
