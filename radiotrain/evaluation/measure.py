"""All numbers of one run and target, from its test and validation patients."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from radiotrain.evaluation.measure_outer import (
    outer_deployed,
    outer_operating_point,
    outer_recalibrations,
    outer_results,
    put_pooled_ranking,
)
from radiotrain.evaluation.patients import PatientScores, fold_scores, patient_scores
from radiotrain.evaluation.ranking import area_of, effective_counts
from radiotrain.evaluation.results import ASSUMED_CORRELATION, TargetResult
from radiotrain.evaluation.statistics import calibration
from radiotrain.evaluation.statistics.auc import auc, delong_interval
from radiotrain.evaluation.statistics.auc_interval import auc_interval
from radiotrain.evaluation.statistics.bootstrap import bootstrap_interval
from radiotrain.evaluation.statistics.decision_curve import decision_curve
from radiotrain.evaluation.statistics.deployed import as_deployed, measure_deployed
from radiotrain.evaluation.statistics.influence import (
    SAMPLINGS,
    Sampling,
    average_precision_interval,
    brier_interval,
)
from radiotrain.evaluation.statistics.operating_point import (
    OperatingPoint,
    confusion,
    sensitivity_threshold,
    wilson_interval,
    youden_threshold,
)
from radiotrain.evaluation.statistics.permutation import permutation_test
from radiotrain.evaluation.statistics.power import smallest_area_above, smallest_difference
from radiotrain.evaluation.statistics.predictive_values import (
    PREVALENCES,
    PredictiveValues,
    predictive_values,
)
from radiotrain.evaluation.statistics.recalibration import recalibrations
from radiotrain.evaluation.statistics.smooth_calibration import (
    calibration_curve,
    observed_to_expected,
    scaled_brier_score,
)

FIXED_SENSITIVITY = 0.9

_OF_YOUDEN = (
    "threshold",
    "sensitivity",
    "sensitivity_ci95",
    "specificity",
    "specificity_ci95",
    "confusion",
)
_NO_PATIENT = "no test patient with a known label"


def measure(
    table: pd.DataFrame,
    run: str,
    target: str,
    *,
    seed: int,
    num_resamples: int,
    sampling: Sampling = "population",
) -> TargetResult:
    """Measure one run and target of a validated predictions table.

    Parameters
    ----------
    seed, num_resamples
        Of the bootstrap, and of the labels dealt out at random.
    sampling
        How the test patients were drawn: which intervals are shown.
    """
    test = patient_scores(table, run, target, "test")
    validation = patient_scores(table, run, target, "validation")
    values = Values()
    _put_ranking(values, test, seed, num_resamples)
    _put_resolution(values, test)
    _put_probability_quality(values, test)
    why = _why_one_class(validation, "validation")
    values.put("auc_validation", area_of(validation), why)
    _put_folds(values, fold_scores(table, run, target, "validation"))
    points = operating_points(test, validation)
    _put_first_point(values, points[0])
    return TargetResult(
        run=run,
        target=target,
        num_patients=test.num_patients,
        num_positive=test.num_positive,
        num_missing_label=test.num_missing_label,
        num_predictions=test.most_predictions,
        num_validation=validation.num_patients,
        num_validation_positive=validation.num_positive,
        sampling=sampling,
        reliability=calibration.reliability_bins(test.labels, test.scores),
        deployed=measure_deployed(test.labels, *deployed_probabilities(test, validation), sampling),
        recalibrations=(
            outer_recalibrations(test, validation)
            if test.parts
            else recalibrations(test.labels, test.scores, validation.labels, validation.scores)
        ),
        calibration_curve=calibration_curve(test.labels, test.scores),
        predictive_values=_predictive_values(points[0]),
        net_benefits=decision_curve(test.labels, test.scores),
        operating_points=points,
        outer=outer_results(test, validation, points) if test.parts else (),
        reasons=values.reasons,
        **values.defined,
    )


def deployed_probabilities(
    test: PatientScores, validation: PatientScores
) -> tuple[NDArray[np.float64], str]:
    """Return test patients' probabilities (n,) as ``radiotrain predict`` shows them.

    In a cross-validated test each outer part has a curve of its own.

    Returns
    -------
    The probabilities, and why they, or some of them, are not calibrated: often empty.
    """
    if test.parts:
        return outer_deployed(test, validation)
    return as_deployed(test.scores, validation.labels, validation.scores)


def _put_folds(values: Values, folds: Sequence[PatientScores]) -> None:
    """Keep the mean of the folds' AUCs: within a fold one network gave all probabilities."""
    areas = [auc(fold.labels, fold.scores) for fold in folds]
    defined = [area for area in areas if not math.isnan(area)]
    values.defined["num_validation_folds"] = len(folds)
    values.defined["num_validation_folds_defined"] = len(defined)
    mean = sum(defined) / len(defined) if defined else None
    why = "no fold's validation patients have both classes"
    values.put("auc_validation_mean_of_folds", mean, why)


