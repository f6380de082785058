"""The family of the headlines: who is in it, what is corrected, and what naming beforehand does."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preprocessing.common.errors import InputError
from preprocessing.store import PatientRecord, PatientTensor, Store, StoreSpec, StoreWriter
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.family import (
    TestPlan,
    correct_for_family,
    find_primary,
    headline_pairs,
    least_p,
    plan_of_access,
)
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.published import DUKE, collection_of, published_for
from radiotrain.evaluation.report.conclusions import alarms, judge, judge_all
from radiotrain.evaluation.results import Evaluation, TargetResult
from radiotrain.evaluation.stability.replicates import add_ensembles
from radiotrain.split.access_log import AccessRecord, read_access_log
from radiotrain.split.split import Split, make_split, save_split
from radiotrain.split.test_set_access import open_test_set
from radiotrain.statistics.power import power_against_value
from tests.commands import attempt
from tests.unit.evaluation.small_tables import TEST, VALIDATION, good_cohort, make_rows

PAIRS = (("net", "ER"), ("a:b", "ER"), ("net", "PR"))


def result(run: str, target: str, p: float | None, **more: object) -> TargetResult:
    values: dict[str, object] = {
        "auc": 0.7,
        "auc_ci95": (0.6, 0.8),
        "permutation_p": p,
        "reasons": {} if p is not None else {"permutation_p": "only one class"},
    }
    found = TargetResult(run, target, 184, 46, 0, 1, 100, 25, **values)  # type: ignore[arg-type]
    return replace(found, **more)  # type: ignore[arg-type]


def naive_holm(p_values: list[float]) -> list[float]:
    """Walk down from the smallest: each times the number not yet passed, never falling."""
    corrected = {}
    highest = 0.0
    left = sorted(range(len(p_values)), key=p_values.__getitem__)
    while left:
        highest = max(highest, min(1.0, len(left) * p_values[left[0]]))
        corrected[left[0]] = highest
        left = left[1:]
    return [corrected[i] for i in range(len(p_values))]


def test_p_is_corrected_for_the_headlines_and_no_others() -> None:
    p_values = [0.01, 0.04, 0.02, 0.9]
    ours = [result(f"net{i}", "ER", p) for i, p in enumerate(p_values)]
    baseline = result("baseline size", "ER", 0.001)
    undefined = result("net9", "ER", None)
    headlines = [(r.run, r.target) for r in (*ours, undefined)]
    found, family = correct_for_family([*ours, baseline, undefined], headlines, TestPlan(), 1000)
    assert [r.permutation_p_holm for r in found[:4]] == pytest.approx(naive_holm(p_values))
    assert found[4].permutation_p_holm is None
    assert found[4].reasons["permutation_p_holm"] == "a baseline model, which gets no headline"
    assert found[5].reasons["permutation_p_holm"] == "only one class"
    assert (family.size, found[0].claim, found[4].claim) == (4, "corrected", "none")


def test_the_corrected_detectable_auc_has_80_percent_power_at_the_level_that_is_left() -> None:
    found, _ = correct_for_family([result(*pair, 0.5) for pair in PAIRS], PAIRS, TestPlan(), 1000)
    least = found[0].detectable_auc_corrected
    assert least is not None
    assert power_against_value(least, 0.5, 46, 138, alpha=0.05 / 3) == pytest.approx(0.8)


def test_only_primary_results_are_corrected_and_the_others_exploratory() -> None:
    results = [result("net", "ER", 0.04), result("a:b", "ER", 0.001), result("net", "PR", 0.001)]
    found, family = correct_for_family(results, PAIRS, TestPlan((PAIRS[0],), True), 1000)
    assert [r.permutation_p_holm for r in found] == [0.04, None, None]
    assert [r.claim for r in found] == ["primary", "exploratory", "exploratory"]
    verdicts = [judge(r, (), family) for r in found]
    assert [v.kind for v in verdicts] == ["better", "unclear", "unclear"]
    assert verdicts[1].headline.startswith("Exploratory, not a primary result")
    assert "Primary is ER of run net; this result is exploratory" in " ".join(verdicts[1].details)
    assert "named before the test set was opened" in " ".join(verdicts[0].details)


def test_a_primary_result_named_too_late_confirms_nothing() -> None:
    plan = TestPlan((PAIRS[0],), True, "these patients were tested before", 1)
    found, family = correct_for_family([result(*pair, 0.001) for pair in PAIRS], PAIRS, plan, 1000)
    assert {r.claim for r in found} == {"exploratory"}
    assert family.size == 3
    verdict = judge(found[0], (), family)
    assert verdict.kind == "unclear"
    assert "too late: these patients were tested before" in " ".join(verdict.details)


def test_one_that_only_correction_makes_unclear_is_called_exploratory() -> None:
    results = [result("net", "ER", 0.03), result("a:b", "ER", 0.9), result("net", "PR", 0.9)]
    found, family = correct_for_family(results, PAIRS, TestPlan(), 1000)
    verdict = judge(found[0], (), family)
    assert (verdict.kind, found[0].permutation_p_holm) == ("unclear", pytest.approx(0.09))
    assert verdict.headline.startswith("Exploratory: after correction for multiple testing")
    assert "P = .03, corrected for 3 results P = .09" in verdict.details[0]


def test_corrected_p_and_interval_have_to_agree() -> None:
    inside = result("net", "ER", 0.001, auc_ci95=(0.49, 0.8))
    (found,), family = correct_for_family([inside], [("net", "ER")], TestPlan(), 1000)
    assert judge(found, (), family).kind == "unclear"


# --- Who gets a headline.


def replicates_table() -> pd.DataFrame:
    parts = [
        make_rows(TEST, "test", run=run, target=target).assign(configuration=name)
        for run, target, name in (
            ("s0", "ER", "c"),
            ("s1", "ER", "c"),
            ("s0", "PR", "c"),
            ("alone", "ER", "d"),
            ("baseline size", "ER", ""),
        )
    ]
    return validate_predictions(pd.concat(parts).assign(seed=pd.NA))


def test_of_replicates_the_ensemble_has_the_headline_where_there_is_one() -> None:
    table = replicates_table()
    assert headline_pairs(table) == (("s0", "ER"), ("s1", "ER"), ("s0", "PR"), ("alone", "ER"))
    # PR was trained once: its run has no mean, and keeps the headline.
    with_means = headline_pairs(add_ensembles(table))
    assert with_means == (("s0", "PR"), ("alone", "ER"), ("c, mean of 2", "ER"))


def test_baselines_alone_have_headlines() -> None:
    table = validate_predictions(make_rows(TEST, "test", run="baseline size"))
    assert headline_pairs(table) == (("baseline size", "ER"),)


# --- What --primary names.


@pytest.mark.parametrize(
    ("named", "expected"),
    [
        (["ER"], (PAIRS[0], PAIRS[1])),
        (["a:b:ER"], (PAIRS[1],)),
        ([" net:PR ", "net:ER"], (PAIRS[0], PAIRS[2])),
        (["PR", "net:PR"], (PAIRS[2],)),
        ([], ()),
    ],
)
def test_a_target_or_one_run_of_it_is_named(
    named: list[str], expected: tuple[tuple[str, str], ...]
) -> None:
    assert find_primary(named, PAIRS) == expected


@pytest.mark.parametrize(
    "named", ["er", "", ":", "net", "net:", ":ER", "b:ER", "net:HER2", "baseline size:ER", "ER,PR"]
)
def test_what_names_no_headline_is_refused_in_one_sentence(named: str) -> None:
    with pytest.raises(InputError, match="names no result that gets a headline") as refused:
        find_primary([named], PAIRS)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "pairs",
    [
        (("a", "b:c"), ("a:b", "c")),
        (("a", "b"), ("net", "a:b")),
    ],
)
def test_a_name_that_can_be_read_in_two_ways_is_refused(pairs: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(InputError, match="more than one result"):
        find_primary([":".join(pairs[0])], pairs)


# --- What the access log makes of it.

NETWORKS = {"net": "ER ResNet10, seed 0, fold 0, configuration 12ab"}


def record(primary: tuple[str, ...] = (), **more: object) -> AccessRecord:
    values: dict[str, object] = {"configurations": NETWORKS, "parts": ("p1",), "primary": primary}
    return AccessRecord("t", "why", ("net",), "f", **{**values, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (record(("net:ER",)), ""),
        (record(), "named no primary result"),
        (record(("net:PR",)), "named another primary result, net:PR"),
        (record(("net:ER",), configurations={"net": "another seed"}), "tested other models"),
        (record(("net:ER",), configurations={}), "tested other models"),
        (replace(record(("net:ER",)), split_fingerprint="g"), "tested other models"),
    ],
)
def test_a_primary_result_is_confirmed_by_the_first_look_only(
    other: AccessRecord, words: str
) -> None:
    plan = plan_of_access((("net", "ER"),), record(("net:ER",)), [other])
    assert bool(plan.too_late) == bool(words)
    assert words in plan.too_late
    assert plan_of_access((("net", "ER"),), record(("net:ER",)), []).too_late == ""


def test_without_a_primary_result_other_looks_are_counted_and_are_a_caveat() -> None:
    plan = plan_of_access((), record(), [record(), record(configurations={})])
    assert (plan.too_late, plan.num_earlier) == ("", 1)
    (found,), family = correct_for_family([result("net", "ER", 0.001)], [("net", "ER")], plan, 1000)
    verdict = judge(found, (), family)
    assert verdict.kind == "better"
    assert verdict.headline.endswith(
        "Caveat: not confirmatory, as the log has 1 other access to these test patients, which no p"
        " is corrected for."
    )


@pytest.fixture
def split(tmp_path: Path) -> Split:
    spec = StoreSpec(tuple("abcdefgh"), ("ER",), tuple((i % 2,) for i in range(8)), 1, (2, 2, 2))  # fmt: skip
    writer = StoreWriter.create_or_resume(str(tmp_path / "store"), spec, {})
    for index, patient in enumerate(spec.patient_ids):
        images = np.zeros((1, 2, 2, 2), dtype=np.float32)
        tensor = PatientTensor(images, np.zeros((2, 2, 2), dtype=np.uint8))
        writer.write(PatientRecord(index, patient, "stored"), tensor)
    writer.finish()
    return make_split(Store.open(str(tmp_path / "store")), seed=0, num_folds=2, test_fraction=0.34)


def test_the_access_log_keeps_what_was_named_and_shows_the_other_looks(
    split: Split, tmp_path: Path
) -> None:
    url = str(tmp_path / "splits.json")
    save_split(split, url)
    line = '{"time": "t", "purpose": "old", "runs": ["a"], "split_fingerprint": "f"}'
    (tmp_path / "splits.json.openings.jsonl").write_text(f"{line}\n")
    first = open_test_set(url, "one", ["net"], NETWORKS, primary=["net:ER"])
    # The older version does not say which patients it read.
    assert [r.purpose for r in first.others] == ["old"]
    second = open_test_set(url, "two", ["net"], NETWORKS, primary=["net:ER"])
    assert [r.purpose for r in second.others] == ["old", "one"]
    assert [r.primary for r in read_access_log(url).records] == [(), ("net:ER",), ("net:ER",)]
    assert plan_of_access((("net", "ER"),), second.record, second.others[1:]).too_late == ""
    assert plan_of_access((("net", "ER"),), second.record, second.others).too_late


# --- What cannot be significant is said.


def test_the_least_p_is_that_of_all_permutations() -> None:
    """Count every way to assign the labels of 3 positives and 4 negatives."""
    scores = np.arange(7.0)
    labels = np.array([0, 0, 0, 0, 1, 1, 1])

    def distance(y: tuple[int, ...]) -> float:
        wins = sum(a > b for a, i in zip(scores, y, strict=True) if i for b, j in zip(scores, y, strict=True) if not j)  # fmt: skip
        return abs(wins / 12 - 0.5)

    ways = set(permutations(labels.tolist()))
    extreme = sum(distance(way) >= 0.5 for way in ways)
    few = replace(result("net", "ER", 0.5), num_patients=7, num_positive=3)
    assert least_p(few) == pytest.approx(extreme / len(ways))
    assert least_p(result("net", "ER", 0.5), 100) == pytest.approx(1 / 101)


def networks(num: int, cohort: list[tuple[int, float]]) -> pd.DataFrame:
    tables = [
        make_rows(cohort, split, run=f"net{i}", target="HER2")
        for i in range(num)
        for split in ("test", "validation")
    ]
    return pd.concat(tables, ignore_index=True)


def test_too_few_resamples_for_the_correction_are_said() -> None:
    table = networks(6, good_cohort(80, 2.0, 1))
    found = evaluate_table(table, num_resamples=100)
    assert {v.kind for v in judge_all(found)} == {"unclear"}
    (said,) = [w for w in found.warnings if w.startswith("No p of")]
    assert said == (
        "No p of any of the 6 results that are tested together can be below 0.05: the least one possible"
        " is 0.059 after correction. The permutation test has 100 resamples: use --resamples 120 or more."
    )
    assert "the least corrected p possible is 0.059" in judge_all(found)[0].details[0]
    enough = evaluate_table(table, num_resamples=120)
    assert {v.kind for v in judge_all(enough)} == {"better"}
    assert not any(w.startswith("No p of") for w in enough.warnings)


def test_too_few_patients_are_said_whatever_the_resamples() -> None:
    found = evaluate_table(networks(1, [*TEST]), num_resamples=10_000)
    (said,) = [w for w in found.warnings if w.startswith("No p of")]
    assert said.endswith("is 0.200. There are too few test patients of a class, whatever the number of resamples.")  # fmt: skip


# --- Caveats of a headline.


def strong(**more: object) -> TargetResult:
    return result("net", "HER2", 0.001, claim="corrected", permutation_p_holm=0.001, **more)


def test_the_strongest_caveat_is_in_the_headline() -> None:
    from radiotrain.evaluation.leak_checks import LeakCheck

    leak = LeakCheck("Twice?", "found", "83", ("Leak: A and B are one.",))
    concerns = list(alarms((leak,), None))
    few = strong(num_positive=4)
    assert judge(few).headline.endswith(
        "better than chance. Caveat: only 4 positive test patients."
    )
    verdict = judge(few, concerns=concerns)
    assert verdict.headline.endswith(
        "Caveats: a leak was found, so this result may be too good; only 4 positive test patients."
    )
    suspect = replace(strong(), target="er ", auc=0.8)
    assert judge(suspect).caveats == ("the AUC is so high that a leak is suspected",)
    assert judge(strong()).headline == "HER2 status is predicted better than chance."


def with_baselines(net: float, *baselines: float) -> Evaluation:
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 2
    tables = []
    for run, shift in (("net", net), *((f"baseline b{i}", s) for i, s in enumerate(baselines))):
        scores = 1 / (1 + np.exp(-(rng.normal(size=160) + shift * labels)))
        patients = list(zip(labels.tolist(), scores.tolist(), strict=True))
        tables.append(make_rows(patients, "test", run=run, target="HER2"))
    return evaluate_table(pd.concat(tables, ignore_index=True), num_resamples=200)


@pytest.mark.parametrize(
    ("shifts", "caveat"),
    [
        ((1.0, 3.0), "baseline model b0 is better"),
        ((1.0, 3.0, 3.0, 3.0), "3 baseline models are better"),
        ((1.0, 1.0), "not shown to be better than the baseline model"),
        ((1.0, 1.0, 1.0), "not shown to be better than any of 2 baseline models"),
        ((2.0, 0.0, 2.0), "not shown to be better than baseline model b1"),
    ],
)
def test_a_headline_says_which_baselines_are_not_beaten(
    shifts: tuple[float, ...], caveat: str
) -> None:
    verdict = judge_all(with_baselines(*shifts))[0]
    assert verdict.kind == "better"
    assert verdict.headline.endswith(f"Caveat: {caveat}.")


def test_sensitivity_and_specificity_are_given_as_counts() -> None:
    table = pd.concat([make_rows(TEST, "test"), make_rows(VALIDATION, "validation")])
    details = judge_all(evaluate_table(table, num_resamples=100))[0].details
    assert (
        "At the threshold chosen on validation: sensitivity 2/3 (67%), specificity 1/2 (50%)."
        in details
    )


# --- Published results are of one cohort.


class OfSpec:
    def __init__(self, spec: StoreSpec) -> None:
        self.spec = spec


def test_a_phantom_that_looks_like_duke_is_not_duke() -> None:
    ids = tuple(f"Breast_MRI_{i:03d}" for i in range(1, 923))
    spec = StoreSpec(ids, ("ER", "PR", "HER2"), tuple((1, 0, 1) for _ in ids), 4, (8, 8, 4), cohort={"layout": "duke"})  # fmt: skip
    store: Store = OfSpec(spec)  # type: ignore[assignment]
    assert collection_of(store) == ""
    assert published_for("ER", collection_of(store)) == ()
    assert {row.target for row in published_for(" er", DUKE)} == {"ER"}


@pytest.mark.parametrize(("cohort", "is_named"), [(DUKE, True), ("", False)])
def test_a_suspected_leak_names_publications_of_its_own_cohort_only(
    cohort: str, is_named: bool
) -> None:
    table = pd.concat(
        [make_rows(good_cohort(200, 3.0, seed), split) for seed, split in ((1, "test"), (2, "validation"))]
    )  # fmt: skip
    warnings = evaluate_table(table, num_resamples=100, cohort=cohort).warnings
    (said,) = [w for w in warnings if "Check for a leak" in w]
    assert ("published imaging result" in said) == is_named
    assert "any" not in said.split() or is_named


# --- The command.


def written(tmp_path: Path) -> str:
    table = pd.concat([networks(2, good_cohort(40, 1.5, 3)), make_rows(TEST, "test", run="net:1")])
    path = tmp_path / "table.csv"
    table.to_csv(path, index=False)
    return str(path)


def test_odd_primary_results_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    table = written(tmp_path)
    for odd in ("ER2", "", "net0", "net:1:HER2", "HER2 ER", "1:ER"):
        found = attempt("evaluate", "--predictions", table, "--out", tmp_path / "out", "--primary", odd)  # fmt: skip
        assert found.status == 2
        assert "names no result that gets a headline" in found.error
        assert "Traceback" not in found.error
    assert not (tmp_path / "out" / "metrics.json").exists()


@pytest.mark.slow
def test_the_report_of_a_table_says_that_its_primary_result_is_not_on_record(
    tmp_path: Path,
) -> None:
    import json

    words = ("--out", tmp_path / "out", "--primary", "net:1:ER", "--primary", "net0:HER2")
    assert attempt("evaluate", "--predictions", written(tmp_path), "--resamples", 500, *words).status == 0  # fmt: skip
    kept = json.loads((tmp_path / "out" / "metrics.json").read_text("utf-8"))
    assert kept["family"]["primary"] == [["net0", "HER2"], ["net:1", "ER"]]
    assert kept["family"]["on_record"] is False
    assert kept["runs"]["net1"]["HER2"]["claim"] == "exploratory"
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "not on record before the test" in page
    assert "Exploratory, not a primary result" in page


@pytest.mark.slow
def test_reports_without_signal_have_few_false_headlines() -> None:
    """Of nine correlated results each, by the real verdicts: at most 5 % beyond simulation error."""
    from benchmarks.inference import SCENARIOS, draw_table, judged

    rng = np.random.default_rng(7)
    num = 60
    counts = [judged(draw_table(SCENARIOS[1], rng)) for _ in range(num)]
    limit = 0.05 + 3 * math.sqrt(0.05 * 0.95 / num)
    for name in ("coloured", "coloured, one primary result", "validation", "inverted"):
        assert np.mean([c.now[name] for c in counts]) <= limit, name
    # And the test could fail: the rules before do.
    assert np.mean([c.before["validation"] for c in counts]) > limit
