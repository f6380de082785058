"""What stands above all results: alarms, and what a network is worth beside models without one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.leak_checks import LeakCheck
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.report.conclusions import alarms, judge
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.write import write_report
from radiotrain.evaluation.results import Evaluation, TargetResult
from radiotrain.evaluation.shortcuts.shortcut_results import (
    AcquisitionResult,
    LeftOut,
    ShortcutConclusion,
    Shortcuts,
)
from radiotrain.evaluation.stability.replicates import add_ensembles
from radiotrain.statistics.stratified_auc import Area
from tests.unit.evaluation.small_tables import good_cohort, make_rows

LEAK = LeakCheck("Twice?", "found", "83 patients", ("Leak: A and B look like one examination.",))
# In development only: no test result is better for it.
HARMLESS = LeakCheck("Twice?", "found", "83 patients", ("A and B look like one, in development.",))
CLEAR = LeakCheck("Twice?", "clear", "83 patients")
FAIL = ShortcutConclusion("net", "ER", "fail", "The network reads ER from the scanner.")
PASS = ShortcutConclusion("net", "PR", "pass", "Nothing here suggests it.")


def shortcuts(*verdicts: ShortcutConclusion) -> Shortcuts:
    return Shortcuts("manufacturer", (), (), (), (), (), verdicts)


def runs(**shifts: float) -> pd.DataFrame:
    """Runs on the same 120 patients; a shift is how far apart a run's classes lie."""
    labels = np.arange(120) % 2
    tables = []
    for number, (run, shift) in enumerate(shifts.items()):
        noise = np.random.default_rng(number).normal(size=120)
        p = 1 / (1 + np.exp(-(noise + shift * labels)))
        patients = list(zip(labels.tolist(), p.tolist(), strict=True))
        for split in ("test", "validation"):
            tables.append(make_rows(patients, split, run=run.replace("_", " ")))
    table = pd.concat(tables, ignore_index=True)
    # The threshold's patients are others, with other probabilities.
    return table.assign(probability=table["probability"] - 1e-6 * (table["split"] == "validation"))


def evaluated(table: pd.DataFrame) -> Evaluation:
    return evaluate_table(table, num_resamples=100)


def written(out: Path, table: pd.DataFrame, context: ReportContext | None = None) -> str:
    return Path(write_report(evaluated(table), table, out, context=context)).read_text("utf-8")


@pytest.mark.parametrize(
    ("checks", "gate", "expected"),
    [
        ((CLEAR,), None, []),
        ((HARMLESS,), shortcuts(PASS), []),
        ((CLEAR, LEAK), shortcuts(PASS), [("A leak was found", "leaks")]),
        ((LEAK, LEAK), None, [("2 leaks were found", "leaks")]),
        ((CLEAR,), shortcuts(FAIL, PASS), [("ER is predicted from the scanner", "shortcuts")]),
        ((CLEAR,), shortcuts(FAIL, replace(FAIL, run="two")), [("ER is predicted", "shortcuts")]),
    ],
)
def test_a_leak_and_a_shortcut_are_said_above_all_results(
    checks: tuple[LeakCheck, ...], gate: Shortcuts | None, expected: list[tuple[str, str]]
) -> None:
    found = list(alarms(checks, gate))
    assert [alarm.anchor for alarm in found] == [anchor for _, anchor in expected]
    for alarm, (words, _) in zip(found, expected, strict=True):
        assert alarm.sentence.startswith(words)


def test_the_page_begins_with_the_alarm_and_links_to_the_section(tmp_path: Path) -> None:
    page = written(tmp_path / "bad", runs(net=1.0), ReportContext(leak_checks=(LEAK,)))
    assert '<a href="#leaks">Read more</a>' in page
    assert page.index('<p class="alarm">') < page.index("status is predicted")
    # Good news that it is about is not painted green.
    assert 'class="verdict better"' not in page
    good = written(tmp_path / "good", runs(net=1.0))
    assert '<p class="alarm">' not in good
    assert 'class="verdict better"' in good


def test_a_shortcut_of_one_run_is_no_alarm_about_another() -> None:
    (alarm,) = alarms((), shortcuts(FAIL, PASS))
    about = {r.run: alarm.is_about(r) for r in evaluated(runs(net=1.0, other=1.0)).results}
    assert about == {"net": True, "other": False}


