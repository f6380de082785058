"""DICOM segmentations as masks, written by highdicom from the very series that they are of."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from preprocessing.cohort.cohort import (
    Box,
    DicomExamination,
    DicomSeries,
    Finding,
    Patient,
    VolumeFile,
)
from preprocessing.common.config import PreprocessConfig
from preprocessing.images.dicom.segmentation import is_segmentation
from preprocessing.images.load_patient import OpenedPatient, open_patient
from preprocessing.storage.file_cache import FileCache

SHAPE = (20, 24, 9)
CONFIG = PreprocessConfig(num_phases=1, crop_shape=(8, 8, 4), bias_engine="none")


def marked() -> NDArray[np.bool_]:
    """A tumour without symmetry, (row, column, slice)."""
    mask = np.zeros(SHAPE, dtype=bool)
    mask[4:9, 10:13, 3:6] = True
    mask[9, 10, 4] = True
    return mask


def write_seg(
    path: Path,
    files: tuple[Path, ...],
    masks: list[NDArray[np.bool_]],
    *,
    reverse: bool = False,
    fractional: bool = False,
) -> Path:
    """Write one segment a mask; empty frames are left out, as usual."""
    images = [pydicom.dcmread(f) for f in files]
    for image in images:
        for keyword in ("PatientID", "PatientSex", "StudyID", "StudyDate", "StudyTime"):
            setattr(image, keyword, getattr(image, keyword, ""))
        image.AccessionNumber = image.ReferringPhysicianName = ""
        image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3", "1.2.4"
        image.FrameOfReferenceUID = "1.2.5"
        image.PatientName = "Secret^Name"
    frames = np.stack([np.moveaxis(m, 2, 0) for m in masks], axis=-1)
    if reverse:
        images, frames = images[::-1], frames[::-1]
    described = [
        hd.seg.SegmentDescription(
            segment_number=n + 1,
            segment_label=f"Tumor {n + 1} Grumbleknot",
            segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
            segmented_property_type=codes.SCT.Neoplasm,
            algorithm_type="MANUAL",
        )
        for n in range(len(masks))
    ]
    kind = "FRACTIONAL" if fractional else "BINARY"
    pixels = frames.astype(np.float32) * 0.8 if fractional else frames.astype(np.uint8)
    seg = hd.seg.Segmentation(
        source_images=images,
        pixel_array=pixels,
        segmentation_type=kind,
        segment_descriptions=described,
        series_instance_uid=hd.UID(),
        series_number=2,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer="test",
        manufacturer_model_name="test",
        software_versions="1",
        device_serial_number="1",
        omit_empty_frames=True,
    )
    seg.save_as(path)
    return path


def opened(files: tuple[Path, ...], seg: VolumeFile) -> OpenedPatient | tuple[Finding, ...]:
    patient = Patient("P", phases=(DicomSeries(files, "pre"),), mask=seg)
    return open_patient(patient, CONFIG, FileCache())


@pytest.fixture
def files(make_series, tmp_path):
    voxels = np.random.default_rng(0).integers(10, 500, SHAPE)
    return make_series(tmp_path / "series", voxels)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("fractional", [False, True])
def test_the_mask_is_what_was_marked(files, tmp_path, reverse, fractional):
    path = write_seg(tmp_path / "s.dcm", files, [marked()], reverse=reverse, fractional=fractional)
    found = opened(files, VolumeFile(path))
    assert isinstance(found, OpenedPatient)
    np.testing.assert_array_equal(found.mask, marked())
    assert found.box == Box((4, 10, 3), (10, 13, 6))


@pytest.mark.parametrize("orientation", [(0, 1, 0, 0, 0, -1), (-1, 0, 0, 0, -1, 0)])
def test_other_directions_of_the_slices_are_followed(make_series, tmp_path, orientation):
    voxels = np.random.default_rng(0).integers(10, 500, SHAPE)
    files = make_series(tmp_path / "turned", voxels, orientation=orientation)
    path = write_seg(tmp_path / "s.dcm", files, [marked()])
    found = opened(files, VolumeFile(path))
    assert isinstance(found, OpenedPatient)
    np.testing.assert_array_equal(found.mask, marked())


def test_of_several_segments_one_is_named(files, tmp_path):
    other = np.zeros(SHAPE, dtype=bool)
    other[15:18, 2:4, 1:3] = True
    path = write_seg(tmp_path / "s.dcm", files, [marked(), other])
    second = opened(files, VolumeFile(path, segment=2))
    assert isinstance(second, OpenedPatient)
    np.testing.assert_array_equal(second.mask, other)
    (unclear,) = opened(files, VolumeFile(path))
    assert unclear.code == "segment-unclear"
    assert "1 (Tumor 1 …), 2 (Tumor 2 …)" in unclear.message
    (missing,) = opened(files, VolumeFile(path, segment=5))
    assert missing.code == "segment-missing"


@pytest.mark.parametrize(
    "changes",
    [{"spacing": (0.9, 0.9, 1.5)}, {"origin": (0.4, 0.0, 0.0)}, {"origin": (0.0, 0.0, 9.0)}],
)
def test_a_segmentation_of_other_geometry_is_refused(make_series, files, tmp_path, changes):
    voxels = np.random.default_rng(0).integers(10, 500, SHAPE)
    others = make_series(tmp_path / "others", voxels, **changes)
    path = write_seg(tmp_path / "s.dcm", others, [marked()])
    (finding,) = opened(files, VolumeFile(path))
    assert finding.code == "mask-differs"
    assert finding.excludes


@pytest.mark.parametrize(("frame", "said"), [("1.2.5", []), ("1.2.6", ["frames-differ"])])
def test_another_frame_of_reference_is_said(files, tmp_path, frame, said):
    path = write_seg(tmp_path / "s.dcm", files, [marked()])
    for file in files:
        data = pydicom.dcmread(file)
        data.FrameOfReferenceUID = frame
        data.save_as(file)
    found = opened(files, VolumeFile(path))
    assert isinstance(found, OpenedPatient)
    assert [f.code for f in found.findings] == said
    np.testing.assert_array_equal(found.mask, marked())


def test_only_a_segmentation_is_one(files, tmp_path):
    assert is_segmentation(write_seg(tmp_path / "s.dcm", files, [marked()]))
    assert not is_segmentation(files[0])
    (tmp_path / "no.dcm").write_bytes(bytes(128) + b"DICM" + b"rubbish" * 9)
    assert not is_segmentation(tmp_path / "no.dcm")
    (tmp_path / "short.dcm").write_bytes(b"x")
    assert not is_segmentation(tmp_path / "short.dcm")


def test_the_same_mask_as_nifti_gives_the_same(files, tmp_path):
    seg = opened(files, VolumeFile(write_seg(tmp_path / "s.dcm", files, [marked()])))
    assert isinstance(seg, OpenedPatient)
    matrix = np.vstack([seg.volumes[0].grid.matrix[:, [1, 0, 2, 3]], [0, 0, 0, 1]])
    image = nibabel.Nifti1Image(
        marked().swapaxes(0, 1).astype(np.uint8), np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
    )
    nibabel.save(image, tmp_path / "m.nii.gz")
    nifti = opened(files, VolumeFile(tmp_path / "m.nii.gz"))
    assert isinstance(nifti, OpenedPatient)
    np.testing.assert_array_equal(seg.mask, nifti.mask)
    assert seg.box == nifti.box


def test_a_segmentation_among_the_images_is_no_phase(make_series, tmp_path):
    voxels = np.random.default_rng(0).integers(10, 500, SHAPE)
    folder = tmp_path / "patient"
    files = make_series(folder / "a", voxels, description="ax dyn pre")
    make_series(folder / "b", voxels, description="ax dyn 1st pass", number=2, time="101800")
    write_seg(folder / "a" / "zz.dcm", files, [marked()])
    patient = Patient("P", examination=DicomExamination(folder), box=Box((4, 10, 3), (10, 13, 6)))
    found = open_patient(patient, CONFIG.model_copy(update={"num_phases": 2}), FileCache())
    assert isinstance(found, OpenedPatient)
    assert found.num_phases_found == 2
