from __future__ import annotations

import csv
import io
import re

import pandas as pd
import pytest

from radiotrain.evaluation.report.checklists.fill import (
    Filled,
    checklists_csv,
    fill_checklists,
    read_items,
)
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.results import Evaluation
from tests.unit.evaluation.full_context import make_context, make_model
from tests.unit.evaluation.small_tables import TEST, VALIDATION, evaluate, make_rows

NAMES = ("CLAIM 2024", "TRIPOD+AI", "STARD-AI", "PROBAST+AI", "METRICS")


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(make_rows(TEST, "test"), make_rows(VALIDATION, "validation"))


def by_name(evaluation: Evaluation, context: ReportContext) -> dict[str, Filled]:
    return {filled.name: filled for filled in fill_checklists(evaluation, context)}


def by_of(filled: Filled, number: str) -> str:
    return next(answer.by for item, answer in filled.items if item.number == number)


def test_lists_have_the_published_numbers_of_items() -> None:
    """CLAIM 2024: 44. TRIPOD+AI: 27 with 52 subitems. STARD-AI: 40 with 48. PROBAST+AI: 16 and 18.
    METRICS: 30, weights of Table 1."""
    _, _, claim = read_items("claim_2024.yaml")
    assert [item.number for item in claim] == [str(k) for k in range(1, 45)]
    _, _, tripod = read_items("tripod_ai.yaml")
    assert len(tripod) == len({item.number for item in tripod}) == 52
    main = list(dict.fromkeys(int(re.sub(r"\D", "", item.number)) for item in tripod))
    assert main == list(range(1, 28))
    _, _, stard = read_items("stard_ai.yaml")
    assert len(stard) == len({item.number for item in stard}) == 48
    main = list(dict.fromkeys(int(re.sub(r"\D", "", item.number)) for item in stard))
    assert main == list(range(1, 41))
    _, _, probast = read_items("probast_ai.yaml")
    parts = [sum(item.number.startswith(part) for item in probast) for part in "DE"]
    assert parts == [16, 18]
    assert len({item.number for item in probast}) == 34
    _, _, metrics = read_items("metrics_2024.yaml")
    assert [item.number for item in metrics] == [str(k) for k in range(1, 31)]
    assert sum(item.weight or 0 for item in metrics) == pytest.approx(1, abs=1e-9)


def test_a_table_alone_answers_little_and_a_full_context_much_more(evaluation: Evaluation) -> None:
    alone = by_name(evaluation, ReportContext())
    full = by_name(evaluation, make_context())
    assert tuple(alone) == tuple(full) == NAMES
    for name in NAMES:
        assert alone[name].count("run") <= 0.2 * len(alone[name].items)
        assert full[name].count("run") > alone[name].count("run")
        # What is known does not become unknown when more is.
        known = {i.number for i, a in alone[name].items if a.by == "run"}
        assert known <= {i.number for i, a in full[name].items if a.by == "run"}


def test_without_a_result_nothing_is_answered() -> None:
    empty = evaluate(make_rows([(1, 0.2), (1, 0.4)], "test"))
    for filled in fill_checklists(empty, ReportContext()):
        assert filled.count("author") == len(filled.items)


def test_nothing_counts_as_done_by_default(evaluation: Evaluation) -> None:
    for context in (ReportContext(), make_context()):
        for filled in fill_checklists(evaluation, context):
            for item, answer in filled.items:
                assert not item.key or answer.by != "run" or answer.text
                if answer.by != "run":
                    assert answer.met is None
                if answer.met is not None:
                    assert answer.text


@pytest.mark.parametrize("number", ["1", "2", "5", "11", "15", "34", "44"])
def test_what_no_run_can_know_is_for_the_author(evaluation: Evaluation, number: str) -> None:
    assert by_of(by_name(evaluation, make_context())["CLAIM 2024"], number) == "author"


def test_an_external_test_is_denied_and_not_credited(evaluation: Evaluation) -> None:
    metrics = by_name(evaluation, make_context())["METRICS"]
    answer = next(answer for item, answer in metrics.items if item.number == "27")
    assert answer.by == "run"
    assert answer.met is False


