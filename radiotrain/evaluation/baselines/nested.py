"""Nested cross-validation: settings are chosen without the fold that is then predicted.

Axis legend: N patients, K features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss
from threadpoolctl import threadpool_limits

from preprocessing.cohort import MISSING_LABEL
from radiotrain.evaluation.baselines.models import Fitted, Model, Settings

_INNER_PARTS = 3


@dataclass(frozen=True)
class NestedResult:
    """Models of the folds, and what each predicts of the patients it has not seen.

    Parameters
    ----------
    fitted
        Fold to its model; a fold that could not be trained is not in there.
    probabilities
        float64 (N,) out of fold; NaN for patients of a fold without a model.
    notes
        One clause for each fold left out.
    """

    fitted: dict[int, Fitted]
    probabilities: NDArray[np.float64]
    notes: tuple[str, ...]


def nested_cv(
    model: Model,
    x: NDArray[np.float64],
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    seed: int = 0,
    on_fold: Callable[[], None] = lambda: None,
) -> NestedResult:
    """Fit a model for each fold on the other folds, settings chosen among those other folds.

    Parameters
    ----------
    x
        float64 (N, K), NaN for missing.
    labels
        (N,) of 0, 1 or -1; patients without a label are predicted but teach nothing.
    folds
        (N,) from 0.
    on_fold
        Called after each fold.
    """
    fitted: dict[int, Fitted] = {}
    probabilities = np.full(len(labels), np.nan)
    notes = []
    # Matrices this small are slower on several threads, and sums then depend on their number.
    with threadpool_limits(1):
        for fold in sorted({int(f) for f in folds}):
            rows = np.flatnonzero((folds != fold) & (labels != MISSING_LABEL))
            if _has_both(labels[rows]):
                settings = choose_settings(model, x[rows], labels[rows], folds[rows], seed)
                fitted[fold] = model.fit(x[rows], labels[rows], settings, seed)
                mine = folds == fold
                probabilities[mine] = fitted[fold].predict(x[mine])
            else:
                notes.append(
                    f"fold {fold} was left out, as the other folds have one class only among"
                    f" {len(rows)} known labels"
                )
            on_fold()
    return NestedResult(fitted, probabilities, tuple(notes))


def choose_settings(
    model: Model,
    x: NDArray[np.float64],
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
    seed: int,
) -> Settings:
    """Return the settings whose out-of-fold probabilities have the least log loss.

    The log loss of all patients together rather than the mean AUC over folds: on a few dozen
    patients a fold's AUC is mostly luck. Where no inner fold can be trained: the simplest.
    """
    parts = _inner_parts(labels, folds)
    losses = [_loss(model, x, labels, parts, settings, seed) for settings in model.grid]
    # Of equal losses, infinite ones included, the first: the simplest.
    return model.grid[int(np.argmin(losses))]


def _inner_parts(labels: NDArray[np.int64], folds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the folds, or with one fold only, three parts dealt out within each class."""
    if len(np.unique(folds)) > 1:
        return folds
    parts = np.empty(len(labels), dtype=np.int64)
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        parts[rows] = np.arange(len(rows)) % _INNER_PARTS
    return parts


def _loss(
    model: Model,
    x: NDArray[np.float64],
    labels: NDArray[np.int64],
    parts: NDArray[np.int64],
    settings: Settings,
    seed: int,
) -> float:
    truths: list[NDArray[np.int64]] = []
    predicted: list[NDArray[np.float64]] = []
    for part in np.unique(parts):
        train, held_out = parts != part, parts == part
        if _has_both(labels[train]):
            fitted = model.fit(x[train], labels[train], settings, seed)
            truths.append(labels[held_out])
            predicted.append(fitted.predict(x[held_out]))
    if not truths:
        return float("inf")
    return float(log_loss(np.concatenate(truths), np.concatenate(predicted), labels=[0, 1]))


def _has_both(labels: Sequence[int] | NDArray[np.int64]) -> bool:
    return len(np.unique(np.asarray(labels))) == 2
