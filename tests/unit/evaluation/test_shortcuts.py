from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from preprocessing.errors import InputError
from preprocessing.store import PatientRecord, Store
from radiotrain.data.patients import load_patients
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.from_runs import predict_runs
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.write import write_report
from radiotrain.evaluation.shortcuts.acquisition import (
    acquisition_variables,
    background_features,
    scanner_name,
)
from radiotrain.evaluation.shortcuts.find import ALL_VARIABLES, measure_fall
from radiotrain.evaluation.shortcuts.folds import SCANNER, with_folds_by
from radiotrain.evaluation.shortcuts.left_out import (
    EACH_IN_TURN,
    TrainedWithout,
    networks_left_out,
)
from radiotrain.evaluation.shortcuts.probe import last_features, probe
from radiotrain.evaluation.shortcuts.stratified import (
    Area,
    stratified_area,
    stratified_auc,
    without_small_counts,
)
from radiotrain.evaluation.shortcuts.verdict import Fall, judge_shortcut
from radiotrain.evaluation.statistics.auc import auc, delong_interval
from radiotrain.networks.fusion import LateFusion
from radiotrain.networks.registry import build_network
from radiotrain.seal import read_openings
from radiotrain.split import make_split, save_split
from radiotrain.training.loop import train
from tests.unit.evaluation.scanner_store import CROP_SHAPE, write_scanner_store
from tests.unit.training.synthetic import run_config

COIN = Area(0.5, (0.42, 0.58), 200, 100)
CLEAR = Area(0.7, (0.62, 0.78), 200, 100)
BARELY = Area(0.6, (0.52, 0.68), 200, 100)
NONE = Area(None, None, 0, 0, "nothing is known")
STAYS = Fall(0.7, 0.695, 0.005, (-0.01, 0.02), 200)
FALLS = Fall(0.7, 0.6, 0.1, (0.05, 0.15), 200)
UNSURE = Fall(0.7, 0.6, 0.1, (-0.05, 0.25), 200)


# --- the verdict ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("acquisition", "background", "probed", "fall", "kind", "words"),
    [
        (COIN, COIN, COIN, STAYS, "pass", "Nothing here suggests"),
        # Features nearly always give the scanner away: alone it is no reason.
        (COIN, COIN, CLEAR, STAYS, "pass", "Nothing here suggests"),
        # Better than chance, but not by a clear margin.
        (BARELY, COIN, CLEAR, STAYS, "pass", "Nothing here suggests"),
        (COIN, COIN, CLEAR, UNSURE, "pass", "Nothing here suggests"),
        (CLEAR, COIN, CLEAR, STAYS, "caution", "It was not seen to do so"),
        (CLEAR, COIN, CLEAR, UNSURE, "caution", "too few to show"),
        (CLEAR, COIN, CLEAR, None, "caution", "too few to show"),
        (COIN, CLEAR, COIN, STAYS, "caution", "Images without the tumour predict ER"),
        (COIN, COIN, COIN, FALLS, "caution", "difference between scanners"),
        (NONE, COIN, None, None, "caution", "cannot be judged: nothing is known"),
        (COIN, COIN, None, None, "caution", "too few patients share a scanner"),
        (CLEAR, COIN, COIN, FALLS, "caution", "difference between scanners"),
        (CLEAR, COIN, CLEAR, FALLS, "fail", "reads ER from the scanner"),
        # A network with no validation patients cannot be probed; the fall has shown enough.
        (CLEAR, COIN, None, FALLS, "fail", "reads ER from the scanner"),
        (CLEAR, COIN, NONE, FALLS, "fail", "reads ER from the scanner"),
    ],
)
def test_verdict(
    acquisition: Area,
    background: Area,
    probed: Area | None,
    fall: Fall | None,
    kind: str,
    words: str,
) -> None:
    verdict = judge_shortcut("run", "ER", acquisition, background, probed, fall)
    assert (verdict.kind, words in verdict.sentence) == (kind, True), verdict


