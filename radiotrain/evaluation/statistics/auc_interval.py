"""The interval of an AUC that tables show first: a score interval, also where classes do not overlap.

Axis legend: m positives, n negatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.stats import norm

from radiotrain.evaluation.statistics.auc import Interval, auc, delong_variance, split_by_label

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
