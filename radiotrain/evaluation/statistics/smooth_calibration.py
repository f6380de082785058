"""Calibration as a curve instead of bins, and as the ratio of observed to expected events.

Axis legend: N patients, K knots.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from scipy.stats import norm

from radiotrain.evaluation.statistics.auc import Interval, split_by_label
from radiotrain.evaluation.statistics.calibration import fit_logistic, logits

Floats = NDArray[np.float64]

_KNOTS = (0.1, 0.5, 0.9)
_MIN_OF_A_CLASS = 10
_NUM_POINTS = 50


@dataclass(frozen=True)
class CalibrationCurve:
    """A smooth calibration curve with its pointwise 95% band.

    Parameters
    ----------
    predicted, observed, low, high
        (`_NUM_POINTS`,), from the lowest to the highest probability; empty where undefined.
    ici, e50, e90
        Mean, median and 90th percentile of the distance of curve and diagonal over the patients.
    reason
        Why the curve is undefined; empty where it is defined.
    """

    predicted: tuple[float, ...] = ()
    observed: tuple[float, ...] = ()
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    ici: float | None = None
    e50: float | None = None
    e90: float | None = None
    reason: str = ""


def calibration_curve(labels: ArrayLike, probabilities: ArrayLike) -> CalibrationCurve:
    """Fit the observed share of positives as a smooth function of the predicted probability.

    A logistic regression on the logit, as a restricted cubic spline with knots at the 10th, 50th
    and 90th percentile; the band is that of its linear predictor (delta method).

    Parameters
    ----------
    labels
        (N,) of 0 and 1.
    probabilities
        (N,) from 0 to 1.

    References
    ----------
    Harrell, Regression Modeling Strategies (2015), chapter 2.4.5 (spline), 10.11 (calibration).
    Austin, Steyerberg, Statistics in Medicine 38 (2019) 4051-4065: ICI, E50, E90.
    """
    positive, negative = split_by_label(labels, probabilities)
    few = min(len(positive), len(negative))
    if few < _MIN_OF_A_CLASS:
        return CalibrationCurve(
            reason=f"{few} patients in the smaller class, a curve needs {_MIN_OF_A_CLASS}"
        )
    y = np.asarray(labels, dtype=np.float64)
    p = np.asarray(probabilities, dtype=np.float64)
    x = logits(p)
    knots = np.quantile(x, _KNOTS)
    if len(np.unique(knots)) < len(_KNOTS):
        return CalibrationCurve(reason="too many probabilities are equal for a curve")
    if positive.min() >= negative.max() or negative.min() >= positive.max():
        return CalibrationCurve(reason="a threshold separates the classes")
    design = _design(x, knots)
    if np.linalg.matrix_rank(design) < design.shape[1]:
        return CalibrationCurve(reason="too many probabilities are equal for a curve")
    coefficients, covariance = fit_logistic(design, y, offset=np.zeros(len(y)))
    fitted = expit(design @ coefficients)
    if min(fitted.min(), 1 - fitted.max()) < 1e-9:
        return CalibrationCurve(reason="a part of the curve separates the classes")
    apart = np.abs(fitted - p)
    at = np.linspace(x.min(), x.max(), _NUM_POINTS)
    there = _design(at, knots)
    line = there @ coefficients
    reach = norm.ppf(0.975) * np.sqrt(np.einsum("ij,jk,ik->i", there, covariance, there))
    e50, e90 = np.quantile(apart, (0.5, 0.9))
    return CalibrationCurve(
        predicted=_tuple(expit(at)),
        observed=_tuple(expit(line)),
        low=_tuple(expit(line - reach)),
        high=_tuple(expit(line + reach)),
        ici=float(apart.mean()),
        e50=float(e50),
        e90=float(e90),
    )


def observed_to_expected(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float, Interval]:
    """Return the number of positives over the sum of probabilities, with its 95% interval.

    NaN without patients or where all probabilities are 0; no interval without positives.

    References
    ----------
    Debray et al., BMJ 356 (2017) i6460, appendix: the standard error of the logarithm.
    """
    positive, negative = split_by_label(labels, probabilities)
    num, observed = len(positive) + len(negative), len(positive)
    expected = float(positive.sum() + negative.sum())
    if not num or not expected:
        return math.nan, (math.nan, math.nan)
    ratio = observed / expected
    if not observed:
        return ratio, (math.nan, math.nan)
    reach = float(norm.ppf(0.975)) * math.sqrt((1 - observed / num) / observed)
    return ratio, (ratio * math.exp(-reach), ratio * math.exp(reach))


def scaled_brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the share of the Brier score of the prevalence that a model removes; at most 1.

    NaN with one class only. Below 0 where the prevalence alone would be better.

    References
    ----------
    Steyerberg et al., Epidemiology 21 (2010) 128-138.
    """
    positive, negative = split_by_label(labels, probabilities)
    num = len(positive) + len(negative)
    if not len(positive) or not len(negative):
        return math.nan
    share = len(positive) / num
    score = (((1 - positive) ** 2).sum() + (negative**2).sum()) / num
    return float(1 - score / (share * (1 - share)))


def _design(x: Floats, knots: Floats) -> Floats:
    """Return intercept, x and the restricted cubic terms, (N, K)."""
    first, *others, last = knots
    before = others[-1]
    scale = (last - first) ** 2

    def cubed(at: float) -> Floats:
        result: Floats = np.maximum(x - at, 0) ** 3
        return result

    columns = [np.ones_like(x), x]
    for knot in (first, *others[:-1]):
        term = cubed(knot) - cubed(before) * (last - knot) / (last - before)
        columns.append((term + cubed(last) * (before - knot) / (last - before)) / scale)
    return np.column_stack(columns)


def _tuple(values: Floats) -> tuple[float, ...]:
    return tuple(float(v) for v in values)
