"""Replicates and test-time augmentation, from real runs to the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from preprocessing.store import Store
from radiotrain.config.run_config import dump_config, load_config
from radiotrain.runs.predict_run import draw_changes, predict_augmented, predict_run
from radiotrain.split.split import load_split, make_split, save_split
from tests.commands import call, the_sentence
from tests.unit.training.synthetic import run_config, write_store

pytestmark = pytest.mark.slow

PLACES = [(0, 0), (1, 0), (0, 1), (1, 1)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds by two folds of one configuration, one run without augmentation, and a report."""
    folder = tmp_path_factory.mktemp("stability")
    store = write_store(str(folder / "store"))
    save_split(make_split(store, num_folds=2, test_fraction=0.4), str(folder / "splits.json"))
    config = run_config(store, str(folder / "splits.json"), folder / "run")
    (folder / "run.yaml").write_text(dump_config(config))
    for seed, fold in PLACES:
        words = (f"seed={seed}", f"fold={fold}", f"out={folder}/run-{seed}-{fold}")
        train(folder, *words, "augment.enabled=true")
    train(folder, f"out={folder}/plain", "augment.enabled=false")
    runs = [folder / f"run-{seed}-{fold}" for seed, fold in PLACES]
    call("evaluate", *runs, "--no-baselines", "--out", folder / "report", "--resamples", 100)
    return folder


def train(folder: Path, *changes: str) -> None:
    words = [word for change in (*changes, "train.epochs=1") for word in ("--set", change)]
    call("train", "--config", folder / "run.yaml", *words, "--set", "train.warmup_epochs=0")


def test_replicates_are_found_and_their_mean_is_a_run(folder: Path) -> None:
    kept = json.loads((folder / "report" / "metrics.json").read_text("utf-8"))
    (spread,) = kept["stability"]["spreads"]
    assert [(m["seed"], m["fold"]) for m in spread["members"]] == PLACES
    assert spread["over"] == "seed and fold"
    assert spread["variance_seed"] is not None
    assert list(kept["runs"])[-1] == spread["ensemble"]
    assert spread["ensemble"].endswith(", mean of 4")


def test_judging_the_table_again_gives_the_same(folder: Path) -> None:
    table = folder / "report" / "predictions.parquet"
    words = ("--resamples", 100, "--sampling", "within-classes")
    call("evaluate", "--predictions", table, "--out", folder / "again", *words)
    first, second = (
        json.loads((folder / out / "metrics.json").read_text("utf-8"))
        for out in ("report", "again")
    )
    assert first["runs"] == second["runs"]
    assert first["stability"] == second["stability"]


def test_no_draws_predict_what_the_run_predicts(folder: Path) -> None:
    store = Store.open(str(folder / "store"))
    split = load_split(str(folder / "splits.json"), store)
    url = str(folder / "run-0-0")
    plain = predict_run(url, store, split, "validation")
    found = predict_augmented(url, store, split, "validation", 0)
    pd.testing.assert_frame_equal(found.table, plain)
    several = predict_augmented(url, store, split, "validation", 3)
    again = predict_augmented(url, store, split, "validation", 3)
    pd.testing.assert_frame_equal(several.draws, again.draws)
    untouched = several.draws[several.draws["draw"] == 0]
    assert untouched["probability"].tolist() == plain["probability"].tolist()
    by = several.draws.groupby("patient_id")["probability"]
    assert (by.size() == 4).all()
    means = several.table.set_index("patient_id")["probability"]
    assert np.allclose(by.mean()[means.index], means, atol=1e-12)
    assert by.std().max() > 0


def test_a_run_without_augmentation_is_mirrored_once(folder: Path) -> None:
    config = load_config(str(folder / "plain" / "config.yaml"))
    (drawn,) = draw_changes(config.augment, config.seed, 3, 5)
    assert drawn.flip.tolist() == [[1, -1, 1]] * 3
    assert drawn.angle.abs().sum() + drawn.noise.sum() + drawn.gain.sub(1).abs().sum() == 0


def test_the_report_says_that_images_were_changed(folder: Path) -> None:
    out = folder / "tta"
    words = ("--no-baselines", "--tta", 2, "--out", out, "--resamples", 100)
    call("evaluate", folder / "run-0-0", folder / "plain", *words)
    kept = json.loads((out / "metrics.json").read_text("utf-8"))
    said = kept["provenance"]["test-time augmentation"]
    assert "2 random draws of the run's own" in said["run-0-0"]
    assert "left-right mirror" in said["plain"]
    patients = pd.read_csv(out / "uncertainty.csv")
    counts = patients.groupby("run")["num_predictions"].unique().map(list).to_dict()
    assert counts == {"run-0-0": [3], "plain": [2]}
    assert patients["sd"].notna().all()


def test_a_table_cannot_be_augmented(folder: Path) -> None:
    table = folder / "report" / "predictions.parquet"
    words = ("--predictions", table, "--tta", 2, "--out", folder / "none")
    _, error = call("evaluate", *words, status=2)
    assert "--tta 2 needs networks" in the_sentence(error)


def test_what_a_table_cannot_be_asked_is_said(folder: Path) -> None:
    table = folder / "report" / "predictions.parquet"
    words = ("--predictions", table, "--saliency", 2, "--no-baselines", "--resamples", 100)
    _, error = call("evaluate", *words, "--out", folder / "asked")
    told = [line for line in error.splitlines() if line.startswith("note: --")]
    assert [line.split()[1] for line in told] == ["--baselines", "--saliency"]
