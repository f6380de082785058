"""How much seeds and folds move a number: variance components, and how well they are known.

Axis legend: A seeds, B folds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import chi2

from radiotrain.evaluation.statistics.auc import Interval


@dataclass(frozen=True)
class Components:
    """Variances of one number over seeds and folds, truncated at 0.

    Parameters
    ----------
    seed, fold, residual
        Variance that goes with the seed, with the fold, and with neither (their interaction too).
    degrees_of_freedom
        Of their sum, after Satterthwaite.
    """

    seed: float
    fold: float
    residual: float
    degrees_of_freedom: float

    @property
    def sd(self) -> float:
        """Standard deviation of a training with another seed and another fold."""
        return math.sqrt(self.seed + self.fold + self.residual)


def crossed_components(values: ArrayLike) -> Components:
    """Return the variance components of a two-way layout with one value a cell, both random.

    Parameters
    ----------
    values
        (A, B), seeds by folds, at least 2 of each.

    References
    ----------
    Searle, Casella, McCulloch, Variance Components (1992), section 4.3: estimates from the mean
    squares. Satterthwaite, Biometrics Bulletin 2 (1946) 110-114: degrees of freedom of their sum.
    """
    x = np.asarray(values, dtype=np.float64)
    num_seeds, num_folds = x.shape
    rows, columns, overall = x.mean(axis=1), x.mean(axis=0), x.mean()
    of_seed = num_folds * float(((rows - overall) ** 2).sum()) / (num_seeds - 1)
    of_fold = num_seeds * float(((columns - overall) ** 2).sum()) / (num_folds - 1)
    left = x - rows[:, None] - columns[None, :] + overall
    degrees = (num_seeds - 1) * (num_folds - 1)
    residual = float((left**2).sum()) / degrees
    parts = (
        (of_seed / num_folds, num_seeds - 1),
        (of_fold / num_seeds, num_folds - 1),
        (residual * (1 - 1 / num_seeds - 1 / num_folds), degrees),
    )
    spread = sum(part**2 / df for part, df in parts)
    total = sum(part for part, _ in parts)
    return Components(
        seed=max(0.0, (of_seed - residual) / num_folds),
        fold=max(0.0, (of_fold - residual) / num_seeds),
        residual=residual,
        degrees_of_freedom=total**2 / spread if spread else float(x.size - 1),
    )


def sd_interval(sd: float, degrees_of_freedom: float, confidence: float = 0.95) -> Interval:
    """Return the interval of a standard deviation of normal values, by chi-square.

    (NaN, NaN) without a degree of freedom.
    """
    if not degrees_of_freedom > 0:
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low = sd * math.sqrt(degrees_of_freedom / chi2.ppf(1 - tail, degrees_of_freedom))
    high = sd * math.sqrt(degrees_of_freedom / chi2.ppf(tail, degrees_of_freedom))
    return low, high
