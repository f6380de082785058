"""What a model may be: a run, an older one, one with clinical columns, several networks of a sweep."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from radiotrain.runs.promoted import read_promoted
from tests.checked_files import change_values
from tests.commands import call, the_sentence
from tests.integration.predict.world import NewPatient, World, check_dicom, read_json

pytestmark = pytest.mark.slow


def test_a_run_of_before_gets_its_inputs_without_training_again(
    world: World, patient: NewPatient, tmp_path: Path
) -> None:
    model = world.models[0]
    kept = (model / "inputs.json").read_bytes()
    (model / "inputs.json").unlink()
    words = ["predict", model, patient.folder, *patient.words, "--out", tmp_path / "out"]
    _, error = call(*words, status=2)
    assert f"radiotrain train --config {model}/config.yaml" in the_sentence(error)
    before = (model / "checkpoints" / "best.pt").read_bytes()
    call("train", "--config", model / "config.yaml")
    assert (model / "inputs.json").read_bytes() == kept
    assert (model / "checkpoints" / "best.pt").read_bytes() == before
    call(*words)


def test_without_a_bias_field_nobody_is_recognised_and_that_is_said(
    world: World, patient: NewPatient, tmp_path: Path
) -> None:
    model = tmp_path / "uncorrected"
    shutil.copytree(world.models[0], model)
    change_values(model / "inputs.json", lambda v: v["settings"].update(bias_engine="none"))
    out = tmp_path / "out"
    said, _ = call("predict", model, patient.folder, *patient.words, "--out", out)
    assert "note: Not checked: whether model uncorrected was trained or validated" in said
    (found,) = read_json(out)["models"]
    assert found["was_in_development"] is None
    assert "only where a bias field is fitted" in found["no_recognition"]


def test_an_ensemble_is_the_mean_of_its_networks(
    ensemble: Path, patient: NewPatient, tmp_path: Path
) -> None:
    members = sorted((ensemble / "members").iterdir())
    alone = []
    for member in members:
        out = tmp_path / member.name
        call("predict", member, patient.folder, *patient.words, "--draws", 0, "--out", out)
        (target,) = read_json(out)["targets"]
        assert target["spread"]["sd"] is None
        alone.append(target["uncalibrated"])
    call(
        "predict", ensemble, patient.folder, *patient.words, "--draws", 0, "--out", tmp_path / "all"
    )
    (target,) = read_json(tmp_path / "all")["targets"]
    promoted = read_promoted(str(ensemble))
    assert promoted is not None
    assert list(promoted.members) == [member.name for member in members]
    alone = [float(s["ER"].apply(p)) for s, p in zip(promoted.scales, alone, strict=True)]
    assert target["uncalibrated"] == pytest.approx(np.mean(alone), abs=1e-6)
    spread = target["spread"]
    assert (spread["num_networks"], spread["num_views"]) == (2, 1)
    # There is none where a threshold separates the few validation patients.
    curve = target["calibration"] or {"slope": 1.0, "intercept": 0.0}
    each = [
        1 / (1 + np.exp(-(curve["slope"] * np.log(p / (1 - p)) + curve["intercept"])))
        for p in alone
    ]
    assert spread["sd"] == pytest.approx(np.std(each, ddof=1), abs=1e-5)
    check_dicom(tmp_path / "all" / "report-sr.dcm")


def test_a_sweep_is_no_model_and_says_which_are(
    ensemble: Path, patient: NewPatient, tmp_path: Path
) -> None:
    sweep = ensemble.parents[1]
    _, error = call("predict", sweep, patient.folder, *patient.words, "--out", tmp_path, status=2)
    assert "is a sweep, expected a model: name one of promoted/ER" in the_sentence(error)


def test_clinical_columns_that_the_model_reads_are_asked_for(
    world: World, patient: NewPatient, tmp_path: Path
) -> None:
    model = tmp_path / "age_run"
    call(
        "train", "--config", world.folder / "ER_run.yaml", "--set", f"out={model}",
        "--set", "network.covariates=[age_years]", "--set", "train.epochs=1",
    )  # fmt: skip
    found = {}
    for name, words in {"none": [], "young": ["age_years=20"], "old": ["age_years=95"]}.items():
        given = [w for word in words for w in ("--covariate", word)]
        out = tmp_path / name
        said, _ = call("predict", model, patient.folder, *patient.words, *given, "--out", out)
        assert ("reads age_years beside the images" in said) == (name == "none")
        found[name] = read_json(out)["targets"][0]["uncalibrated"]
    assert len(set(found.values())) == 3


def test_runs_of_several_folds_are_one_model_their_mean(
    world: World, ensemble: Path, patient: NewPatient, tmp_path: Path
) -> None:
    folds = sorted((ensemble / "members").iterdir())
    words = [*folds, patient.folder, *patient.words, "--draws", 0, "--out", tmp_path / "folds"]
    call("predict", *words)
    call("predict", ensemble, *words[2:-1], tmp_path / "promoted")
    (target,), (same,) = (read_json(tmp_path / n)["targets"] for n in ("folds", "promoted"))
    # The promoted model is the mean of the same networks, and has their out-of-fold predictions.
    for name in ("uncalibrated", "probability", "threshold", "spread", "calibration"):
        assert target[name] == same[name], name
    assert target["model"] == "ER ResNet10-narrow, mean of 2"
    _, error = call("predict", folds[0], *words[:1], *words[2:-1], tmp_path / "twice", status=2)
    assert "two have the same weights" in the_sentence(error)
