from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from preprocessing.common.errors import DamagedFileError, InputError, MissingPathError, SchemaError
from preprocessing.storage.digests import dump_with_digest
from radiotrain.evaluation.compare.compare_results import Pair, ReportComparison
from radiotrain.evaluation.compare.compare_runs import choose_pairs, compare_reports
from radiotrain.evaluation.compare.report_folder import NOT_THERE, Report, read_report
from radiotrain.evaluation.compare.write import comparison_json, render_comparison
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.metrics_json import SCHEMA_VERSION
from radiotrain.evaluation.report.places import short_names
from radiotrain.evaluation.report.write import write_report
from radiotrain.statistics.auc_comparison import holm_adjusted
from tests.commands import call, the_sentence
from tests.unit.evaluation.small_tables import good_cohort, make_rows


def make_table(
    run: str = "net", *, shift: float = 0.8, seed: int = 1, target: str = "ER", num: int = 80
) -> pd.DataFrame:
    rows = [
        make_rows(good_cohort(num, shift, seed), "test", run=run, target=target),
        make_rows(good_cohort(60, shift, 100), "validation", run=run, target=target, fold=0),
    ]
    return validate_predictions(pd.concat(rows, ignore_index=True))


def make_report(name: str, *tables: pd.DataFrame, provenance: Any = None) -> Report:
    return Report(name, pd.concat(tables, ignore_index=True), provenance or {})


def compare(first: Report, second: Report, runs: Sequence[str] = ()) -> ReportComparison:
    return compare_reports(first, second, runs, num_resamples=200)


def only(found: ReportComparison) -> Pair:
    (pair,) = found.pairs
    return pair


# --- numbers --------------------------------------------------------------------------------


def test_a_pair_is_what_one_evaluation_of_both_runs_says() -> None:
    a, b = make_table("net"), make_table("dense", shift=1.6, seed=3)
    pair = only(compare(make_report("a", a), make_report("b", b)))
    both = evaluate_table(pd.concat([a, b], ignore_index=True), num_resamples=200)
    (expected,) = both.comparisons
    assert pair.comparison == expected
    assert (pair.first.auc, pair.second.auc) == tuple(r.auc for r in both.results)
    first, second = both.results
    assert first.sensitivity is not None
    assert second.sensitivity is not None
    assert pair.sensitivity_difference == pytest.approx(first.sensitivity - second.sensitivity)
    low, high = pair.sensitivity_difference_ci95 or (0, 0)
    assert low < pair.sensitivity_difference < high


def test_trainings_of_one_configuration_in_two_reports_are_compared() -> None:
    """Within one report they are not: there they are replicates."""
    a, b = make_table("first"), make_table("again", shift=1.6, seed=3)
    same = [t.assign(configuration="ER ResNet10", seed=i) for i, t in enumerate((a, b))]
    assert not evaluate_table(pd.concat(same, ignore_index=True), num_resamples=100).comparisons
    pair = only(compare(make_report("a", same[0]), make_report("b", same[1])))
    plain = only(compare(make_report("a", a), make_report("b", b)))
    assert pair.comparison == plain.comparison


def test_runs_of_the_same_name_are_two_runs() -> None:
    a, b = make_table(), make_table(shift=1.6, seed=3)
    pair = only(compare(make_report("a", a), make_report("b", b)))
    assert (pair.first.run, pair.second.run) == ("net", "net")
    assert pair.first.auc != pair.second.auc


def test_the_same_report_twice_is_identical() -> None:
    report = make_report("a", make_table(), provenance={"run net": {"seed": 0}})
    found = compare(report, report)
    pair = only(found)
    assert (pair.verdict, pair.is_identical) == ("identical", True)
    assert pair.comparison.difference == pair.sensitivity_difference == 0
    assert pair.specificity_difference == 0
    assert pair.reasons["sensitivity_difference_ci95"] == "both are identical"
    assert (found.settings, pair.settings) == ((), ())
    assert "identical" in pair.sentence


