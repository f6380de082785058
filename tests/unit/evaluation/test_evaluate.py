from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings

from preprocessing.common.errors import InputError
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.published import DUKE
from radiotrain.evaluation.report.conclusions import resolvable
from radiotrain.evaluation.report.context import CohortFlow
from radiotrain.evaluation.report.metrics_json import SCHEMA_VERSION, metrics_json
from radiotrain.evaluation.results import TargetResult
from radiotrain.split.access_log import AccessRecord
from radiotrain.statistics.influence import SAMPLINGS
from radiotrain.statistics.operating_point import Confusion, wilson_interval
from radiotrain.statistics.power import smallest_area_above, smallest_difference
from tests.unit.evaluation.small_tables import (
    PATIENTS,
    TEST,
    VALIDATION,
    Patients,
    evaluate,
    good_cohort,
    make_rows,
    strict_json,
)


def evaluate_one(test: Patients, validation: Patients = VALIDATION) -> TargetResult:
    tables = [make_rows(test, "test"), make_rows(validation, "validation")]
    result = evaluate(*(t for t in tables if len(t))).results[0]
    assert_undefined_values_have_a_reason(result)
    return result


def assert_undefined_values_have_a_reason(result: TargetResult) -> None:
    undefined = {f.name for f in fields(result) if getattr(result, f.name) is None}
    assert set(result.reasons) == undefined
    assert all(result.reasons.values())


def test_numbers_of_a_small_cohort_are_those_counted_by_hand() -> None:
    """Validation: calling 0.6 and up positive finds 2 of 3 and clears 2 of 2, J = 2/3.

    0.35 and up finds 3 of 3 and clears 1 of 2, J = 1/2; no other does better than 2/3.
    Test: 0.3 beats 0.2; 0.6 beats 0.2; 0.9 beats both: 4 of 6 pairs.
    """
    result = evaluate_one(TEST)
    assert result.threshold == 0.6
    assert result.confusion == Confusion(tp=2, fp=1, tn=1, fn=1)
    assert result.auc == pytest.approx(4 / 6)
    assert result.auc_validation == pytest.approx(5 / 6)
    assert result.sensitivity == pytest.approx(2 / 3)
    assert result.specificity == pytest.approx(1 / 2)
    assert result.prevalence == pytest.approx(3 / 5)
    assert result.brier == pytest.approx((0.04 + 0.49 + 0.49 + 0.16 + 0.01) / 5)
    # From the highest score down, precision at each positive found: 1/1, 2/3, 3/4.
    assert result.auc_pr == pytest.approx((1 / 1 + 2 / 3 + 3 / 4) / 3)
    assert result.sensitivity_ci95 == pytest.approx((0.20765960, 0.93850764), abs=1e-6)
    assert result.threshold_source == "validation, Youden, n=5 (3 positive)"
    assert (result.num_patients, result.num_positive) == (5, 3)
    assert (result.num_validation, result.num_validation_positive) == (5, 3)
    # As few patients as these resolve nothing: the normal approximation's error of 0.5 is 0.29.
    why = "no AUC up to 1 would do with 3 positive, 2 negative"
    assert result.reasons == {
        "detectable_auc": why,
        "detectable_auc_corrected": why,
        "detectable_difference": why,
        "ece": "5 patients make one bin, and two are needed (of 10 each)",
    }


@pytest.mark.parametrize("label", [0, 1])
def test_test_patients_of_one_class_have_no_auc_but_a_brier_score(label: int) -> None:
    result = evaluate_one([(label, 0.2), (label, 0.7), (label, 0.9)])
    assert result.auc is None
    assert result.auc_ci95_delong is None
    assert result.auc_ci95_bootstrap is None
    assert result.auc_ci95 is result.brier_ci95 is None
    assert result.auc_pr is None
    assert result.reasons["auc"] == "only one class among 3 test patients"
    assert result.prevalence == label
    assert result.brier is not None
    missing, there = (
        ("sensitivity", "specificity") if label == 0 else ("specificity", "sensitivity")
    )
    kind = "positive" if label == 0 else "negative"
    assert getattr(result, missing) is None
    assert result.reasons[missing] == f"no {kind} among 3 test patients"
    assert getattr(result, there) is not None


