"""AUC, DeLong's variance and intervals.

Axis legend: m positives, n negatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.stats import norm

from preprocessing.common.errors import InputError
from radiotrain.statistics.degrees_of_freedom import Part

Interval = tuple[float, float]


def split_by_label(
    labels: ArrayLike, scores: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the scores of the positives (m,) and of the negatives (n,).

    Raises
    ------
    InputError
        If lengths differ, a label is not 0 or 1, or a score is NaN or infinite.
    """
    y, x = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    if y.shape != x.shape or y.ndim != 1:
        raise InputError(
            f"labels have shape {y.shape} and scores {x.shape}, expected one of each a patient"
        )
    if not ((y == 0) | (y == 1)).all():
        raise InputError("labels hold other values than 0 and 1: leave out missing labels first")
    if not np.isfinite(x).all():
        at = int(np.flatnonzero(~np.isfinite(x))[0])
        raise InputError(f"score {at} is {x[at]}, expected a finite number: look at the model")
    return x[y == 1], x[y == 0]


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the ROC curve (AUC).

    It is the probability that a positive scores above a negative, ties counting half.

    Scores are compared exactly, however close. NaN where there is only one class.

    Parameters
    ----------
    labels
        (m + n,) of 0 and 1.
    scores
        (m + n,) finite; higher means more likely 1.

    Returns
    -------
    The AUC, from 0 to 1, or NaN.

    Raises
    ------
    InputError
        If a label is not 0 or 1, or a score is not finite.
    """
    positive, negative = split_by_label(labels, scores)
    if not len(positive) or not len(negative):
        return math.nan
    return float(np.mean(_placements(positive, negative)[0]))


def delong_variance(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return DeLong's variance of the AUC, in O((m + n) log(m + n)).

    NaN with fewer than two patients of a class, whose spread cannot be seen then. Zero where
    all pairs agree (AUC 0 or 1) or all scores are tied.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837-845.
    """
    return sum(part.variance for part in delong_parts(labels, scores))


def delong_parts(labels: ArrayLike, scores: ArrayLike) -> tuple[Part, Part]:
    """Return what the positives and what the negatives add to DeLong's variance; NaN as there."""
    positive, negative = split_by_label(labels, scores)
    if len(positive) < 2 or len(negative) < 2:
        return Part(math.nan, 0), Part(math.nan, 0)
    above, below = _placements(positive, negative)
    return (
        Part(float(np.var(above, ddof=1)) / len(above), len(above) - 1),
        Part(float(np.var(below, ddof=1)) / len(below), len(below) - 1),
    )


def delong_interval(labels: ArrayLike, scores: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the confidence interval of the AUC after DeLong.

    AUC ± z·SE, cut at 0 and 1; (NaN, NaN) where it has no meaning. The plain interval is what pROC and Stata print, so that published ones compare. It has no
    meaning where the variance is NaN or 0: a point is not an interval.

    Parameters
    ----------
    labels
        (m + n,) of 0 and 1.
    scores
        (m + n,) finite; higher means more likely 1.
    confidence
        Between 0 and 1.

    Returns
    -------
    Lower and upper end.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Biometrics 1988;44:837.
    """
    variance = delong_variance(labels, scores)
    if not variance > 0:
        return math.nan, math.nan
    value = auc(labels, scores)
    reach = float(norm.ppf(0.5 + confidence / 2)) * math.sqrt(variance)
    return max(0.0, value - reach), min(1.0, value + reach)


def placement_counts(
    positive: NDArray[np.float64], negative: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return, for each positive, how many negatives it beats (m,), and the reverse for negatives.

    For each negative (n,) it is the positives that beat it; a tie counts half. Whole and half
    numbers, so nothing is rounded.
    """
    return _num_below(positive, negative), len(positive) - _num_below(negative, positive)


def _num_below(scores: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    # For a few hundred patients a thirtieth of what three calls of scipy's rankdata take.
    ordered = np.sort(others)
    below_or_tied = ordered.searchsorted(scores, "right")
    return (ordered.searchsorted(scores, "left") + below_or_tied) / 2


def _placements(
    positive: NDArray[np.float64], negative: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return, for each positive, the share of negatives below it (m,), and the reverse (n,)."""
    below, above = placement_counts(positive, negative)
    return below / len(negative), above / len(positive)


_NEXT_TO_IT = 1e-12
_PRIOR_PATIENTS = 10
"""Patients of the rarer class at which DeLong's variance has half the weight. Chosen by coverage:
5 to 20 do about as well (docs/statistics.md)."""


def auc_interval(labels: ArrayLike, scores: ArrayLike, confidence: float = 0.95) -> Interval:
    """Return the AUCs from which the one found is less than z standard errors away.

    The standard error is that of each candidate AUC, after Hanley and McNeil, as in Wilson's
    interval of a proportion: so there are ends where DeLong's variance is 0, and none beyond 0 or 1.
    Their formula takes scores to be exponential. The variance is therefore multiplied by what
    DeLong's is of it at the AUC found, a ratio that counts the more, the more patients the rarer
    class has: with few, DeLong's variance is itself a guess.

    Parameters
    ----------
    labels
        (m + n,) of 0 and 1.
    scores
        (m + n,) finite; higher means more likely 1.

    Returns
    -------
    (NaN, NaN) with fewer than two patients of a class, or where all scores are tied.

    References
    ----------
    Newcombe, Statistics in Medicine 25 (2006) 559-573, method 5; Wilson, JASA 22 (1927) 209-212.
    """
    positive, negative = split_by_label(labels, scores)
    m, n = len(positive), len(negative)
    if min(m, n) < 2 or min(positive.min(), negative.min()) == max(positive.max(), negative.max()):
        return math.nan, math.nan
    return score_interval(
        auc(labels, scores),
        delong_variance(labels, scores),
        min(m, n),
        lambda candidate: newcombe_variance(candidate, m, n),
        confidence,
    )


def score_interval(
    area: float,
    seen: float,
    num_rarer: int,
    expected: Callable[[float], float],
    confidence: float = 0.95,
) -> Interval:
    """Return the AUCs from which `area` is less than z standard errors away.

    Parameters
    ----------
    seen
        Its variance by DeLong's placements; 0 where classes do not overlap.
    num_rarer
        Patients of the rarer class.
    expected
        Returns the variance at an AUC.
    """
    weight = (num_rarer - 1) / (num_rarer - 1 + _PRIOR_PATIENTS)
    ratio = 1 + weight * (seen / expected(area) - 1) if seen > 0 else 1.0
    z = float(norm.ppf(0.5 + confidence / 2))

    def beyond(candidate: float) -> float:
        return abs(area - candidate) - z * math.sqrt(ratio * expected(candidate))

    # At 0 and 1 themselves the variance is 0, so that an AUC of 1 is always its own neighbour.
    below, above = min(area, 1 - _NEXT_TO_IT), max(area, _NEXT_TO_IT)
    low = float(brentq(beyond, 0.0, below, xtol=1e-12)) if area > 0 else 0.0
    high = float(brentq(beyond, above, 1.0, xtol=1e-12)) if area < 1 else 1.0
    return low, high


def newcombe_variance(area: float, num_positive: int, num_negative: int) -> float:
    """Return Hanley and McNeil's variance with the mean of both classes in place of each.

    References
    ----------
    Newcombe, Statistics in Medicine 25 (2006) 559-573, method 5.
    """
    mean = (num_positive + num_negative) / 2 - 1
    factor = 1 + mean * (1 - area) / (2 - area) + mean * area / (1 + area)
    return area * (1 - area) * factor / (num_positive * num_negative)
