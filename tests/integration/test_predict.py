"""A new patient, by the command a person types: from raw DICOM to a DICOM SR that a checker accepts."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import highdicom as hd
import nibabel
import numpy as np
import pandas as pd
import pydicom
import pytest

from cluster.sweep.config import SweepConfig, plan_trials
from cluster.sweep.folder import SweepFolder
from preprocessing.cohort import Box, DicomExamination
from preprocessing.config import PreprocessConfig
from preprocessing.dicom import DicomVolume
from preprocessing.examination import find_phases
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from preprocessing.readers import read_cohort
from preprocessing.staging import Stage
from preprocessing.store import Store
from radiotrain.config import RunConfig, dump_config, parse_config
from radiotrain.new_patient.patient_folder import Region, read_patient
from radiotrain.new_patient.prepare import prepare
from radiotrain.runs import RunFolder
from radiotrain.split import load_split
from radiotrain.training.loop import train
from tests.integration.store_runs import call, kill_session, start, the_sentence, wait_for
from tests.security.planted import IDENTIFIERS, NAME, RECORD, UID_ROOT, plant_in_dicom
from tests.unit.preprocessing.test_dicom_seg import write_seg

DOCUMENT = Path(__file__).parents[2] / "docs" / "predict.md"
COLLECTION = "Duke-Breast-Cancer-MRI"
FILES = {"report.html", "prediction.json", "report-sr.dcm"}


@dataclass(frozen=True)
class World:
    """A cohort, two models of it, and the report of their test."""

    folder: Path

    @property
    def cohort(self) -> Path:
        return self.folder / "cohort"

    @property
    def store(self) -> Store:
        return Store.open(str(self.folder / "store"))

    @property
    def models(self) -> tuple[Path, Path]:
        return self.folder / "ER_run", self.folder / "PR_run"


@dataclass(frozen=True)
class NewPatient:
    """One of whom no store knows."""

    folder: Path
    box: Box

    @property
    def words(self) -> list[str]:
        """The box as the command takes it."""
        pairs = zip(self.box.start, self.box.stop, strict=True)
        return ["--box", *(str(n) for pair in pairs for n in pair)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    found = World(tmp_path_factory.mktemp("predict"))
    settings = PhantomSettings(patients=24, matrix=64, slices=24, effects={"ER": 4})
    write_phantom(found.cohort, settings, workers=2)
    call(
        "preprocess",
        found.cohort,
        found.folder / "store",
        "--crop-shape",
        24,
        24,
        12,
        "--workers",
        1,
    )
    call("split", found.folder / "store", "--out", found.folder / "splits.json", "--folds", 2)
    for model, targets in zip(found.models, (["ER"], ["PR", "HER2"]), strict=True):
        values = {
            "store": str(found.folder / "store"),
            "split": str(found.folder / "splits.json"),
            "out": str(model),
            "targets": targets,
            "network": {"name": "ResNet10-narrow"},
            "train": {"epochs": 3, "batch_size": 4, "lr": 3e-3, "warmup_epochs": 0},
            "device": "cpu",
        }
        config = parse_config(RunConfig, values, "test")
        (found.folder / f"{model.name}.yaml").write_text(dump_config(config))
        call("train", "--config", found.folder / f"{model.name}.yaml")
    return found


@pytest.fixture(scope="module")
def newcomers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients with another seed than the cohort, as a download."""
    folder = tmp_path_factory.mktemp("newcomers") / "cohort"
    write_phantom(folder, PhantomSettings(patients=3, seed=7, matrix=64, slices=24), workers=1)
    return folder


def newcomer(cohort: Path, number: int = 0) -> NewPatient:
    patient = read_cohort(cohort).patients[number]
    assert patient.box is not None
    assert patient.examination is not None
    return NewPatient(patient.examination.folder, patient.box)


@pytest.fixture(scope="module")
def patient(newcomers: Path, tmp_path_factory: pytest.TempPathFactory) -> NewPatient:
    """One whose files say who they are, wherever files have room for that."""
    found = newcomer(newcomers)
    folder = tmp_path_factory.mktemp("named") / "person"
    shutil.copytree(found.folder, folder)
    for file in folder.rglob("*.dcm"):
        plant_in_dicom(file)
    return NewPatient(folder, found.box)


@pytest.fixture(scope="module")
def predicted(world: World, patient: NewPatient, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("predicted") / "out"
    said, _ = call("predict", *world.models, patient.folder, *patient.words, "--out", out)
    assert "Research use only" in said
    assert {p.name for p in out.iterdir()} == FILES
    (out.parent / "said.txt").write_text(said)
    return out


def read_json(out: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / "prediction.json").read_text("utf-8"))
    return values


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
    call("preprocess", newcomers, tmp_path / "store", "--crop-shape", 24, 24, 12, "--workers", 1, *overrides)  # fmt: skip
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


