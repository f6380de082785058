from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from preprocessing.store import PatientRecord, Store
from radiotrain.data.patients import load_patients
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.feature_probe import last_features, probe
from radiotrain.evaluation.from_runs import predict_runs
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.write import write_report
from radiotrain.evaluation.shortcuts.acquisition import (
    acquisition_variables,
    background_features,
    scanner_name,
)
from radiotrain.evaluation.shortcuts.shortcut_gate import ALL_VARIABLES
from radiotrain.evaluation.shortcuts.shortcut_results import Fall, judge_shortcut
from radiotrain.networks.fusion import LateFusion
from radiotrain.networks.registry import build_network
from radiotrain.split.split import make_split, save_split
from radiotrain.statistics.stratified_auc import Area
from radiotrain.training.loop import train
from tests.unit.evaluation.scanner_store import CROP_SHAPE, write_scanner_store
from tests.unit.training.synthetic import run_config

CHANCE = Area(0.5, (0.42, 0.58), 200, 100)
CLEAR = Area(0.7, (0.62, 0.78), 200, 100)
WIDE = Area(0.5, (0.3, 0.7), 24, 12)
BARELY = Area(0.6, (0.52, 0.68), 200, 100)
NONE = Area(None, None, 0, 0, "nothing is known")
STAYS = Fall(0.7, 0.695, 0.005, (-0.01, 0.02), 200)
FALLS = Fall(0.7, 0.6, 0.1, (0.05, 0.15), 200)
UNSURE = Fall(0.7, 0.6, 0.1, (-0.05, 0.25), 200)


# --- the verdict ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("acquisition", "background", "probed", "fall", "kind", "words"),
    [
        (CHANCE, CHANCE, CHANCE, STAYS, "pass", "are ruled out"),
        # Features nearly always give the scanner away: alone it is no reason.
        (CHANCE, CHANCE, CLEAR, STAYS, "pass", "are ruled out"),
        # Better than chance, but not by a clear margin: nothing is found, and nothing ruled out.
        (BARELY, CHANCE, CLEAR, STAYS, "not shown", "too few to rule out"),
        (CHANCE, CHANCE, CLEAR, UNSURE, "not shown", "too few to rule out"),
        (WIDE, CHANCE, CLEAR, STAYS, "not shown", "too few to rule out"),
        (CLEAR, CHANCE, CLEAR, STAYS, "caution", "was not found"),
        (CLEAR, CHANCE, CLEAR, UNSURE, "caution", "too few patients to show"),
        (CLEAR, CHANCE, CLEAR, None, "caution", "too few patients to show"),
        (CHANCE, CLEAR, CHANCE, STAYS, "caution", "Images without the tumour predict ER"),
        (CHANCE, CHANCE, CHANCE, FALLS, "caution", "difference between scanners"),
        (NONE, CHANCE, None, None, "caution", "cannot be judged: nothing is known"),
        (CHANCE, CHANCE, None, None, "caution", "too few patients share a scanner"),
        (CLEAR, CHANCE, CHANCE, FALLS, "caution", "difference between scanners"),
        (CLEAR, CHANCE, CLEAR, FALLS, "fail", "comes from the scanner"),
        # A network with no validation patients cannot be probed; the fall has shown enough.
        (CLEAR, CHANCE, None, FALLS, "fail", "comes from the scanner"),
        (CLEAR, CHANCE, NONE, FALLS, "fail", "comes from the scanner"),
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
    details = " ".join(judge_shortcut("run", "ER", CLEAR, CHANCE, CLEAR, FALLS).details)
    assert "AUC 0.70 (95% CI, 0.62 to 0.78)" in details
    assert "a fall of 0.100 (95% CI, 0.050 to 0.150)" in details


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
    patients = load_patients(store, split, split.folds[0][:3], ["ER"], rule="plain")
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
    ("agreement", "tumour_effect", "kind"), [(0.9, 0.0, "fail"), (0.5, 1.0, "not shown")]
)
def test_the_gate_catches_a_planted_shortcut_and_none_in_a_clean_small_cohort(
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
    assert '<h2 id="shortcuts">' in page
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