def test_verdict_gives_its_numbers() -> None:
    details = " ".join(judge_shortcut("run", "ER", CLEAR, COIN, CLEAR, FALLS).details)
    assert "AUC 0.700 (95 % CI 0.620 to 0.780); up to 0.78 cannot be ruled out" in details
    assert "a fall of 0.100 (95 % CI 0.050 to 0.150)" in details


# --- pairs of one stratum -------------------------------------------------------------------


def naive_stratified(labels: Any, scores: Any, strata: Any) -> float:
    right, pairs = 0.0, 0
    for i in range(len(labels)):
        for j in range(len(labels)):
            if labels[i] == 1 and labels[j] == 0 and strata[i] == strata[j]:
                right += (scores[i] > scores[j]) + 0.5 * (scores[i] == scores[j])
                pairs += 1
    return right / pairs


def test_stratified_auc_counts_pairs_of_one_stratum() -> None:
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 2, 60)
    scores, strata = generator.integers(0, 9, 60) / 9.0, generator.integers(0, 5, 60).tolist()
    expected = naive_stratified(labels, scores, strata)
    assert stratified_auc(labels, scores, strata) == pytest.approx(expected)
    assert stratified_area(labels, scores, strata).auc == pytest.approx(expected)


def test_one_stratum_is_delong() -> None:
    generator = np.random.default_rng(1)
    labels, scores = generator.integers(0, 2, 50), generator.normal(size=50)
    area = stratified_area(labels, scores, [0] * 50)
    assert area.auc == pytest.approx(auc(labels, scores))
    assert area.interval == pytest.approx(delong_interval(labels, scores))


