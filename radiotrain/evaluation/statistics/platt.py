"""Probabilities put right by validation patients: Platt's logistic curve.

Axis legend: N patients.

References
----------
Platt, Advances in Large Margin Classifiers (1999) 61-74: the curve, and targets that are not quite
0 and 1, so that it exists where a threshold separates the classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from radiotrain.evaluation.statistics.auc import split_by_label
from radiotrain.evaluation.statistics.calibration import fit_logistic, logits, why_flat

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PlattCurve:
    """Probability = sigmoid(slope × logit + intercept).

    Parameters
    ----------
    num_patients, num_positive
        Validation patients that it was fitted to.
    """

    slope: float
    intercept: float
    num_patients: int
    num_positive: int

    def apply(self, probabilities: ArrayLike) -> Floats:
        """Return probabilities put right, in the same order and shape."""
        return np.asarray(expit(self.slope * logits(probabilities) + self.intercept))


def fit_platt(labels: ArrayLike, probabilities: ArrayLike) -> tuple[PlattCurve | None, str]:
    """Return the curve that fits validation patients, or None and why there is none.

    Parameters
    ----------
    labels, probabilities
        (N,) each, of 0 and 1, and as the networks gave them.
    """
    positive, negative = split_by_label(labels, probabilities)
    num = len(positive) + len(negative)
    if not len(positive) or not len(negative):
        return None, f"only one class among {num} validation patients" if num else _NONE
    x = logits(probabilities)
    if why_flat(x):
        alike = "the same" if x.min() == x.max() else "nearly the same"
        return None, f"all validation patients have {alike} probability"
    y = np.where(
        np.asarray(labels) == 1,
        (len(positive) + 1) / (len(positive) + 2),
        1 / (len(negative) + 2),
    )
    scale = float(np.std(x))
    design = np.column_stack([np.ones(len(x)), (x - x.mean()) / scale])
    (level, steepness), _ = fit_logistic(design, y, offset=np.zeros(len(x)))
    slope = float(steepness) / scale
    if not math.isfinite(slope):
        return None, "the regression did not converge"
    if slope <= 0:
        return None, (
            "higher probabilities did not go with more positive validation patients, so there is"
            " nothing to put right"
        )
    return PlattCurve(slope, float(level) - slope * float(x.mean()), num, len(positive)), ""


_NONE = "no validation patient with a known label"
