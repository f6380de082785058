"""All measures of one run and target.

Each function takes test or validation patients with `PatientScores.parts`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from radiotrain.evaluation.patients import PatientScores, fold_scores, patient_scores
from radiotrain.evaluation.results import ASSUMED_CORRELATION, OuterResult, TargetResult
from radiotrain.statistics import calibration
from radiotrain.statistics.auc import Interval, auc, auc_interval, delong_interval, delong_variance
from radiotrain.statistics.auc_comparison import (
    Difference,
    null_range,
    paired_difference,
    unpaired_difference,
)
from radiotrain.statistics.calibration import (
    calibration_curve,
    observed_to_expected,
    scaled_brier_score,
)
from radiotrain.statistics.decision_curve import decision_curve
from radiotrain.statistics.influence import (
    SAMPLINGS,
    Sampling,
    average_precision_interval,
    brier_interval,
)
from radiotrain.statistics.operating_point import (
    PREVALENCES,
    OperatingPoint,
    PredictiveValues,
    confusion,
    predictive_values,
    sensitivity_threshold,
    wilson_interval,
    youden_threshold,
)
from radiotrain.statistics.pooled_auc import (
    Part,
    dependence_factor,
    pooled_auc,
    pooled_difference,
    pooled_interval,
    pooled_null_range,
    pooled_permutation_test,
    pooled_unpaired_difference,
    pooled_variance,
)
from radiotrain.statistics.power import smallest_area_above, smallest_difference
from radiotrain.statistics.recalibration import (
    Recalibration,
    apply_temperature,
    as_deployed,
    fit_temperature,
    isotonic,
    measure_deployed,
    recalibration,
    recalibrations,
)
from radiotrain.statistics.resampling import bootstrap_interval, permutation_test

NO_BOOTSTRAP = (
    "a bootstrap of test patients does not see that outer parts train each other's models"
)
_OWN_THRESHOLDS = "each outer part has its own threshold"


def parts_of(scores: PatientScores) -> tuple[Part, ...]:
    """Return the outer parts for `statistics.pooled_auc`, in the order of their numbers."""
    filled = (p for p in scores.parts.values() if p.num_patients)
    return tuple(Part(p.patient_ids, p.labels, p.scores) for p in filled)


def put_pooled_ranking(
    values: Values, test: PatientScores, one_class: str, why: str, seed: int, num_resamples: int
) -> None:
    """Put the AUC, its intervals and its permutation test, from pairs within outer parts.

    Parameters
    ----------
    one_class, why
        Reasons where there is no AUC, and no interval.
    """
    parts = parts_of(test)
    area = pooled_auc(parts)
    if math.isnan(area) and 0 < test.num_positive < test.num_patients:
        why = one_class = "no outer part has test patients of both classes"
    values.put("auc", area, one_class)
    values.put("auc_ci95", pooled_interval(parts), why)
    values.reasons["auc_ci95_delong"] = "DeLong's interval is that of a single test set"
    values.reasons["auc_ci95_bootstrap"] = NO_BOOTSTRAP
    chance = pooled_permutation_test(parts, num_permutations=num_resamples, seed=seed)
    values.put("permutation_p", chance.p_value, one_class)
    tied = "all probabilities of each outer part are tied"
    values.put("permutation_range95", chance.interval, one_class if math.isnan(area) else tied)
    # Averaged over small parts it would lie above what chance gives over all patients.
    for name in ("auc_pr", "auc_pr_ci95_population", "auc_pr_ci95_within_classes"):
        values.reasons[name] = (
            "precision needs one order of all patients, and outer parts differ in level"
        )


def outer_operating_point(
    rule: str,
    choose: Callable[[NDArray[np.int64], NDArray[np.float64]], float],
    test: PatientScores,
    validation: PatientScores,
    measured: Callable[[str, float, PatientScores, PatientScores], OperatingPoint],
) -> OperatingPoint:
    """Return what thresholds do that are each chosen on the validation patients of one outer part.

    Parameters
    ----------
    choose
        Returns a threshold for labels and probabilities, NaN where there is none.
    measured
        Measures one threshold.
    """
    thresholds = {
        number: choose(of_part.labels, of_part.scores) if of_part is not None else math.nan
        for number in test.parts
        for of_part in [validation.parts.get(number)]
    }
    without = [number for number, value in thresholds.items() if math.isnan(value)]
    if without or not thresholds:
        point = measured(rule, math.nan, test, validation)
        parts = f"outer part{'s' * (len(without) > 1)} {', '.join(map(str, without))}"
        why = f"no threshold: {parts} without validation patients of both classes"
        return replace(point, reasons=dict.fromkeys(point.reasons, why))
    # A probability is at or above its part's threshold where it exceeds it by 0 or more.
    beyond = test.scores - np.array([thresholds[k] for k in test.part_of.tolist()])
    point = measured(rule, 0.0, replace(test, scores=beyond, parts={}), validation)
    low, high = min(thresholds.values()), max(thresholds.values())
    return replace(
        point,
        threshold=None,
        thresholds=tuple(thresholds.items()),
        source=f"validation patients of the same outer part, {rule}, {low:.4f} to {high:.4f}",
        reasons={**point.reasons, "threshold": _OWN_THRESHOLDS},
    )


def called_positive(point: OperatingPoint, scores: PatientScores) -> NDArray[np.bool_] | None:
    """Return which patients (n,) a threshold calls positive; None where there is none.

    Parameters
    ----------
    point
        With one threshold, or one for each outer part of the patients.
    """
    if point.thresholds and scores.parts:
        of_part = dict(point.thresholds)
        return np.asarray(scores.scores >= [of_part[k] for k in scores.part_of.tolist()])
    return None if point.threshold is None else np.asarray(scores.scores >= point.threshold)


def outer_results(
    test: PatientScores, validation: PatientScores, points: Sequence[OperatingPoint]
) -> tuple[OuterResult, ...]:
    """Return each outer part by itself."""
    thresholds = dict(points[0].thresholds)
    found = []
    for number, part in test.parts.items():
        area = auc(part.labels, part.scores)
        interval = auc_interval(part.labels, part.scores)
        of_part = validation.parts.get(number)
        found.append(
            OuterResult(
                number=number,
                num_patients=part.num_patients,
                num_positive=part.num_positive,
                num_validation=0 if of_part is None else of_part.num_patients,
                auc=None if math.isnan(area) else area,
                auc_ci95=None if math.isnan(interval[0]) else interval,
                threshold=thresholds.get(number),
            )
        )
    return tuple(found)


def outer_deployed(
    test: PatientScores, validation: PatientScores
) -> tuple[NDArray[np.float64], str]:
    """Return test probabilities (n,) after Platt's curve of each part's own validation patients.

    Returns
    -------
    The probabilities, and why those of a part are not calibrated.
    """
    found = test.scores.copy()
    part_of = test.part_of
    whys = []
    for number in test.parts:
        mine = part_of == number
        of_part = validation.parts.get(number)
        y, p = (np.empty(0), np.empty(0)) if of_part is None else (of_part.labels, of_part.scores)
        found[mine], why = as_deployed(test.scores[mine], y, p)
        if why:
            whys.append(f"{why} of outer part {number}")
    return found, "; ".join(whys)


def outer_recalibrations(
    test: PatientScores, validation: PatientScores
) -> tuple[Recalibration, ...]:
    """Return how good probabilities are after steps fitted to each part's own validation patients."""
    cooled, stepped = test.scores.copy(), test.scores.copy()
    whys = ["", ""]
    part_of = test.part_of
    for number in test.parts:
        mine = part_of == number
        of_part = validation.parts.get(number)
        y, p = (np.empty(0), np.empty(0)) if of_part is None else (of_part.labels, of_part.scores)
        temperature, why = fit_temperature(y, p)
        whys[0] = whys[0] or (why and f"{why} of outer part {number}")
        cooled[mine] = (
            test.scores[mine] if why else apply_temperature(test.scores[mine], temperature)
        )
        steps, why = isotonic(y, p, test.scores[mine])
        whys[1] = whys[1] or (why and f"{why} of outer part {number}")
        stepped[mine] = test.scores[mine] if steps is None else steps
    return (
        recalibration("none", test.labels, test.scores, ""),
        recalibration("temperature", test.labels, None if whys[0] else cooled, whys[0]),
        recalibration("isotonic", test.labels, None if whys[1] else stepped, whys[1]),
    )


