from __future__ import annotations

from dataclasses import replace

import pandas as pd
import pytest

from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.run_pairs import MOST_ALL_PAIRS, choose_pairs
from tests.unit.evaluation.small_tables import evaluate, good_cohort, make_rows


def _result(run: str, validation: float | None, auc: float = 0.7) -> TargetResult:
    return TargetResult(run, "ER", 40, 20, 0, 1, 20, 10, auc=auc, auc_validation=validation)


def _table(configurations: dict[str, str]) -> pd.DataFrame:
    rows = [{"run": run, "configuration": name} for run, name in configurations.items()]
    return pd.DataFrame(rows, columns=["run", "configuration"])


def _many(num: int) -> list[TargetResult]:
    """The best on test, net0, is the worst on validation; net3 is the best there."""
    return [
        _result(f"net{i}", 0.5 + (0.2 if i == 3 else 0.001 * i), 0.9 - 0.01 * i) for i in range(num)
    ]


def test_all_pairs_of_ten_runs_are_compared() -> None:
    (chosen,) = choose_pairs(_table({}), _many(MOST_ALL_PAIRS))
    assert (len(chosen.pairs), chosen.note) == (45, "")


def test_more_runs_are_compared_with_the_best_on_validation_only() -> None:
    (chosen,) = choose_pairs(_table({}), _many(11))
    assert chosen.references == ("net3",)
    assert len(chosen.pairs) == 10
    assert all("net3" in (a.run, b.run) for a, b in chosen.pairs)
    assert chosen.note.startswith("ER: 10 of 55 pairs of runs are compared.")
    assert "compared with net3 only (the best on validation, AUC 0.700)" in chosen.note


def test_the_choice_does_not_look_at_the_test_set() -> None:
    turned = [replace(r, auc=1 - (r.auc or 0)) for r in _many(11)]
    (before,), (after,) = choose_pairs(_table({}), _many(11)), choose_pairs(_table({}), turned)
    assert before.references == after.references


@pytest.mark.parametrize(
    ("primary", "references"), [({("net7", "ER")}, ("net7", "net3")), ({("net7", "PR")}, ("net3",))]
)
def test_the_primary_run_is_a_reference_too(
    primary: set[tuple[str, str]], references: tuple[str, ...]
) -> None:
    (chosen,) = choose_pairs(_table({}), _many(12), frozenset(primary))
    assert chosen.references == references
    assert len(chosen.pairs) == (21 if len(references) == 2 else 11)


def test_baselines_do_not_count_and_meet_the_references_only() -> None:
    baselines = [_result(f"baseline size {i}", 0.99) for i in range(5)]
    (few,) = choose_pairs(_table({}), [*_many(10), *baselines])
    assert len(few.pairs) == 45 + 50
    (many,) = choose_pairs(_table({}), [*_many(11), *baselines])
    assert many.references == ("net3",)
    assert len(many.pairs) == 10 + 5


def test_an_ensemble_stands_for_its_members() -> None:
    members = {f"net{i}": "A" for i in range(11)}
    results = [*_many(11), _result("A, mean of 11", 0.6), _result("other", 0.55)]
    (chosen,) = choose_pairs(_table({**members, "A, mean of 11": "A", "other": ""}), results)
    assert chosen.references == ("A, mean of 11",)
    assert [(a.run, b.run) for a, b in chosen.pairs] == [("A, mean of 11", "other")]


def test_without_validation_the_first_of_the_table_is_the_reference() -> None:
    (chosen,) = choose_pairs(_table({}), [_result(f"net{i}", None) for i in range(11)])
    assert chosen.references == ("net0",)
    assert "the first of the table, as no run has a validation AUC" in chosen.note


def test_the_evaluation_says_how_many_pairs_were_left_out() -> None:
    tables = [
        make_rows(good_cohort(30, 0.5, i), split, run=f"net{i:02d}")
        for i in range(11)
        for split in ("test", "validation")
    ]
    evaluation = evaluate(*tables)
    assert len(evaluation.comparisons) == 10
    assert any("10 of 55 pairs of runs are compared" in w for w in evaluation.warnings)