@pytest.mark.parametrize(("label", "kind"), [(1, "positive"), (0, "negative")])
def test_one_patient_of_a_class_has_an_auc_without_an_interval(label: int, kind: str) -> None:
    result = evaluate_one([(label, 0.5), (1 - label, 0.2), (1 - label, 0.7)])
    assert result.auc == 0.5
    assert result.auc_ci95_delong is None
    assert result.auc_ci95_bootstrap is None
    for name in ("auc_ci95", "auc_ci95_delong", "auc_pr_ci95_population"):
        assert result.reasons[name].startswith(f"one {kind} patient only")
    assert result.sensitivity is not None
    assert result.specificity is not None


def test_all_tied_is_an_auc_of_a_half_without_an_interval() -> None:
    result = evaluate_one([(0, 0.5), (1, 0.5), (0, 0.5), (1, 0.5)])
    assert result.auc == 0.5
    assert result.auc_ci95_delong is None
    for name in ("auc_ci95", "auc_ci95_bootstrap", "auc_pr_ci95_within_classes"):
        assert "all probabilities are tied" in result.reasons[name]
    # Average precision is then the share of positives, which another sample has another of:
    # its error is sqrt(1/3 / 4), Student's t of 3 degrees 3.182, on the logit 4 times that.
    assert result.auc_pr_ci95_population == pytest.approx((0.02473, 0.97527), abs=1e-4)
    assert "all patients have the same squared" in result.reasons["brier_ci95_population"]


@pytest.mark.parametrize(("positive", "area"), [(0.9, 1.0), (0.1, 0.0)])
def test_perfect_separation_has_an_auc_with_one_bound(positive: float, area: float) -> None:
    result = evaluate_one([(0, 0.5), (0, 0.4), (1, positive), (1, positive)])
    assert result.auc == area
    assert result.auc_ci95_delong is None
    assert result.auc_ci95_bootstrap is None
    assert "the classes do not overlap" in result.reasons["auc_ci95_delong"]
    assert result.auc_ci95 is not None
    low, high = result.auc_ci95
    assert (high == 1.0 and 0 < low < 1) if area else (low == 0.0 and 0 < high < 1)


def test_the_interval_shown_is_that_of_the_sampling() -> None:
    """A constant beside some noise: with another share of positives the score is another one."""
    table = make_rows(good_cohort(60, 0.5, 1), "test")
    for sampling in SAMPLINGS:
        evaluation = evaluate_table(table, num_resamples=100, sampling=sampling)
        (result,) = evaluation.results
        name = sampling.replace(" ", "_")
        assert evaluation.sampling == result.sampling == sampling
        assert result.brier_ci95 == getattr(result, f"brier_ci95_{name}")
        assert result.auc_pr_ci95 == getattr(result, f"auc_pr_ci95_{name}")
        assert result.brier_ci95_population != result.brier_ci95_within_classes
        document = strict_json(evaluation)
        assert document["sampling"] == document["runs"]["net"]["ER"]["sampling"] == sampling
    with pytest.raises(InputError, match="sampling is 'clinic', expected one of population"):
        evaluate_table(table, sampling="clinic")  # type: ignore[arg-type]


def test_without_test_rows_only_the_threshold_is_known() -> None:
    evaluation = evaluate(make_rows(VALIDATION, "validation"))
    result = evaluation.results[0]
    assert_undefined_values_have_a_reason(result)
    assert result.threshold == 0.6
    assert result.num_patients == result.num_predictions == 0
    assert result.confusion is None
    assert result.reasons["auc"] == "no test patient with a known label"
    assert any("nothing was tested" in w for w in evaluation.warnings)


@pytest.mark.parametrize(
    ("validation", "why"),
    [
        ([], "no validation patient with a known label"),
        ([(1, 0.4), (1, 0.6)], "only one class among 2 validation patients"),
        ([(-1, 0.4), (-1, 0.6)], "no validation patient with a known label"),
    ],
    ids=["no rows", "one class", "labels missing"],
)
def test_without_a_threshold_from_validation_nothing_is_called(
    validation: Patients, why: str
) -> None:
    result = evaluate_one(TEST, validation)
    assert result.auc == pytest.approx(4 / 6)
    assert result.threshold is None
    assert result.reasons["threshold"] == why
    assert result.sensitivity is None
    assert result.sensitivity_ci95 is None
    assert result.confusion is None
    assert result.reasons["specificity_ci95"] == f"no threshold: {why}"


