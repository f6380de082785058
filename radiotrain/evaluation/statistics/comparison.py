"""Whether the AUCs of two models differ, on the same patients or on different ones.

Axis legend: m positives, n negatives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t

from preprocessing.common.errors import InputError
from radiotrain.evaluation.statistics.auc import (
    Interval,
    auc,
    delong_parts,
    delong_variance,
    placement_counts,
    split_by_label,
)
from radiotrain.evaluation.statistics.bootstrap import bootstrap_values, percentile_interval
from radiotrain.evaluation.statistics.satterthwaite import Part, combined

_NO_INTERVAL = (math.nan, math.nan)


@dataclass(frozen=True)
class Difference:
    """First AUC less the second. What is not defined is NaN.

    Parameters
    ----------
    interval, p_value
        Of Student's t; p is two-sided, of the hypothesis that the AUCs are equal.
    correlation
        Of the two AUCs over test sets; 0 where the patients are different ones.
    degrees_of_freedom
        Satterthwaite's, of the variance: each class counts one less than its patients.
    """

    value: float
    standard_error: float
    interval: Interval
    p_value: float
    correlation: float
    degrees_of_freedom: float = math.nan


def paired_difference(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, confidence: float = 0.95
) -> Difference:
    """Compare the AUCs of two models on the same patients, after DeLong.

    Models that rank the pairs of patients alike have difference 0 and p 1, without an interval:
    these patients cannot tell them apart. Where the models differ but no patient's contribution
    to that does, or a class has a single patient, there is a difference without error and p.

    Parameters
    ----------
    labels
        (m + n,) of 0 and 1.
    first, second
        (m + n,) scores of the same patients.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837-845.
    Satterthwaite, Biometrics Bulletin 2 (1946) 110-114: the degrees of freedom.
    """
    above_first, below_first = placement_counts(*split_by_label(labels, first))
    above_second, below_second = placement_counts(*split_by_label(labels, second))
    m, n = len(above_first), len(below_first)
    if not m or not n:
        return Difference(math.nan, math.nan, _NO_INTERVAL, math.nan, math.nan)
    # Subtracted as whole and half numbers, so that equal models differ by exactly 0.
    above, below = above_first - above_second, below_first - below_second
    value = float(above.sum()) / (m * n)
    if not above.any() and not below.any():
        return Difference(0.0, 0.0, _NO_INTERVAL, 1.0, math.nan)
    if m < 2 or n < 2:
        return Difference(value, math.nan, _NO_INTERVAL, math.nan, math.nan)
    parts = [
        Part(float(np.var(above, ddof=1)) / n**2 / m, m - 1),
        Part(float(np.var(below, ddof=1)) / m**2 / n, n - 1),
    ]
    covariance = _covariance(above_first, above_second) / n**2 / m
    covariance += _covariance(below_first, below_second) / m**2 / n
    spread = math.sqrt(delong_variance(labels, first) * delong_variance(labels, second))
    correlation = min(1.0, max(-1.0, covariance / spread)) if spread else math.nan
    return difference_of(value, parts, correlation, confidence)


def unpaired_difference(
    first_labels: ArrayLike,
    first: ArrayLike,
    second_labels: ArrayLike,
    second: ArrayLike,
    confidence: float = 0.95,
) -> Difference:
    """Compare the AUCs of two models on patients of whom none is in both test sets.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837-845: without covariance.
    Satterthwaite, Biometrics Bulletin 2 (1946) 110-114: the degrees of freedom.
    """
    value = auc(first_labels, first) - auc(second_labels, second)
    parts = [*delong_parts(first_labels, first), *delong_parts(second_labels, second)]
    return difference_of(value, parts, 0.0, confidence)


def bootstrap_difference_interval(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of the first AUC less the second, on the same resamples.

    (NaN, NaN) with fewer than two patients of a class, or where all resamples give the same.
    """
    positive, negative = split_by_label(labels, first)
    if len(positive) < 2 or len(negative) < 2:
        return _NO_INTERVAL
    values = [
        bootstrap_values(labels, scores, num_resamples=num_resamples, seed=seed)
        for scores in (first, second)
    ]
    return percentile_interval(values[0] - values[1], confidence)


def holm_adjusted(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return p values corrected for their number; NaN stays NaN and is not counted.

    References
    ----------
    Holm, Scandinavian Journal of Statistics 6 (1979) 65-70.
    """
    known = [i for i, p in enumerate(p_values) if not math.isnan(p)]
    if any(not 0 <= p_values[i] <= 1 for i in known):
        raise InputError(f"p values are {list(p_values)}, expected numbers from 0 to 1")
    adjusted = [math.nan] * len(p_values)
    highest = 0.0
    for step, i in enumerate(sorted(known, key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(known) - step) * p_values[i]))
        adjusted[i] = highest
    return tuple(adjusted)


def difference_of(
    value: float, parts: Sequence[Part], correlation: float, confidence: float
) -> Difference:
    """Return a difference with the interval and p of its estimated variances."""
    variance, freedom = combined(parts)
    if not variance > 0:
        return Difference(value, math.sqrt(variance), _NO_INTERVAL, math.nan, correlation)
    error = math.sqrt(variance)
    reach = float(t.ppf(0.5 + confidence / 2, freedom)) * error
    interval = max(-1.0, value - reach), min(1.0, value + reach)
    p_value = float(2 * t.sf(abs(value) / error, freedom))
    return Difference(value, error, interval, p_value, correlation, freedom)


def _covariance(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    return float(np.cov(first, second, ddof=1)[0, 1])
