from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from radiotrain.evaluation.results import TargetResult
from tests.unit.evaluation.small_tables import TEST, evaluate, make_rows


def naive_auc(labels: list[int], scores: list[float]) -> float:
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, la in zip(scores, labels, strict=True)
        for b, lb in zip(scores, labels, strict=True)
        if la == 1 and lb == 0
    ]
    return sum(pairs) / len(pairs) if pairs else math.nan


def measured(*validation: pd.DataFrame) -> TargetResult:
    return evaluate(make_rows(TEST, "test"), *validation).results[0]


def fold(number: int | None, patients: list[tuple[int, float]]) -> pd.DataFrame:
    rows = make_rows(patients, "validation", fold=number)
    return rows.assign(patient_id=[f"v{number}-{k}" for k in range(len(rows))])


@pytest.mark.parametrize("seed", range(5))
def test_mean_of_the_folds_aucs_is_that_of_a_naive_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    tables = []
    areas = []
    for number in range(4):
        labels = rng.integers(0, 2, 9).tolist()
        scores = rng.choice([0.1, 0.2, 0.3, 0.4, 0.6], 9).tolist()
        tables.append(fold(number, list(zip(labels, scores, strict=True))))
        areas.append(naive_auc(labels, scores))
    result = measured(*tables)
    assert result.num_validation_folds == 4
    assert result.auc_validation_mean_of_folds == pytest.approx(float(np.nanmean(areas)))


def test_levels_that_differ_between_folds_lower_the_pooled_auc_only() -> None:
    result = measured(
        fold(0, [(0, 0.1), (0, 0.1), (1, 0.2)]), fold(1, [(0, 0.8), (1, 0.9), (1, 0.9)])
    )
    assert result.auc_validation_mean_of_folds == 1.0
    # Of 3 positives and 3 negatives, the positive of 0.2 lies below the negative of 0.8.
    assert result.auc_validation == pytest.approx(8 / 9)


def test_a_fold_with_one_class_or_no_known_label_does_not_count() -> None:
    result = measured(
        fold(0, [(0, 0.3), (1, 0.2)]), fold(1, [(1, 0.8), (1, 0.9)]), fold(2, [(-1, 0.5)])
    )
    assert (result.num_validation_folds, result.num_validation_folds_defined) == (2, 1)
    assert result.auc_validation_mean_of_folds == 0.0


def test_without_a_fold_of_two_classes_there_is_a_reason() -> None:
    result = measured(fold(0, [(0, 0.3)]), fold(1, [(1, 0.8)]))
    assert result.auc_validation == 1.0
    assert result.auc_validation_mean_of_folds is None
    assert "both classes" in result.reasons["auc_validation_mean_of_folds"]


def test_rows_without_a_fold_are_one_part() -> None:
    result = measured(fold(None, [(0, 0.3), (1, 0.8), (1, 0.1)]))
    assert result.num_validation_folds == 1
    assert result.auc_validation_mean_of_folds == result.auc_validation == 0.5