def operating_points(test: PatientScores, validation: PatientScores) -> tuple[OperatingPoint, ...]:
    """Return what thresholds chosen on validation do on the test patients, Youden's first."""
    rules: dict[str, Callable[..., float]] = {
        "Youden": youden_threshold,
        f"sensitivity {FIXED_SENSITIVITY:.2f}": partial(
            sensitivity_threshold, sensitivity=FIXED_SENSITIVITY
        ),
    }
    if test.parts:
        return tuple(
            outer_operating_point(rule, choose, test, validation, _operating_point)
            for rule, choose in rules.items()
        )
    return tuple(
        _operating_point(rule, choose(validation.labels, validation.scores), test, validation)
        for rule, choose in rules.items()
    )


class Values:
    """Collects values under their names; an undefined one becomes None with its reason."""

    def __init__(self) -> None:
        self.defined: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}

    def put(self, name: str, value: Any, why_undefined: str) -> None:
        """Keep a value, or the reason where it is None or NaN."""
        if value is None or np.isnan(value).any():
            self.reasons[name] = why_undefined
        else:
            self.defined[name] = value


def _put_ranking(values: Values, test: PatientScores, seed: int, num_resamples: int) -> None:
    if test.parts:
        why = _why_no_interval(test, area_of(test))
        put_pooled_ranking(values, test, _why_one_class(test, "test"), why, seed, num_resamples)
        return
    y, x = test.labels, test.scores
    area = auc(y, x)
    one_class = _why_one_class(test, "test")
    values.put("auc", area, one_class)
    values.put("auc_ci95", auc_interval(y, x), _why_no_interval(test, area))
    why = _why_no_spread(test, area)
    values.put("auc_ci95_delong", delong_interval(y, x), why)
    interval = bootstrap_interval(y, x, seed=seed, num_resamples=num_resamples)
    values.put("auc_ci95_bootstrap", interval, why)
    chance = permutation_test(y, x, num_permutations=num_resamples, seed=seed)
    values.put("permutation_p", chance.p_value, one_class)
    tied = "all probabilities are tied, so every way to deal out labels gives 0.5"
    values.put("permutation_range95", chance.interval, one_class if math.isnan(area) else tied)
    precision = average_precision_score(y, x) if not math.isnan(area) else None
    values.put("auc_pr", precision, one_class)
    for sampling in SAMPLINGS:
        interval = average_precision_interval(y, x, sampling)
        values.put(
            f"auc_pr_ci95_{sampling.replace(' ', '_')}", interval, _why_no_interval(test, area)
        )


def _put_resolution(values: Values, test: PatientScores) -> None:
    num_positive, num_negative = effective_counts(test)
    one_class = _why_one_class(test, "test")
    both = bool(num_positive and num_negative)
    too_few = f"no AUC up to 1 would do with {num_positive} positive, {num_negative} negative"
    least = smallest_area_above(0.5, num_positive, num_negative)
    values.put("detectable_auc", least, too_few if both else one_class)
    area = values.defined.get("auc")
    gain = math.nan
    if area is not None:
        gain = smallest_difference(area, num_positive, num_negative, ASSUMED_CORRELATION)
    values.put("detectable_difference", gain, too_few if both else one_class)


