from __future__ import annotations

import pytest
import yaml

from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.model_card import card_markdown, make_card
from radiotrain.evaluation.results import Evaluation
from tests.unit.evaluation.full_context import make_context, make_model
from tests.unit.evaluation.small_tables import TEST, VALIDATION, evaluate, make_rows

# Mitchell et al. 2019, Figure 1.
HEADINGS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Training data",
    "Evaluation data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(make_rows(TEST, "test"), make_rows(VALIDATION, "validation"))


def text_of(evaluation: Evaluation, context: ReportContext) -> dict[tuple[str, str], str]:
    card = make_card(evaluation, context)
    return {(s.heading, line.name): line.text for s in card for line in s.lines}


def test_the_card_has_the_published_headings(evaluation: Evaluation) -> None:
    for context in (ReportContext(), make_context()):
        assert [section.heading for section in make_card(evaluation, context)] == HEADINGS


def test_without_facts_the_networks_are_for_the_author(evaluation: Evaluation) -> None:
    texts = text_of(evaluation, ReportContext())
    assert texts["Model details", "Network"] == ""
    assert texts["Training data", "Patients"] == ""
    assert texts["Quantitative analyses", "ER, net"].startswith("AUC ")


def test_the_card_says_what_the_run_knows(evaluation: Evaluation) -> None:
    texts = text_of(evaluation, make_context())
    assert texts["Model details", "Network"] == "ResNet18 (3D), 1,234,567 parameters, for ER."
    assert "4 phases of 24 × 24 × 12 voxels" in texts["Model details", "Input"]
    assert "median 1.50 × 1.50 × 2.00 mm" in texts["Model details", "Input"]
    assert "11 of 20" in texts["Model details", "Weights that predict"]
    assert "59 development patients" in texts["Training data", "Patients"]
    assert "SIEMENS (40)" in texts["Factors", "Scanners"]
    auc = evaluation.results[0].auc
    assert f"AUC {auc:.2f}" in texts["Quantitative analyses", "ER, net"]
    for heading in ("Ethical considerations",):
        assert not any(text for (h, _), text in texts.items() if h == heading)


def test_what_is_said_of_several_networks_alike_is_said_once(evaluation: Evaluation) -> None:
    texts = text_of(evaluation, make_context(make_model("a"), make_model("b", seed=4)))
    assert texts["Model details", "Network"].count("ResNet18") == 1
    assert texts["Model details", "Seeds"] == "a: 3. b: 4."


def test_the_markdown_reads_back_and_marks_what_is_the_authors(evaluation: Evaluation) -> None:
    context = make_context(generated_at="2026-02-03T04:06+00:00")
    text = card_markdown(make_card(evaluation, context), evaluation, context)
    _, front, body = text.split("---\n", 2)
    values = yaml.safe_load(front)
    assert values["targets"] == ["ER"]
    assert values["models"] == ["net"]
    assert [line[3:] for line in body.splitlines() if line.startswith("## ")] == HEADINGS
    assert "- **Licence**: **author: to be written**" in body


def test_names_are_no_markup_in_the_markdown() -> None:
    run = 'x"\n---\n# <script>*b*'
    evaluation = evaluate(
        make_rows(TEST, "test", run=run), make_rows(VALIDATION, "validation", run=run)
    )
    context = make_context(make_model(run))
    text = card_markdown(make_card(evaluation, context), evaluation, context)
    assert "<script>" not in text.split("---\n", 2)[2]
    assert sum(line == "---" for line in text.splitlines()) == 2
    assert yaml.safe_load(text.split("---\n", 2)[1])["models"] == [run]