def test_the_test_patients_have_no_part_in_the_threshold() -> None:
    turned = [(label, 1 - probability) for label, probability in TEST]
    assert evaluate_one(turned).threshold == evaluate_one(TEST).threshold


def test_missing_labels_are_left_out_and_counted() -> None:
    with_missing = [*TEST, (-1, 0.99), (-1, 0.01)]
    validation = [*VALIDATION, (-1, 0.95)]
    result = evaluate_one(with_missing, validation)
    complete = asdict(evaluate_one(TEST))
    assert result.num_missing_label == 2
    assert asdict(result) == complete | {"num_missing_label": 2}


def test_a_patient_of_several_folds_counts_once_with_the_mean_probability() -> None:
    folds = [[(0, 0.2), (1, 0.3), (1, 0.9)], [(0, 0.8), (1, 0.7), (1, 0.5)]]
    tables = [make_rows(f, "test", fold=i) for i, f in enumerate(folds)]
    validation = make_rows(VALIDATION, "validation", fold=0)
    result = evaluate(*tables, validation).results[0]
    assert (result.num_patients, result.num_positive, result.num_predictions) == (3, 2, 2)
    # Means are 0.5 for the negative and 0.5 and 0.7 for the positives: one tie, one win.
    assert result.auc == 0.75
    assert result.brier == pytest.approx((0.25 + 0.25 + 0.09) / 3)


def test_folds_that_predict_different_test_patients_are_warned_about() -> None:
    tables = [make_rows(TEST, "test", fold=0), make_rows(TEST[:3], "test", fold=1)]
    evaluation = evaluate(*tables, make_rows(VALIDATION, "validation", fold=0))
    assert any("have 1 to 2 predictions each" in w for w in evaluation.warnings)


def not_corrected(result: TargetResult) -> TargetResult:
    """Return a result without what depends on how many others there are."""
    reasons = {k: v for k, v in result.reasons.items() if k != "detectable_auc_corrected"}
    return replace(result, permutation_p_holm=None, detectable_auc_corrected=None, reasons=reasons)


def test_each_run_and_target_is_evaluated_on_its_own() -> None:
    alone = evaluate(make_rows(TEST, "test"), make_rows(VALIDATION, "validation")).results[0]
    others = [
        make_rows(TEST[::-1], "test", run="other"),
        make_rows([(0, 0.1), (1, 0.2)], "test", target="PR"),
    ]
    evaluation = evaluate(*others, make_rows(TEST, "test"), make_rows(VALIDATION, "validation"))
    assert [(r.run, r.target) for r in evaluation.results] == [
        ("other", "ER"),
        ("net", "PR"),
        ("net", "ER"),
    ]
    assert not_corrected(evaluation.results[2]) == not_corrected(alone)


def test_same_seed_same_result_and_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    test = [(int(i % 3 == 0), float(p)) for i, p in enumerate(rng.uniform(size=40))]
    table = pd.concat([make_rows(test, "test"), make_rows(VALIDATION, "validation")])
    first = evaluate(table, seed=4)
    assert evaluate(table.sample(frac=1, random_state=1), seed=4) == first
    other = evaluate(table, seed=5).results[0]
    assert other.auc_ci95_bootstrap != first.results[0].auc_ci95_bootstrap
    assert other.auc_ci95_delong == first.results[0].auc_ci95_delong


def test_progress_is_told_after_each_result() -> None:
    told: list[None] = []
    table = pd.concat([make_rows(TEST, "test", target=t) for t in ("ER", "PR", "HER2")])
    evaluate_table(table, num_resamples=100, on_result=lambda: told.append(None))
    assert len(told) == 3


def test_too_few_resamples_for_a_95_percent_interval_are_refused() -> None:
    with pytest.raises(InputError, match="num_resamples is 99, expected 100 or more"):
        evaluate_table(make_rows(TEST, "test"), num_resamples=99)


