"""Compare two AUCs: DeLong, permutation, non-inferiority.

Axis legend: m positives, n negatives, B permutations.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata, t

from preprocessing.common.errors import InputError
from radiotrain.statistics.auc import (
    Interval,
    auc,
    delong_parts,
    delong_variance,
    placement_counts,
    split_by_label,
)
from radiotrain.statistics.degrees_of_freedom import Part, combined
from radiotrain.statistics.resampling import (
    bootstrap_values,
    is_normal_sum,
    normal_interval,
    num_resamples_for,
    percentile_interval,
)

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


ONE_SIDED_ALPHA = 0.025
"""Level of the one-sided test, half of that of a two-sided one."""

_WIDEST_MARGIN = 0.5


@dataclass(frozen=True)
class MarginTest:
    """One-sided test of a difference of AUCs against a margin. What is not defined is NaN.

    Parameters
    ----------
    lower_limit
        One-sided 97.5 % limit of the difference, which is the lower end of its 95 % interval.
    p_value
        One-sided, of the hypothesis that the first AUC is lower than the second by the margin or more.
    """

    lower_limit: float
    p_value: float


def check_margin(margin: float) -> float:
    """Return a margin that can be used.

    Raises
    ------
    InputError
        If it is not a number above 0 and below 0.5.
    """
    if not 0 < margin < _WIDEST_MARGIN:
        raise InputError(
            f"margin is {margin:g}, expected a difference of AUCs above 0 and below {_WIDEST_MARGIN},"
            " e.g. 0.05: from 0.5 on, chance would not be inferior to a perfect model"
        )
    return margin


def against_margin(difference: Difference, margin: float) -> MarginTest:
    """Test whether a first AUC is non-inferior to a second.

    Parameters
    ----------
    difference
        First less second, paired or unpaired, with its interval of 95 %.
    margin
        Largest loss that is accepted, above 0.

    References
    ----------
    Liu, Ma, Wu, Tai, Statistics in Medicine 25 (2006) 1219-1238: non-inferiority of AUCs, with
    DeLong's variance. Student's t with the difference's degrees of freedom takes the place of the
    normal distribution.
    """
    check_margin(margin)
    if math.isnan(difference.degrees_of_freedom):
        return MarginTest(math.nan, math.nan)
    statistic = (difference.value + margin) / difference.standard_error
    p_value = float(t.sf(statistic, difference.degrees_of_freedom))
    return MarginTest(difference.interval[0], p_value)


_CELLS_AT_A_TIME = 2_000_000
_MOST_KEPT_CELLS = 20_000_000

Signs = NDArray[np.int8]


def swapped_differences(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    num_permutations: int = 10_000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return differences of AUC (B,) where each patient's two ranks are swapped at random.

    A pair's part in the difference changes its sign where both its patients are swapped, so that
    the difference is a sum over patients, each with the sign of its own coin: no AUC has to be
    computed again. Empty where there is only one class.

    Parameters
    ----------
    labels
        (m + n,) of 0 and 1.
    first, second
        (m + n,) scores of the same patients; only their ranks are compared.

    References
    ----------
    Venkatraman, Begg, Biometrika 83 (1996) 835-848: swapping ranks within patients.
    Bandos, Rockette, Gur, Statistics in Medicine 24 (2005) 2873-2893: the same for the area.
    """
    parts = swap_parts(labels, first, second)
    if not len(parts):
        return np.empty(0)
    signs = _signs(num_permutations, len(parts), seed)
    return np.concatenate([batch.astype(np.float64) @ parts for batch in signs])


def swap_parts(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return each patient's part in the difference of AUC (m + n,), positives first.

    Their sum is the difference found.
    """
    for scores in (first, second):
        split_by_label(labels, scores)  # an infinite score has a rank, but is refused everywhere
    p1, n1 = split_by_label(labels, rankdata(np.asarray(first)))
    p2, n2 = split_by_label(labels, rankdata(np.asarray(second)))
    if not len(p1) or not len(n1):
        return np.empty(0)
    # Counts of pairs, whole and half numbers: as they are, and with one patient's ranks swapped.
    own, other = placement_counts(p1, n1), placement_counts(p2, n2)
    swapped, swapped_other = placement_counts(p1, n2), placement_counts(p2, n1)
    pairs = 2 * len(p1) * len(n1)
    above = own[0] - other[0] + swapped[0] - swapped_other[0]
    below = own[1] - other[1] - swapped[1] + swapped_other[1]
    return np.concatenate([above, below]) / pairs


def null_range(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, *, num_permutations: int, seed: int
) -> Interval:
    """Return the middle 95 % of these differences; (NaN, NaN) where they are all one, or none.

    Of many patients, from the normal distribution with the exact variance, the sum of the squared
    parts; see `large_samples`.
    """
    parts = swap_parts(labels, first, second)
    if is_normal_sum(parts):
        return normal_interval(0.0, float(np.square(parts).sum()))
    num = num_resamples_for(len(parts), num_permutations)
    found = swapped_differences(labels, first, second, num_permutations=num, seed=seed)
    if not len(found) or math.isclose(found.min(), found.max(), abs_tol=1e-15):
        return math.nan, math.nan
    return percentile_interval(found)


def _signs(num_permutations: int, num_patients: int, seed: int) -> Iterator[Signs]:
    """Yield, in batches of permutations, -1 or 1 for each patient.

    They do not depend on the models: those of the last test set are kept for its next pair.
    """
    if num_permutations * num_patients > _MOST_KEPT_CELLS:
        return _draw_signs(num_permutations, num_patients, seed)
    return iter(_kept_signs(num_permutations, num_patients, seed))


@lru_cache(maxsize=1)
def _kept_signs(num_permutations: int, num_patients: int, seed: int) -> tuple[Signs, ...]:
    return tuple(_draw_signs(num_permutations, num_patients, seed))


def _draw_signs(num_permutations: int, num_patients: int, seed: int) -> Iterator[Signs]:
    rng = np.random.default_rng(seed)
    batch = max(1, _CELLS_AT_A_TIME // num_patients)
    for start in range(0, num_permutations, batch):
        shape = min(batch, num_permutations - start), num_patients
        yield (2 * rng.integers(0, 2, size=shape) - 1).astype(np.int8)
