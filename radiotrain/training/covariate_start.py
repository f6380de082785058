"""Where late fusion starts: a penalised logistic regression of the training patients' covariates.

Axis legend: N patients, K encoded covariates, T targets.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL

# Inverse strengths of the penalty. The smallest leaves next to nothing of a useless column, the
# largest bounds the weights of a column that separates the classes.
_INVERSE_PENALTIES = np.logspace(-4, 2, 13)
_NUM_FOLDS = 5
# Of the order in which patients go to inner folds: the same for every run and worker.
_SEED = 0


@dataclass(frozen=True)
class CovariateStart:
    """The logistic regression of each target.

    Parameters
    ----------
    weights
        float32 (T, K).
    intercept
        float32 (T,).
    """

    weights: NDArray[np.float32]
    intercept: NDArray[np.float32]


def fit_start(
    covariates: NDArray[np.float32],
    labels: NDArray[np.int8],
    draws: NDArray[np.float64],
    class_weights: NDArray[np.float32],
) -> CovariateStart:
    """Fit a logistic regression to each target by the weights that the network's loss will have.

    The L2 penalty has the least cross-validated loss among the training patients. A target of which
    a class is missing, or is in one patient only, starts at weights of 0.

    Parameters
    ----------
    covariates
        (N, K) of the training patients.
    labels
        int8 (N, T) of 0, 1 or -1 (missing).
    draws
        (N,), how often an epoch draws each patient.
    class_weights
        (2, T), of a negative and of a positive label that is drawn.
    """
    fits = []
    for target, column in enumerate(labels.T):
        known = column != MISSING_LABEL
        y = column[known].astype(np.int64)
        weight = draws[known] * class_weights[y, target]
        fits.append(_fit(covariates[known].astype(np.float64), y, weight))
    return CovariateStart(
        np.array([weights for weights, _ in fits], dtype=np.float32).reshape(len(fits), -1),
        np.array([intercept for _, intercept in fits], dtype=np.float32),
    )


def _fit(
    x: NDArray[np.float64], y: NDArray[np.int64], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    nothing = np.zeros(x.shape[1])
    counts = np.bincount(y, minlength=2)
    if counts.min() == 0:
        return nothing, 0.0
    if counts.min() == 1:
        return nothing, _log_odds(y, weight)
    losses = _cross_validated_losses(x, y, weight, min(_NUM_FOLDS, int(counts.min())))
    # Of equal ones the strongest penalty; nothing at all is the strongest of all.
    best = int(np.argmin(losses))
    if best == 0:
        return nothing, _log_odds(y, weight)
    return _regression(x, y, weight, _INVERSE_PENALTIES[best - 1])


def _cross_validated_losses(
    x: NDArray[np.float64], y: NDArray[np.int64], weight: NDArray[np.float64], num_folds: int
) -> NDArray[np.float64]:
    """Return the weighted loss without covariates, then that of each penalty."""
    from sklearn.model_selection import StratifiedKFold

    losses = np.zeros(1 + len(_INVERSE_PENALTIES))
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=_SEED)
    for train, test in folds.split(x, y):
        known = x[train], y[train], weight[train]
        fits = [
            (np.zeros(x.shape[1]), _log_odds(*known[1:])),
            *(_regression(*known, inverse) for inverse in _INVERSE_PENALTIES),
        ]
        sign = 1 - 2 * y[test]
        for number, (weights, intercept) in enumerate(fits):
            logits = x[test] @ weights + intercept
            losses[number] += weight[test] @ np.logaddexp(0, sign * logits)
    return losses


def _log_odds(y: NDArray[np.int64], weight: NDArray[np.float64]) -> float:
    return float(np.log(weight[y == 1].sum()) - np.log(weight[y == 0].sum()))


def _regression(
    x: NDArray[np.float64], y: NDArray[np.int64], weight: NDArray[np.float64], inverse: float
) -> tuple[NDArray[np.float64], float]:
    # Slow to load, and no run without covariates needs it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=inverse, tol=1e-6, max_iter=1000)
    with warnings.catch_warnings():
        # A fit that was cut off is a start all the same.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y, sample_weight=weight)
    return model.coef_[0], float(model.intercept_[0])