@settings(max_examples=40, deadline=None)
@given(PATIENTS, PATIENTS)
def test_whatever_is_undefined_has_a_reason_and_is_null_in_strict_json(
    test: Patients, validation: Patients
) -> None:
    tables = [make_rows(test, "test"), make_rows(validation, "validation")]
    filled = [t for t in tables if len(t)]
    if not filled:
        return
    evaluation = evaluate(*filled)
    result = evaluation.results[0]
    assert_undefined_values_have_a_reason(result)
    written = strict_json(evaluation)["runs"]["net"]["ER"]
    assert {k for k, v in written.items() if v is None} == set(result.reasons)
    for name in ("auc", "auc_ci95_delong", "auc_ci95_bootstrap", "sensitivity", "brier"):
        value = getattr(result, name)
        assert value is None or np.array_equal(np.clip(value, 0, 1), value)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_probability_that_is_no_number_is_refused(bad: float) -> None:
    with pytest.raises(InputError, match="expected a number from 0 to 1"):
        evaluate(make_rows([*TEST, (1, bad)], "test"))


def test_a_row_that_comes_twice_is_refused_rather_than_counted_twice() -> None:
    rows = make_rows(TEST, "test")
    with pytest.raises(InputError, match="rows 1 and 6 both predict patient 'test-000'"):
        evaluate(rows, rows.iloc[:1])


def test_probabilities_one_rounding_step_apart_are_told_apart() -> None:
    above = math.nextafter(0.5, 1)
    result = evaluate_one([(0, 0.5), (1, above)], [(0, 0.5), (1, above)])
    assert (result.auc, result.threshold) == (1.0, above)
    assert result.confusion == Confusion(tp=1, fp=0, tn=1, fn=0)


def test_what_the_test_set_resolves_is_said_in_words() -> None:
    """By the Hanley-McNeil variance, as in tests/reference/test_power.py."""
    result = evaluate_one(good_cohort(80, 0.7, 1), good_cohort(80, 0.7, 2))
    least, area = smallest_area_above(0.5, 40, 40), result.auc
    assert area is not None
    gain = smallest_difference(area, 40, 40, 0.5)
    assert (result.detectable_auc, result.detectable_difference) == (least, gain)
    words = resolvable(result)
    assert f"Minimum detectable AUC (80% power, two-sided 5%, one test): {least:.3f}." in words
    assert f"on the same patients: {gain:.3f} (if the two AUCs correlate by 0.5)" in words


def test_too_few_patients_resolve_nothing_and_say_so() -> None:
    cohort = [(0, 0.1), (0, 0.4), (1, 0.3), (1, 0.6)]
    assert "No AUC, however high" in resolvable(evaluate_one(cohort, cohort))
    alone = evaluate_one([(1, 0.4), (1, 0.6)])
    assert resolvable(alone).startswith("No difference can be judged: only one class")


def test_metrics_are_kept_by_run_and_target() -> None:
    tables = [
        make_rows(TEST, "test"),
        make_rows(VALIDATION, "validation"),
        make_rows([(0, 0.5), (0, 0.6)], "test", target="PR"),
        make_rows(TEST, "test", run="other"),
    ]
    evaluation = evaluate(*tables)
    document = strict_json(evaluation, {"flow": None})
    assert {run: set(targets) for run, targets in document["runs"].items()} == {
        "net": {"ER", "PR"},
        "other": {"ER"},
    }
    values = document["runs"]["net"]["ER"]
    assert set(values) == {f.name for f in fields(TargetResult)} - {"run", "target"}
    assert set(values) >= {
        "num_patients",
        "num_positive",
        "auc",
        "auc_ci95_delong",
        "auc_ci95_bootstrap",
        "sensitivity",
        "specificity",
        "threshold",
    }
    result = evaluation.results[0]
    assert values["auc"] == result.auc
    assert result.auc_ci95_delong is not None
    assert values["auc_ci95_delong"] == list(result.auc_ci95_delong)
    assert values["confusion"] == {"tp": 2, "fp": 1, "tn": 1, "fn": 1}
    assert document["runs"]["net"]["PR"]["auc"] is None
    assert document["runs"]["net"]["PR"]["reasons"]["auc"] == "only one class among 2 test patients"
    assert document["bootstrap"] == {"seed": 0, "num_resamples": 200}
    assert document["warnings"] == list(evaluation.warnings)
    assert document["flow"] is None
    assert document["published"] == []
    of_duke = strict_json(replace(evaluation, cohort=DUKE))
    assert [row["target"] for row in of_duke["published"]] == ["ER"] * 3 + ["PR"] * 3


