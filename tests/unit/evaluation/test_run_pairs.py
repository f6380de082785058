from __future__ import annotations

from dataclasses import fields

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiotrain.evaluation.results import Comparison
from radiotrain.statistics.auc_comparison import holm_adjusted, paired_difference
from radiotrain.statistics.operating_point import mcnemar_p_value
from tests.unit.evaluation.small_tables import (
    PATIENTS,
    Patients,
    evaluate,
    good_cohort,
    make_rows,
    strict_json,
)


@settings(max_examples=40, deadline=None)
@given(PATIENTS, PATIENTS, st.integers(0, 3))
def test_whatever_two_runs_predict_their_comparison_is_strict_json(
    test: Patients, validation: Patients, shift: int
) -> None:
    """The second run gives the first one's probabilities to other patients."""
    turned = [(y, test[(i + shift) % len(test)][1]) for i, (y, _) in enumerate(test)]
    tables = [make_rows(p, "test", run=r) for r, p in (("net", test), ("other", turned))]
    tables += [make_rows(validation, "validation", run=r) for r in ("net", "other")]
    filled = [t for t in tables if len(t)]
    if not filled:
        return
    evaluation = evaluate(*filled)
    (found,) = evaluation.comparisons
    (written,) = strict_json(evaluation)["comparisons"]
    assert {k for k, v in written.items() if v is None} == set(found.reasons)
    assert all(found.reasons.values())
    for name in (
        "p",
        "p_holm",
        "sensitivity_p",
        "sensitivity_p_holm",
        "specificity_p",
        "specificity_p_holm",
        "equal_rate_p_holm",
    ):
        value = getattr(found, name)
        assert value is None or 0 <= value <= 1
    if shift == 0 and found.p is not None:
        assert (found.difference, found.p) == (0.0, 1.0)


def counts_of(found: Comparison, of: str) -> tuple[int, int]:
    return getattr(found, f"{of}_only_run"), getattr(found, f"{of}_only_other")


def _compared(*tables: pd.DataFrame) -> Comparison:
    (found,) = evaluate(*tables).comparisons
    undefined = {f.name for f in fields(found) if getattr(found, f.name) is None}
    assert undefined == set(found.reasons)
    return found


def test_two_runs_are_compared_on_the_same_patients() -> None:
    one, two = good_cohort(80, 0.7, 1), good_cohort(80, 1.5, 5)
    tables = [make_rows(c, "test", run=r) for r, c in (("net", one), ("other", two))]
    tables += [make_rows(good_cohort(60, 0.7, 2), "validation", run=r) for r in ("net", "other")]
    found = _compared(*tables)
    labels, first, second = [y for y, _ in one], [p for _, p in one], [p for _, p in two]
    expected = paired_difference(labels, first, second)
    assert found.design == "paired"
    assert (found.difference, found.p) == (expected.value, expected.p_value)
    assert found.difference_ci95_delong == expected.interval
    assert found.p_holm == found.p
    threshold = evaluate(*tables).results[0].threshold
    assert threshold is not None
    right = [[(p >= threshold) == bool(y) for y, p in cohort] for cohort in (one, two)]
    for label, counts in (
        (1, (found.positives_only_run, found.positives_only_other)),
        (0, (found.negatives_only_run, found.negatives_only_other)),
    ):
        only = [(a, b) for (y, _), a, b in zip(one, *right, strict=True) if y == label]
        assert counts == (only.count((True, False)), only.count((False, True)))
    assert found.sensitivity_p == mcnemar_p_value(*counts_of(found, "positives"))
    assert found.specificity_p == mcnemar_p_value(*counts_of(found, "negatives"))
    # Two tests at own thresholds, one at an equal rate.
    both = (found.sensitivity_p, found.specificity_p)
    assert (found.sensitivity_p_holm, found.specificity_p_holm) == holm_adjusted(both)
    assert found.equal_rate is not None
    assert found.equal_rate_p_holm == found.equal_rate.p
    assert found.equal_rate.num_called == sum(labels)


