"""Replicates, ensembles, noise floors, uncertainty and selective prediction against naive counts."""

from __future__ import annotations

import io
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import roc_auc_score

from preprocessing.common.errors import InputError
from radiotrain.config.run_config import RunConfig
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.patients import patient_scores
from radiotrain.evaluation.predictions import (
    read_predictions,
    validate_predictions,
    write_predictions,
)
from radiotrain.evaluation.report.write import write_report
from radiotrain.evaluation.stability.replicates import (
    add_ensembles,
    ensembles,
    name_configurations,
    replicates,
)
from radiotrain.evaluation.stability.spread import crossed_components, sd_interval
from radiotrain.evaluation.stability.stability import find_stability
from radiotrain.evaluation.stability.uncertainty import (
    COVERAGES,
    entropy,
    mutual_information,
    num_kept,
    selective_aucs,
    selective_prediction,
    uncertainty_csv,
)
from tests.unit.evaluation.small_tables import good_cohort, make_rows

NAME = "ER ResNet10"
MEAN = f"{NAME}, mean of 4"


def make_table(seeds: int = 2, folds: int = 2, *, num: int = 40, name: str = NAME) -> pd.DataFrame:
    """Runs of one configuration; a fold's validation patients are its own."""
    parts = []
    for seed, fold in itertools.product(range(seeds), range(folds)):
        run = f"run-{seed}-{fold}"
        test = make_rows(good_cohort(num, 1.0, 10), "test", run=run, fold=fold)
        rng = np.random.default_rng(100 * seed + fold)
        logit = np.log(test["probability"] / (1 - test["probability"]))
        test["probability"] = 1 / (1 + np.exp(-(logit + rng.normal(0, 1 + fold, num))))
        validation = make_rows(good_cohort(20, 1.0, seed), "validation", run=run, fold=fold)
        validation["patient_id"] += f"-fold{fold}"
        parts.append(pd.concat([test, validation]).assign(configuration=name, seed=seed))
    return validate_predictions(pd.concat(parts, ignore_index=True))


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return add_ensembles(make_table())


@pytest.fixture(scope="module")
def stability(table: pd.DataFrame):
    return find_stability(evaluate_table(table, num_resamples=200), table)


# The table


def test_optional_columns_survive_files(tmp_path: Path) -> None:
    table = pd.concat([make_table(), make_rows(good_cohort(8, 1, 0), "test", run="alone")])
    table = validate_predictions(table)
    assert set(table.loc[table["run"] == "alone", "configuration"]) == {""}
    for name in ("t.csv", "t.parquet"):
        write_predictions(table, tmp_path / name)
        pd.testing.assert_frame_equal(read_predictions(tmp_path / name), table)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("configuration", "other", "has the configuration 'other' and 'ER ResNet10', expected one"),
        ("seed", 7, "has the seed 7 and 0, expected one in all its rows"),
        ("seed", -1, "expected an integer from 0 or empty"),
        ("seed", pd.NA, "has the seed none and 0"),
    ],
)
def test_one_configuration_and_seed_a_run(column: str, value: object, message: str) -> None:
    table = make_table()
    table.loc[0, column] = value
    with pytest.raises(InputError, match=message):
        validate_predictions(table)


def test_configurations_differ_in_more_than_seed_and_fold() -> None:
    def config(**more: object) -> RunConfig:
        return RunConfig.model_validate({"store": "s", "split": "p", "out": "o", **more})

    same = {"a": config(), "b": config(seed=3, fold=None, out="elsewhere", device="cpu")}
    assert set(name_configurations(same).values()) == {"ER ResNet18"}
    other = {**same, "c": config(train={"lr": 1e-2}), "d": config(network={"name": "ResNet10"})}
    names = name_configurations(other)
    assert names["a"] == names["b"] != names["c"]
    assert names["a"].startswith("ER ResNet18 ")
    assert names["d"] == "ER ResNet10"


# Ensembles


