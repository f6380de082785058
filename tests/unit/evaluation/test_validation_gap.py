"""Oracles: loops over pairs of patients, the test of two independent AUCs, and simulation."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest, norm, t

from radiotrain.evaluation.cautions import validation_gap
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.patients import patient_scores
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.stability.replicates import add_ensembles
from radiotrain.statistics.auc_comparison import unpaired_difference
from tests.unit.evaluation.small_tables import good_cohort, make_rows

Patients = list[tuple[int, float]]


def naive(patients: Patients) -> tuple[float, list[tuple[float, int]]]:
    """AUC, and the variance of each class's mean placement with its degrees of freedom."""
    yes, no = ([x for y, x in patients if y == label] for label in (1, 0))

    def win(a: float, b: float) -> float:
        return 1.0 if a > b else 0.5 if a == b else 0.0

    above = [sum(win(a, b) for b in no) / len(no) for a in yes]
    below = [sum(win(a, b) for a in yes) / len(yes) for b in no]
    parts = []
    for placements in (above, below):
        mean = sum(placements) / len(placements)
        spread = sum((v - mean) ** 2 for v in placements) / (len(placements) - 1)
        parts.append((spread / len(placements), len(placements) - 1))
    return sum(above) / len(above), parts


def one_sided(difference: float, parts: list[tuple[float, int]]) -> float:
    total = sum(v for v, _ in parts)
    freedom = total**2 / sum(v**2 / df for v, df in parts)
    return float(t.sf(difference / math.sqrt(total), freedom))


def table_of(test: Patients, *folds: Patients) -> pd.DataFrame:
    parts = [make_rows(test, "test")]
    for k, fold in enumerate(folds):
        rows = make_rows(fold, "validation", fold=k)
        parts.append(rows.assign(patient_id=[f"v{k}-{i}" for i in range(len(fold))]))
    return validate_predictions(pd.concat(parts))


def test_of_one_fold_it_is_the_test_of_two_independent_areas() -> None:
    test, fold = good_cohort(40, 0.2, 1), good_cohort(60, 1.2, 2)
    found = validation_gap(table_of(test, fold), "net", "ER")
    (area, parts), (other, others) = naive(fold), naive(test)
    assert (found.validation, found.test) == (pytest.approx(area), pytest.approx(other))
    assert found.p == pytest.approx(one_sided(area - other, [*parts, *others]))
    of_test = np.array(test).T
    of_fold = np.array(fold).T
    two_sided = unpaired_difference(of_fold[0], of_fold[1], of_test[0], of_test[1])
    assert found.p == pytest.approx(two_sided.p_value / 2)
    turned = validation_gap(table_of(fold, test), "net", "ER")
    assert turned.p == pytest.approx(1 - found.p)


def test_folds_are_averaged_and_their_variances_added() -> None:
    test = good_cohort(40, 0.2, 1)
    # The folds' levels differ: pooled, they would look like no signal.
    folds = [
        [(y, min(1.0, x * 0.3 + 0.2 * k)) for y, x in good_cohort(30, 1.0, 10 + k)]
        for k in range(3)
    ]
    found = validation_gap(table_of(test, *folds), "net", "ER")
    areas, parts = zip(*map(naive, folds), strict=True)
    assert found.validation == pytest.approx(np.mean(areas))
    variances = [sum(p[c][0] for p in parts) / 9 for c in (0, 1)]
    freedom = [sum(p[c][1] for p in parts) for c in (0, 1)]
    expected = [*zip(variances, freedom, strict=True), *naive(test)[1]]
    assert found.p == pytest.approx(one_sided(found.validation - naive(test)[0], expected))


def test_a_patient_in_two_folds_adds_one_contribution() -> None:
    """The same patients with the same probabilities in two folds are one sample, not two."""
    test, fold = good_cohort(40, 0.2, 1), good_cohort(60, 1.0, 2)
    twice = pd.concat(
        [make_rows(test, "test"), *(make_rows(fold, "validation", fold=k) for k in (0, 1))]
    )
    once = validation_gap(table_of(test, fold), "net", "ER")
    found = validation_gap(validate_predictions(twice), "net", "ER")
    assert found.p == pytest.approx(once.p, rel=0.02)


