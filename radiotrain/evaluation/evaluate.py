"""A predictions table in, one frozen result for each run and target out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score

from preprocessing.errors import InputError
from radiotrain.evaluation.auc import auc, delong_interval
from radiotrain.evaluation.bootstrap import bootstrap_interval
from radiotrain.evaluation.cautions import find_cautions
from radiotrain.evaluation.operating_point import confusion, wilson_interval, youden_threshold
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.results import Evaluation, TargetResult

_FEWEST_RESAMPLES = 100

_NEED_THRESHOLD = (
    "threshold_source",
    "sensitivity",
    "sensitivity_ci95",
    "specificity",
    "specificity_ci95",
    "confusion",
)


def evaluate_table(
    df: pd.DataFrame,
    *,
    seed: int = 0,
    num_resamples: int = 10_000,
    on_result: Callable[[], None] | None = None,
) -> Evaluation:
    """Evaluate every run and target of a predictions table.

    Parameters
    ----------
    df
        A predictions table; it is validated here.
    seed, num_resamples
        Of the bootstrap. Each run and target starts from the seed again, so a result does not
        depend on what else is in the table.
    on_result
        Called after each run and target.

    Raises
    ------
    InputError
        If the table cannot be used; see `predictions.validate_predictions`.
    """
    if num_resamples < _FEWEST_RESAMPLES:
        raise InputError(
            f"num_resamples is {num_resamples}, expected {_FEWEST_RESAMPLES} or more:"
            " the ends of a 95 % interval need them"
        )
    table = validate_predictions(df)
    results: list[TargetResult] = []
    for run, target in table[["run", "target"]].drop_duplicates().to_numpy():
        results.append(_evaluate_one(table, str(run), str(target), seed, num_resamples))
        if on_result is not None:
            on_result()
    return Evaluation(
        results=tuple(results),
        seed=seed,
        num_resamples=num_resamples,
        warnings=find_cautions(table, results),
    )


class _Values:
    """Collects values under their names; an undefined one becomes None with its reason."""

    def __init__(self) -> None:
        self.defined: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}

    def put(self, name: str, value: Any, why_undefined: str) -> None:
        if value is None or np.isnan(value).any():
            self.reasons[name] = why_undefined
        else:
            self.defined[name] = value


def _evaluate_one(
    table: pd.DataFrame, run: str, target: str, seed: int, num_resamples: int
) -> TargetResult:
    test = patient_scores(table, run, target, "test")
    validation = patient_scores(table, run, target, "validation")
    values = _Values()
    _put_ranking(values, test, seed, num_resamples)
    _put_probability_quality(values, test)
    _put_operating_point(values, test, validation)
    return TargetResult(
        run=run,
        target=target,
        num_patients=test.num_patients,
        num_positive=test.num_positive,
        num_missing_label=test.num_missing_label,
        num_predictions=test.most_predictions,
        num_validation=validation.num_patients,
        num_validation_positive=validation.num_positive,
        reasons=values.reasons,
        **values.defined,
    )


def _put_ranking(values: _Values, test: PatientScores, seed: int, num_resamples: int) -> None:
    y, x = test.labels, test.scores
    area = auc(y, x)
    values.put("auc", area, _why_one_class(test, "test"))
    why = _why_no_interval(test, area)
    values.put("auc_ci95_delong", delong_interval(y, x), why)
    bootstrap = bootstrap_interval(y, x, seed=seed, num_resamples=num_resamples)
    values.put("auc_ci95_bootstrap", bootstrap, why)
    precision = average_precision_score(y, x) if not math.isnan(area) else None
    values.put("auc_pr", precision, _why_one_class(test, "test"))


def _put_probability_quality(values: _Values, test: PatientScores) -> None:
    none = "no test patient with a known label"
    num = test.num_patients
    values.put("prevalence", test.num_positive / num if num else None, none)
    brier = float(np.mean((test.scores - test.labels) ** 2)) if num else None
    values.put("brier", brier, none)


def _put_operating_point(values: _Values, test: PatientScores, validation: PatientScores) -> None:
    why = _why_one_class(validation, "validation")
    values.put("auc_validation", auc(validation.labels, validation.scores), why)
    threshold = youden_threshold(validation.labels, validation.scores)
    values.put("threshold", threshold, why)
    if math.isnan(threshold):
        for name in _NEED_THRESHOLD:
            values.reasons[name] = f"no threshold: {why}"
        return
    values.defined["threshold_source"] = (
        f"validation, Youden, n={validation.num_patients} ({validation.num_positive} positive)"
    )
    if not test.num_patients:
        values.reasons["confusion"] = "no test patient with a known label"
    else:
        values.defined["confusion"] = confusion(test.labels, test.scores, threshold)
    called = confusion(test.labels, test.scores, threshold)
    for name, value, num_right, num in (
        ("sensitivity", called.sensitivity, called.tp, called.tp + called.fn),
        ("specificity", called.specificity, called.tn, called.tn + called.fp),
    ):
        kind = "positive" if name == "sensitivity" else "negative"
        why = f"no {kind} among {test.num_patients} test patients"
        values.put(name, value, why)
        values.put(f"{name}_ci95", wilson_interval(num_right, num), why)


def _why_one_class(patients: PatientScores, split: str) -> str:
    if not patients.num_patients:
        return f"no {split} patient with a known label"
    return f"only one class among {patients.num_patients} {split} patients"


def _why_no_interval(test: PatientScores, area: float) -> str:
    if math.isnan(area):
        return _why_one_class(test, "test")
    if min(test.num_positive, test.num_patients - test.num_positive) < 2:
        kind = "positive" if test.num_positive < 2 else "negative"
        return f"one {kind} patient only, whose spread cannot be seen"
    if area in (0.0, 1.0):
        return "the classes do not overlap, so these patients show no spread to build it from"
    return "all probabilities are tied, so these patients show no spread to build it from"