def test_ensemble_is_the_mean_of_members_that_had_not_seen_the_patient(table: pd.DataFrame) -> None:
    members = make_table()
    for split in ("test", "validation"):
        found = patient_scores(table, MEAN, "ER", split)
        for patient, score in zip(found.patient_ids, found.scores, strict=True):
            mine = members[(members["patient_id"] == patient) & (members["split"] == split)]
            assert len(mine) == (4 if split == "test" else 2)
            assert score == pytest.approx(sum(mine["probability"]) / len(mine), abs=1e-15)


def test_judging_again_builds_no_second_ensemble(table: pd.DataFrame, tmp_path: Path) -> None:
    write_predictions(table, tmp_path / "predictions.parquet")
    again = add_ensembles(read_predictions(tmp_path / "predictions.parquet"))
    pd.testing.assert_frame_equal(again, table)
    assert ensembles(again) == {MEAN: NAME}
    assert MEAN not in replicates(again)[NAME]


def test_ensemble_of_fewer_runs_replaces_the_stale_one(table: pd.DataFrame) -> None:
    fewer = add_ensembles(table[table["run"] != "run-0-0"])
    assert list(ensembles(fewer)) == [f"{NAME}, mean of 3"]
    single = table[table["run"].isin(["run-0-0", MEAN])]
    pd.testing.assert_frame_equal(add_ensembles(single), single)


def test_ensemble_stands_before_baselines() -> None:
    baseline = make_rows(good_cohort(40, 0, 1), "test", run="baseline age")
    found = add_ensembles(validate_predictions(pd.concat([baseline, make_table()])))
    assert list(found["run"].drop_duplicates())[-2:] == [MEAN, "baseline age"]


def test_runs_of_a_configuration_with_different_labels_are_refused() -> None:
    table = make_table()
    table.loc[table["run"] == "run-0-0", "label"] = 1 - table["label"]
    with pytest.raises(InputError, match="patient 'test-000' has the 'ER' labels 0 and 1"):
        add_ensembles(table)


def test_a_table_without_the_columns_stays_as_it_is() -> None:
    table = make_table().drop(columns=["configuration", "seed"])
    assert add_ensembles(table) is table
    stability = find_stability(evaluate_table(table, num_resamples=100), table)
    assert stability.spreads == ()
    assert "no column configuration" in stability.notes[0]
    assert {pair.standing for pair in stability.pairs} == {"not known"}


def test_a_caution_says_that_validation_means_are_over_fewer(table: pd.DataFrame) -> None:
    warnings = evaluate_table(table, num_resamples=100).warnings
    (found,) = [w for w in warnings if f"run {MEAN}: Thresholds" in w]
    assert "averaged over 2 predictions per patient, but are used on means over 4." in found


# Variance


def test_components_against_sums_of_squares_by_loops() -> None:
    """Searle, Casella, McCulloch (1992), section 4.3: expected mean squares solved."""
    x = np.random.default_rng(0).normal(size=(3, 4)) + 2 * np.arange(3)[:, None]
    a, b = x.shape
    mean = sum(x[i, j] for i in range(a) for j in range(b)) / (a * b)
    row = [sum(x[i]) / b for i in range(a)]
    column = [sum(x[:, j]) / a for j in range(b)]
    of_seed = b * sum((r - mean) ** 2 for r in row) / (a - 1)
    of_fold = a * sum((c - mean) ** 2 for c in column) / (b - 1)
    left = sum((x[i, j] - row[i] - column[j] + mean) ** 2 for i in range(a) for j in range(b))
    left /= (a - 1) * (b - 1)
    found = crossed_components(x)
    assert found.residual == pytest.approx(left)
    assert found.seed == pytest.approx((of_seed - left) / b)
    assert found.fold == pytest.approx(max(0.0, (of_fold - left) / a))


def test_negative_components_are_cut_at_zero() -> None:
    found = crossed_components([[0.0, 1.0], [1.0, 0.0]])
    assert (found.seed, found.fold) == (0.0, 0.0)
    assert found.residual == pytest.approx(1.0)


