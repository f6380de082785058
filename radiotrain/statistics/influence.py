"""Intervals of Brier score and average precision.

``population``: patients came as they came, so that another sample has another share of positives.
``within classes``: how many positives and negatives there are was fixed beforehand, as in a test set
that was stratified by the label.

Each patient's influence is by how much the statistic moves per share of such patients; the variance
of the statistic is that of the influences' mean, over all patients or within each class.

Axis legend: N patients, K distinct scores in rising order.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import t

from radiotrain.statistics.auc import Interval, split_by_label
from radiotrain.statistics.degrees_of_freedom import Part, combined
from radiotrain.statistics.operating_point import wilson_interval

Sampling = Literal["population", "within classes"]
SAMPLINGS: tuple[Sampling, ...] = get_args(Sampling)

_NONE = (math.nan, math.nan)
Floats = NDArray[np.float64]


def brier_interval(
    labels: ArrayLike, probabilities: ArrayLike, sampling: Sampling, confidence: float = 0.95
) -> Interval:
    """Return the interval of the mean squared distance of probability and label.

    Symmetric on the logit, with Student's t. (NaN, NaN) with fewer than two patients of a class, or
    where all losses, within classes those of each class, are equal.
    """
    split_by_label(labels, probabilities)
    y, p = np.asarray(labels, float), np.asarray(probabilities, float)
    losses = (p - y) ** 2
    value = float(losses.mean()) if len(losses) else math.nan
    return _interval(value, losses, y, sampling, confidence)


def average_precision_interval(
    labels: ArrayLike, scores: ArrayLike, sampling: Sampling, confidence: float = 0.95
) -> Interval:
    """Return the interval of average precision.

    Symmetric on the logit, with Student's t. Of an average precision of 1 the lower end is Wilson's
    of as many hits as there are positives. (NaN, NaN) with fewer than two patients of a class, or,
    within classes, where all scores are tied.

    References
    ----------
    Boyd, Eng, Page, ECML PKDD 2013, 451-466: the logit interval, and the binomial one.
    """
    split_by_label(labels, scores)
    y = np.asarray(labels, float)
    num_positive = int(y.sum())
    if min(num_positive, len(y) - num_positive) < 2:
        return _NONE
    value, influences = average_precision_influences(labels, scores)
    if value == 1:
        return wilson_interval(num_positive, num_positive, confidence)
    return _interval(value, influences, y, sampling, confidence)


def average_precision_influences(labels: ArrayLike, scores: ArrayLike) -> tuple[float, Floats]:
    """Return average precision and each patient's influence on it (N,), in O(N log N).

    With precision P(s) and the share of patients called C(s) at a threshold s, and the share of
    positives q, a patient with label y and score x has the influence
    y (P(x) - AP) / q + E[y' 1(s' <= x) (y - P(s')) / C(s')] / q, the mean being over patients.

    Parameters
    ----------
    labels, scores
        (N,) each, with at least one positive.
    """
    y, x = np.asarray(labels, float), np.asarray(scores, float)
    distinct, at = np.unique(x, return_inverse=True)
    positive = np.bincount(at, weights=y, minlength=len(distinct))
    called = np.bincount(at, minlength=len(distinct))[::-1].cumsum()[::-1]
    precision = positive[::-1].cumsum()[::-1] / called
    num, num_positive = len(y), positive.sum()
    value = float((positive * precision).sum() / num_positive)
    gained, lost = np.cumsum(positive / called), np.cumsum(positive * precision / called)
    influences = y * (precision[at] - value) + y * gained[at] - lost[at]
    return value, influences * num / num_positive


def _interval(
    value: float, influences: Floats, labels: Floats, sampling: Sampling, confidence: float
) -> Interval:
    classes = influences[labels == 1], influences[labels == 0]
    if min(map(len, classes)) < 2 or not 0 < value < 1:
        return _NONE
    groups = (influences,) if sampling == "population" else classes
    num = len(influences)
    variance, freedom = combined([Part(len(g) * _variance(g) / num**2, len(g) - 1) for g in groups])
    if not variance > 0:
        return _NONE
    reach = float(t.ppf(0.5 + confidence / 2, freedom)) * math.sqrt(variance)
    centre, reach = float(logit(value)), reach / (value * (1 - value))
    return float(expit(centre - reach)), float(expit(centre + reach))


def _variance(values: Floats) -> float:
    # The mean of equal numbers may be rounded, which would leave a spread of 1e-34.
    return 0.0 if np.ptp(values) == 0 else float(np.var(values, ddof=1))
