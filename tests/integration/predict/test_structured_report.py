"""The DICOM SR, read back and given to a checker of others."""

from __future__ import annotations

import shutil
from pathlib import Path

import highdicom as hd
import pydicom
import pytest

from preprocessing.cohort.cohort import DicomExamination
from preprocessing.images.phases.examination import find_phases
from preprocessing.storage.file_cache import FileCache
from tests.commands import call
from tests.integration.predict.world import (
    FILES,
    NewPatient,
    World,
    check_dicom,
    newcomer,
    read_json,
)
from tests.security.planted import NAME, RECORD


def read_sr(out: Path) -> hd.sr.EnhancedSR:
    return hd.sr.srread(out / "report-sr.dcm")  # type: ignore[no-any-return]


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
    phases = find_phases(DicomExamination(patient.folder), 4, FileCache()).phases[:4]
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