@pytest.mark.parametrize(
    ("test", "fold"),
    [
        ([(1, 0.4), (0, 0.2), (0, 0.1)], good_cohort(20, 1.0, 1)),
        (good_cohort(20, 1.0, 1), [(1, 0.4), (0, 0.2), (0, 0.1)]),
        (good_cohort(20, 1.0, 1), [(1, 0.4), (1, 0.2)]),
        ([(1, 0.5), (0, 0.5)] * 3, [(1, 0.5), (0, 0.5)] * 3),
    ],
)
def test_where_no_spread_is_seen_there_is_no_test(test: Patients, fold: Patients) -> None:
    assert math.isnan(validation_gap(table_of(test, fold), "net", "ER").p)


def test_only_a_difference_beyond_chance_is_warned_about() -> None:
    """The validation AUC .72 lies above the test interval, but not by more than two samples differ."""
    test, fold = good_cohort(120, 0.1, 1), good_cohort(60, 0.8, 2)
    table = table_of(test, fold)
    result = evaluate_table(table, num_resamples=100).results[0]
    assert result.auc_ci95 is not None
    assert result.auc_validation is not None
    found = validation_gap(table, "net", "ER")
    above = result.auc_validation > result.auc_ci95[1]
    warned = any(
        "is higher than the test AUC" in w
        for w in evaluate_table(table, num_resamples=100).warnings
    )
    assert (above, warned) == (True, found.p < 0.05)


@pytest.mark.slow
def test_p_is_uniform_for_exchangeable_patients() -> None:
    rng = np.random.default_rng(3)
    p_values = []
    for _ in range(400):
        folds = []
        for _ in range(3):
            labels = np.arange(40) % 4 == 0
            scores = norm.cdf(rng.normal(size=40) + 0.7 * labels)
            folds.append([(int(y), float(x)) for y, x in zip(labels, scores, strict=True)])
        p_values.append(validation_gap(table_of(folds[0], *folds[1:]), "net", "ER").p)
    assert kstest(p_values, "uniform").pvalue > 0.001


# --- Thresholds from other probabilities than those that they are used on.


def caution(table: pd.DataFrame, run: str = "net") -> str:
    found = evaluate_table(table, num_resamples=100)
    (result,) = [r for r in found.results if r.run == run]
    assert any(result.threshold_caution in w for w in found.warnings)
    return result.threshold_caution


def test_thresholds_of_single_folds_on_means_of_several_are_cautioned_about() -> None:
    validation = [good_cohort(40, 0.7, k) for k in range(3)]
    parts = [
        make_rows(fold, "validation", fold=k).assign(
            patient_id=[f"v{k}-{i}" for i in range(len(fold))]
        )
        for k, fold in enumerate(validation)
    ]
    test = good_cohort(60, 0.7, 9)
    means = pd.concat([*parts, *(make_rows(test, "test", fold=k) for k in range(3))])
    assert "averaged over 1 prediction per patient, but are used on means over 3" in caution(means)
    single = pd.concat([*parts, make_rows(test, "test", fold=0)])
    assert evaluate_table(single, num_resamples=100).results[0].threshold_caution == ""


def test_an_ensemble_of_folds_is_cautioned_about_and_one_of_seeds_is_not() -> None:
    def runs(same_validation: bool) -> pd.DataFrame:
        parts = []
        for k in range(2):
            validation = make_rows(good_cohort(40, 0.7, k), "validation", run=f"r{k}")
            if not same_validation:
                validation["patient_id"] = [f"v{k}-{i}" for i in range(40)]
            test = make_rows(good_cohort(40, 0.7, 10), "test", run=f"r{k}")
            parts += [validation, test]
        table = pd.concat(parts).assign(configuration="c", seed=pd.NA)
        table.loc[table["run"] == "r1", "probability"] *= 0.9
        return add_ensembles(validate_predictions(table))

    of_folds = caution(runs(same_validation=False), "c, mean of 2")
    assert "averaged over 1 prediction per patient, but are used on means over 2" in of_folds
    seeds = evaluate_table(runs(same_validation=True), num_resamples=100).results
    assert {r.threshold_caution for r in seeds} == {""}
    assert patient_scores(runs(True), "c, mean of 2", "ER", "test").most_predictions == 1
