"""What is measured in an epoch, and how it is said."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from preprocessing.cohort import MISSING_LABEL


@dataclass(frozen=True)
class EpochMetrics:
    """One line of ``metrics.jsonl``. NaN is an undefined AUC (null in the file).

    Parameters
    ----------
    epoch
        Counted from 0.
    train_loss
        Mean over the epoch's labels.
    validation_auc
        Mean over the targets whose AUC is defined.
    validation_auc_per_target
        AUC of each target.
    lr
        Learning rate of the last step.
    is_best
        Whether this is the best epoch so far.
    samples_per_s
        Training patients a second, over all workers.
    seconds
        Of the whole epoch, validation included.
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

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, null for NaN."""
        values = asdict(self)
        values["validation_auc_per_target"] = dict(self.validation_auc_per_target)
        return dict(null_for_nan(values))

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> EpochMetrics:
        """Rebuild from `to_json`."""
        per_target = values["validation_auc_per_target"]
        names = ("train_loss", "validation_loss", "validation_auc")
        return EpochMetrics(
            **{
                **values,
                **{name: nan_for_null(values[name]) for name in names},
                "validation_auc_per_target": {k: nan_for_null(v) for k, v in per_target.items()},
            }
        )

    def describe(self) -> str:
        """Return one line for a person."""
        remaining = (self.num_epochs - self.epoch - 1) * self.seconds
        aucs = ", ".join(f"{t} {v:.3f}" for t, v in self.validation_auc_per_target.items())
        return (
            f"epoch {self.epoch + 1}/{self.num_epochs}: loss {self.train_loss:.4f},"
            f" validation loss {self.validation_loss:.4f}, validation AUC {aucs}"
            f"{' (best)' if self.is_best else ''}, lr {self.lr:.2e},"
            f" {self.samples_per_s:.1f} patients/s, {remaining:.0f} s to go at most"
        )


def auc(labels: NDArray[np.int8], scores: NDArray[np.float32]) -> float:
    """Return the area under the ROC curve over labelled patients; NaN without both classes.

    Parameters
    ----------
    labels
        int8 (N,) of 0, 1 or -1 (missing).
    scores
        float (N,), higher means positive.
    """
    known = labels != MISSING_LABEL
    if len(np.unique(labels[known])) < 2 or not np.all(np.isfinite(scores[known])):
        return math.nan
    return float(roc_auc_score(labels[known], scores[known]))


def auc_per_target(
    labels: NDArray[np.int8], scores: NDArray[np.float32], targets: Sequence[str]
) -> dict[str, float]:
    """Return each target's AUC from (N, T) labels and scores."""
    return {t: auc(labels[:, i], scores[:, i]) for i, t in enumerate(targets)}


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
