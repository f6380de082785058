"""Decision threshold, and its known sensitivity and specificity."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from preprocessing.common.errors import MissingPathError
from preprocessing.storage import files
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.report.metrics_json import read_metrics
from radiotrain.statistics.auc import Interval
from radiotrain.statistics.operating_point import (
    Confusion,
    confusion,
    wilson_interval,
    youden_threshold,
)
from radiotrain.statistics.recalibration import PlattCurve, fit_platt

# Of thresholds that were computed twice from the same numbers.
_SAME = 1e-9


@dataclass(frozen=True)
class Rates:
    """What a threshold did on patients whose status is known; None where there were none.

    Parameters
    ----------
    sensitivity_ci95, specificity_ci95
        Wilson's intervals.
    """

    patients: Literal["validation", "test"]
    num_positive: int
    num_negative: int
    sensitivity: float | None
    sensitivity_ci95: Interval | None
    specificity: float | None
    specificity_ci95: Interval | None


@dataclass(frozen=True)
class Rule:
    """How one target's probability is put right and called.

    Parameters
    ----------
    calibration
        None where there is none; `no_calibration` says why.
    threshold
        Of the networks' mean probability before that, Youden's on validation; None where there is none, and
        `no_threshold` says why.
    validation
        What it did on the patients that chose it: optimistic.
    prevalence
        Share of positives among validation patients; None without any.
    """

    target: str
    calibration: PlattCurve | None
    no_calibration: str
    threshold: float | None
    no_threshold: str
    validation: Rates | None
    prevalence: float | None


def make_rule(table: pd.DataFrame, run: str, target: str) -> Rule:
    """Learn how to read a target's probabilities, from validation patients alone.

    Parameters
    ----------
    table
        Predictions table of the model; rows of other parts than validation do not count.
    """
    found = patient_scores(table, run, target, "validation")
    calibration, why_not = fit_platt(found.labels, found.scores)
    threshold = youden_threshold(found.labels, found.scores)
    if math.isnan(threshold):
        reason = why_not or "the validation patients are of one class"
        return Rule(target, calibration, why_not, None, reason, None, _prevalence(found))
    rates = rates_of("validation", confusion(found.labels, found.scores, threshold))
    return Rule(target, calibration, why_not, threshold, "", rates, _prevalence(found))


def no_rule(target: str, reason: str) -> Rule:
    """Return the rule of a model that nobody validated."""
    return Rule(target, None, reason, None, reason, None, None)


@dataclass(frozen=True)
class TestedCalibration:
    """How right the shown probabilities were on the test patients."""

    num_patients: int
    brier: float | None = None
    brier_ci95: Interval | None = None
    ece: float | None = None
    calibration_intercept: float | None = None
    calibration_intercept_ci95: Interval | None = None
    calibration_slope: float | None = None
    calibration_slope_ci95: Interval | None = None


@dataclass(frozen=True)
class Tested:
    """What a report says of one model and target.

    Parameters
    ----------
    rates
        On the test patients; None where they are not known, and `no_rates` says why.
    auc, auc_ci95
        On the test patients; the interval that the report shows first.
    calibration
        Of the probabilities that are shown here, on the test patients: Brier score, calibration error,
        intercept and slope as ``deployed`` of the report has them; None where the report has none.
    attention
        Its verdict on maps of where the networks look: supported, doubtful or unsupported; None where
        it has none.
    """

    rates: Rates | None = None
    no_rates: str = ""
    auc: float | None = None
    auc_ci95: Interval | None = None
    calibration: TestedCalibration | None = None
    attention: str | None = None


def read_report(url: str) -> dict[str, Any]:
    """Return the ``metrics.json`` of a report of ``radiotrain evaluate``.

    Raises
    ------
    MissingPathError
        If there is none.
    SchemaError, DamagedFileError
        If another version wrote it, or it is not what was written.
    """
    values = read_metrics(url)
    if values is None:
        raise MissingPathError(
            f"no metrics.json in {files.absolute(url)}: name the --out of 'radiotrain evaluate'"
        )
    return values


def find_tested(report: Mapping[str, Any] | None, run: str, rule: Rule) -> Tested:
    """Return what a report says of a model: only of the very threshold that is used here."""
    if report is None:
        return Tested(no_rates="no report of a test was named (--report)")
    result = report["runs"].get(run, {}).get(rule.target)
    if result is None:
        return Tested(
            no_rates=f"the report that was named has no result of {run} for {rule.target}"
        )
    attention = None
    for looked in (report.get("saliency") or {}).get("runs", []):
        if (looked["run"], looked["target"]) == (run, rule.target):
            attention = looked["kind"]
    of_test = {
        "auc": result["auc"],
        "auc_ci95": _pair(result["auc_ci95"]),
        "attention": attention,
    }
    threshold, counts = result["threshold"], result["confusion"]
    if counts is None or threshold is None or rule.threshold is None:
        return Tested(no_rates="the report has no threshold for it", **of_test)
    if abs(threshold - rule.threshold) > _SAME:
        return Tested(
            no_rates="the report was made with another threshold: it is of another model", **of_test
        )
    return Tested(
        rates=rates_of("test", Confusion(**counts)),
        calibration=_tested_calibration(result, rule),
        **of_test,
    )


def _tested_calibration(result: Mapping[str, Any], rule: Rule) -> TestedCalibration | None:
    """Return what a report says of the shown probabilities; older reports say nothing."""
    found = result.get("deployed")
    if not found or found["is_calibrated"] != (rule.calibration is not None):
        return None
    return TestedCalibration(
        num_patients=result["num_patients"],
        brier=found["brier"],
        brier_ci95=_pair(found["brier_ci95"]),
        ece=found["ece"],
        calibration_intercept=found["calibration_intercept"],
        calibration_intercept_ci95=_pair(found["calibration_intercept_ci95"]),
        calibration_slope=found["calibration_slope"],
        calibration_slope_ci95=_pair(found["calibration_slope_ci95"]),
    )


def rates_of(patients: Literal["validation", "test"], found: Confusion) -> Rates:
    """Return what counted calls say."""
    positive, negative = found.tp + found.fn, found.tn + found.fp
    return Rates(
        patients,
        positive,
        negative,
        found.sensitivity if positive else None,
        wilson_interval(found.tp, positive) if positive else None,
        found.specificity if negative else None,
        wilson_interval(found.tn, negative) if negative else None,
    )


def _prevalence(found: PatientScores) -> float | None:
    return found.num_positive / found.num_patients if found.num_patients else None


def _pair(values: Any) -> Interval | None:
    return (float(values[0]), float(values[1])) if values else None
