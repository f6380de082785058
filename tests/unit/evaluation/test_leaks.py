"""Leaks that show in a predictions table alone."""

from __future__ import annotations

import io

import pandas as pd
import pytest

from radiotrain.evaluation.leak_checks import check_table, leaks_csv
from radiotrain.evaluation.predictions import validate_predictions
from tests.unit.evaluation.small_tables import TEST, VALIDATION, evaluate, make_rows


def checks(*tables: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Outcome and findings of each check, by the first words of its question."""
    table = validate_predictions(pd.concat(tables, ignore_index=True))
    return {
        " ".join(check.question.split()[:2]): (check.outcome, *check.findings)
        for check in check_table(table)
    }


def test_an_honest_table_is_clear() -> None:
    found = checks(make_rows(VALIDATION, "validation"), make_rows(TEST, "test"))
    assert found == {
        "A patient": ("clear",),
        "One patient": ("clear",),
        "The threshold": ("clear",),
    }


def test_runs_of_different_splits_are_named() -> None:
    theirs = make_rows(TEST, "test", run="theirs").assign(patient_id=lambda t: "x" + t.patient_id)
    ours = make_rows(VALIDATION, "validation").assign(patient_id=theirs["patient_id"])
    check = check_table(
        validate_predictions(pd.concat([ours, make_rows(TEST, "test"), theirs], ignore_index=True))
    )[0]
    assert check.outcome == "found"
    (finding,) = check.findings
    assert finding.startswith(
        "Leak: run net was trained or validated on 5 test patients of run theirs."
    )
    # The sentence names no patient, as it goes into pages; the table of leaks does.
    assert check.patients == (tuple(sorted(theirs["patient_id"])),)
    assert not any(patient in finding for patient in theirs["patient_id"])
    named = pd.read_csv(io.StringIO(leaks_csv([check])))
    assert named["patient_id"].tolist() == sorted(theirs["patient_id"])
    assert "patients" not in check.to_json()


@pytest.mark.parametrize(
    ("tested", "seen"), [("P-007", "p7"), ("Breast_MRI_001", "BREAST MRI 1"), ("Jürgen", "JÜRGEN")]
)
def test_a_patient_under_another_spelling_is_named(tested: str, seen: str) -> None:
    test, validation = make_rows(TEST, "test"), make_rows(VALIDATION, "validation")
    test.loc[2, "patient_id"] = tested
    validation.loc[1, "patient_id"] = seen
    check = check_table(validate_predictions(pd.concat([test, validation], ignore_index=True)))[1]
    assert check.outcome == "found"
    assert check.patients == ((tested, seen),)
    assert "1 test patient is" in check.findings[0]


def test_a_test_patient_under_two_spellings_is_named() -> None:
    test = make_rows(TEST, "test")
    test.loc[:2, "patient_id"] = ["001", "1", "1.0"]
    check = check_table(validate_predictions(test))[1]
    assert check.findings[0].startswith("1 test patient is in the table under two spellings")
    assert {*check.patients[0]} == {"001", "1", "1.0"}


def test_runs_that_write_the_ids_of_their_patients_differently_are_not_compared() -> None:
    one, two = make_rows(TEST, "test"), make_rows(TEST, "test", run="other")
    one["patient_id"], two["patient_id"] = (
        [f"{i:03d}" for i in range(5)],
        [str(i) for i in range(5)],
    )
    (comparison,) = evaluate(one, two).comparisons
    assert comparison.design is None
    assert comparison.reasons["p"] == "the runs write the ids of the same test patients differently"


@pytest.mark.parametrize(("tested", "seen"), [("P10", "P1"), ("P12", "P1-2"), ("A1", "B1")])
def test_other_patients_are_no_spellings(tested: str, seen: str) -> None:
    test, validation = make_rows(TEST, "test"), make_rows(VALIDATION, "validation")
    test.loc[2, "patient_id"] = tested
    validation.loc[1, "patient_id"] = seen
    assert checks(test, validation)["One patient"] == ("clear",)


def test_test_rows_copied_from_validation_under_other_ids_are_a_leak() -> None:
    evaluation = evaluate(make_rows(TEST, "validation"), make_rows(TEST, "test"))
    check = evaluation.leak_checks[-1]
    assert check.outcome == "found"
    assert "5 of 5 test predictions" in check.findings[0]
    assert evaluation.warnings[0] == check.findings[0]


def test_saturated_and_shared_probabilities_are_no_copies() -> None:
    patients = [(0, 0.0)] * 6 + [(1, 1.0)] * 6 + [(1, 0.5)] * 4
    found = checks(make_rows(patients, "validation"), make_rows(patients, "test"))
    assert found["The threshold"] == ("clear",)


def test_a_model_of_few_levels_repeats_itself_without_a_leak() -> None:
    """As trees on one column do; so it was on real patients."""
    levels = [0.1, 0.2, 0.3, 0.4, 0.5]
    shared = [(label, p) for p in (0.7, 0.8, 0.9) for label in (0, 1) for _ in range(2)]
    patients = [*((1, p) for p in levels), *shared]
    found = checks(make_rows(patients, "validation"), make_rows(patients, "test"))
    assert found["The threshold"] == ("clear",)


def test_without_validation_it_says_that_nothing_could_be_looked_for() -> None:
    assert checks(make_rows(TEST, "test"))["The threshold"][0] == "not done"