def test_classes_that_do_not_overlap_have_an_interval() -> None:
    labels = np.arange(40) % 2
    for strata in ([0] * 40, (np.arange(40) // 4).tolist()):
        area = stratified_area(labels, labels.astype(float), strata)
        assert area.auc == pytest.approx(1.0)
        assert area.interval is not None
        assert 0.7 < area.interval[0] < 0.99


def test_a_small_group_has_no_auc_but_a_reason() -> None:
    labels = np.array([1] * 4 + [0] * 20)
    area = stratified_area(labels, labels.astype(float), [0] * 24)
    assert area.auc is None
    assert area.reason == "too small a group, 4 positive and 20 negative"


def test_groups_with_few_of_a_class_give_no_counts_away() -> None:
    shown = Area(0.7, (0.5, 0.9), 20, 5)
    assert without_small_counts(shown) == shown
    few = without_small_counts(
        Area(None, None, 9, 5, "too small a group, 5 positive and 4 negative")
    )
    assert (few.num_patients, few.num_positive) == (9, None)
    assert few.reason == "fewer than 5 of a class: too few to say, counts are withheld"
    assert without_small_counts(Area(None, None, 3, 0)).num_patients is None


def table_of(labels: Any, probabilities: Any, parts: Any) -> pd.DataFrame:
    rows = [
        ("run", f"P{i}", "ER", "test" if part is None else "validation", part, label, probability)
        for i, (label, probability, part) in enumerate(
            zip(labels, probabilities, parts, strict=True)
        )
    ]
    columns = ["run", "patient_id", "target", "split", "fold", "label", "probability"]
    return validate_predictions(pd.DataFrame(rows, columns=columns).astype({"fold": "Int64"}))


def test_a_network_that_reads_the_scanner_falls_within_scanners() -> None:
    generator = np.random.default_rng(2)
    labels = np.arange(160) % 2
    scanner = np.where(generator.random(160) < 0.85, labels, 1 - labels)
    scanners = {f"P{i}": str(s) for i, s in enumerate(scanner)}
    parts = [None if i % 3 else 0 for i in range(160)]
    noise = generator.uniform(0, 0.2, 160)
    reads_scanner = measure_fall(
        table_of(labels, 0.3 + 0.4 * scanner + noise, parts), "run", "ER", scanners
    )
    reads_tumour = measure_fall(
        table_of(labels, 0.3 + 0.1 * labels + noise, parts), "run", "ER", scanners
    )
    assert reads_scanner is not None
    assert reads_tumour is not None
    assert reads_scanner.is_clear
    assert reads_scanner.within == pytest.approx(0.5, abs=0.15)
    assert not reads_tumour.is_clear


def test_the_falls_interval_is_that_of_aucs_of_each_draw() -> None:
    """By a loop that draws patients and computes both AUCs anew each time; ties included."""
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 2, 60)
    scores = np.round(generator.random(60), 1) / 2 + 0.2
    parts = [None if i % 3 else 0 for i in range(60)]
    scanners = {f"P{i}": str(v) for i, v in enumerate(generator.integers(0, 2, 60))}
    found = measure_fall(table_of(labels, scores, parts), "run", "ER", scanners, seed=3)
    assert found is not None
    by_name = sorted(range(60), key=str)
    order = [i for i in by_name if parts[i] == 0] + [i for i in by_name if parts[i] is None]
    cells: dict[Any, list[int]] = {}
    for i in order:
        cells.setdefault((parts[i], scanners[f"P{i}"], labels[i]), []).append(i)
    draws, falls = np.random.default_rng(3), []
    for _ in range(500):
        rows = [i for cell in cells.values() for i in draws.choice(cell, len(cell))]
        inside = stratified_auc(
            labels[rows], scores[rows], [(parts[i], scanners[f"P{i}"]) for i in rows]
        )
        falls.append(stratified_auc(labels[rows], scores[rows], [parts[i] for i in rows]) - inside)
    assert found.interval == pytest.approx(np.percentile(falls, [2.5, 97.5]), abs=1e-12)


# --- acquisition and features ---------------------------------------------------------------


def test_acquisition_variables_ask_a_question_each() -> None:
    records = [
        PatientRecord(
            i,
            f"P{i}",
            "stored",
            covariates={"manufacturer": "GE" if i < 13 else "Siemens", "field_strength_t": None},
            spacing_mm=(0.7, 0.7, 1.0 if i % 2 else 2.0),
            details={"orientation": "ARS", "own_shape": [512, 512, 90 + i]},
        )
        for i in range(20)
    ]
    found = {variable.name: variable for variable in acquisition_variables(records)}
    assert list(found) == ["manufacturer", "voxel size"]
    assert found["manufacturer"].question == "GE or not"
    assert found["manufacturer"].answers.tolist() == [1] * 13 + [0] * 7
    assert found["voxel size"].question == "above 0.735 mm³ or not"
    assert scanner_name(records) == "manufacturer"
    assert scanner_name(records[:13]) is None


def test_orientation_and_matrix_of_the_images_are_asked_about() -> None:
    """As they came; the crops themselves are all turned the same way. One store is of before."""
    kept = [("ARS", [448, 448, 100])] * 12 + [("PLS", [320, 320, 80])] * 6
    details = [{"orientation": code, "own_shape": shape} for code, shape in kept] + [{}, {}]
    records = [PatientRecord(i, f"P{i}", "stored", details=d) for i, d in enumerate(details)]
    found = {variable.name: variable for variable in acquisition_variables(records)}
    assert list(found) == ["image orientation", "image matrix"]
    assert found["image orientation"].question == "ARS or not"
    assert found["image orientation"].answers.tolist() == [1] * 12 + [0] * 6 + [-1] * 2
    assert found["image matrix"].answers.tolist() == [1] * 12 + [0] * 6 + [-1] * 2
    assert np.isnan(found["image matrix"].values[18:]).all()


def test_background_stays_clear_of_the_tumour() -> None:
    generator = np.random.default_rng(0)
    image = generator.integers(80, 120, (30, 30, 12)).astype(np.int16)
    tumour, padding = np.zeros(image.shape, dtype=bool), np.zeros(image.shape, dtype=bool)
    tumour[12:15, 12:15, 5:7] = True
    within_10_mm = image.copy()
    within_10_mm[7:20, 7:20, 2:10] = image[7:20, 7:20, 2:10][::-1]
    args = (tumour, padding, (2.0, 2.0, 4.0), 1.0)
    first, second = background_features(image, *args), background_features(within_10_mm, *args)
    assert {k: second[k] for k in first} == pytest.approx(first)
    outside = image.copy()
    outside[:4] += 50
    assert background_features(outside, *args)["background_p99"] != first["background_p99"]


@pytest.mark.parametrize("name", ["ResNet10-narrow", "SEResNet50", "SEResNext50"])
def test_features_are_what_the_last_layer_reads(store: Store, name: str) -> None:
    split = make_split(store, num_folds=3)
    patients = load_patients(store, split, split.folds[0][:3], ["ER"])
    torch.manual_seed(0)
    network = build_network(name, 3, 1, CROP_SHAPE).eval()
    features = last_features(network, patients, 2, torch.device("cpu"))
    assert features is not None
    batch = patients.batch(np.arange(3), torch.device("cpu"))
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    last = next(m for m in reversed(linear) if m.out_features == 1)
    with torch.inference_mode():
        logits = network(batch.images)
        from_features = last(torch.from_numpy(features).float())
    torch.testing.assert_close(from_features, logits, rtol=1e-3, atol=1e-4)
    aged = replace(patients, covariates=np.ones((3, 1), dtype=np.float32))
    fused = last_features(LateFusion(network, 1, 1), aged, 2, torch.device("cpu"))
    np.testing.assert_allclose(fused, features)


def test_a_probe_finds_what_is_there_and_nothing_else() -> None:
    generator = np.random.default_rng(3)
    x, y = generator.normal(size=(60, 200)), np.arange(60) % 2
    assert (probe([x], [y]).auc or 0) == pytest.approx(0.5, abs=0.2)
    x[:, :20] += y[:, None]
    found = probe([x[:30], x[30:]], [y[:30], y[30:]])
    assert found.auc is not None
    assert found.auc > 0.85
    few = probe([x[:6]], [y[:6]])
    assert few.reason == "too few validation patients, 3 with yes and 3 with no"


# --- from a store to the verdict ------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_scanner_store(str(tmp_path_factory.mktemp("scanner") / "store"), num_patients=24)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("agreement", "tumour_effect", "kind"), [(0.9, 0.0, "fail"), (0.5, 1.0, "pass")]
)
def test_the_gate_catches_a_planted_shortcut_and_passes_a_clean_cohort(
    tmp_path: Path, agreement: float, tumour_effect: float, kind: str
) -> None:
    store = write_scanner_store(
        str(tmp_path / "store"), agreement=agreement, tumour_effect=tumour_effect
    )
    save_split(make_split(store, num_folds=3), str(tmp_path / "splits.json"))
    training = {"epochs": 4, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1}
    config = run_config(store, str(tmp_path / "splits.json"), tmp_path / "run", train=training)
    train(config, reporter=lambda _: None)
    table, context = predict_runs(
        [config.out], None, "a test", lambda _, __: nullcontext(lambda: None)
    )
    found = context.shortcuts
    assert found is not None
    (verdict,) = found.verdicts
    assert verdict.kind == kind, verdict
    (scanner,) = [p.area for p in found.probes if p.variable == "manufacturer"]
    assert scanner.auc is not None
    (alone,) = [a.area for a in found.acquisition if a.source == ALL_VARIABLES]
    assert alone.auc is not None
    assert (alone.auc > 0.8) == (kind == "fail")
    assert {r.scanner for r in found.by_scanner} == {"A", "B"}
    assert {is_baseline(r.run) for r in found.left_out} == {True}
    assert not is_baseline(table["run"].iloc[0])
    _check_report(table, context, tmp_path / "report", kind)


