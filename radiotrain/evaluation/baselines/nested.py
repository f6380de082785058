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

from preprocessing.cohort.cohort import MISSING_LABEL
from radiotrain.evaluation.baselines.models import Fitted, Model, Settings, predict_each

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
    tuning = Tuning(model, x, labels, folds, seed)
    # Matrices this small are slower on several threads, and sums then depend on their number.
    with threadpool_limits(1):
        for fold in sorted({int(f) for f in folds}):
            rows = np.flatnonzero((folds != fold) & (labels != MISSING_LABEL))
            if has_both(labels[rows]):
                fitted[fold] = tuning.fit(rows)
                mine = folds == fold
                probabilities[mine] = fitted[fold].predict(x[mine])
            else:
                notes.append(
                    f"fold {fold} was left out, as the other folds have one class only among"
                    f" {len(rows)} known labels"
                )
            on_fold()
    return NestedResult(fitted, probabilities, tuple(notes))


class Tuning:
    """Fits a model to some patients, with settings that cross-validation among them chooses.

    Parameters
    ----------
    x
        float64 (N, K), NaN for missing.
    labels
        (N,) of 0 and 1 for all who are fitted to.
    folds
        (N,), the parts of the cross-validation.
    """

    def __init__(
        self,
        model: Model,
        x: NDArray[np.float64],
        labels: NDArray[np.int64],
        folds: NDArray[np.int64],
        seed: int,
    ) -> None:
        self._model = model
        self._x = x
        self._labels = labels
        self._folds = folds
        self._seed = seed
        self._fitted: dict[bytes, tuple[Fitted, ...]] = {}

    def fit(self, rows: NDArray[np.int64]) -> Fitted:
        """Fit to these patients, who must be of both classes."""
        return self._fit(rows, [self._choose(rows)])[0]

    def _fit(self, rows: NDArray[np.int64], grid: Sequence[Settings]) -> tuple[Fitted, ...]:
        return self._model.fit(self._x[rows], self._labels[rows], grid, self._seed)

    def _fit_each(self, rows: NDArray[np.int64]) -> tuple[Fitted, ...]:
        """Fit with each of the settings; once, though two folds leave each other out."""
        key = rows.tobytes()
        if key not in self._fitted:
            self._fitted[key] = self._fit(rows, self._model.grid)
        return self._fitted[key]

    def _choose(self, rows: NDArray[np.int64]) -> Settings:
        """Return the settings whose out-of-fold probabilities have the least log loss.

        The log loss of all patients together rather than the mean AUC over folds: on a few dozen
        patients a fold's AUC is mostly luck. Where no fold can be trained: the simplest.
        """
        parts = _inner_parts(self._labels[rows], self._folds[rows])
        truths: list[NDArray[np.int64]] = []
        predicted: list[NDArray[np.float64]] = []
        for part in np.unique(parts):
            train, held_out = rows[parts != part], rows[parts == part]
            if has_both(self._labels[train]):
                truths.append(self._labels[held_out])
                predicted.append(predict_each(self._fit_each(train), self._x[held_out]))
        if not truths:
            return self._model.grid[0]
        truth = np.concatenate(truths)
        losses = [log_loss(truth, p, labels=[0, 1]) for p in np.concatenate(predicted, axis=1)]
        # Of equal losses the first: the simplest.
        return self._model.grid[int(np.argmin(losses))]


def _inner_parts(labels: NDArray[np.int64], folds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the folds, or with one fold only, three parts dealt out within each class."""
    if len(np.unique(folds)) > 1:
        return folds
    parts = np.empty(len(labels), dtype=np.int64)
    for label in (0, 1):
        rows = np.flatnonzero(labels == label)
        parts[rows] = np.arange(len(rows)) % _INNER_PARTS
    return parts


def has_both(labels: NDArray[np.int64]) -> bool:
    """Tell whether there are two classes."""
    return len(np.unique(labels)) == 2