def _keys(document: Any) -> Iterator[str]:
    """Every key of nested JSON, but for names that are data."""
    if isinstance(document, list):
        for value in document:
            yield from _keys(value)
    if isinstance(document, dict):
        for key, value in document.items():
            yield key
            if key == "runs":
                yield from _keys([v for targets in value.values() for v in targets.values()])
            elif key not in {"reasons", "provenance"}:
                yield from _keys(value)


def test_the_document_of_metrics_json_names_every_key() -> None:
    document = Path(__file__).parents[3].joinpath("docs", "metrics-json.md").read_text("utf-8")
    tables = [
        make_rows(TEST, "test"),
        make_rows(VALIDATION, "validation"),
        make_rows(TEST[::-1], "test", run="other"),
    ]
    extra = {"flow": {}, "openings": [], "provenance": {}, "shortcuts": None}
    kept = strict_json(evaluate(*tables), extra)
    assert kept["schema_version"] == SCHEMA_VERSION == 4
    missing = {key for key in _keys(kept) if f"`{key}`" not in document}
    assert missing == set()
    flow = {"`" + f.name + "`" for f in [*fields(CohortFlow), *fields(AccessRecord)]}
    assert all(name in document for name in flow)


def test_every_undefined_value_of_points_recalibrations_and_comparisons_has_a_reason() -> None:
    tables = [make_rows(TEST, "test"), make_rows(TEST, "test", run="other")]
    evaluation = evaluate(*tables)
    first, (compared,) = evaluation.results[0], evaluation.comparisons
    for found in (*first.operating_points, *first.recalibrations, compared):
        undefined = {f.name for f in fields(found) if getattr(found, f.name) is None}
        assert undefined == set(found.reasons)
        assert all(found.reasons.values())
    assert {p.rule for p in first.operating_points} == {"Youden", "sensitivity 0.90"}
    assert (compared.difference, compared.p, compared.p_holm) == (0.0, 1.0, 1.0)
    assert "rank the patients alike" in compared.note
    assert compared.reasons["sensitivity_p"].startswith(
        "run net has no threshold: no validation patient"
    )


def test_a_threshold_of_a_fixed_sensitivity_is_chosen_on_validation() -> None:
    """Of three validation positives 0.35, 0.6 and 0.8, nine in ten are all three."""
    point = evaluate_one(TEST).operating_points[1]
    assert (point.rule, point.threshold) == ("sensitivity 0.90", 0.35)
    assert point.source == "validation, sensitivity 0.90, n=5 (3 positive)"
    # 0.6, 0.7 and 0.9 are called positive, 0.2 and 0.3 negative.
    assert point.confusion == Confusion(tp=2, fp=1, tn=1, fn=1)
    assert (point.ppv, point.npv) == (pytest.approx(2 / 3), 0.5)
    assert point.ppv_ci95 == pytest.approx(wilson_interval(2, 3))
    assert point.npv_ci95 == pytest.approx(wilson_interval(1, 2))


def test_nobody_called_positive_has_no_ppv_but_an_npv() -> None:
    point = evaluate_one([(0, 0.1), (1, 0.2)]).operating_points[0]
    assert (point.ppv, point.npv) == (None, 0.5)
    assert point.reasons["ppv"] == "nobody is called positive among 2 test patients"


def test_json_refuses_what_is_no_number_rather_than_write_it() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        metrics_json(evaluate(make_rows(TEST, "test")), {"provenance": {"loss": math.nan}})


def test_a_sound_and_modest_result_gets_no_warning() -> None:
    tables = [
        make_rows(good_cohort(80, 0.7, 1), "test"),
        make_rows(good_cohort(80, 0.7, 2), "validation"),
    ]
    evaluation = evaluate(*tables)
    assert evaluation.warnings == ()