def test_p_values_are_corrected_for_all_pairs() -> None:
    a = [make_table("net", target=t) for t in ("ER", "PR")]
    b = [
        make_table(r, shift=s, seed=4, target=t)
        for t in ("ER", "PR")
        for r, s in (("x", 1.2), ("y", 1.8))
    ]
    found = compare(make_report("a", *a), make_report("b", *b))
    assert [(p.target, p.second.run) for p in found.pairs] == [
        ("ER", "x"), ("ER", "y"), ("PR", "x"), ("PR", "y"),
    ]  # fmt: skip
    alone = [p.comparison.p or 0.0 for p in found.pairs]
    assert [p.comparison.p_holm for p in found.pairs] == list(holm_adjusted(alone))
    assert "4 pairs of runs" in " ".join(found.warnings)
    assert "corrected for 4 comparisons" in found.pairs[0].sentence


def test_verdict_names_the_better_one_whichever_comes_first() -> None:
    weak, strong = (
        make_report("a", make_table()),
        make_report("b", make_table("x", shift=3, seed=3)),
    )
    assert only(compare(weak, strong)).verdict == "second"
    pair = only(compare(strong, weak))
    assert pair.verdict == "first"
    assert "the AUC of A (x) is higher than that of B (net) by" in pair.sentence
    again = make_report("b", make_table("x", seed=9))
    pair = only(compare(weak, again))
    assert pair.verdict == "not shown"
    assert "Minimum detectable difference: 0." in pair.sentence


def test_different_patients_are_compared_without_pairing() -> None:
    other = make_table("x", shift=3, seed=3)
    other["patient_id"] = "other-" + other["patient_id"]
    pair = only(compare(make_report("a", make_table()), make_report("b", other)))
    assert pair.comparison.design == "unpaired"
    assert pair.comparison.positives_only_run is None
    assert pair.sensitivity_difference is not None


def test_partly_the_same_patients_are_refused_with_a_reason() -> None:
    table = make_table("x")
    fewer = table[table["patient_id"] != "test-000"]
    found = compare(make_report("a", make_table()), make_report("b", fewer))
    pair = only(found)
    assert (pair.verdict, pair.comparison.difference) == ("not comparable", None)
    assert "partly different patients: evaluate both on the same" in pair.sentence
    written = json.loads(comparison_json(found))["pairs"][0]
    undefined = {k for k, v in written.items() if v is None}
    assert undefined <= set(written["reasons"])


def test_one_class_is_no_crash() -> None:
    table = make_table().assign(label=1)
    found = compare(make_report("a", table), make_report("b", table.assign(probability=0.5)))
    assert only(found).verdict == "not comparable"
    assert "only one class" in only(found).sentence
    assert "not compared" in render_comparison(found)


# --- which runs, and what is refused --------------------------------------------------------


def test_networks_are_compared_unless_a_baseline_is_named() -> None:
    a = make_report("a", make_table(), make_table("baseline size"))
    b = make_report("b", make_table("x"), make_table("baseline size"))
    assert choose_pairs(a, b) == (("ER", "net", "x"),)
    assert choose_pairs(a, b, ["net", "baseline size"]) == (("ER", "net", "baseline size"),)
    only_baselines = make_report("c", make_table("baseline size"))
    assert choose_pairs(a, only_baselines) == (("ER", "net", "baseline size"),)
    with pytest.raises(InputError, match=r"has no run 'ne' \(did you mean 'net'\?\)"):
        choose_pairs(a, b, ["ne", "x"])
    with pytest.raises(InputError, match="given 1 time, expected two"):
        choose_pairs(a, b, ["net"])


def test_no_common_target_is_refused() -> None:
    a, b = make_report("a", make_table()), make_report("b", make_table(target="PR"))
    with pytest.raises(InputError, match="share no tested target: a has ER; b has PR"):
        compare(a, b)


def test_labels_that_disagree_are_refused_by_name() -> None:
    other = make_table("x")
    other.loc[other["patient_id"] == "test-007", "label"] = 0
    with pytest.raises(InputError, match="patient 'test-007' has the 'ER' label 1 in a and 0 in b"):
        compare(make_report("a", make_table()), make_report("b", other))


