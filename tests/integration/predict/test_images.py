"""Images and regions, in every form that may be given; and those of somebody or something else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest

from preprocessing.cohort.cohort import Box
from tests.commands import call, the_sentence
from tests.integration.predict.world import (
    FILES,
    NewPatient,
    World,
    newcomer,
    read_json,
    spoil,
    tumour_of,
    volumes_of,
    write_nifti,
)
from tests.security.planted import RECORD
from tests.unit.preprocessing.test_dicom_seg import write_seg


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