def test_the_headline_counts_the_baselines_that_the_network_beats() -> None:
    table = runs(net=2.0, baseline_coin=0.0, baseline_other_coin=0.0, baseline_as_good=2.0)
    found = evaluated(table)
    net = next(r for r in found.results if r.run == "net")
    better = [c for c in found.comparisons if c.run == "net" and (c.p_holm or 1) < 0.05]
    assert len(better) == 2
    details = judge(net, found.comparisons).details
    sentence = "Shown to be better than 2 of 3 baseline models."
    assert sentence in details
    # Whichever of a pair comes first.
    turned = evaluated(table.iloc[::-1])
    again = next(r for r in turned.results if r.run == "net")
    assert sentence in judge(again, turned.comparisons).details


def test_the_headline_says_that_no_baseline_is_beaten_and_which_are_better() -> None:
    table = runs(net=0.0, baseline_good=2.5, baseline_coin=0.1)
    found = evaluated(table)
    by_run = {r.run: judge(r, found.comparisons).details for r in found.results}
    sentence = "Shown to be better than 0 of 2 baseline models, and worse than 1."
    assert sentence in by_run["net"]
    assert not any("baseline model" in text for text in by_run["baseline good"])
    alone = evaluated(runs(net=1.0))
    assert not any(
        "baseline model" in text for text in judge(alone.results[0], alone.comparisons).details
    )


def test_of_trainings_of_one_configuration_their_mean_has_the_headline(tmp_path: Path) -> None:
    parts = []
    for seed in range(7):
        test = make_rows(good_cohort(40, 1.0, seed), "test", run=f"seed{seed}")
        parts.append(test.assign(configuration="ER ResNet10", seed=seed))
    other = make_rows(good_cohort(40, 0.5, 9), "test", run="alone", target="PR")
    parts.append(other.assign(configuration="PR ResNet10", seed=0))
    page = written(tmp_path, add_ensembles(validate_predictions(pd.concat(parts))))
    head = page[page.index('<div class="verdicts">') : page.index('<h2 id="table">')]
    named = re.findall(r"Run ([^<]+)</p>", head)
    assert named == ["alone", "ER ResNet10, mean of 7"]
    assert "2 of 9 results; of several trainings of one configuration, their ensemble." in head


def test_a_headline_needs_interval_and_permutation_test_to_agree() -> None:
    """DeLong's interval of ten patients leaves out 0.5, as permuted labels do too often."""
    found = evaluated(runs(net=0.5)).results[0]
    seen = replace(found, auc=0.71, auc_ci95=(0.51, 0.91))
    assert judge(with_p(seen, 0.03)).kind == "better"
    unclear = judge(with_p(seen, 0.083))
    assert unclear.kind == "unclear"
    assert "The interval excludes 0.5, but is too narrow with so few" in unclear.details[0]
    turned = replace(found, auc=0.3, auc_ci95=(0.1, 0.49))
    assert judge(with_p(turned, 0.01)).kind == "worse"
    assert judge(with_p(turned, 0.2)).kind == "unclear"
    chance = replace(found, auc=0.5, auc_ci95=(0.4, 0.6))
    assert judge(with_p(chance, 0.9)).details[0].endswith("permutation test, P = .90.")


def with_p(result: TargetResult, p: float) -> TargetResult:
    return replace(result, permutation_p=p, permutation_p_holm=p)


def test_what_a_model_lacks_leaves_its_cell_empty(tmp_path: Path) -> None:
    """Of two targets a network was trained without the scanner for the second alone."""
    area = Area(0.61, (0.5, 0.7), 40, 20)
    acquisition = tuple(AcquisitionResult(t, "manufacturer", area) for t in ("ER", "PR"))
    left_out = (LeftOut("PR net", "PR", "A", area, area),)
    found = Shortcuts("manufacturer", acquisition, (), (), (), left_out, (PASS,))
    page = written(tmp_path, runs(net=1), ReportContext(shortcuts=found))
    (row,) = re.findall(r"<tr><td>PR net</td>.*?</tr>", page, re.DOTALL)
    cells = [re.sub(r"<.*?>|\s", "", cell) for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)]
    assert cells == ["PRnet", "A", "", "0.610.50to0.70fittedonit:0.61"]
