"""Calibration, Brier score and log loss.

Axis legend: N patients, K knots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from scipy.special import logit as _logit
from scipy.stats import norm

from preprocessing.common.errors import InputError
from radiotrain.statistics.auc import Interval, split_by_label
from radiotrain.statistics.operating_point import wilson_interval

Floats = NDArray[np.float64]

CLIP = 1e-6
"""Nearest to 0 and 1 that a probability counts as in a logarithm: single precision cannot tell
much finer, and a certain prediction that is wrong would otherwise cost without end."""

NUM_BINS = 10

FLAT = 1e-3
"""Spread of logits below which probabilities count as equal: a slope over less would be that of their
rounding (0.5 and 0.50025 lie so far apart)."""

_SINGLE_PRECISION = 1e-6
"""Of logits: nearer ones are tied where a threshold would have to part them."""

FEWEST_IN_BIN = 10
"""Patients of a bin: the share of three patients would say nothing, and miscalibrate by itself."""


@dataclass(frozen=True)
class Estimate:
    """A number with its 95 % interval, or NaN and the reason why there is none."""

    value: float
    interval: Interval
    reason: str = ""


@dataclass(frozen=True)
class Bin:
    """Patients of like probabilities.

    Parameters
    ----------
    mean_probability
        Of the patients in the bin, not the middle or an end of the bin.
    share_positive, share_positive_ci95
        Found among them, with Wilson's interval.
    """

    num_patients: int
    mean_probability: float
    share_positive: float
    share_positive_ci95: Interval


def logits(probabilities: ArrayLike) -> Floats:
    """Return log(p / (1 - p)) of probabilities moved to at least `CLIP` from 0 and 1."""
    found: Floats = _logit(np.clip(np.asarray(probabilities, dtype=np.float64), CLIP, 1 - CLIP))
    return found


def calibration_intercept(labels: ArrayLike, probabilities: ArrayLike) -> Estimate:
    """Return calibration-in-the-large: by how much all logits lie too low, slope kept at 1.

    0 where as many are positive as the probabilities promise, above 0 where more are. Wald's
    interval. Undefined where there is only one class, and where all probabilities are 0 or 1, whose
    logits are nothing but `CLIP`.

    References
    ----------
    Cox, Biometrika 45 (1958) 562-565. Steyerberg, Clinical Prediction Models (2019), chapter 15.
    """
    y, x = _checked(labels, probabilities)
    why = _why_one_class(y)
    if why:
        return _undefined(why)
    if why := _why_certain(probabilities):
        return _undefined(why)
    coefficients, covariance = fit_logistic(np.ones((len(y), 1)), y, offset=x)
    return _estimate(coefficients[0], covariance[0, 0])


def calibration_slope(labels: ArrayLike, probabilities: ArrayLike) -> Estimate:
    """Return the slope of a logistic regression of the labels on the logits.

    1 is right; below 1 probabilities are too extreme, as after overfitting; below 0 they point
    the wrong way. Wald's interval. Undefined for one class, for probabilities that are all equal (or
    nearly so, `FLAT`), or all 0 or 1, and where a cut separates the classes, as no slope is steep
    enough then.

    References
    ----------
    Cox, Biometrika 45 (1958) 562-565.
    """
    y, x = _checked(labels, probabilities)
    why = _why_one_class(y)
    if why:
        return _undefined(why)
    if why := why_flat(x):
        return _undefined(why)
    positive, negative = x[y == 1], x[y == 0]
    overlap = min(negative.max() - positive.min(), positive.max() - negative.min())
    if overlap <= _SINGLE_PRECISION:
        return _undefined("a threshold separates the classes, so no slope is steep enough")
    if why := _why_certain(probabilities):
        return _undefined(why)
    scale = float(np.std(x))
    design = np.column_stack([np.ones(len(x)), (x - x.mean()) / scale])
    coefficients, covariance = fit_logistic(design, y, offset=np.zeros(len(x)))
    return _estimate(coefficients[1] / scale, covariance[1, 1] / scale**2)


def reliability_bins(
    labels: ArrayLike, probabilities: ArrayLike, num_bins: int | None = None
) -> tuple[Bin, ...]:
    """Return groups of about equally many patients, from low to high probabilities.

    Groups are cut at the quantiles of the probabilities, lower ends inclusive. Equal
    probabilities are never parted, so there are fewer groups where many are tied.

    Parameters
    ----------
    num_bins
        At most; None: `NUM_BINS`, but not so many that they would hold fewer than `FEWEST_IN_BIN`.
    """
    bins = []
    for y, p in _groups(labels, probabilities, num_bins):
        num, hits = len(y), int(y.sum())
        bins.append(Bin(num, float(p.mean()), hits / num, wilson_interval(hits, num)))
    return tuple(bins)


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, num_bins: int | None = None
) -> float:
    """Return the mean distance of promised and found share of positives over `reliability_bins`.

    Each bin counts by its patients, and promises the mean of its probabilities. NaN without
    patients. With few patients it lies above 0 however well calibrated they are. Where
    `why_no_calibration_error` says why, it is no such error.

    References
    ----------
    Naeini, Cooper, Hauskrecht, AAAI (2015) 2901-2907, with bins of equally many.
    """
    groups = list(_groups(labels, probabilities, num_bins))
    if not groups:
        return math.nan
    apart = [abs(float(p.mean()) - float(y.mean())) for y, p in groups]
    return float(np.average(apart, weights=[len(y) for y, _ in groups]))


def why_no_calibration_error(labels: ArrayLike, probabilities: ArrayLike) -> str:
    """Return why the expected calibration error says nothing, empty where it says something.

    One bin compares two means, as the intercept does, and not probabilities with what they promise.
    """
    _, x = _checked(labels, probabilities)
    if not len(x):
        return "no patients"
    if why := why_flat(x):
        return why
    if len(reliability_bins(labels, probabilities)) > 1:
        return ""
    if len(x) < 2 * FEWEST_IN_BIN:
        return f"{len(x)} patients make one bin, and two are needed (of {FEWEST_IN_BIN} each)"
    return "so many probabilities are tied that all fall into one bin"


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean squared distance of probability and label; NaN without patients.

    References
    ----------
    Brier, Monthly Weather Review 78 (1950) 1-3, halved as is usual for two classes.
    """
    positive, negative = split_by_label(labels, probabilities)
    num = len(positive) + len(negative)
    if not num:
        return math.nan
    return float(((1 - positive) ** 2).sum() + (negative**2).sum()) / num


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean negative log likelihood, in nats, of probabilities clipped at `CLIP`.

    NaN without patients.
    """
    y, x = _checked(labels, probabilities)
    return float(np.mean(np.logaddexp(0, x) - y * x)) if len(y) else math.nan


def _groups(
    labels: ArrayLike, probabilities: ArrayLike, num_bins: int | None
) -> Iterator[tuple[Floats, Floats]]:
    """Yield labels and probabilities of each bin's patients, low probabilities first."""
    y, _ = _checked(labels, probabilities)
    if not len(y):
        return
    p = np.asarray(probabilities, dtype=np.float64)
    if num_bins is None:
        num_bins = max(1, min(NUM_BINS, len(p) // FEWEST_IN_BIN))
    # Quantiles that are found among the probabilities: no rounding puts one beside its cut.
    cuts = np.quantile(p, np.arange(1, num_bins) / num_bins, method="higher")
    places = np.searchsorted(np.unique(cuts), p, side="right")
    for place in np.unique(places):
        yield y[places == place], p[places == place]


def _checked(labels: ArrayLike, probabilities: ArrayLike) -> tuple[Floats, Floats]:
    """Return labels and logits, (N,) each."""
    split_by_label(labels, probabilities)
    p = np.asarray(probabilities, dtype=np.float64)
    if len(p) and not 0 <= p.min() <= p.max() <= 1:
        raise InputError(f"probabilities go from {p.min()} to {p.max()}, expected 0 to 1")
    return np.asarray(labels, dtype=np.float64), logits(p)


def fit_logistic(design: Floats, y: Floats, offset: Floats) -> tuple[Floats, Floats]:
    """Return coefficients and their covariance: Newton's method with halved steps.

    The optimum has to exist. The loss is convex, so a step that does not lower it is too long.

    Returns
    -------
    NaN in both where the steps do not come to rest.
    """
    beta = np.zeros(design.shape[1])
    loss = _loss(design @ beta + offset, y)
    for _ in range(200):
        p = expit(design @ beta + offset)
        hessian = design.T @ (design * (p * (1 - p))[:, None])
        step = np.linalg.pinv(hessian, hermitian=True) @ (design.T @ (y - p))
        length = 1.0
        while length > 1e-12 and not _loss(design @ (beta + length * step) + offset, y) <= loss:
            length /= 2
        beta = beta + length * step
        loss = _loss(design @ beta + offset, y)
        if np.abs(length * step).max() <= 1e-10 * max(1.0, np.abs(beta).max()):
            break
    else:
        beta = np.full_like(beta, math.nan)
    p = expit(design @ beta + offset)
    if np.isnan(beta).any():
        return beta, np.full((len(beta), len(beta)), math.nan)
    covariance = np.linalg.pinv(design.T @ (design * (p * (1 - p))[:, None]), hermitian=True)
    return np.asarray(beta, dtype=np.float64), np.asarray(covariance, dtype=np.float64)


def _loss(x: Floats, y: Floats) -> float:
    return float(np.sum(np.logaddexp(0, x) - y * x))


def _estimate(value: float, variance: float) -> Estimate:
    if not math.isfinite(value) or not math.isfinite(variance):
        return _undefined("the regression did not converge")
    reach = float(norm.ppf(0.975)) * math.sqrt(variance)
    return Estimate(float(value), (float(value - reach), float(value + reach)))


def _undefined(reason: str) -> Estimate:
    return Estimate(math.nan, (math.nan, math.nan), reason)


def why_flat(x: Floats) -> str:
    """Return why nothing can be fitted over these logits, empty where it can."""
    if not len(x) or x.max() - x.min() > FLAT:
        return ""
    return (
        "all probabilities are equal"
        if x.min() == x.max()
        else "all probabilities are nearly equal"
    )


def _why_certain(probabilities: ArrayLike) -> str:
    """Return why logits mean nothing: they are the clip's wherever one looks."""
    p = np.asarray(probabilities, dtype=np.float64)
    if ((p < CLIP) | (p > 1 - CLIP)).all():
        return f"all probabilities are 0 or 1, or within {CLIP:g} of them, and have no logits"
    return ""


def _why_one_class(y: Floats) -> str:
    if not len(y):
        return "no patients"
    return f"only one class among {len(y)} patients" if y.min() == y.max() else ""


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
