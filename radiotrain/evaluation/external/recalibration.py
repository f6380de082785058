"""Calibration in another cohort, before and after recalibration in the large.

Recalibration in the large moves all logits by one number, so that as many are positive as are predicted;
ranks and the slope stay. Fitted to all labels of the cohort it is exact there by construction, so what it
would do for further patients is shown by cross-fitting: each patient's shift comes from the other parts.

Axis legend: N patients.

References
----------
Steyerberg, Clinical Prediction Models (2019), chapter 20: updating the intercept.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.external.results import CalibrationState, LargeRecalibration
from radiotrain.evaluation.measure import Values
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.statistics import calibration
from radiotrain.evaluation.statistics.operating_point import wilson_interval

_NUM_PARTS = 10
_NO_PATIENT = "no patient with a known label"


def find_recalibrations(table: pd.DataFrame, seed: int = 0) -> tuple[LargeRecalibration, ...]:
    """Measure each run and target of part ``test``; baselines are left out.

    Parameters
    ----------
    seed
        Of the parts of cross-fitting.
    """
    keys = table[["run", "target"]].drop_duplicates().to_numpy()
    return tuple(
        recalibrate(
            str(run), str(target), patient_scores(table, str(run), str(target), "test"), seed
        )
        for run, target in keys
        if not is_baseline(str(run))
    )


def recalibrate(
    run: str, target: str, patients: PatientScores, seed: int = 0
) -> LargeRecalibration:
    """Measure calibration before and after."""
    y, p = patients.labels, patients.scores
    shift = calibration.calibration_intercept(y, p)
    before = measure_state(y, p)
    moved, num_parts, why = cross_fitted(y, p, seed)
    return LargeRecalibration(
        run=run,
        target=target,
        num_patients=patients.num_patients,
        num_positive=patients.num_positive,
        shift=None if math.isnan(shift.value) else shift.value,
        before=before,
        after=None if moved is None else measure_state(y, moved),
        num_parts=num_parts,
        reason=why,
    )


def cross_fitted(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64], seed: int
) -> tuple[NDArray[np.float64] | None, int, str]:
    """Return probabilities (N,) whose shift was fitted to the other parts, or None and why not.

    Parts are drawn without regard to labels: stratified parts would share the cohort's prevalence, and the
    result would be too good.
    """
    num = len(labels)
    num_parts = min(_NUM_PARTS, num)
    if num_parts < 2:
        return None, 0, _NO_PATIENT if not num else "one patient only"
    part = np.random.default_rng([seed, num]).permutation(num) % num_parts
    moved = np.empty(num)
    for k in range(num_parts):
        rows = part == k
        shift = calibration.calibration_intercept(labels[~rows], probabilities[~rows])
        if math.isnan(shift.value):
            return None, 0, "without one part, only one class is left to fit the shift to"
        moved[rows] = expit(calibration.logits(probabilities[rows]) + shift.value)
    return moved, num_parts, ""


def measure_state(
    labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> CalibrationState:
    """Return observed over expected, intercept, slope, Brier score and log loss."""
    values = Values()
    num = len(labels)
    mean = float(probabilities.mean()) if num else math.nan
    values.put("mean_probability", mean, _NO_PATIENT)
    nothing = _NO_PATIENT if not num else "all probabilities are 0"
    ratio, interval = math.nan, (math.nan, math.nan)
    if num and mean > 0:
        low, high = wilson_interval(int(labels.sum()), num)
        ratio, interval = float(labels.mean()) / mean, (low / mean, high / mean)
    values.put("observed_expected", ratio, nothing)
    values.put("observed_expected_ci95", interval, nothing)
    for name, found in (
        ("intercept", calibration.calibration_intercept(labels, probabilities)),
        ("slope", calibration.calibration_slope(labels, probabilities)),
    ):
        values.put(name, found.value, found.reason)
        values.put(f"{name}_ci95", found.interval, found.reason)
    values.put("brier", calibration.brier_score(labels, probabilities), _NO_PATIENT)
    values.put("log_loss", calibration.log_loss(labels, probabilities), _NO_PATIENT)
    return CalibrationState(reasons=values.reasons, **values.defined)