def _check_report(table: pd.DataFrame, context: ReportContext, out: Path, kind: str) -> None:
    write_report(evaluate_table(table, num_resamples=100), table, out, context=context)
    metrics = json.loads((out / "metrics.json").read_text("utf-8"))
    assert metrics["shortcuts"]["verdicts"][0]["kind"] == kind
    page = (out / "report.html").read_text("utf-8")
    assert "Tumour, or scanner?" in page
    assert f"{kind.capitalize()}: ER, run run" in page
    # A baseline gets no headline.
    assert '<p class="soft">Run baseline' not in page


def test_without_baselines_there_are_networks_only(tmp_path: Path, store: Store) -> None:
    save_split(make_split(store, num_folds=3), str(tmp_path / "splits.json"))
    training = {"epochs": 1, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 0}
    config = run_config(store, str(tmp_path / "splits.json"), tmp_path / "run", train=training)
    train(config, reporter=lambda _: None)
    table, context = predict_runs(
        [config.out],
        None,
        "a test",
        lambda _, __: nullcontext(lambda: None),
        baselines=False,
    )
    assert set(table["run"]) == {"run"}
    assert context.shortcuts is None


# --- networks on a scanner that they were not trained on ---------------------------------------


def _trained(store: Store, folder: Path, split: str, folds: int) -> list[str]:
    training = {"epochs": 4, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1}
    urls = []
    for fold in range(folds):
        url = folder / f"{split}_{fold}"
        config = run_config(store, str(folder / split), url, train=training, fold=fold)
        train(config, reporter=lambda _: None)
        urls.append(config.out)
    return urls