# --- what was done differently --------------------------------------------------------------

PROVENANCE = {
    "store": "/data/st, fingerprint abc1",
    "split": "/data/sp.json, fingerprint def2, seed 0",
    "preprocessing": {"crop_shape": [24, 24, 12], "motion": "none"},
    "software": {"torch": "2.13.0"},
    "run net": {"out": "runs/a", "seed": 0, "train": {"lr": 0.1, "epochs": 3}},
}


def test_settings_that_differ_are_found() -> None:
    changed = PROVENANCE | {
        "run net": {"out": "runs/b", "seed": 0, "train": {"lr": 0.2, "epochs": 3, "ema": 0.9}},
        "preprocessing": {"crop_shape": [24, 24, 12], "motion": "rigid"},
    }
    a = make_report("a", make_table(), provenance=PROVENANCE)
    found = compare(a, make_report("b", make_table(seed=5), provenance=changed))
    assert [(s.name, s.first, s.second) for s in only(found).settings] == [
        ("train.lr", "0.1", "0.2"), ("train.ema", NOT_THERE, "0.9"),
    ]  # fmt: skip
    assert [s.name for s in found.settings] == ["preprocessing.motion"]
    assert "The preprocessing differs" in " ".join(found.warnings)


def test_other_splits_and_stores_are_warned_of() -> None:
    changed = PROVENANCE | {"split": "sp.json, fingerprint 999", "store": "st, fingerprint 888"}
    a = make_report("a", make_table(), provenance=PROVENANCE)
    said = " ".join(compare(a, make_report("b", make_table(), provenance=changed)).warnings)
    assert "The splits differ (fingerprints def2 and 999)" in said
    assert "The stores differ (fingerprints abc1 and 888)" in said
    assert compare(a, a).warnings == ()
    said = " ".join(compare(a, make_report("b", make_table())).warnings)
    assert "How the predictions of b were made is not known" in said


# --- as a user ------------------------------------------------------------------------------


def write(folder: Path, table: pd.DataFrame, provenance: Any = None) -> Path:
    context = ReportContext(provenance=provenance or {})
    write_report(evaluate_table(table, num_resamples=100), table, folder, context=context)
    return folder


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("reports")
    other = make_table("<b>x</b>", shift=2.5, seed=3)
    changed = {"run <b>x</b>": {"train": {"lr": 0.2}}}
    return write(folder / "a", make_table(), PROVENANCE), write(folder / "b", other, changed)


def test_a_fingerprint_is_data_and_in_earlier_reports_part_of_a_sentence() -> None:
    earlier = make_report("a", make_table(), provenance=PROVENANCE)
    now = PROVENANCE | {"fingerprints": {"store": "abc1", "split": "fed9"}}
    report = make_report("b", make_table(), provenance=now)
    assert (earlier.fingerprint("store"), earlier.fingerprint("split")) == ("abc1", "def2")
    assert (report.fingerprint("store"), report.fingerprint("split")) == ("abc1", "fed9")
    assert make_report("c", make_table()).fingerprint("store") is None


def test_the_command_prints_and_writes(reports: tuple[Path, Path], tmp_path: Path) -> None:
    out, _ = call("compare", *reports, "--out", tmp_path / "out", "--resamples", 200)
    assert "ER: the AUC of B (<b>x</b>) is higher than that of A (net) by" in out
    assert "train.lr: 0.1 in A, 0.2 in B" in out
    page = (tmp_path / "out" / "comparison.html").read_text("utf-8")
    assert "B (&lt;b&gt;x&lt;/b&gt;)" in page
    assert "<b>x</b>" not in page
    assert "http" not in page
    assert "src=" not in page
    values = json.loads((tmp_path / "out" / "comparison.json").read_text("utf-8"))
    (pair,) = values["pairs"]
    assert pair["verdict"] == "second"
    tables = [read_report(str(report)) for report in reports]
    expected = only(compare(*tables)).comparison.difference
    assert pair["difference"] == expected
    assert f"{expected:+.3f}" in out
    assert {k for k, v in pair.items() if v is None} <= set(pair["reasons"])


