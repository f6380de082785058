"""How good test probabilities are as `radiotrain predict` gives them: after Platt's curve of validation.

Axis legend: N patients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radiotrain.evaluation.statistics import calibration
from radiotrain.evaluation.statistics.auc import Interval
from radiotrain.evaluation.statistics.influence import Sampling, brier_interval
from radiotrain.evaluation.statistics.platt import fit_platt

Floats = NDArray[np.float64]

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
