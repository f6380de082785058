"""Transport of AUC, thresholds and calibration.

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
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.external_results import (
    CalibrationState,
    LargeRecalibration,
    PointTransport,
    RateTransport,
    Transport,
)
from radiotrain.evaluation.measure import FIXED_SENSITIVITY, Values
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.statistics import calibration
from radiotrain.statistics.auc import Interval, auc
from radiotrain.statistics.auc_comparison import unpaired_difference
from radiotrain.statistics.operating_point import (
    confusion,
    sensitivity_threshold,
    wilson_interval,
    youden_threshold,
)

Points = Mapping[tuple[str, str], Sequence[PointTransport]]


def find_transports(table: pd.DataFrame, points: Points) -> tuple[Transport, ...]:
    """Compare each run and target on validation patients and on the cohort; baselines are left out.

    Parameters
    ----------
    table
        Validated predictions; the cohort's are part ``test``.
    points
        Run and target to thresholds that came with an exported model.
    """
    keys = table[["run", "target"]].drop_duplicates().to_numpy()
    return tuple(
        _transport(table, str(run), str(target), points.get((str(run), str(target)), ()))
        for run, target in keys
        if not is_baseline(str(run))
    )


def _transport(
    table: pd.DataFrame, run: str, target: str, points: Sequence[PointTransport]
) -> Transport:
    validation = patient_scores(table, run, target, "validation")
    external = patient_scores(table, run, target, "test")
    before = auc(validation.labels, validation.scores)
    after = auc(external.labels, external.scores)
    difference = interval = None
    if not math.isnan(before) and not math.isnan(after):
        found = unpaired_difference(
            external.labels, external.scores, validation.labels, validation.scores
        )
        difference = found.value
        interval = None if math.isnan(found.interval[0]) else found.interval
    moved = [_moved(point, external) for point in points] or _of_validation(validation, external)
    return Transport(
        run=run,
        target=target,
        num_validation=validation.num_patients,
        auc_validation=None if math.isnan(before) else before,
        auc_external=None if math.isnan(after) else after,
        auc_difference=difference,
        auc_difference_ci95=interval,
        points=tuple(moved),
    )


def _of_validation(validation: PatientScores, external: PatientScores) -> list[PointTransport]:
    y, x = validation.labels, validation.scores
    rules = {
        "Youden": youden_threshold(y, x),
        f"sensitivity {FIXED_SENSITIVITY:.2f}": sensitivity_threshold(y, x, FIXED_SENSITIVITY),
    }
    return [_at(rule, threshold, validation, external) for rule, threshold in rules.items()]


def _at(
    rule: str, threshold: float, validation: PatientScores, external: PatientScores
) -> PointTransport:
    if math.isnan(threshold):
        num = validation.num_patients
        why = f"only one class among {num} validation patients" if num else "no validation patients"
        return PointTransport(rule, None, reason=f"no threshold: {why}")
    own, theirs = (confusion(p.labels, p.scores, threshold) for p in (validation, external))
    return PointTransport(
        rule,
        threshold,
        rate_transport(own.tp, own.tp + own.fn, theirs.tp, theirs.tp + theirs.fn),
        rate_transport(own.tn, own.tn + own.fp, theirs.tn, theirs.tn + theirs.fp),
    )


def _moved(point: PointTransport, external: PatientScores) -> PointTransport:
    """Return a threshold that came with an export, on the cohort: its counts on validation are rounded."""
    if point.threshold is None or point.sensitivity is None or point.specificity is None:
        return point
    found = confusion(external.labels, external.scores, point.threshold)
    return PointTransport(
        point.rule,
        point.threshold,
        _beside(point.sensitivity, found.tp, found.tp + found.fn),
        _beside(point.specificity, found.tn, found.tn + found.fp),
    )


def _beside(known: RateTransport, hits: int, num: int) -> RateTransport:
    share = hits / num if num else None
    interval = wilson_interval(hits, num) if num else None
    difference = spread = None
    if share is not None and known.validation is not None and known.validation_ci95 is not None:
        assert interval is not None
        difference = share - known.validation
        spread = _newcombe(share, interval, known.validation, known.validation_ci95)
    return RateTransport(
        known.validation, known.validation_ci95, share, interval, difference, spread
    )


def rate_transport(hits_before: int, before: int, hits_after: int, after: int) -> RateTransport:
    """Return a share on validation, on the cohort, and external − validation."""
    share = hits_before / before if before else None
    interval = wilson_interval(hits_before, before) if before else None
    known = RateTransport(share, interval, None, None, None, None)
    return _beside(known, hits_after, after)


def _newcombe(p: float, of_p: Interval, q: float, of_q: Interval) -> Interval:
    """Return the hybrid score interval of p − q, of independent shares with Wilson's intervals.

    References
    ----------
    Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10.
    """
    low = math.hypot(p - of_p[0], of_q[1] - q)
    high = math.hypot(of_p[1] - p, q - of_q[0])
    return p - q - low, p - q + high


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