def area_of(patients: PatientScores) -> float:
    """Return the AUC."""
    if patients.parts:
        return pooled_auc(parts_of(patients))
    return auc(patients.labels, patients.scores)


def variance_of(patients: PatientScores) -> float:
    """Return the variance of the AUC after DeLong."""
    if patients.parts:
        return pooled_variance(parts_of(patients))
    return delong_variance(patients.labels, patients.scores)


def interval_of(patients: PatientScores) -> Interval:
    """Return the score interval of the AUC."""
    if patients.parts:
        return pooled_interval(parts_of(patients))
    return auc_interval(patients.labels, patients.scores)


def effective_counts(patients: PatientScores) -> tuple[int, int]:
    """Return how many positives and negatives of a single test set give as narrow an interval."""
    factor = dependence_factor(parts_of(patients)) if patients.parts else 1.0
    counts = patients.num_positive, patients.num_patients - patients.num_positive
    return round(counts[0] / factor), round(counts[1] / factor)


def why_not_comparable(a: PatientScores, b: PatientScores) -> str:
    """Say why two runs have no difference of AUC although they were tested on the same patients.

    Empty where they have one.
    """
    if bool(a.parts) != bool(b.parts):
        return "one run was tested in outer parts and the other on a single test set"
    common = {*a.patient_ids} & {*b.patient_ids}
    if a.parts and common and _members(a) != _members(b):
        return "the runs' outer parts are of different patients"
    return ""


def paired(a: PatientScores, b: PatientScores) -> Difference:
    """Compare two runs on the same patients."""
    if a.parts:
        return pooled_difference(parts_of(a), parts_of(b))
    return paired_difference(a.labels, a.scores, b.scores)


def unpaired(a: PatientScores, b: PatientScores) -> Difference:
    """Compare two runs on different patients."""
    if a.parts:
        return pooled_unpaired_difference(parts_of(a), parts_of(b))
    return unpaired_difference(a.labels, a.scores, b.labels, b.scores)


def null_range_of(
    a: PatientScores, b: PatientScores, *, seed: int, num_permutations: int
) -> Interval:
    """Return the middle of the differences where the runs are swapped within patients at random."""
    drawn = {"seed": seed, "num_permutations": num_permutations}
    if a.parts:
        return pooled_null_range(parts_of(a), parts_of(b), **drawn)
    return null_range(a.labels, a.scores, b.scores, **drawn)


def _members(patients: PatientScores) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Return each part's patients and labels, whatever the parts' numbers."""
    parts = patients.parts.values()
    return [(p.patient_ids, tuple(np.asarray(p.labels).tolist())) for p in parts if p.num_patients]


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
        Of the bootstrap, and of the permuted labels.
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
