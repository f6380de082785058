"""What is said of a new patient: from raw DICOM to page and JSON."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.store import Store
from radiotrain.inference.prepare import Region, prepare, read_patient
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import load_split
from tests.commands import call, the_sentence
from tests.integration.predict.world import NewPatient, World, newcomer, read_json, spoil
from tests.security.planted import IDENTIFIERS, UID_ROOT
from tests.stores import preprocess_here

DOCUMENT = Path(__file__).parents[3] / "docs" / "predict.md"

SETTINGS = {
    "native": {},
    "faithful": {
        "resample_mm": [5.0, 5.0, 6.0], "motion": "rigid", "intensity": "tissue",
        "phase_choice": "even", "num_phases": 3,
    },
    "uncorrected": {"bias_engine": "none", "num_phases": 2, "phase_choice": "last"},
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_the_tensor_is_bit_for_bit_what_preprocess_stores(
    name: str, newcomers: Path, tmp_path: Path
) -> None:
    overrides = [w for k, v in SETTINGS[name].items() for w in ("--set", f"{k}={json.dumps(v)}")]
    preprocess_here(newcomers, tmp_path / "store", "--crop-shape", 24, 24, 12, *overrides)
    store = Store.open(str(tmp_path / "store"))
    settings = PreprocessConfig.model_validate(store.spec.settings)
    assert len(store.patient_ids) == 3
    for n in range(3):
        one = newcomer(newcomers, n)
        found = prepare(read_patient(one.folder, Region(box=one.box)), settings)
        record = store.records[n]
        voxels, scale = store.read_images(n)
        assert found.record.scale == scale
        np.testing.assert_array_equal(found.voxels, voxels)
        np.testing.assert_array_equal(found.region, store.read_region(n))
        np.testing.assert_array_equal(found.bias_field, store.read_bias_field(n))
        assert found.record.box_in_crop == record.box_in_crop
        assert found.record.spacing_mm == pytest.approx(record.spacing_mm)
        assert json.loads(json.dumps(found.record.details)) == record.details


def test_the_probability_is_the_one_that_validation_had(world: World, tmp_path: Path) -> None:
    model = world.models[0]
    table = RunFolder(str(model)).read_predictions()
    row = table.iloc[0]
    patient = next(p for p in read_cohort(world.cohort).patients if p.patient_id == row.patient_id)
    assert patient.examination is not None
    assert patient.box is not None
    one = NewPatient(patient.examination.folder, patient.box)
    said, _ = call("predict", model, one.folder, *one.words, "--out", tmp_path / "out")
    (target,) = read_json(tmp_path / "out")["targets"]
    assert target["uncalibrated"] == pytest.approx(row.probability, abs=1e-5)
    assert "trained or validated on this very examination" in said


def test_the_test_set_stays_sealed(world: World, tmp_path: Path) -> None:
    sealed = load_split(str(world.folder / "splits.json")).test_ids[0]
    patient = next(p for p in read_cohort(world.cohort).patients if p.patient_id == sealed)
    assert patient.examination is not None
    assert patient.box is not None
    one = NewPatient(patient.examination.folder, patient.box)
    out = tmp_path / "out"
    _, error = call("predict", world.models[0], one.folder, *one.words, "--out", out, status=2)
    assert "sealed test set of model ER_run: only 'radiotrain evaluate'" in the_sentence(error)
    assert not out.exists()


def test_every_key_of_the_json_is_documented(predicted: Path) -> None:
    document = DOCUMENT.read_text("utf-8")

    def keys(value: Any) -> set[str]:
        if isinstance(value, list):
            return {key for each in value for key in keys(each)}
        if not isinstance(value, dict):
            return set()
        inner = {
            key for name, each in value.items() if name != "preprocessing" for key in keys(each)
        }
        return {*value, *inner}

    assert {key for key in keys(read_json(predicted)) if f"`{key}`" not in document} == set()


def test_numbers_hang_together(world: World, predicted: Path) -> None:
    values = read_json(predicted)
    assert values["use"].startswith("Research use only")
    assert [t["target"] for t in values["targets"]] == ["ER", "PR", "HER2"]
    for target in values["targets"]:
        curve, own = target["calibration"], target["uncalibrated"]
        if curve is not None:
            logit = np.log(own / (1 - own)) * curve["slope"] + curve["intercept"]
            assert target["probability"] == pytest.approx(1 / (1 + np.exp(-logit)), rel=1e-6)
        assert (target["call"] == "at or above") == (target["probability"] >= target["threshold"])
        spread = target["spread"]
        assert spread["num_predictions"] == spread["num_networks"] * spread["num_views"] == 2
        assert spread["low"] <= target["probability"] <= spread["high"]
        assert target["attention"]["num_steps"] == 1
    for model in values["models"]:
        stored = json.loads((world.folder / model["name"] / "inputs.json").read_text())
        assert model["preprocessing"] == stored["settings"]
        assert model["num_training_patients"] == stored["num_patients"]


def test_no_word_about_who_it_is_leaves_the_images(predicted: Path) -> None:
    said = (predicted.parent / "said.txt").read_text()
    for text in (said, *((predicted / n).read_text("utf-8") for n in ("report.html", "prediction.json"))):  # fmt: skip
        assert [word for word in (*IDENTIFIERS, UID_ROOT, "person") if word in text] == []


def test_the_page_needs_nothing_else_and_says_what_it_is_for(predicted: Path) -> None:
    page = (predicted / "report.html").read_text("utf-8")
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "RESEARCH USE ONLY" in page
    assert page.count("data:image/jpeg;base64,") == 4  # phases, and a map a target
    for target in read_json(predicted)["targets"]:
        assert f"probability that the tumour is {target['target']} positive" in page


def test_a_report_of_the_test_tells_the_operating_points_rates(
    world: World, patient: NewPatient, tmp_path: Path
) -> None:
    call("evaluate", world.models[0], "--out", tmp_path / "report", "--no-baselines", "--resamples", 100, "--saliency", 0)  # fmt: skip
    call(
        "predict", world.models[0], patient.folder, *patient.words,
        "--report", tmp_path / "report", "--out", tmp_path / "out",
    )  # fmt: skip
    (target,) = read_json(tmp_path / "out")["targets"]
    result = json.loads((tmp_path / "report" / "metrics.json").read_text())["runs"]["ER_run"]["ER"]
    assert target["rates_test"]["sensitivity"] == result["sensitivity"]
    assert target["rates_test"]["specificity"] == result["specificity"]
    assert "On test patients this operating point called" in (
        tmp_path / "out" / "report.html"
    ).read_text("utf-8")


def test_scanner_unlike_training_is_a_warning(
    world: World, newcomers: Path, tmp_path: Path
) -> None:
    one = newcomer(newcomers, 0)
    shutil.copytree(one.folder, tmp_path / "other")
    for file in (tmp_path / "other").rglob("*.dcm"):
        spoil(file, MagneticFieldStrength="7", PixelSpacing=[1.0, 1.0], Manufacturer="Philips")
    moved = replace(one, folder=tmp_path / "other")
    said, _ = call(
        "predict", world.models[0], moved.folder, *moved.words, "--out", tmp_path / "out"
    )
    assert "No training patient was imaged at 7 T" in said
    assert "No training patient had the maker of the scanner" in said
    assert re.search(r"voxel size, front to back is 1\.00 mm, below all training patients", said)