def _put_probability_quality(values: Values, test: PatientScores) -> None:
    y, x = test.labels, test.scores
    num = test.num_patients
    values.put("prevalence", test.num_positive / num if num else None, _NO_PATIENT)
    values.put("brier", calibration.brier_score(y, x), _NO_PATIENT)
    for sampling in SAMPLINGS:
        why = _why_no_brier_interval(test, sampling)
        values.put(f"brier_ci95_{sampling.replace(' ', '_')}", brier_interval(y, x, sampling), why)
    values.put("log_loss", calibration.log_loss(y, x), _NO_PATIENT)
    why = calibration.why_no_calibration_error(y, x) if num else _NO_PATIENT
    values.put("ece", None if why else calibration.expected_calibration_error(y, x), why)
    ratio, interval = observed_to_expected(y, x)
    values.put("observed_to_expected", ratio, _NO_PATIENT if not num else "all probabilities are 0")
    values.put("observed_to_expected_ci95", interval, "no positive test patient")
    values.put("scaled_brier", scaled_brier_score(y, x), _why_one_class(test, "test"))
    for name, found in (
        ("calibration_intercept", calibration.calibration_intercept(y, x)),
        ("calibration_slope", calibration.calibration_slope(y, x)),
    ):
        values.put(name, found.value, found.reason)
        values.put(f"{name}_ci95", found.interval, found.reason)


def _predictive_values(point: OperatingPoint) -> tuple[PredictiveValues, ...]:
    if point.confusion is None or point.sensitivity is None or point.specificity is None:
        return ()
    return tuple(predictive_values(point.confusion, share) for share in PREVALENCES)


def _put_first_point(values: Values, point: OperatingPoint) -> None:
    """Keep the values of the first operating point beside the others."""
    for name in _OF_YOUDEN:
        value = getattr(point, name)
        if value is None:
            values.reasons[name] = point.reasons[name]
        else:
            values.defined[name] = value
    if point.source is None:
        values.reasons["threshold_source"] = point.reasons["source"]
    else:
        values.defined["threshold_source"] = point.source


def _operating_point(
    rule: str, threshold: float, test: PatientScores, validation: PatientScores
) -> OperatingPoint:
    if math.isnan(threshold):
        why = _why_one_class(validation, "validation")
        reasons = dict.fromkeys(_NEED_THRESHOLD, f"no threshold: {why}")
        return OperatingPoint(rule, reasons={"threshold": why, **reasons})
    values = Values()
    called = confusion(test.labels, test.scores, threshold)
    if test.num_patients:
        values.defined["confusion"] = called
    else:
        values.reasons["confusion"] = _NO_PATIENT
    num = f"among {test.num_patients} test patients"
    for name, right, wrong, whom in (
        ("sensitivity", called.tp, called.fn, "no positive"),
        ("specificity", called.tn, called.fp, "no negative"),
        ("ppv", called.tp, called.fp, "nobody is called positive"),
        ("npv", called.tn, called.fn, "nobody is called negative"),
    ):
        values.put(name, getattr(called, name), f"{whom} {num}")
        values.put(f"{name}_ci95", wilson_interval(right, right + wrong), f"{whom} {num}")
    source = f"validation, {rule}, n={validation.num_patients} ({validation.num_positive} positive)"
    return OperatingPoint(rule, threshold, source, reasons=values.reasons, **values.defined)


_NEED_THRESHOLD = tuple(
    name
    for name in OperatingPoint.__dataclass_fields__
    if name not in {"rule", "threshold", "thresholds", "reasons"}
)


def _why_one_class(patients: PatientScores, split: str) -> str:
    if not patients.num_patients:
        return f"no {split} patient with a known label"
    return f"only one class among {patients.num_patients} {split} patients"


def _why_few(test: PatientScores) -> str:
    if min(test.num_positive, test.num_patients - test.num_positive) >= 2:
        return ""
    kind = "positive" if test.num_positive < 2 else "negative"
    return f"one {kind} patient only, whose spread cannot be seen"


def _why_no_interval(test: PatientScores, area: float) -> str:
    if math.isnan(area):
        return _why_one_class(test, "test")
    tied = "all probabilities are tied, so these patients show no spread to build it from"
    return _why_few(test) or tied


def _why_no_spread(test: PatientScores, area: float) -> str:
    """Say why an interval that needs a spread of the AUC is not defined."""
    if area in (0.0, 1.0) and not _why_few(test):
        return "the classes do not overlap, so these patients show no spread to build it from"
    return _why_no_interval(test, area)


def _why_no_brier_interval(test: PatientScores, sampling: Sampling) -> str:
    if test.num_positive in (0, test.num_patients):
        return _why_one_class(test, "test")
    of_what = "" if sampling == "population" else " of a class"
    return _why_few(test) or f"all patients{of_what} have the same squared distance"