def test_the_files_of_a_report_are_the_report(reports: tuple[Path, Path]) -> None:
    names = ("", "metrics.json", "predictions.parquet")
    tables = [read_report(str(reports[0] / name)) for name in names]
    assert all(t.provenance == tables[0].provenance for t in tables)
    assert all(t.table.equals(tables[0].table) for t in tables)
    assert tables[0].fingerprint("split") == "def2"


def test_a_predictions_table_alone_will_do(reports: tuple[Path, Path], tmp_path: Path) -> None:
    make_table("x").to_csv(tmp_path / "table.csv", index=False)
    out, _ = call("compare", reports[0], tmp_path / "table.csv", "--resamples", 100)
    assert "made is not known" in out


def test_mistakes_are_one_sentence(reports: tuple[Path, Path], tmp_path: Path) -> None:
    _, error = call("compare", reports[0], tmp_path / "nowhere", status=2)
    assert "no report at" in the_sentence(error)
    (tmp_path / "empty").mkdir()
    _, error = call("compare", reports[0], tmp_path / "empty", status=2)
    assert "it holds no metrics.json" in the_sentence(error)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        ('{"schema_version": 1}', SchemaError, "has schema 1, expected .: make it again"),
        ('{"schema_version": 99}', SchemaError, "written by a newer radiotrain"),
        ("[]", DamagedFileError, "is damaged"),
        ("{", DamagedFileError, "is damaged"),
    ],
)
def test_reports_of_another_schema_are_refused(
    tmp_path: Path, content: str, kind: type[Exception], message: str
) -> None:
    (tmp_path / "metrics.json").write_text(content)
    make_table().to_parquet(tmp_path / "predictions.parquet")
    with pytest.raises(kind, match=message):
        read_report(str(tmp_path))


def test_a_report_without_predictions_is_no_report(tmp_path: Path) -> None:
    values = {"schema_version": SCHEMA_VERSION}
    (tmp_path / "metrics.json").write_text(dump_with_digest(values))
    with pytest.raises(MissingPathError, match=r"holds no predictions\.parquet"):
        read_report(str(tmp_path))


def test_probabilities_are_compared_exactly() -> None:
    table = make_table()
    moved = table.copy()
    moved.loc[0, "probability"] = np.nextafter(moved.loc[0, "probability"], 1)
    found = only(compare(make_report("a", table), make_report("b", moved)))
    assert not found.is_identical
    assert found.verdict == "not shown"


# --- non-inferiority, and another operating point -------------------------------------------


def test_a_margin_is_judged_by_the_lower_end_of_the_interval() -> None:
    a, b = make_report("a", make_table(num=400)), make_report("b", make_table("x", num=400))
    moved = b.table.copy()
    noise = np.random.default_rng(0).normal(0, 0.01, len(moved))
    moved["probability"] = (moved["probability"] + noise).clip(0, 1)
    found = compare_reports(a, make_report("b", moved), num_resamples=100, margin=0.05)
    pair = only(found)
    tested = pair.non_inferiority
    assert tested is not None
    assert pair.comparison.difference_ci95_delong is not None
    assert tested.lower_limit == pair.comparison.difference_ci95_delong[0]
    assert (tested.verdict, found.margin) == ("non-inferior", 0.05)
    assert "A (net) is non-inferior to B (x) within 0.05" in tested.sentence
    page = render_comparison(found)
    assert "Non-inferior within 0.05" in page
    assert "no record here shows when it was" in page
    values = json.loads(comparison_json(found))
    assert values["margin"] == 0.05
    assert values["pairs"][0]["non_inferiority"]["verdict"] == "non-inferior"


def test_a_weaker_model_is_not_called_non_inferior() -> None:
    a, b = make_report("a", make_table()), make_report("b", make_table("x", shift=3, seed=3))
    pair = only(compare_reports(a, b, num_resamples=100, margin=0.05))
    assert pair.non_inferiority is not None
    assert pair.non_inferiority.verdict == "not shown"
    assert "within 0.05 is not shown (lower one-sided 97.5%" in pair.non_inferiority.sentence