def test_a_network_with_covariates_has_a_table_of_features(evaluation: Evaluation) -> None:
    images = by_name(evaluation, make_context())["METRICS"]
    beside = by_name(evaluation, make_context(make_model(covariates=("age",))))["METRICS"]
    assert by_of(images, "14") == "not applicable"
    assert by_of(beside, "14") == "author"


def test_baselines_count_as_comparisons_only_where_there_are_some(evaluation: Evaluation) -> None:
    tables = [
        make_rows(patients, split, run=run)
        for run in ("net", "baseline clinical (logistic)")
        for patients, split in ((TEST, "test"), (VALIDATION, "validation"))
    ]
    beside = by_name(evaluate(*tables), ReportContext())["METRICS"]
    assert by_of(beside, "24") == by_of(beside, "25") == "run"
    assert by_of(by_name(evaluation, ReportContext())["METRICS"], "24") == "author"
    only = by_name(evaluate(*tables[2:]), ReportContext())["METRICS"]
    assert by_of(only, "25") == "author"


def test_no_score_is_given_and_the_weight_answered_is_that_of_the_items(
    evaluation: Evaluation,
) -> None:
    filled = by_name(evaluation, make_context())
    metrics = filled["METRICS"]
    known = done = applies = 0.0
    for item, answer in metrics.items:
        weight = item.weight or 0.0
        if answer.by != "not applicable":
            applies += weight
        if answer.met is not None:
            known += weight
        if answer.met:
            done += weight
    assert f"{known:.2f} of the weight of {applies:.2f}" in metrics.score_sentence
    assert f"weigh {done:.2f}" in metrics.score_sentence
    assert "No score" in metrics.score_sentence
    assert done < known
    assert filled["CLAIM 2024"].score_sentence == ""


def test_the_summary_counts_every_item_once(evaluation: Evaluation) -> None:
    for filled in fill_checklists(evaluation, make_context()):
        counts = [int(n) for n in re.findall(r"(\d+) (?:of|for|not)", filled.summary)]
        assert sum(counts) == len(filled.items)


def test_every_key_of_a_list_is_an_answer_that_something_gives() -> None:
    """A key misspelt in a list would silently stay with the author."""
    tables = [
        make_rows(patients, split, run=run)
        for run in ("net", "baseline clinical (logistic)")
        for patients, split in ((TEST, "test"), (VALIDATION, "validation"))
    ]
    filled = fill_checklists(evaluate(*tables), make_context())
    # These need characteristics, shortcuts, subgroups or saliency, which this context has not.
    elsewhere = {
        "characteristics",
        "robustness",
        "saliency",
        "confounding",
        "heterogeneity",
        "fairness",
        "performance_subgroups",
        "network_robustness",
    }
    for checklist in filled:
        for item, answer in checklist.items:
            if item.key and item.key not in elsewhere:
                assert answer.text, item


def test_the_table_of_checklists_has_a_line_an_item_and_no_formula(evaluation: Evaluation) -> None:
    context = make_context(make_model(run='=HYPERLINK("x")'), make_model(run="b", seed=4))
    filled = fill_checklists(evaluation, context)
    text = checklists_csv(filled)
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 44 + 52 + 48 + 34 + 30
    assert {row["answered by"] for row in rows} == {"run", "author", "not applicable"}
    assert not any(str(value).startswith(("=", "+", "@")) for row in rows for value in row.values())
    assert len(pd.read_csv(io.StringIO(text))) == len(rows)


def test_means_of_trainings_are_named_as_ensembles() -> None:
    def said(*runs: str) -> str:
        context = make_context(make_model("net"), make_model("other"))
        tables = [make_rows(TEST, "test", run=run) for run in runs]
        found = by_name(evaluate(*tables), context)[NAMES[0]]
        return next(answer.text for item, answer in found.items if item.key == "ensemble")

    assert said("net", "other", "baseline size") == "One network, no ensemble."
    mean = "ER ResNet18, mean of 2"
    assert said("net", "other", mean) == f"One network, no ensemble. Tested beside them: {mean}."