@pytest.mark.parametrize(
    ("target", "test", "validation", "words"),
    [
        ("ER", good_cohort(80, 3.0, 1), good_cohort(80, 3.0, 2), "Check for a leak"),
        (
            "ER",
            good_cohort(80, -2.0, 1),
            good_cohort(80, 0.7, 2),
            "Check whether labels or probabilities are inverted",
        ),
        ("HER2", good_cohort(80, 0.5, 1), good_cohort(80, 4.0, 2), "is higher than the test AUC"),
        ("HER2", good_cohort(12, 0.7, 1), good_cohort(80, 0.7, 2), "6 positive and 6 negative"),
        ("HER2", good_cohort(80, 0.7, 1), good_cohort(12, 0.7, 2), "few validation patients"),
        ("HER2", good_cohort(80, 0.7, 1), [(1, 0.1), (0, 0.9)] * 10, "treating all as positive"),
        ("HER2", good_cohort(80, 0.7, 1), [], "no operating point"),
    ],
)
def test_what_a_careful_reader_should_know_is_warned_about(
    target: str, test: Patients, validation: Patients, words: str
) -> None:
    tables = [make_rows(test, "test", target=target)]
    if validation:
        tables.append(make_rows(validation, "validation", target=target))
    warnings = evaluate(*tables).warnings
    assert any(words in w for w in warnings), warnings
    others = [w for w in warnings if not w.startswith(f"{target}, run net: ")]
    assert all(w.startswith("No p of the result can be below 0.05") for w in others)


def test_few_patients_whose_interval_alone_is_below_a_half_are_not_called_inverted() -> None:
    """DeLong's interval ends at 0.167 + 0.327 = 0.493, and was shown once; of 28 ways to deal the labels out 8 are as far from 0.5."""
    patients = [(1, 0.95), *((1, 0.1 * k) for k in range(1, 6)), (0, 0.8), (0, 0.9)]
    evaluation = evaluate(make_rows(patients, "test", target="HER2"))
    (result,) = evaluation.results
    assert result.auc_ci95 is not None
    assert result.auc_ci95_delong is not None
    assert result.auc_ci95_delong[1] < 0.5 < result.auc_ci95[1]
    assert result.permutation_p == pytest.approx(8 / 28, abs=0.12)
    assert not any("inverted" in w for w in evaluation.warnings)


def test_patients_tested_for_one_target_and_trained_on_for_another_are_warned_about() -> None:
    er, pr = make_rows(TEST, "test"), make_rows(TEST, "train", target="PR")
    pr["patient_id"] = er["patient_id"]
    warnings = evaluate(er, pr).warnings
    assert any("5 patients are tested for one target but used in training" in w for w in warnings)


def test_runs_tested_on_different_patients_are_not_compared_silently() -> None:
    tables = [make_rows(TEST, "test"), make_rows(TEST[1:], "test", run="other")]
    warnings = evaluate(*tables).warnings
    assert any("tested on different patients" in w for w in warnings)
    assert any("2 runs" in w and "tested on the same question" in w for w in warnings)
    same = evaluate(tables[0], make_rows(TEST, "test", run="other")).warnings
    assert not any("tested on different patients" in w for w in same)


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ((0.0, 1.0), "test probabilities are 0 or 1 only, as classes are (hard labels)"),
        ((0.2, 0.8), "test probabilities are 0.2 or 0.8 only"),
        ((0.5, 0.5), "all test probabilities are 0.5, so patients are not ranked"),
        ((0.0, 0.5, 1.0), ""),
    ],
)
def test_classes_in_the_place_of_probabilities_are_named(
    levels: tuple[float, ...], words: str
) -> None:
    patients = [(i % 2, levels[(i // 3) % len(levels)]) for i in range(30)]
    said = " ".join(evaluate(make_rows(patients, "test")).warnings)
    assert words in said
    assert ("hard labels" in said) == (len(set(levels)) == 2)


def test_classes_of_folds_are_named_although_their_mean_has_more_values() -> None:
    folds = [
        make_rows([(i % 2, float((i + k) % 3 == 0)) for i in range(30)], "test", fold=k)
        for k in range(3)
    ]
    evaluation = evaluate(*folds)
    assert "hard labels" in " ".join(evaluation.warnings)
