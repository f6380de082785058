"""What a model's probabilities mean, learnt from validation patients alone."""

from __future__ import annotations

import math

import pandas as pd

from radiotrain.evaluation.measure import FIXED_SENSITIVITY
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.statistics.operating_point import (
    confusion,
    sensitivity_threshold,
    youden_threshold,
)
from radiotrain.evaluation.statistics.platt import fit_platt
from radiotrain.evaluation.statistics.recalibration import fit_temperature, isotonic_steps
from radiotrain.export.description import YOUDEN, Calibration, Isotonic, OperatingPoint, Platt

NOBODY_VALIDATED = "no fold validated it, so no patient is left to learn it from"


def validation_scores(table: pd.DataFrame | None, run: str, target: str) -> PatientScores | None:
    """Return a target's validation predictions; None where nobody validated."""
    if table is None:
        return None
    checked = validate_predictions(table.assign(run=run), name=f"predictions of {run}")
    return patient_scores(checked, run, target, "validation")


def learn_calibration(patients: PatientScores | None) -> Calibration:
    """Learn how probabilities are put right."""
    if patients is None:
        reasons = dict.fromkeys(("platt", "temperature", "isotonic"), NOBODY_VALIDATED)
        return Calibration(
            source="none",
            num_patients=0,
            num_positive=0,
            platt=None,
            temperature=None,
            isotonic=None,
            reasons=reasons,
        )
    reasons = {}
    curve, why = fit_platt(patients.labels, patients.scores)
    if curve is None:
        reasons["platt"] = why
    temperature, why = fit_temperature(patients.labels, patients.scores)
    if why:
        reasons["temperature"] = why
    steps, why = isotonic_steps(patients.labels, patients.scores)
    if steps is None:
        reasons["isotonic"] = why
    return Calibration(
        source=_source(patients),
        num_patients=patients.num_patients,
        num_positive=patients.num_positive,
        platt=None if curve is None else Platt(slope=curve.slope, intercept=curve.intercept),
        temperature=None if math.isnan(temperature) else temperature,
        isotonic=None
        if steps is None
        else Isotonic(x=tuple(steps[0].tolist()), y=tuple(steps[1].tolist())),
        reasons=reasons,
    )


def choose_operating_points(patients: PatientScores | None) -> tuple[OperatingPoint, ...]:
    """Choose the thresholds that `radiotrain evaluate` chooses."""
    rules = (YOUDEN, f"sensitivity {FIXED_SENSITIVITY:.2f}")
    if patients is None:
        return tuple(_no_point(rule, "none", NOBODY_VALIDATED) for rule in rules)
    y, x = patients.labels, patients.scores
    thresholds = (youden_threshold(y, x), sensitivity_threshold(y, x, FIXED_SENSITIVITY))
    return tuple(
        _point(rule, threshold, patients) for rule, threshold in zip(rules, thresholds, strict=True)
    )


def _point(rule: str, threshold: float, patients: PatientScores) -> OperatingPoint:
    if math.isnan(threshold):
        # Only one class, or none: then there is no curve either, for the same reason.
        return _no_point(rule, _source(patients), fit_platt(patients.labels, patients.scores)[1])
    called = confusion(patients.labels, patients.scores, threshold)
    return OperatingPoint(
        rule=rule,
        source=_source(patients),
        threshold=threshold,
        sensitivity=called.sensitivity,
        specificity=called.specificity,
    )


def _no_point(rule: str, source: str, reason: str) -> OperatingPoint:
    return OperatingPoint(
        rule=rule, source=source, threshold=None, sensitivity=None, specificity=None, reason=reason
    )


def _source(patients: PatientScores) -> str:
    return (
        f"predictions of {patients.num_patients} validation patients ({patients.num_positive}"
        " positive) by networks that were not trained on them"
    )