@pytest.mark.slow
def test_a_network_that_reads_the_scanner_is_worth_little_on_one_it_never_saw(
    tmp_path: Path,
) -> None:
    store = write_scanner_store(str(tmp_path / "store"), agreement=0.9)
    split = make_split(store, num_folds=3)
    save_split(split, str(tmp_path / "dealt"))
    by_scanner = with_folds_by(split, store, SCANNER)
    assert (by_scanner.test_ids, by_scanner.groups) == (split.test_ids, ("A", "B"))
    save_split(by_scanner, str(tmp_path / "by_scanner"))
    urls = _trained(store, tmp_path, "dealt", 2) + _trained(store, tmp_path, "by_scanner", 2)
    table, context = predict_runs(urls, None, "a test", lambda _, __: nullcontext(lambda: None))
    networks = {r for r in table["run"] if not is_baseline(r)}
    assert networks == {"dealt_0", "dealt_1", "ER ResNet10-narrow, mean of 2"}
    found = context.shortcuts
    assert found is not None
    mine = {r.scanner: r for r in found.left_out if r.run == "ER ResNet10-narrow"}
    assert set(mine) == {"A", "B", EACH_IN_TURN}
    # Counted pair by pair from what each network says of the scanner that it never saw.
    expected = {}
    for url, name in zip(urls[2:], "AB", strict=True):
        rows = pd.read_parquet(Path(url) / "predictions.parquet")
        rows = rows[rows["split"] == "validation"]
        assert {
            store.records[store.index_of(i)].covariates["manufacturer"] for i in rows["patient_id"]
        } == {name}
        expected[name] = rows
        area = naive_stratified(
            rows["label"].to_numpy(), rows["probability"].to_numpy(), [0] * len(rows)
        )
        assert mine[name].area.auc == pytest.approx(area)
    both = pd.concat([rows.assign(scanner=name) for name, rows in expected.items()])
    area = naive_stratified(
        both["label"].to_numpy(), both["probability"].to_numpy(), both["scanner"].tolist()
    )
    assert mine[EACH_IN_TURN].area.auc == pytest.approx(area)
    assert area < 0.75, "the scanner, which gave the target away, is the same for all pairs"
    details = [d for v in found.verdicts for d in v.details if "Networks trained without" in d]
    assert len(details) == 2
    assert f"AUC {area:.3f}" in details[0]
    out = tmp_path / "report"
    write_report(evaluate_table(table, num_resamples=100), table, out, context=context)
    page = (out / "report.html").read_text("utf-8")
    assert "<details open><summary>On a scanner" in page
    assert "trained without one manufacturer each" in page


