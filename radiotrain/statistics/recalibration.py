"""Recalibration: Platt, temperature, isotonic.

Neither changes which patient ranks above which, but for ties that an isotonic step makes.

Axis legend: N patients.

References
----------
Platt, Advances in Large Margin Classifiers (1999) 61-74: the curve, and targets that are not quite
0 and 1, so that it exists where a threshold separates the classes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression

from radiotrain.statistics import calibration
from radiotrain.statistics.auc import Interval, split_by_label
from radiotrain.statistics.calibration import (
    brier_score,
    expected_calibration_error,
    fit_logistic,
    log_loss,
    logits,
    reliability_bins,
    why_flat,
    why_no_calibration_error,
)
from radiotrain.statistics.influence import Sampling, brier_interval

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

_MEASURES = {"brier": brier_score, "ece": expected_calibration_error, "log_loss": log_loss}
# Of a slope, relative to its terms.
_ROUNDING = 1e-12

MOST_EXTREME = 1_000.0
"""Highest temperature, and the inverse of the lowest."""

Method = Literal["none", "temperature", "isotonic"]


@dataclass(frozen=True)
class Recalibration:
    """How good test probabilities are, as predicted or after being put right on validation.

    A value that is not defined is None, and `reasons` says why under the value's name.

    Parameters
    ----------
    method
        ``none``: as predicted.
    temperature
        By which logits are divided; of the method ``temperature`` only.
    ece_num_bins
        Bins that the calibration error is over; isotonic steps tie patients, and leave fewer.
    """

    method: Method
    temperature: float | None = None
    brier: float | None = None
    ece: float | None = None
    ece_num_bins: int = 0
    log_loss: float | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)


def fit_temperature(labels: ArrayLike, probabilities: ArrayLike) -> tuple[float, str]:
    """Return the T that makes the log loss of sigmoid(logit / T) least, or NaN and the reason.

    Logits are clipped as `calibration.CLIP` says. The loss is convex in 1/T; its slope has one
    root, found by Brent's method. There is none for one class, where the probabilities point the
    wrong way on the whole, or where all are on the right side of 0.5; and none is given beyond
    `MOST_EXTREME` or its inverse, where it would be a root of rounding.

    References
    ----------
    Guo, Pleiss, Sun, Weinberger, ICML (2017) 1321-1330.
    """
    positive, negative = split_by_label(labels, probabilities)
    if not len(positive) or not len(negative):
        return math.nan, "only one class among the validation patients"
    x, y = (
        logits(np.concatenate([positive, negative])),
        np.repeat([1, 0], [len(positive), len(negative)]),
    )

    def slope(inverse: float) -> float:
        return float(x @ (expit(inverse * x) - y))

    # What is left of a sum that cancels is rounding: its root would be an infinite temperature.
    if slope(0.0) >= -_ROUNDING * float(np.abs(x).sum()):
        return math.nan, "no temperature makes validation probabilities better than 0.5 for all"
    if not np.any(np.where(y == 1, x < 0, x > 0)):
        return math.nan, "all validation patients are on the right side of 0.5"
    if slope(1 / MOST_EXTREME) >= 0:
        return math.nan, "no temperature makes validation probabilities better than 0.5 for all"
    if slope(MOST_EXTREME) < 0:
        return (
            math.nan,
            "all validation patients are on the right side of 0.5, or within rounding of it",
        )
    return 1 / float(brentq(slope, 0.0, MOST_EXTREME, xtol=1e-14, rtol=1e-12)), ""


def apply_temperature(probabilities: ArrayLike, temperature: float) -> Floats:
    """Return sigmoid(logit / T)."""
    found: Floats = expit(logits(probabilities) / temperature)
    return found


def isotonic(
    labels: ArrayLike, probabilities: ArrayLike, others: ArrayLike
) -> tuple[Floats | None, str]:
    """Return the others' probabilities after an isotonic step, or None and the reason.

    Fitted to labels and probabilities; constant beyond the lowest and highest of them, linear
    between steps. It gives 0 and 1 where the lowest are all negative, the highest all positive. There
    is none for one class, or for equal probabilities, which it would make the prevalence of all.

    References
    ----------
    Zadrozny, Elkan, KDD (2002) 694-699.
    """
    model, why = _fit_isotonic(labels, probabilities)
    if model is None:
        return None, why
    others = np.asarray(others, dtype=np.float64)
    return np.asarray(model.predict(others) if len(others) else others, dtype=np.float64), ""


def isotonic_steps(
    labels: ArrayLike, probabilities: ArrayLike
) -> tuple[tuple[Floats, Floats] | None, str]:
    """Return the points between which `isotonic` is linear, or None and the reason.

    Returns
    -------
    Probabilities, rising, and what they become, each (points,): ``np.interp`` does the rest.
    """
    model, why = _fit_isotonic(labels, probabilities)
    if model is None:
        return None, why
    x, y = (np.asarray(v, dtype=np.float64) for v in (model.X_thresholds_, model.y_thresholds_))
    return (x, y), ""


def _fit_isotonic(
    labels: ArrayLike, probabilities: ArrayLike
) -> tuple[IsotonicRegression | None, str]:
    positive, negative = split_by_label(labels, probabilities)
    if not len(positive) or not len(negative):
        return None, "only one class among the validation patients"
    if why := why_flat(logits(probabilities)):
        return None, why.replace("all probabilities", "all validation probabilities")
    model = IsotonicRegression(y_min=0, y_max=1, increasing=True, out_of_bounds="clip")
    model.fit(np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=np.float64))
    return model, ""


def recalibrations(
    labels: ArrayLike,
    probabilities: ArrayLike,
    validation_labels: ArrayLike,
    validation_probabilities: ArrayLike,
) -> tuple[Recalibration, ...]:
    """Return how good test probabilities are as predicted, and after either method.

    Parameters
    ----------
    labels, probabilities
        Of the test patients.
    validation_labels, validation_probabilities
        Of the validation patients, which alone the methods are fitted to.
    """
    temperature, why = fit_temperature(validation_labels, validation_probabilities)
    cooled = None if why else apply_temperature(probabilities, temperature)
    stepped, why_not_stepped = isotonic(validation_labels, validation_probabilities, probabilities)
    return (
        recalibration("none", labels, np.asarray(probabilities, dtype=np.float64), ""),
        recalibration("temperature", labels, cooled, why, temperature),
        recalibration("isotonic", labels, stepped, why_not_stepped),
    )


def recalibration(
    method: Method,
    labels: ArrayLike,
    probabilities: Floats | None,
    why: str,
    temperature: float = math.nan,
) -> Recalibration:
    """Measure probabilities after a method; None and `why` where it could not be fitted."""
    reasons = {}
    if math.isnan(temperature):
        reasons["temperature"] = why or f"the method {method} has none"
    values = {}
    none = why or "no test patient with a known label"
    for name, measure in _MEASURES.items():
        value = math.nan if probabilities is None else measure(labels, probabilities)
        why_not = none if math.isnan(value) else ""
        if name == "ece" and probabilities is not None and not why_not:
            why_not = why_no_calibration_error(labels, probabilities)
        if why_not:
            reasons[name] = why_not
        else:
            values[name] = value
    kept = None if math.isnan(temperature) else temperature
    num_bins = 0 if probabilities is None else len(reliability_bins(labels, probabilities))
    return Recalibration(method, kept, ece_num_bins=num_bins, reasons=reasons, **values)


_NO_PATIENT = "no test patient with a known label"


@dataclass(frozen=True)
class Deployed:
    """Calibration of exactly the probabilities that `predict` shows.

    A value that is not defined is None, and `reasons` says why under the value's name.

    Parameters
    ----------
    is_calibrated
        Whether there is a curve of validation patients; False: `predict` shows the mean as it is, and
        `no_calibration` says why.
    brier, brier_ci95, ece, log_loss
        As of the probabilities before the curve.
    calibration_intercept, calibration_slope
        With Wald's intervals.
    """

    is_calibrated: bool = False
    no_calibration: str = ""
    brier: float | None = None
    brier_ci95: Interval | None = None
    ece: float | None = None
    log_loss: float | None = None
    calibration_intercept: float | None = None
    calibration_intercept_ci95: Interval | None = None
    calibration_slope: float | None = None
    calibration_slope_ci95: Interval | None = None
    reasons: Mapping[str, str] = field(default_factory=dict)


def as_deployed(
    probabilities: ArrayLike, validation_labels: ArrayLike, validation_probabilities: ArrayLike
) -> tuple[Floats, str]:
    """Return probabilities as `predict` shows them, and why they are not calibrated: often empty.

    Parameters
    ----------
    probabilities
        (N,) of the model's mean.
    validation_labels, validation_probabilities
        Of patients that the networks behind each had not seen.
    """
    curve, why = fit_platt(validation_labels, validation_probabilities)
    if curve is None:
        return np.array(probabilities, dtype=np.float64), why
    return curve.apply(probabilities), ""


def measure_deployed(
    labels: ArrayLike, probabilities: Floats, why: str, sampling: Sampling
) -> Deployed:
    """Measure test probabilities as `as_deployed` returns them.

    Parameters
    ----------
    why
        Why they are not calibrated; empty where they are.
    sampling
        Which interval of the Brier score.
    """
    values: dict[str, Any] = {}
    reasons: dict[str, str] = {}

    def put(name: str, value: Any, reason: str) -> None:
        if value is None or np.isnan(value).any():
            reasons[name] = reason
        else:
            values[name] = value

    num = len(probabilities)
    put("brier", calibration.brier_score(labels, probabilities), _NO_PATIENT)
    put(
        "brier_ci95",
        brier_interval(labels, probabilities, sampling),
        "too few patients of a class, or all with the same squared distance"
        if num
        else _NO_PATIENT,
    )
    put("log_loss", calibration.log_loss(labels, probabilities), _NO_PATIENT)
    why_no_error = (
        calibration.why_no_calibration_error(labels, probabilities) if num else _NO_PATIENT
    )
    error = calibration.expected_calibration_error(labels, probabilities)
    put("ece", math.nan if why_no_error else error, why_no_error)
    for name, found in (
        ("calibration_intercept", calibration.calibration_intercept(labels, probabilities)),
        ("calibration_slope", calibration.calibration_slope(labels, probabilities)),
    ):
        put(name, found.value, found.reason)
        put(f"{name}_ci95", found.interval, found.reason)
    return Deployed(is_calibrated=not why, no_calibration=why, reasons=reasons, **values)