def test_interval_of_an_sd_covers_as_often_as_it_says() -> None:
    low, high = sd_interval(2.0, 9)
    assert (low, high) == pytest.approx(
        (2 * math.sqrt(9 / chi2.ppf(0.975, 9)), 2 * math.sqrt(9 / chi2.ppf(0.025, 9)))
    )
    sds = np.random.default_rng(0).normal(size=(4000, 5)).std(axis=1, ddof=1)
    ends = [sd_interval(sd, 4) for sd in sds]
    assert np.mean([low <= 1 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.015)
    assert all(math.isnan(end) for end in sd_interval(1.0, 0))


def test_spread_of_members_by_hand(table: pd.DataFrame, stability) -> None:
    (spread,) = stability.spreads
    areas = []
    for seed, fold in itertools.product(range(2), range(2)):
        rows = table[(table["run"] == f"run-{seed}-{fold}") & (table["split"] == "test")]
        areas.append(roc_auc_score(rows["label"], rows["probability"]))
    assert [m.auc for m in spread.members] == pytest.approx(areas)
    assert (spread.over, spread.ensemble) == ("seed and fold", MEAN)
    assert spread.mean == pytest.approx(np.mean(areas))
    assert spread.sd == pytest.approx(np.std(areas, ddof=1))
    parts = crossed_components(np.reshape(areas, (2, 2)))
    assert spread.noise_floor == pytest.approx(1.959964 * math.sqrt(2) * parts.sd)
    assert spread.variance_seed == pytest.approx(parts.seed)


def test_not_crossed_runs_have_the_plain_sd() -> None:
    table = make_table(3, 1)
    (spread,) = find_stability(evaluate_table(table, num_resamples=100), table).spreads
    assert spread.over == "seed"
    assert spread.variance_seed is None
    assert "not every seed" in spread.reasons["variance_seed"]
    assert spread.sd_of_training == spread.sd
    assert spread.noise_floor_ci95 is not None


def test_noise_beside_comparisons() -> None:
    other = make_table(3, 1, name="ER other")
    other["run"] = "other-" + other["run"]
    table = add_ensembles(validate_predictions(pd.concat([make_table(3, 1), other])))
    evaluation = evaluate_table(table, num_resamples=100)
    found = find_stability(evaluation, table)
    seen = set()
    for comparison in evaluation.comparisons:
        noise = found.noise_of(comparison)
        seen.add(noise.standing)
        if "mean of 3" in comparison.run + comparison.other:
            assert noise.standing == "not known"
            assert "is a single ensemble" in noise.sentence
        else:
            low, high = noise.noise_floor_ci95
            assert low < noise.noise_floor < high
            size = abs(comparison.difference)
            expected = "within" if size <= low else "beyond" if size > high else "about"
            assert noise.standing == expected
            assert "that of another seed" in noise.sentence
    assert seen == {"not known", "within", "about"}


def test_floor_of_two_configurations_adds_variances_and_of_a_baseline_none() -> None:
    other = make_table(3, 1, name="ER other")
    other["run"] = "other-" + other["run"]
    baseline = make_rows(good_cohort(40, 0, 1), "test", run="baseline age")
    table = validate_predictions(pd.concat([make_table(3, 1), other, baseline]))
    evaluation = evaluate_table(table, num_resamples=100)
    found = find_stability(evaluation, table)
    sds = {s.configuration: s.sd for s in found.spreads}
    by = {(p.run, p.other): p for p in found.pairs}
    both = by["run-0-0", "other-run-0-0"].noise_floor
    assert both == pytest.approx(1.959964 * math.hypot(sds[NAME], sds["ER other"]))
    assert by["run-0-0", "baseline age"].noise_floor == pytest.approx(1.959964 * sds[NAME])


def test_one_seed_each_is_said() -> None:
    table = pd.concat([make_table(1, 1), make_table(1, 1, name="other").assign(run="b")])
    found = find_stability(evaluate_table(table, num_resamples=100), validate_predictions(table))
    assert found.unknown_floors == (
        ("Noise floor not known: run-0-0 was trained once; b was trained once.", 1),
    )


# Uncertainty


def test_entropy_and_information_against_scipy() -> None:
    for p in (0.0, 0.1, 0.5, 1.0):
        assert float(entropy(p)) == pytest.approx(scipy_entropy([p, 1 - p]))
    p = [0.2, 0.9, 0.6]
    mean = sum(p) / 3
    naive = scipy_entropy([mean, 1 - mean]) - sum(scipy_entropy([q, 1 - q]) for q in p) / 3
    assert mutual_information(p) == pytest.approx(naive)
    assert mutual_information([0.3, 0.3, 0.3]) == 0.0
    assert mutual_information([0.0, 1.0]) == pytest.approx(math.log(2))


def test_uncertainty_of_patients_is_that_of_their_members(table: pd.DataFrame, stability) -> None:
    members = make_table()
    of_mean = [p for p in stability.patients if p.run == MEAN]
    assert len(of_mean) == 40
    for p in of_mean:
        mine = members[(members["patient_id"] == p.patient_id) & (members["split"] == "test")]
        values = mine["probability"].tolist()
        assert p.num_predictions == 4
        assert p.sd == pytest.approx(np.std(values, ddof=1))
        assert p.mutual_information == pytest.approx(mutual_information(values))
        assert p.is_right == ((p.distance_to_threshold >= 0) == (p.label == 1))
    alone = [p for p in stability.patients if p.run == "run-0-0"]
    assert {(p.num_predictions, p.sd, p.mutual_information) for p in alone} == {(1, None, None)}
    assert any("disagreement between trainings" in note for note in stability.notes)
    kept = pd.read_csv(io.StringIO(uncertainty_csv(stability.patients)), dtype={"patient_id": str})
    assert len(kept) == len(stability.patients)


def test_draws_of_changed_images_are_members() -> None:
    table = make_table(1, 1)
    tested = table[table["split"] == "test"][["run", "patient_id", "target", "split"]]
    draws = pd.concat([tested.assign(draw=n, probability=0.2 + 0.3 * n) for n in range(3)])
    found = find_stability(evaluate_table(table, num_resamples=100), table, draws).patients
    assert {p.num_predictions for p in found} == {3}
    assert {round(p.sd, 12) for p in found} == {0.3}


# Selective prediction


def test_selective_curve_of_four_patients_by_hand() -> None:
    """The least sure one, 0.5, is the only positive below a negative; without it the AUC is 1."""
    y, x = [1, 1, 0, 0], [0.95, 0.5, 0.6, 0.1]
    ones = np.ones((1, 4), dtype=np.int64)
    found = selective_aucs(y, x, entropy(x), ones, (1.0, 0.75, 0.5, 0.25))[0]
    assert found[:3] == pytest.approx([0.75, 1.0, 1.0])
    assert math.isnan(found[3])


def test_selective_aucs_of_resamples_by_loops() -> None:
    rng = np.random.default_rng(1)
    y = np.arange(30) % 2
    x = np.round(rng.random(30), 1)
    sure = np.round(rng.random(30), 1)
    counts = rng.multinomial(30, np.full(30, 1 / 30), size=20)
    found = selective_aucs(y, x, sure, counts)
    for b, g in itertools.product(range(20), range(len(COVERAGES))):
        drawn = [i for i in np.argsort(sure, kind="stable") for _ in range(counts[b, i])]
        kept = drawn[: num_kept(COVERAGES[g], 30)]
        pairs = [
            (x[i] > x[j]) + 0.5 * (x[i] == x[j]) for i in kept if y[i] for j in kept if not y[j]
        ]
        naive = sum(pairs) / len(pairs) if pairs else math.nan
        assert found[b, g] == pytest.approx(naive, nan_ok=True)


def test_full_coverage_is_the_run_itself_and_random_deferral_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    y = rng.integers(0, 2, 200)
    x = rng.random(200) * 0.6 + 0.4 * y * rng.random(200)
    changes = []
    for seed in range(200):
        sure = np.random.default_rng(seed).random(200)
        found = selective_aucs(y, x, sure, np.ones((1, 200), dtype=np.int64))[0]
        assert found[0] == pytest.approx(roc_auc_score(y, x))
        changes.append((found - found[0]).mean())
    assert np.mean(changes) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize(("sign", "verdict"), [(1, "an improvement"), (-1, "a deterioration")])
def test_verdicts_where_deferring_matters(sign: int, verdict: str) -> None:
    rng = np.random.default_rng(0)
    y = np.arange(400) % 2
    sure = rng.random(400)
    x = np.where(sure < 0.7, rng.random(400) * 0.5 + 0.5 * y, rng.random(400))
    found = selective_prediction("r", "ER", y, x, sign * sure, 0.5, num_resamples=500)
    assert found.sentence.endswith(f": {verdict}.")
    assert found.area is not None
    assert math.copysign(1, found.area) == sign


def test_noise_is_not_shown_to_help() -> None:
    rng = np.random.default_rng(4)
    y, x = np.arange(100) % 2, rng.random(100)
    found = selective_prediction("r", "ER", y, x, entropy(x), 0.5, num_resamples=300)
    assert found.sentence.endswith("no improvement shown.")
    assert found.points[0].change == 0


def test_too_few_patients_have_reasons() -> None:
    for y, x in (([], []), ([1], [0.4]), ([1, 1], [0.2, 0.4]), ([0, 1], [0.5, 0.9])):
        found = selective_prediction("r", "ER", y, x, entropy(x), None, num_resamples=100)
        for part in (found, *found.points):
            undefined = {k for k, v in vars(part).items() if v is None}
            assert undefined == set(part.reasons)
    assert found.points[-1].reasons["auc"] == "only one class is left"


# Report


@pytest.mark.slow
def test_report_says_it_and_metrics_json_is_documented(table: pd.DataFrame, tmp_path: Path) -> None:
    evil = table.assign(configuration="<b>x</b>", run=table["run"].str.replace(NAME, "<b>x</b>"))
    other = make_table(2, 2)
    other = other.assign(configuration="other", run="other " + other["run"])
    other["probability"] = 1 - other["probability"] ** 2
    evil = validate_predictions(pd.concat([evil, other], ignore_index=True))
    evaluation = evaluate_table(evil, num_resamples=100)
    page = Path(write_report(evaluation, evil, tmp_path)).read_text(encoding="utf-8")
    assert "Reproducibility across seeds and folds" in page
    assert "<b>x</b>" not in page
    assert "Noise floor 0." in page
    text = (tmp_path / "metrics.json").read_text("utf-8")
    kept = json.loads(text, parse_constant=lambda word: pytest.fail(word))["stability"]
    document = Path(__file__).parents[3].joinpath("docs", "metrics-json.md").read_text("utf-8")
    rows = [kept, *kept["spreads"], *kept["pairs"], *kept["selective"]]
    rows += kept["spreads"][0]["members"] + kept["selective"][0]["points"]
    assert {key for row in rows for key in row if f"`{key}`" not in document} == set()
    assert kept["selective"][0]["run"] == "<b>x</b>, mean of 4"
    configurations = [{"other" in pair["run"], "other" in pair["other"]} for pair in kept["pairs"]]
    assert configurations
    assert all(sides == {True, False} for sides in configurations), "of one configuration, no pair"
    assert (tmp_path / "uncertainty.csv").read_text().startswith("run,target,patient_id,label")


def test_report_without_replicates_says_what_is_missing(tmp_path: Path) -> None:
    table = make_table(1, 1).drop(columns=["configuration", "seed"])
    evaluation = evaluate_table(table, num_resamples=100)
    page = Path(write_report(evaluation, table, tmp_path)).read_text(encoding="utf-8")
    assert "The noise floor is not known" in page