def test_what_a_known_scanner_gives_is_counted_in_pairs_of_fold_and_scanner() -> None:
    generator = np.random.default_rng(5)
    ids = [f"P{i}" for i in range(80)]
    group_of = {i: "AB"[k % 2] for k, i in enumerate(ids)}
    labels, p = generator.integers(0, 2, 80), generator.random((2, 80))
    rows = {"patient_id": ids, "target": "ER", "split": "validation", "label": labels}
    without = pd.DataFrame(rows | {"run": "configuration", "fold": 0, "probability": p[0]})
    seen = pd.DataFrame(
        rows | {"run": "run", "fold": [k // 20 for k in range(80)], "probability": p[1]}
    )
    known = TrainedWithout(without, group_of, {"run": "configuration"}, "manufacturer")
    found = {r.scanner: r for r in networks_left_out(known, validate_predictions(seen))}
    for name in ("A", "B"):
        rows_of = [k for k, i in enumerate(ids) if group_of[i] == name]
        folds = [k // 20 for k in rows_of]
        expected = naive_stratified(labels[rows_of], p[1][rows_of], folds)
        assert found[name].area_seen.auc == pytest.approx(expected)
    both = [(group_of[i], k // 20) for k, i in enumerate(ids)]
    assert found[EACH_IN_TURN].area_seen.auc == pytest.approx(naive_stratified(labels, p[1], both))
    alone = TrainedWithout(without, group_of, {"run": "another"}, "manufacturer")
    (reason,) = {r.area_seen.reason for r in networks_left_out(alone, validate_predictions(seen))}
    assert reason == "no run of this configuration is evaluated beside it"


@pytest.mark.slow
def test_other_test_patients_are_refused_before_the_test_set_is_opened(tmp_path: Path) -> None:
    store = write_scanner_store(str(tmp_path / "store"))
    save_split(make_split(store, num_folds=3), str(tmp_path / "dealt"))
    other = with_folds_by(make_split(store, num_folds=3, seed=1), store, "manufacturer")
    save_split(other, str(tmp_path / "by_scanner"))
    urls = _trained(store, tmp_path, "dealt", 1) + _trained(store, tmp_path, "by_scanner", 1)
    with pytest.raises(InputError, match=r"has other test patients than .*the same --seed"):
        predict_runs(urls, None, "a test", lambda _, __: nullcontext(lambda: None))
    assert not read_openings(str(tmp_path / "dealt"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fold", "baselines", "words"),
    [(None, True, "no scanner was left out"), (0, False, "got --no-baselines with all")],
)
def test_runs_that_cannot_serve_are_refused_before_the_test_set_is_opened(
    tmp_path: Path, fold: int | None, baselines: bool, words: str
) -> None:
    store = write_scanner_store(str(tmp_path / "store"))
    split = make_split(store, num_folds=3)
    save_split(split, str(tmp_path / "dealt"))
    save_split(with_folds_by(split, store, SCANNER), str(tmp_path / "by_scanner"))
    training = {"epochs": 1, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 0}
    urls = []
    for name, of, number in (("run", "dealt", 0), ("all", "by_scanner", fold)):
        config = run_config(store, str(tmp_path / of), tmp_path / name, train=training, fold=number)
        train(config, reporter=lambda _: None)
        urls.append(config.out)
    with pytest.raises(InputError, match=words):
        predict_runs(
            urls, None, "a test", lambda _, __: nullcontext(lambda: None), baselines=baselines
        )
    assert not read_openings(str(tmp_path / "dealt"))


@pytest.mark.slow
def test_runs_of_a_split_by_scanner_alone_are_tested(tmp_path: Path) -> None:
    store = write_scanner_store(str(tmp_path / "store"))
    split = with_folds_by(make_split(store, num_folds=3), store, SCANNER)
    save_split(split, str(tmp_path / "by_scanner"))
    urls = _trained(store, tmp_path, "by_scanner", 1)
    table, context = predict_runs(
        urls, None, "a test", lambda _, __: nullcontext(lambda: None), baselines=False
    )
    assert set(table.loc[table["split"] == "test", "patient_id"]) == set(split.test_ids)
    assert context.flow is not None
    assert "one for each manufacturer" in context.flow.note
