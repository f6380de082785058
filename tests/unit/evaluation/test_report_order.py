"""What stands where in the report, and what is folded away."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.write import write_report
from radiotrain.split.access_log import AccessRecord
from tests.unit.evaluation.full_context import DATA, FLOW, make_context, make_model
from tests.unit.evaluation.small_tables import TEST, VALIDATION, evaluate, make_rows

ORDER = [
    "summary",
    "warnings",
    "patients",
    "table",
    "resolvable",
    "results",
    "comparisons",
    "subgroups",
    "methods",
    "leaks",
    "accesses",
    "model-card",
    "checklists",
    "repeat",
]
BASELINES = ("baseline size (logistic)", "baseline clinical (logistic)")
SCRIPT = "<script>alert(1)</script>"


def make_table() -> pd.DataFrame:
    tables = [
        make_rows(patients, split, run=run)
        for run in (BASELINES[0], "net", BASELINES[1])
        for patients, split in ((TEST, "test"), (VALIDATION, "validation"))
    ]
    return pd.concat(tables, ignore_index=True)


def write(out: Path, table: pd.DataFrame, context: ReportContext) -> str:
    evaluation = evaluate_table(table, num_resamples=100)
    return Path(write_report(evaluation, table, out, context=context)).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    opening = AccessRecord("2026-01-02T03:04:05+00:00", "final", ("net", *BASELINES), "abc")
    write(out, make_table(), make_context(openings=(opening,)))
    return out


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_sections_stand_in_the_order_in_which_they_are_to_be_read(page: str) -> None:
    headings = re.findall(r'<h2 id="([^"]+)">', page)
    assert [h for h in headings if h in ORDER] == ORDER
    assert page.index('class="verdicts"') < page.index('<h2 id="warnings">')


def test_the_contents_name_every_section_in_its_order(page: str) -> None:
    assert "<h2>" not in page
    contents = page[page.index('<nav class="contents"') : page.index("</nav>")]
    named = re.findall(r'<a href="#([^"]+)">(.+?)</a>', contents)
    assert named == re.findall(r'<h2 id="([^"]+)">(.+?)</h2>', page)


def test_networks_come_first_and_baselines_are_folded(page: str) -> None:
    results = page[page.index('<h2 id="results">') : page.index('<h2 id="comparisons">')]
    shown, folded = results.split('<details class="baselines">')
    assert "ER, run net" in shown
    assert not any(baseline in shown for baseline in BASELINES)
    assert all(f"ER, run {baseline}" in folded for baseline in BASELINES)
    assert "2 results of baseline models" in folded


def test_baselines_alone_are_not_folded(tmp_path: Path) -> None:
    table = make_table()
    page = write(tmp_path, table[table["run"] != "net"], ReportContext())
    assert '<details class="baselines">' not in page
    assert f"ER, run {BASELINES[0]}" in page


def test_an_opening_says_that_baselines_were_tested_too(page: str) -> None:
    assert "<td>net; 2 baseline models</td>" in page


def test_diagram_card_and_checklists_are_in_the_page_and_beside_it(folder: Path, page: str) -> None:
    assert page.count('<svg class="flow"') == 1
    assert "Excluded: 1" in page
    assert (
        len(re.findall(r"<details><summary>(?:CLAIM 2024|TRIPOD\+AI|METRICS): \d+ of", page)) == 3
    )
    assert (folder / "model-card.md").read_text("utf-8").startswith("---\n")
    assert (
        len((folder / "checklists.csv").read_text("utf-8").splitlines())
        == 1 + 44 + 52 + 48 + 34 + 30
    )


def test_links_of_card_and_checklists_lead_somewhere(page: str) -> None:
    anchors = set(re.findall(r' id="([^"]+)"', page))
    links = re.findall(r'<a class="see" href="#([^"]+)">', page)
    assert links
    assert set(links) <= anchors


def test_numbers_of_the_flow_that_do_not_add_up_are_said(tmp_path: Path) -> None:
    page = write(tmp_path, make_table(), ReportContext(flow=replace(FLOW, num_test=23)))
    assert "83 patients were included, but 82 are in" in page


def test_markup_in_facts_is_shown_as_text_only(tmp_path: Path) -> None:
    context = make_context(make_model(SCRIPT, network=SCRIPT, about=SCRIPT, covariates=(SCRIPT,)))
    assert context.facts is not None
    data = replace(DATA, layout=SCRIPT, acquisition=((SCRIPT, SCRIPT, 3),), covariates=(SCRIPT,))
    facts = replace(context.facts, data=data, versions={SCRIPT: SCRIPT})
    page = write(tmp_path, make_table(), replace(context, facts=facts))
    assert SCRIPT not in page
    assert "&lt;script&gt;" in page


def test_on_paper_everything_but_the_baselines_is_unfolded(page: str) -> None:
    style = page[: page.index("</style>")]
    assert "details::details-content { content-visibility:visible" in style
    assert "thead { display:table-header-group; }" in style
    assert "counter(page)" in style


def test_what_holds_for_several_baselines_is_one_warning() -> None:
    perfect = [(0, 0.1), (0, 0.2), (0, 0.3), (1, 0.5), (1, 0.8), (1, 0.9)]
    runs = ("baseline a", "baseline b", "baseline c")
    tables = [make_rows(perfect, "test", run=run) for run in runs[:2]]
    tables.append(make_rows(TEST, "test", run=runs[2]))
    about = [w for w in evaluate(*tables).warnings if "above 0.75" in w]
    assert len(about) == 1
    assert "2 of 3 baseline models (a, b)" in about[0]
    assert "AUCs 1.000, 1.000 are above 0.75" in about[0]


def test_what_holds_for_several_networks_is_one_warning() -> None:
    tables = [make_rows(TEST, "test", run=run) for run in ("a", "b")]
    about = [w for w in evaluate(*tables).warnings if "a small test set" in w]
    assert len(about) == 1
    assert about[0].startswith("ER, runs a, b: a small test set, 3 positive and 2 negative.")


def test_one_class_and_one_positive_are_not_called_small_only() -> None:
    def first(*patients: tuple[int, float]) -> str:
        return evaluate(make_rows(patients, "test")).warnings[0]

    said = first((1, 0.2), (1, 0.4))
    words = "no AUC, only one class among 2 test patients: 2 positive and 0 negative."
    assert said == f"ER, run net: {words}"
    said = first((1, 0.2), (0, 0.4), (0, 0.1))
    assert said.startswith("ER, run net: a test set of 1 positive and 2 negative: an AUC without")
