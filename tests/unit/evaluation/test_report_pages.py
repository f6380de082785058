"""A report of many runs: its details in pages of their own, and its size."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.page import file_names, make_pages, place_results, render_pages
from radiotrain.evaluation.report.write import write_report
from radiotrain.evaluation.results import Evaluation
from radiotrain.evaluation.stability.stability_results import Stability
from tests.unit.evaluation.rich_report import make_table

TARGETS = ("ER", "PR", "HER2")


def many(num_runs: int) -> tuple[pd.DataFrame, Evaluation]:
    """Tables of so many runs and three targets; one run is measured, and stands for all."""
    one = make_table("run 0", targets=TARGETS)
    measured = evaluate_table(one, num_resamples=100)
    runs = [f"run {k}" for k in range(num_runs)]
    results = tuple(replace(r, run=run) for run in runs for r in measured.results)
    table = pd.concat([one.assign(run=run) for run in runs], ignore_index=True)
    family = replace(measured.family, headlines=tuple((r.run, r.target) for r in results))
    return validate_predictions(table), replace(measured, results=results, family=family)


def test_few_results_are_all_in_the_report() -> None:
    pairs = [("net", target) for target in TARGETS]
    assert set(place_results(pairs, pairs).values()) == {""}


def test_of_many_results_the_headlines_stay_and_each_run_has_one_page() -> None:
    pairs = [(f"run {k}", target) for k in range(5) for target in TARGETS]
    places = place_results(pairs, pairs[4:])
    assert [pair for pair, page in places.items() if not page] == pairs[4:10]
    pages = {page for page in places.values() if page}
    assert pages == {f"runs/run-{k}.html" for k in (0, 1, 3, 4)}


@pytest.mark.parametrize(
    "runs",
    [
        ("net", "NET", "net-2", "net 2", "net/2"),
        ("../../etc/passwd", "..", ".", "", " "),
        ("con", "aux.txt", "nul"),
        ("a" * 300, "a" * 301),
        ("Brust-Läsion", "乳腺", "'\"<x>"),
    ],
)
def test_file_names_are_safe_and_unlike(runs: tuple[str, ...]) -> None:
    names = list(file_names(runs).values())
    assert len({name.casefold() for name in names}) == len(runs)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,70}\.html", name) for name in names)
    assert not any(re.match(r"(?i)(con|aux|nul)\.", name) for name in names)


def test_pages_of_runs_are_written_linked_and_removed_again(tmp_path: Path) -> None:
    table, evaluation = many(4)
    report = Path(write_report(evaluation, table, tmp_path)).read_text("utf-8")
    written = {f"runs/{path.name}" for path in (tmp_path / "runs").iterdir()}
    linked = set(re.findall(r'href="(runs/[^"#]+)#', report))
    assert linked == written
    page = (tmp_path / "runs" / "run-3.html").read_text("utf-8")
    assert page.count("<h2 id=") == 3
    assert page.count('alt="ROC curve') == 3
    write_report(replace(evaluation, results=evaluation.results[:3]), table, tmp_path)
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.slow
def test_the_report_of_100_runs_and_3_targets_is_below_5_megabytes() -> None:
    table, evaluation = many(100)
    provenance = {f"run run {k}": {f"setting {n}": n / 7 for n in range(80)} for k in range(100)}
    pages = make_pages(evaluation, table, ReportContext(provenance=provenance), Stability())
    rendered = render_pages(pages)
    assert len(rendered) == 1 + 98
    assert len(rendered[""].encode()) < 5_000_000
    assert max(len(html.encode()) for html in rendered.values()) < 5_000_000
    assert np.all([result.target in rendered[""] for result in evaluation.results])
