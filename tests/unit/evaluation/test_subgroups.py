from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from preprocessing.common.errors import InputError
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.write import write_report
from radiotrain.evaluation.stability.replicates import add_ensembles
from radiotrain.evaluation.subgroups.covariates import Facts, facts_of_table, read_patients
from radiotrain.evaluation.subgroups.subgroup_results import Group, Subgroups
from radiotrain.evaluation.subgroups.subgroup_tests import (
    calibration_difference,
    find_subgroups,
    measure_group,
)
from radiotrain.evaluation.subgroups.variables import (
    MOST_VARIABLES,
    OTHERS,
    UNKNOWN,
    choose_variables,
    cut_ages,
    cut_fields,
    cut_numbers,
    cut_texts,
    facts_of_store,
)
from radiotrain.statistics.auc_comparison import holm_adjusted
from tests.unit.evaluation.patients_of import patients_of
from tests.unit.evaluation.scanner_store import write_scanner_store


def make_cohort(
    num: int = 400, *, gap: float = 0.0, seed: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Predictions of half of the patients, and what is known of all; `gap`: only for GE."""
    generator = np.random.default_rng(seed)
    ids = [f"P{i:03d}" for i in range(num)]
    labels = generator.integers(0, 2, num)
    scanner = generator.choice(["GE", "Siemens"], num)
    signal = labels * (0.7 + gap * (scanner == "GE") - gap * (scanner == "Siemens"))
    table = pd.DataFrame(
        {
            "run": "net",
            "patient_id": ids,
            "target": "ER",
            "split": ["test" if i % 2 else "validation" for i in range(num)],
            "fold": 0,
            "label": labels,
            "probability": 1 / (1 + np.exp(-generator.normal(size=num) - signal)),
        }
    )
    patients = pd.DataFrame(
        {
            "patient_id": ids,
            "age_years": generator.normal(53, 11, num).round(1),
            "manufacturer": scanner,
            "menopause": np.where(generator.random(num) < 0.1, "", "post"),
        }
    )
    return validate_predictions(table), patients


def find(gap: float = 0.0, **changes: Any) -> tuple[pd.DataFrame, Subgroups]:
    table, patients = make_cohort(gap=gap)
    return table, find_subgroups(table, facts_of_table(patients.assign(**changes), "patients"))


# --- each number against a loop -------------------------------------------------------------


def test_each_number_of_a_group_is_that_of_a_loop() -> None:
    table, found = find()
    patients = make_cohort()[1].set_index("patient_id")
    (result,) = [r for r in found.results if r.variable == "scanner manufacturer"]
    siemens = next(g for g in result.groups if g.name == "Siemens")
    rows = {True: [], False: []}
    for row in table[table["split"] == "test"].itertuples():
        mine = patients.loc[row.patient_id, "manufacturer"] == "Siemens"
        rows[mine].append((row.label, row.probability))
    threshold = _youden(table[table["split"] == "validation"])
    positive = [p for y, p in rows[True] if y == 1]
    negative = [p for y, p in rows[True] if y == 0]
    assert (siemens.num_patients, siemens.num_positive) == (len(rows[True]), len(positive))
    assert siemens.auc == pytest.approx(_auc(rows[True]))
    assert siemens.auc_difference == pytest.approx(_auc(rows[True]) - _auc(rows[False]))
    assert siemens.sensitivity == pytest.approx(np.mean([p >= threshold for p in positive]))
    assert siemens.specificity == pytest.approx(np.mean([p < threshold for p in negative]))
    apart = [y - p for y, p in rows[True]]
    assert siemens.calibration_difference == pytest.approx(np.mean(apart))


def _auc(rows: list[tuple[int, float]]) -> float:
    pairs = [(p, q) for y, p in rows for z, q in rows if y == 1 and z == 0]
    return float(np.mean([(p > q) + 0.5 * (p == q) for p, q in pairs]))


def _youden(rows: pd.DataFrame) -> float:
    def quality(threshold: float) -> float:
        called = rows["probability"] >= threshold
        return called[rows["label"] == 1].mean() - called[rows["label"] == 0].mean()

    return max(sorted(rows["probability"]), key=quality)


def test_calibration_interval_is_wilsons_moved() -> None:
    """8 of 20: Wilson's interval is 0.2188 to 0.6134 (Newcombe's method 3, by hand)."""
    labels = np.array([1] * 8 + [0] * 12)
    difference, (low, high) = calibration_difference(labels, np.full(20, 0.25))
    assert difference == pytest.approx(0.15)
    z = 1.959963984540054
    middle, reach = 0.4 + z**2 / 40, z * np.sqrt(0.24 / 20 + z**2 / 1600)
    assert low + 0.25 == pytest.approx((middle - reach) / (1 + z**2 / 20))
    assert high + 0.25 == pytest.approx((middle + reach) / (1 + z**2 / 20))


def test_p_values_are_corrected_for_all_tests_of_the_report() -> None:
    table, patients = make_cohort()
    other = table.assign(run="other", probability=1 - table["probability"])
    both = validate_predictions(pd.concat([table, other], ignore_index=True))
    found = find_subgroups(both, facts_of_table(patients, "patients"))
    tests = [r for r in found.results if r.p is not None]
    assert found.num_tests == len(tests) == 4
    assert [r.p_holm for r in tests] == list(holm_adjusted([r.p for r in tests]))
    assert {(v.run, v.target) for v in found.verdicts} == {("net", "ER"), ("other", "ER")}


# --- what may be said -----------------------------------------------------------------------


def test_a_planted_difference_is_shown_and_none_is_not() -> None:
    _, planted = find(gap=1.2)
    (verdict,) = planted.verdicts
    assert verdict.kind == "differ"
    assert "by scanner manufacturer: " in verdict.sentence
    assert "'Siemens'" in verdict.sentence
    assert "age" not in verdict.sentence
    assert planted.warnings == (f"ER, run net: {verdict.sentence}",)
    _, clean = find()
    (verdict,) = clean.verdicts
    assert verdict.kind == "no difference shown"
    assert "an AUC of one group lower" in verdict.details[0]
    assert clean.warnings == ()
    assert "all 2 tests" in " ".join(verdict.details)


def _group(num_positive: int, num_negative: int) -> Group:
    labels = np.repeat([1, 0], [num_positive, num_negative])
    scores = np.random.default_rng(0).uniform(size=len(labels))
    rest = np.arange(100) % 2
    others = patients_of(rest, np.linspace(0, 1, 100))
    return measure_group("x", patients_of(labels, scores), others, scores >= 0.5)


@pytest.mark.parametrize(
    ("num_positive", "num_negative", "standing", "shown"),
    [
        (10, 10, "judged", ("20", "10")),
        (9, 40, "too few to say", ("49", "9")),
        (40, 9, "too few to say", ("49", "40")),
        (4, 40, "withheld", ("44", "<5")),
        (40, 4, "withheld", ("44", ">39")),
        (3, 1, "withheld", ("<5", "<5")),
        (0, 30, "withheld", ("30", "<5")),
        (30, 0, "withheld", ("30", ">25")),
        (1, 0, "withheld", ("<5", "<5")),
    ],
)
def test_small_groups_are_said_to_be_so_and_small_counts_are_hidden(
    num_positive: int, num_negative: int, standing: str, shown: tuple[str, str]
) -> None:
    group = _group(num_positive, num_negative)
    assert (group.standing, (group.patients_shown, group.positives_shown)) == (standing, shown)
    written = group.to_json()
    assert (str(written["num_patients"]), str(written["num_positive"])) == shown
    assert (group.auc_difference is not None) == (standing == "judged")
    undefined = {k for k, v in written.items() if v is None}
    assert undefined == set(group.reasons)
    if standing == "withheld":
        assert group.auc is group.sensitivity is group.calibration_difference is None


def test_classes_that_do_not_overlap_have_a_lower_bound_and_a_test() -> None:
    table, patients = make_cohort()
    is_ge = (patients["manufacturer"] == "GE").to_numpy()
    table.loc[is_ge, "probability"] = table.loc[is_ge, "label"] * 0.5 + 0.2
    found = find_subgroups(table, facts_of_table(patients, "patients"))
    (result,) = [r for r in found.results if r.variable == "scanner manufacturer"]
    ge = next(g for g in result.groups if g.name == "GE")
    assert ge.auc == 1.0
    assert ge.auc_ci95 is not None
    assert 0.5 < ge.auc_ci95[0] < ge.auc_ci95[1] == 1.0
    assert result.p is not None
    assert result.p < 0.001


def test_who_is_not_known_has_a_row_and_no_part_in_tests() -> None:
    table, patients = make_cohort()
    generator = np.random.default_rng(5)
    patients["menopause"] = generator.choice(["pre", "post", ""], len(patients))
    found = find_subgroups(table, facts_of_table(patients, "patients"))
    (result,) = [r for r in found.results if r.variable == "menopausal status"]
    assert [g.name for g in result.groups] == ["post", "pre", UNKNOWN]
    assert result.degrees_of_freedom == 1
    assert [g.name for g in result.judged] == ["post", "pre"]
    assert result.groups[2].auc is not None
    assert "not a group" in result.groups[2].reasons["auc_difference"]


def test_one_class_or_no_validation_is_no_crash() -> None:
    table, patients = make_cohort(60)
    facts = facts_of_table(patients, "patients")
    all_positive = find_subgroups(table.assign(label=1), facts)
    assert all_positive.verdicts[0].kind == "too few to say"
    assert all_positive.num_tests == 0
    only_test = table[table["split"] == "test"]
    found = find_subgroups(only_test, facts)
    group = next(g for r in found.results for g in r.groups if g.standing != "withheld")
    assert group.sensitivity is None
    assert group.reasons["sensitivity"].startswith("no threshold")
    none_tested = find_subgroups(table[table["split"] != "test"], facts)
    assert (none_tested.results, none_tested.num_tests) == ((), 0)


def test_baselines_are_left_out() -> None:
    table, patients = make_cohort(60)
    found = find_subgroups(table.assign(run="baseline size"), facts_of_table(patients, "x"))
    assert (found.results, found.verdicts) == ((), ())


def test_of_trainings_of_one_configuration_their_mean_is_divided() -> None:
    table, patients = make_cohort(120)
    again = table.assign(run="again", seed=1, probability=table["probability"].round(2))
    both = pd.concat([table.assign(seed=0), again]).assign(configuration="ER ResNet10")
    alone = table.assign(run="alone", configuration="", seed=0)
    whole = add_ensembles(validate_predictions(pd.concat([both, alone])))
    found = find_subgroups(whole, facts_of_table(patients, "x"))
    assert {r.run for r in found.results} == {"alone", "ER ResNet10, mean of 2"}
    without_mean = find_subgroups(validate_predictions(both), facts_of_table(patients, "x"))
    assert {r.run for r in without_mean.results} == {"net", "again"}


# --- which groups ---------------------------------------------------------------------------


def test_ages_and_fields_are_cut_at_fixed_points() -> None:
    ages: dict[str, Any] = {"a": 39.9, "b": "40", "c": 59.99, "d": 60.0, "e": None, "f": "old"}
    cut = cut_ages(ages)
    assert list(cut.group_of.values()) == [
        "under 40", "40 to 49", "50 to 59", "60 and over", UNKNOWN, UNKNOWN,
    ]  # fmt: skip
    fields: dict[str, Any] = {"a": 1.494, "b": "2.8936", "c": "3T", "d": 1.5, "e": "", "f": 0}
    cut = cut_fields(fields)
    assert list(cut.group_of.values()) == ["1.5 T", "3 T", "3 T", "1.5 T", UNKNOWN, UNKNOWN]
    assert cut.groups == ("1.5 T", "3 T")


def test_tertiles_are_those_of_development_patients() -> None:
    values: dict[str, Any] = {f"d{i}": float(i) for i in range(1, 31)}
    values |= {f"t{i}": 1000.0 + i for i in range(30)}
    cut = cut_numbers(values, [i for i in values if i.startswith("d")], " mm")
    assert not isinstance(cut, str)
    assert cut.groups == ("below 10.7 mm", "10.7 to 20.3 mm", "20.3 mm and over")
    assert {cut.group_of[f"t{i}"] for i in range(30)} == {"20.3 mm and over"}
    assert [list(cut.group_of.values())[:30].count(g) for g in cut.groups] == [10, 10, 10]
    refused = cut_numbers(values, ["d1", "d2"], " mm")
    assert isinstance(refused, str)
    assert "chosen by the test" in refused


def test_rare_texts_go_together_and_capitals_do_not_count() -> None:
    texts = ["GE"] * 20 + ["ge"] * 3 + ["Siemens"] * 12 + ["Toshiba"] * 2 + ["Hitachi", " "]
    cut = cut_texts({str(i): t for i, t in enumerate(texts)})
    assert not isinstance(cut, str)
    assert cut.groups == ("GE", "Siemens", OTHERS)
    found = list(cut.group_of.values())
    assert [found.count(g) for g in (*cut.groups, UNKNOWN)] == [23, 12, 3, 1]
    names = cut_texts({str(i): f"site {i}" for i in range(30)})
    assert isinstance(names, str)


def test_receptors_divide_the_other_targets_only() -> None:
    table, patients = make_cohort()
    her2 = table.assign(target="HER2", label=1 - table["label"])
    both = validate_predictions(pd.concat([table, her2], ignore_index=True))
    found = find_subgroups(both, facts_of_table(patients, "patients"))
    names = {(r.target, r.variable) for r in found.results if "status" in r.variable}
    assert names == {("ER", "HER2 status"), ("HER2", "ER status")}
    from_covariate = facts_of_table(patients.assign(ER=1, PR=np.arange(400) // 2 % 2), "patients")
    found = find_subgroups(table, from_covariate)
    assert {r.variable for r in found.results if "status" in r.variable} == {"PR status"}


def test_what_is_left_out_is_said() -> None:
    ids = [f"P{i}" for i in range(40)]
    numbers = np.random.default_rng(0).normal(size=40)
    covariates = {
        i: {
            "age_years": 50.0 + k,
            "pCR": float(k % 2),
            "bilateral": "no",
            "note": f"text {k}",
            **{f"x{j:02d}": float(v) for j in range(14) for v in [numbers[k] + j]},
        }
        for k, i in enumerate(ids)
    }
    chosen, notes = choose_variables(Facts(covariates), ids[:20], ids[20:])
    assert len(chosen) == MOST_VARIABLES
    assert chosen[0].label == "age (years)"
    said = " ".join(notes)
    assert "Known only after treatment, and left out: pCR." in said
    assert "alike, or not known, in: bilateral" in said
    assert "No groups by note" in said
    assert "left out, whatever they would have shown: x11, x12, x13" in said


# --- where it comes from --------------------------------------------------------------------


def test_a_table_of_patients_is_read_as_text(tmp_path: Path) -> None:
    path = tmp_path / "patients.csv"
    path.write_text("patient_id, age_years,race\n007,41.5,NA\n008,nan, White \n", "utf-8-sig")
    facts = read_patients(path)
    assert facts.covariates == {
        "007": {"age_years": "41.5", "race": None},
        "008": {"age_years": None, "race": "White"},
    }
    pd.DataFrame({"patient_id": [1], "old": [True]}).to_parquet(tmp_path / "p.parquet")
    assert read_patients(tmp_path / "p.parquet").covariates == {"1": {"old": "yes"}}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("patient,age\n1,2\n", "has no column 'patient_id' (is it 'patient'?)"),
        ("patient_id\n1\n", "no column but patient_id"),
        ("patient_id,age\n", "no rows"),
        ("patient_id,age\n1,2\n1,3\n", "two rows of patient '1'"),
        ("patient_id,age\n,2\n", "patient_id in row 1 is empty"),
        ("patient_id,age\n1,2,3,4\n1,2\n", "patient_id"),
        ("", "cannot be read"),
    ],
)
def test_a_wrong_table_of_patients_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "patients.csv"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_patients(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_store_says_what_it_knows(tmp_path: Path) -> None:
    store = write_scanner_store(str(tmp_path / "store"), num_patients=12)
    facts = facts_of_store(store, ["P003"])
    assert facts.labels["ER"]["P003"] == 1
    assert set(facts.covariates["P003"]) == {"manufacturer", "age_years", "tumour_size_mm"}
    # 8 rows and columns of 1 mm, 4 slices of 2 mm.
    assert facts.covariates["P003"]["tumour_size_mm"] == 8.0
    with pytest.raises(InputError, match="holds none of the 1 test patients"):
        facts_of_store(store, ["someone"])


def test_of_what_both_say_the_table_counts() -> None:
    store = Facts({"a": {"age": 1.0, "race": "x"}, "b": {"age": 2.0}}, {"ER": {"a": 1}})
    table = Facts({"a": {"age": 9.0}, "c": {"age": 3.0}})
    both = store.beside(table)
    assert both.covariates == {"a": {"age": 9.0, "race": "x"}, "b": {"age": 2.0}, "c": {"age": 3.0}}
    assert both.labels == {"ER": {"a": 1}}


# --- the report -----------------------------------------------------------------------------


def test_report_shows_groups_escaped_and_hides_small_counts(tmp_path: Path) -> None:
    table, patients = make_cohort()
    patients["manufacturer"] = patients["manufacturer"].replace("GE", "<b>$G & E</b>")
    patients["race"] = ["rare" if i < 6 else "common" for i in range(len(patients))]
    facts = facts_of_table(patients, "patients")
    subgroups = find_subgroups(table, facts)
    context = ReportContext(subgroups=subgroups)
    write_report(evaluate_table(table, num_resamples=100), table, tmp_path, context=context)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert '<h2 id="subgroups">' in page
    assert "&lt;b&gt;$G &amp; E&lt;/b&gt;" in page
    assert "<b>$G" not in page
    assert "&lt;5" in page
    (plot,) = (tmp_path / "plots").glob("subgroups-*.svg")
    assert "$G &amp; E" in plot.read_text("utf-8")
    metrics = json.loads((tmp_path / "metrics.json").read_text("utf-8"))["subgroups"]
    race = next(r for r in metrics["results"] if r["variable"] == "race and ethnicity")
    rare = next(g for g in race["groups"] if g["name"] == "rare")
    assert (rare["num_patients"], rare["num_positive"], rare["auc"]) == ("<5", "<5", None)
    assert metrics["num_tests"] == subgroups.num_tests


def test_report_without_patients_says_what_it_needs(tmp_path: Path) -> None:
    table, _ = make_cohort(60)
    write_report(evaluate_table(table, num_resamples=100), table, tmp_path)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "--patients PATIENTS.csv" in page
    assert json.loads((tmp_path / "metrics.json").read_text("utf-8"))["subgroups"] is None


def test_a_difference_that_only_a_useless_group_would_show_is_called_so() -> None:
    table, patients = make_cohort(160)
    (verdict,) = find_subgroups(table, facts_of_table(patients, "patients")).verdicts
    assert verdict.kind == "no difference shown"
    assert "an AUC below chance (0.5)" in " ".join(verdict.details)


def _tested(ids: list[str]) -> pd.DataFrame:
    columns = {"run": "net", "patient_id": ids, "target": "ER", "split": "test", "fold": None}
    num = len(ids)
    values = {"label": [i % 2 for i in range(num)], "probability": [i / num for i in range(num)]}
    return validate_predictions(pd.DataFrame(columns | values))


def test_patients_who_are_all_spelt_otherwise_are_refused() -> None:
    facts = facts_of_table(pd.DataFrame({"patient_id": [1, 2], "age": [40, 50]}), "patients")
    with pytest.raises(
        InputError, match=r"2 of 2 are under another spelling .first: '001' here, '1'"
    ):
        find_subgroups(_tested(["001", "002"]), facts)
    found = find_subgroups(_tested(["001", "2"]), facts)
    assert any("1 of 2 test patients are not in patients" in note for note in found.notes)
    assert any("1 of them under another spelling" in note for note in found.notes)


def test_ids_that_became_decimals_are_named() -> None:
    table = pd.DataFrame({"patient_id": [1.0, 2.0], "age": [40, 50]})
    with pytest.raises(
        InputError, match=r"patient_id in row 1 is 1.0, expected a name: write ids as"
    ):
        facts_of_table(table, "patients")


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (["45,5", "50", "61,25"], ["45.5", "50", "61.25"]),
        (["45,5", "50.5"], ["45,5", "50.5"]),
        (["1,234", "2,500"], ["1,234", "2,500"]),
        (["a,b", "1,5"], ["a,b", "1,5"]),
    ],
)
def test_decimal_commas_of_a_whole_column_are_numbers(written: list[str], read: list[str]) -> None:
    ids = [f"P{i}" for i in range(len(written))]
    facts = facts_of_table(pd.DataFrame({"patient_id": ids, "size": written}), "patients")
    assert [facts.covariates[i]["size"] for i in ids] == read
