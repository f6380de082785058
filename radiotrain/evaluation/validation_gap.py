"""Whether a validation AUC is higher than the test AUC by more than chance.

Validation and test patients are different ones, so this is a test of two independent AUCs. Within a
fold one network gave all probabilities, so that folds are not pooled: their AUCs are averaged.

Axis legend: K folds, m positives, n negatives.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

from radiotrain.evaluation.patients import PatientScores, fold_scores, patient_scores
from radiotrain.evaluation.statistics.auc import placement_counts, split_by_label
from radiotrain.evaluation.statistics.satterthwaite import Part, combined


@dataclass(frozen=True)
class ValidationGap:
    """Validation AUC beside the test AUC.

    Parameters
    ----------
    validation
        Mean of the AUCs of the folds with two patients of each class or more.
    p
        One-sided, of the hypothesis that the validation AUC is not higher; NaN where it is not
        defined.
    """

    validation: float
    test: float
    p: float


@dataclass(frozen=True)
class _MeanArea:
    """A mean of AUCs, and the parts of its variance: of the positives and of the negatives."""

    value: float
    parts: tuple[Part, ...]


def validation_gap(table: pd.DataFrame, run: str, target: str) -> ValidationGap:
    """Compare the mean validation AUC of a run's folds with its test AUC.

    DeLong's variances of the two are added, degrees of freedom are Satterthwaite's. A patient who
    validates in several folds (repeated cross-validation) adds one contribution, the sum over
    them. Where folds' patients are different ones this is DeLong's variance of each fold, divided
    by the square of their number. Not defined in a cross-validated test, whose validation patients are
    test patients, too.

    Parameters
    ----------
    table
        A table from `predictions.validate_predictions`.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837-845. Satterthwaite, Biometrics
    Bulletin 2 (1946) 110-114.
    """
    validation = _mean_area(fold_scores(table, run, target, "validation"))
    tested = patient_scores(table, run, target, "test")
    if tested.parts:
        # The validation patients of one outer part are the test patients of others.
        return ValidationGap(math.nan, math.nan, math.nan)
    test = _mean_area([tested])
    if validation is None or test is None:
        return ValidationGap(math.nan, math.nan, math.nan)
    total, freedom = combined([*validation.parts, *test.parts])
    if not total > 0:
        return ValidationGap(validation.value, test.value, math.nan)
    p = float(t.sf((validation.value - test.value) / math.sqrt(total), freedom))
    return ValidationGap(validation.value, test.value, p)


def _mean_area(folds: Sequence[PatientScores]) -> _MeanArea | None:
    judged = [f for f in folds if min(f.num_positive, f.num_patients - f.num_positive) >= 2]
    if not judged:
        return None
    parts: tuple[dict[str, float], ...] = (defaultdict(float), defaultdict(float))
    areas = []
    for fold in judged:
        positive, negative = split_by_label(fold.labels, fold.scores)
        m, n = len(positive), len(negative)
        above, below = placement_counts(positive, negative)
        areas.append(float(above.sum()) / (m * n))
        for by_patient, label, placements in ((parts[0], 1, above / n), (parts[1], 0, below / m)):
            own = _contributions(placements) / len(judged)
            ids = [i for i, y in zip(fold.patient_ids, fold.labels, strict=True) if y == label]
            for patient, value in zip(ids, own, strict=True):
                by_patient[patient] += value
    variances = tuple(
        Part(sum(value**2 for value in of.values()), max(1, len(of) - len(judged))) for of in parts
    )
    return _MeanArea(float(np.mean(areas)), variances)


def _contributions(placements: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what each patient adds to the AUC, so that the squares add up to DeLong's variance."""
    num = len(placements)
    own: NDArray[np.float64] = (placements - placements.mean()) / math.sqrt(num * (num - 1))
    return own