def test_holm_counts_the_comparisons_of_all_targets() -> None:
    tables = [
        make_rows(good_cohort(80, shift, seed), "test", run=run, target=target)
        for target in ("ER", "PR")
        for run, shift, seed in (("a", 0.2, 1), ("b", 1.0, 2), ("c", 1.5, 3))
    ]
    comparisons = evaluate(*tables).comparisons
    assert [(c.target, c.run, c.other) for c in comparisons] == [
        (t, *pair) for t in ("ER", "PR") for pair in (("a", "b"), ("a", "c"), ("b", "c"))
    ]
    smallest = min(c.p for c in comparisons if c.p is not None)
    first = next(c for c in comparisons if c.p == smallest)
    assert first.p_holm == pytest.approx(6 * smallest)


def test_two_baselines_are_not_compared_with_each_other() -> None:
    runs = ("net", "baseline size", "baseline age")
    tables = [make_rows(good_cohort(40, 0.7, i), "test", run=r) for i, r in enumerate(runs)]
    pairs = [(c.run, c.other) for c in evaluate(*tables).comparisons]
    assert pairs == [("net", "baseline size"), ("net", "baseline age")]


def test_runs_on_other_patients_are_compared_without_pairing() -> None:
    other = make_rows(good_cohort(50, 1.0, 3), "test", run="other")
    other["patient_id"] = "other-" + other["patient_id"]
    found = _compared(make_rows(good_cohort(80, 0.7, 1), "test"), other)
    assert (found.design, found.correlation) == ("unpaired", 0)
    assert found.p is not None
    assert found.reasons["sensitivity_p"] == "the runs were tested on different patients"


def test_runs_on_some_of_the_same_patients_or_other_labels_are_not_compared() -> None:
    cohort = good_cohort(40, 0.7, 1)
    found = _compared(make_rows(cohort, "test"), make_rows(cohort[3:], "test", run="other"))
    assert found.design is found.difference is None
    # The rows cut off leave other labels under the same names, which must not be paired.
    assert "partly different patients" in found.reasons["difference"]
    turned = [(1 - y, p) for y, p in cohort]
    found = _compared(make_rows(cohort, "test"), make_rows(turned, "test", run="other"))
    assert "partly different labels" in found.reasons["p"]


@pytest.mark.parametrize(
    ("patients", "why"),
    [
        ([(1, 0.2), (1, 0.4)], "run net has no AUC: only one class among 2 test patients"),
        ([(1, 0.5), (0, 0.4), (0, 0.6)], "one patient of a class only"),
        ([(1, 0.9), (1, 0.8), (0, 0.1), (0, 0.2)], "these patients show no spread"),
    ],
    ids=["one class", "one positive", "separated and turned"],
)
def test_comparisons_that_mean_nothing_say_why(patients: Patients, why: str) -> None:
    turned = [(y, 1 - p) for y, p in patients]
    found = _compared(make_rows(patients, "test"), make_rows(turned, "test", run="other"))
    assert found.p is found.p_holm is None
    assert found.reasons["p"].startswith(why)
    assert found.reasons["p_holm"].startswith(why)


def test_a_probability_at_the_threshold_is_a_call_here_too() -> None:
    """Both thresholds are 0.6; only the first run puts a test positive right at it."""
    validation = [(0, 0.2), (1, 0.6)]
    first, second = [(1, 0.6), (0, 0.3), (1, 0.9)], [(1, 0.59), (0, 0.3), (1, 0.9)]
    tables = [make_rows(p, "test", run=r) for r, p in (("net", first), ("other", second))]
    tables += [make_rows(validation, "validation", run=r) for r in ("net", "other")]
    found = _compared(*tables)
    assert (found.positives_only_run, found.positives_only_other) == (1, 0)
    assert (found.negatives_only_run, found.negatives_only_other) == (0, 0)
    assert found.sensitivity_p == found.specificity_p == 1.0