def test_non_inferiority_to_nothing_is_said_to_be_that() -> None:
    """Two models without signal are non-inferior to each other where there are patients enough."""
    a = make_table(num=3000, shift=0.0)
    b = a.assign(run="x", probability=(a["probability"] * 0.9 + 0.05))
    b.loc[::7, "probability"] = 0.5
    found = compare_reports(make_report("a", a), make_report("b", b), num_resamples=100, margin=0.1)
    tested = only(found).non_inferiority
    assert tested is not None
    assert tested.verdict == "non-inferior"
    assert "B is not shown to exceed chance by more than the margin" in tested.sentence


def test_non_inferiority_is_corrected_for_all_pairs() -> None:
    a = make_report("a", make_table(num=200))
    b = make_report("b", *(make_table(r, num=200, seed=s) for r, s in (("x", 4), ("y", 5))))
    found = compare_reports(a, b, num_resamples=100, margin=0.15)
    tested = [p.non_inferiority for p in found.pairs]
    assert all(t is not None for t in tested)
    p = [t.p or 0.0 for t in tested if t is not None]
    assert [t.p_holm for t in tested if t is not None] == list(holm_adjusted(p))
    assert "corrected for 2 comparisons" in (tested[0] or found).sentence  # type: ignore[union-attr]


def test_identical_runs_show_no_non_inferiority() -> None:
    report = make_report("a", make_table())
    found = compare_reports(report, report, num_resamples=100, margin=0.05)
    tested = only(found).non_inferiority
    assert tested is not None
    assert (tested.verdict, tested.p) == ("not shown", None)
    assert "both rank the patients alike" in tested.sentence
    assert "not shown" in render_comparison(found)


def test_an_equal_rate_is_that_share_of_patients() -> None:
    a, b = make_report("a", make_table()), make_report("b", make_table("x", shift=1.6, seed=3))
    found = compare_reports(a, b, num_resamples=100, equal_rate=0.25)
    at = only(found).comparison.equal_rate
    assert at is not None
    table = a.table[a.table["split"] == "test"]
    assert at.num_called == round(0.25 * len(table))
    called = table["probability"] >= np.sort(table["probability"])[-at.num_called]
    assert at.sensitivity[0] == pytest.approx(called[table["label"] == 1].mean())
    assert "both classify 25% of patients as positive" in render_comparison(found)
    assert json.loads(comparison_json(found))["equal_rate"] == 0.25


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--margin", "0", "margin is 0, expected a difference of AUCs"),
        ("--margin", "5", "margin is 5, expected"),
        ("--margin", "nan", "margin is nan, expected"),
        ("--equal-rate", "30", "equal rate is 30, expected a share"),
        ("--equal-rate", "0", "equal rate is 0, expected a share"),
    ],
)
def test_margins_and_rates_that_are_none_are_refused(
    reports: tuple[Path, Path], tmp_path: Path, option: str, value: str, words: str
) -> None:
    _, error = call("compare", *reports, "--out", tmp_path / "out", f"{option}={value}", status=2)
    assert words in the_sentence(error)
    assert not (tmp_path / "out").exists()


def test_the_command_tests_a_margin(reports: tuple[Path, Path]) -> None:
    out, _ = call(
        "compare", *reports, "--margin", "0.05", "--equal-rate", "0.3", "--resamples", 100
    )
    assert "ER: non-inferiority of A (net) to B (<b>x</b>) within 0.05 is not shown" in out


@pytest.mark.parametrize(
    ("first", "second", "names"),
    [
        ("/home/ann/a", "/home/ann/b", ("a", "b")),
        ("/home/ann/x/report/", "/home/ann/y/report", ("x/report", "y/report")),
        ("/home/ann/report", "/home/ann/report", ("report", "report")),
        ("report", "old/report", ("report", "old/report")),
        ("s3://bucket/a/report", "s3://bucket/b/report", ("a/report", "b/report")),
    ],
)
def test_pages_name_reports_by_the_ends_of_their_places(
    first: str, second: str, names: tuple[str, str]
) -> None:
    assert short_names(first, second) == names