def read_sr(out: Path) -> hd.sr.EnhancedSR:
    return hd.sr.srread(out / "report-sr.dcm")  # type: ignore[no-any-return]


def check_dicom(path: Path) -> None:
    """Let dicom3tools' validator judge a file."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not here: apt-get install dicom3tools")
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert "EnhancedSR" in lines
    assert [line for line in lines if line.startswith("Error")] == []
    assert done.returncode == 0


def test_the_sr_is_accepted_by_an_independent_checker(predicted: Path) -> None:
    check_dicom(predicted / "report-sr.dcm")


def test_the_checker_sees_errors(predicted: Path, tmp_path: Path) -> None:
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not here: apt-get install dicom3tools")
    spoilt = pydicom.dcmread(predicted / "report-sr.dcm")
    del spoilt.CompletionFlag
    spoilt.save_as(tmp_path / "spoilt.dcm")
    with pytest.raises(AssertionError):
        check_dicom(tmp_path / "spoilt.dcm")


def test_the_sr_belongs_to_the_patient_and_refers_to_their_images(
    patient: NewPatient, predicted: Path
) -> None:
    sr = read_sr(predicted)
    image = pydicom.dcmread(next(patient.folder.rglob("*.dcm")), stop_before_pixels=True)
    assert (str(sr.PatientName), sr.PatientID) == (NAME, RECORD)
    for keyword in ("PatientBirthDate", "StudyInstanceUID", "AccessionNumber", "StudyDate"):
        assert sr[keyword].value == image[keyword].value
    (study,) = sr.CurrentRequestedProcedureEvidenceSequence
    referred = {
        (series.SeriesInstanceUID, item.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    phases = find_phases(DicomExamination(patient.folder), 4, Stage()).phases[:4]
    heads = [pydicom.dcmread(h.path, stop_before_pixels=True) for p in phases for h in p.headers]
    assert referred == {(h.SeriesInstanceUID, h.SOPInstanceUID) for h in heads}
    assert len(referred) == 4 * 24


def test_the_sr_says_what_the_json_says(patient: NewPatient, predicted: Path) -> None:
    sr, values = read_sr(predicted), read_json(predicted)
    groups = sr.content.get_image_measurement_groups()
    assert len(groups) == 3
    for group, target in zip(groups, values["targets"], strict=True):
        probability, spread, threshold, *_ = group.get_measurements()
        assert probability.value == pytest.approx(100 * target["probability"], abs=0.006)
        assert probability.unit.value == "%"
        assert spread.value == pytest.approx(100 * target["spread"]["sd"], abs=0.006)
        assert threshold.value == pytest.approx(100 * target["threshold"], abs=0.006)
        meant = {e.name.meaning: e.value.meaning for e in group.get_qualitative_evaluations()}
        assert meant["Intended use"] == "Research use only, not for clinical decisions"
        assert meant["Side of the operating point"].lower().startswith(target["call"])
        cut = [i.referenced_sop_instance_uid for i in group.source_images]
        assert len(cut) == patient.box.stop[2] - patient.box.start[2]
    assert (sr.PreliminaryFlag, sr.CompletionFlag, sr.VerificationFlag) == (
        "PRELIMINARY", "PARTIAL", "UNVERIFIED",
    )  # fmt: skip
    assert sr.SeriesDescription.startswith("RESEARCH USE ONLY")


def volumes_of(patient: NewPatient) -> list[DicomVolume]:
    return [p.open() for p in find_phases(DicomExamination(patient.folder), 4, Stage()).phases]


def write_nifti(path: Path, voxels: np.ndarray, volume: DicomVolume) -> Path:
    matrix = np.vstack([volume.grid.matrix[:, [1, 0, 2, 3]], [0, 0, 0, 1]])
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(voxels.swapaxes(0, 1), lps @ matrix), path)
    return path


def tumour_of(patient: NewPatient, pre: DicomVolume) -> np.ndarray:
    mask = np.zeros(pre.grid.shape, dtype=np.uint8)
    box = pre.box_to_positions(patient.box)
    mask[tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))] = 1
    return mask


def test_nifti_phases_say_the_same_and_have_no_sr(
    world: World, patient: NewPatient, predicted: Path, tmp_path: Path
) -> None:
    volumes = volumes_of(patient)
    folder = tmp_path / "Quandrixelle_Zorvanthe"
    folder.mkdir()
    for n, volume in enumerate(volumes[:4]):
        voxels = volume.read(Box((0, 0, 0), volume.grid.shape))
        write_nifti(folder / f"Quandrixelle_{n:04d}.nii.gz", voxels, volume)
    write_nifti(folder / "Quandrixelle_mask.nii.gz", tumour_of(patient, volumes[0]), volumes[0])
    said, _ = call("predict", *world.models, folder, "--out", tmp_path / "out")
    assert "no DICOM SR: the images are not DICOM" in said
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES - {"report-sr.dcm"}
    ours, theirs = read_json(tmp_path / "out"), read_json(predicted)
    for one, other in zip(ours["targets"], theirs["targets"], strict=True):
        assert one["uncalibrated"] == pytest.approx(other["uncalibrated"], abs=1e-6)
    assert ours["images"]["examination"] == theirs["images"]["examination"]
    for name in ("report.html", "prediction.json"):
        assert "Quandrixelle" not in (tmp_path / "out" / name).read_text("utf-8")


def test_a_dicom_seg_tells_the_region_also_when_it_lies_in_the_folder(
    world: World, patient: NewPatient, predicted: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "one"
    shutil.copytree(patient.folder, folder)
    pre = volumes_of(patient)[0]
    files = tuple(h.path for h in pre.headers)
    seg = write_seg(folder / "seg.dcm", files, [tumour_of(patient, pre).astype(bool)])
    spoil(seg, FrameOfReferenceUID=pydicom.dcmread(files[0]).FrameOfReferenceUID)
    for words in (["--segmentation", seg], []):
        call("predict", world.models[0], folder, *words, "--out", tmp_path / "out")
        (target,) = read_json(tmp_path / "out")["targets"]
        assert target["uncalibrated"] == pytest.approx(
            read_json(predicted)["targets"][0]["uncalibrated"], abs=1e-6
        )


def spoil(path: Path, **values: Any) -> None:
    data = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(data, keyword, value)
    data.save_as(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PatientID": "somebody else"}, "of another person"),
        ({"FrameOfReferenceUID": "1.2.3.4"}, "drawn on other images"),
    ],
)
def test_a_seg_of_somebody_or_something_else_is_refused(
    world: World, patient: NewPatient, tmp_path: Path, changes: dict[str, str], words: str
) -> None:
    pre = volumes_of(patient)[0]
    files = tuple(h.path for h in pre.headers)
    seg = write_seg(tmp_path / "seg.dcm", files, [tumour_of(patient, pre).astype(bool)])
    spoil(seg, **{"FrameOfReferenceUID": pydicom.dcmread(files[0]).FrameOfReferenceUID, **changes})
    _, error = call(
        "predict", world.models[0], patient.folder, "--segmentation", seg,
        "--out", tmp_path / "out", status=2,
    )  # fmt: skip
    assert words in the_sentence(error)
    assert "somebody else" not in error


def test_a_seg_of_other_geometry_is_refused(
    world: World, newcomers: Path, patient: NewPatient, tmp_path: Path
) -> None:
    pre = volumes_of(patient)[0]
    moved = []
    for header in pre.headers:
        data = pydicom.dcmread(header.path)
        data.PixelSpacing = [3.0, 3.0]
        moved.append(tmp_path / header.path.name)
        data.save_as(moved[-1])
    seg = write_seg(tmp_path / "seg.dcm", tuple(moved), [tumour_of(patient, pre).astype(bool)])
    spoil(seg, FrameOfReferenceUID=pydicom.dcmread(moved[0]).FrameOfReferenceUID)
    _, error = call(
        "predict", world.models[0], patient.folder, "--segmentation", seg,
        "--out", tmp_path / "out", status=2,
    )  # fmt: skip
    assert "does not lie in the images' voxels" in the_sentence(error)


def test_a_folder_of_two_people_is_refused(
    world: World, newcomers: Path, patient: NewPatient, tmp_path: Path
) -> None:
    shutil.copytree(patient.folder, tmp_path / "both" / "a")
    shutil.copytree(newcomer(newcomers, 1).folder, tmp_path / "both" / "b")
    _, error = call(
        "predict", world.models[0], tmp_path / "both", *patient.words,
        "--out", tmp_path / "out", status=2,
    )  # fmt: skip
    assert "images of 2 people" in the_sentence(error)
    assert RECORD not in error


def test_too_few_phases_are_refused(world: World, patient: NewPatient, tmp_path: Path) -> None:
    phases = find_phases_folder(patient)
    shutil.copytree(patient.folder, tmp_path / "few")
    for place in phases[2:]:
        shutil.rmtree(tmp_path / "few" / place)
    _, error = call(
        "predict", world.models[0], tmp_path / "few", *patient.words,
        "--out", tmp_path / "out", status=2,
    )  # fmt: skip
    assert "2 phases found, 4 needed" in the_sentence(error)


def find_phases_folder(patient: NewPatient) -> list[Path]:
    return [v.headers[0].path.parent.relative_to(patient.folder) for v in volumes_of(patient)]


@pytest.mark.parametrize(
    ("model", "words", "sentence"),
    [
        ("ER_run", [], "nobody says where the tumour is"),
        ("ER_run", ["--box", 90, 95, 1, 5, 1, 5], "the tumour box lies outside the images"),
        ("ER_run", ["--box", 9, 5, 1, 5, 1, 5], "each end above its start"),
        ("ER_run", ["--box", 1, 5, 1, 5, 1, 5, "--segmentation", "x"], "expected one of them"),
        ("ER_run", ["--segmentation", "nothing.nii"], "no segmentation at"),
        ("ER_run", ["--box", 1, 5, 1, 5, 1, 5, "--boxes", "x"], "--boxes is for --batch"),
        ("ER_run", ["--box", 1, 5, 1, 5, 1, 5, "--report", "x"], "no metrics.json in"),
        ("ER_run", ["--box", 1, 5, 1, 5, 1, 5, "--covariate", "age"], "expected name=value"),
        ("ER_run", ["--box", 1, 5, 1, 5, 1, 5, "--covariate", "PatientName=x"], "identify a person"),
        ("store", ["--box", 1, 5, 1, 5, 1, 5], "no model at"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_sentence(
    world: World, patient: NewPatient, tmp_path: Path, model: str, words: list[Any], sentence: str
) -> None:
    out = tmp_path / "out"
    _, error = call("predict", world.folder / model, patient.folder, *words, "--out", out, status=2)
    assert sentence in the_sentence(error)
    assert not out.exists()


def test_other_places_are_refused(world: World, patient: NewPatient, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("x")
    er = world.models[0]
    for place, out, words in (
        ("empty", "out", "is empty"),
        ("nowhere", "out", "nothing at"),
        (patient.folder, "full", "holds other files"),
    ):
        _, error = call(
            "predict", er, tmp_path / place, *patient.words, "--out", tmp_path / out, status=2
        )
        assert words in the_sentence(error)
    _, error = call("predict", er, er, patient.folder, *patient.words, "--out", tmp_path / "out", status=2)  # fmt: skip
    assert "name one for each target" in the_sentence(error)


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


def table_of(out: Path) -> list[dict[str, str]]:
    with (out / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_one_bad_patient_ends_no_batch_and_is_named(
    world: World, newcomers: Path, tmp_path: Path
) -> None:
    cohort = tmp_path / "cohort"
    shutil.copytree(newcomers, cohort)
    spoilt = newcomer(cohort, 1).folder
    file = max(spoilt.rglob("*.dcm"))
    file.write_bytes(file.read_bytes()[:-200])
    for path in [p for p in spoilt.rglob("*.dcm") if p != file]:
        path.write_bytes(path.read_bytes()[:-200])
    out = tmp_path / "out"
    said, _ = call("predict", world.models[0], cohort, "--out", out)
    assert "2 patients predicted (0 before), 1 not" in said
    assert [(r["number"], r["finding"]) for r in table_of(out)] == [
        ("0001", ""), ("0002", "dicom-damaged"), ("0003", ""),
    ]  # fmt: skip
    assert {p.name for p in out.iterdir()} == {"0001", "0003", "key.csv", "predictions.csv"}
    assert "0002,Breast_MRI_002" in (out / "key.csv").read_text()
    assert "Breast_MRI" not in (out / "predictions.csv").read_text()
    # Mended, only that one is done.
    shutil.rmtree(spoilt)
    shutil.copytree(newcomer(newcomers, 1).folder, spoilt)
    said, _ = call("predict", world.models[0], cohort, "--out", out)
    assert "3 patients predicted (2 before), 0 not" in said
    assert all(r["finding"] == "" for r in table_of(out))


def test_a_batch_says_what_one_by_one_says(world: World, newcomers: Path, tmp_path: Path) -> None:
    folders = tmp_path / "patients"
    rows = ["patient_id,box_row_start,box_row_stop,box_col_start,box_col_stop,box_slice_start,box_slice_stop"]  # fmt: skip
    for n in range(3):
        one = newcomer(newcomers, n)
        shutil.copytree(one.folder, folders / f"p{n}")
        rows.append(f"p{n}," + ",".join(one.words[1:]))
    (tmp_path / "boxes.csv").write_text("\n".join(rows))
    words = ["--batch", "--boxes", tmp_path / "boxes.csv", "--out", tmp_path / "out"]
    call("predict", world.models[0], folders, *words)
    for n, row in enumerate(table_of(tmp_path / "out")):
        one = newcomer(newcomers, n)
        alone = tmp_path / f"alone{n}"
        call("predict", world.models[0], one.folder, *one.words, "--out", alone)
        (target,) = read_json(alone)["targets"]
        assert float(row["probability"]) == pytest.approx(target["probability"], abs=1e-6)
        assert row["call"] == target["call"]
        assert read_json(tmp_path / "out" / row["number"])["targets"] == [target]


def test_a_manifest_without_labels_is_enough(world: World, newcomers: Path, tmp_path: Path) -> None:
    one = newcomer(newcomers, 2)
    volumes = volumes_of(one)
    box = volumes[0].box_to_positions(one.box)
    values: dict[str, Any] = {"patient_id": "A"}
    for n, volume in enumerate(volumes[:4]):
        voxels = volume.read(Box((0, 0, 0), volume.grid.shape))
        write_nifti(tmp_path / f"a{n}.nii.gz", voxels, volume)
        values[f"phase_{n}"] = f"a{n}.nii.gz"
    for axis, first, last in zip(("row", "col", "slice"), box.start, box.stop, strict=True):
        values |= {f"box_{axis}_start": first, f"box_{axis}_stop": last}
    pd.DataFrame([values]).to_csv(tmp_path / "manifest.csv", index=False)
    call("predict", world.models[0], tmp_path / "manifest.csv", "--out", tmp_path / "out")
    (row,) = table_of(tmp_path / "out")
    assert row["finding"] == ""
    assert {p.name for p in (tmp_path / "out" / "0001").iterdir()} == FILES - {"report-sr.dcm"}


def test_what_is_killed_loses_nothing_that_was_done(
    world: World, newcomers: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("predict", *world.models, newcomers, "--draws", 40, "--out", out)
    process = start(*words)
    wait_for(lambda: (out / "0001" / "prediction.json").exists(), "the first patient")
    time.sleep(0.05)
    kill_session(process)
    done = (out / "0001" / "prediction.json").read_bytes()
    said, _ = call(*words)
    assert re.search(r"3 patients predicted \([12] before\), 0 not", said)
    assert (out / "0001" / "prediction.json").read_bytes() == done
    assert len(table_of(out)) == 9


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


@pytest.fixture(scope="module")
def ensemble(world: World) -> Path:
    """A model promoted from a sweep of one trial on two folds."""
    values = {
        "store": str(world.folder / "store"),
        "split": str(world.folder / "splits.json"),
        "out": str(world.folder / "sweep"),
        "networks": ["ResNet10-narrow"],
        "targets": ["ER"],
        "folds": [0, 1],
        "train": {"epochs": 10, "batch_size": 4, "lr": 3e-3, "warmup_epochs": 0},
        "halving": {"enabled": False},
        "device": "cpu",
    }
    sweep = parse_config(SweepConfig, values, "test")
    SweepFolder(sweep.out).write_sweep(sweep)
    for plan in plan_trials(sweep):
        for run in plan.runs:
            train(run, reporter=lambda _: None)
    call("promote", world.folder / "sweep")
    return world.folder / "sweep" / "promoted" / "ER"


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
    assert target["uncalibrated"] == pytest.approx(np.mean(alone), abs=1e-6)
    spread = target["spread"]
    assert (spread["num_networks"], spread["num_views"]) == (2, 1)
    curve = target["calibration"]
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


def test_headers_that_dicom_does_not_allow_cost_the_sr_alone(
    world: World, newcomers: Path, tmp_path: Path
) -> None:
    one = newcomer(newcomers, 0)
    shutil.copytree(one.folder, tmp_path / "odd")
    for file in (tmp_path / "odd").rglob("*.dcm"):
        content = file.read_bytes()
        # Element PatientSex, empty in the phantom, becomes one of no allowed value.
        empty = b"\x10\x00\x40\x00\x00\x00\x00\x00"
        assert content.count(empty) == 1
        file.write_bytes(content.replace(empty, b"\x10\x00\x40\x00\x02\x00\x00\x00QQ"))
    out = tmp_path / "out"
    said, _ = call("predict", world.models[0], tmp_path / "odd", *one.words, "--out", out)
    assert "no DICOM SR: the images' headers" in said
    assert {p.name for p in out.iterdir()} == FILES - {"report-sr.dcm"}
    assert "'QQ'" not in said
