"""Masks: which voxels of a file are the tumour, wherever and however it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import FileMetaDataset

from preprocessing.cohort.cohort import Finding, Patient, VolumeFile
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.images.load_patient import OpenedPatient, open_patient
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.storage.file_cache import FileCache
from tests.unit.preprocessing.volume_writers import (
    DIRECTIONS,
    SHAPE,
    affine,
    manifest,
    mask,
    nifti,
    nrrd,
    phase,
)

CONFIG = PreprocessConfig(crop_shape=(16, 16, 8), num_phases=1, bias_engine="none")
CUT = (slice(8, 18), slice(10, 20), slice(3, 9))
OTHER = (slice(20, 24), slice(5, 9), slice(2, 4))


def patient_of(folder: Path, mask_cell: str, label: str = "") -> Patient:
    nifti(folder / "pre.nii", phase(0))
    return read_cohort(manifest(folder, f"p,pre.nii,,,{mask_cell},{label},1")).patients[0]


def inside(folder: Path, mask_cell: str, label: str = "") -> NDArray[np.bool_]:
    """The marked voxels, in the files' axes."""
    found = open_patient(patient_of(folder, mask_cell, label), CONFIG, FileCache())
    assert isinstance(found, OpenedPatient), found
    assert found.mask is not None
    return found.mask.swapaxes(0, 1)


def excluded(folder: Path, mask_cell: str, label: str = "") -> Finding:
    found = open_patient(patient_of(folder, mask_cell, label), CONFIG, FileCache())
    assert isinstance(found, tuple)
    return next(f for f in found if f.excludes)


def test_probabilities_count_from_one_half_on(tmp_path: Path) -> None:
    values = np.zeros(SHAPE, np.float32)
    values[10, 12, 4:8] = [0.49, 0.5, 0.51, 1.0]
    nifti(tmp_path / "m.nii", values)
    expected = np.zeros(SHAPE, bool)
    expected[10, 12, 5:8] = True
    np.testing.assert_array_equal(inside(tmp_path, "m.nii"), expected)
    record, _ = process_patient(patient_of(tmp_path, "m.nii"), 0, CONFIG)
    assert [f.code for f in record.findings] == ["mask-thresholded"]


@pytest.mark.parametrize("value", [1, 255, 7])
def test_one_label_is_the_tumour(tmp_path: Path, value: int) -> None:
    nifti(tmp_path / "m.nii", mask() * np.uint8(value))
    np.testing.assert_array_equal(inside(tmp_path, "m.nii"), mask() > 0)


def test_labels_with_rounding_errors(tmp_path: Path) -> None:
    values = mask().astype(np.float32) * 0.9999
    values[0, 0, 0] = 1e-6
    nifti(tmp_path / "m.nii", values)
    np.testing.assert_array_equal(inside(tmp_path, "m.nii"), mask() > 0)


def test_of_several_labels_one_is_named(tmp_path: Path) -> None:
    labels = mask() * np.uint8(2)
    labels[OTHER] = 1
    nifti(tmp_path / "m.nii", labels)
    finding = excluded(tmp_path, "m.nii")
    assert finding.code == "mask-labels-unclear"
    assert "1 (32 voxels), 2 (60 voxels)" in finding.message
    for label in ("1", "2", "2.0"):
        expected = labels == float(label)
        np.testing.assert_array_equal(inside(tmp_path, "m.nii", label), expected)
    assert excluded(tmp_path, "m.nii", "3").code == "mask-label-missing"
    for label in ("two", "1.5", "1e400"):
        finding = excluded(tmp_path, "m.nii", label)
        assert finding.code == "mask-label-unreadable"
        assert "two" not in finding.message


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({(0, 0, 0): -1}, "mask-values-unclear"),
        ({(0, 0, 0): 1.5}, "mask-values-unclear"),
        ({(0, 0, 0): 37.3, (1, 1, 1): 55}, "mask-values-unclear"),
        ({(0, 0, 0): 0.3}, "mask-empty"),
        ({}, "mask-empty"),
        ({(0, 0, 0): np.nan}, "mask-empty"),
    ],
)
def test_values_that_mark_nothing_for_certain(
    tmp_path: Path, values: dict[tuple[int, int, int], float], code: str
) -> None:
    voxels = np.zeros(SHAPE, np.float32)
    for at, value in values.items():
        voxels[at] = value
    nifti(tmp_path / "m.nii", voxels)
    assert excluded(tmp_path, "m.nii").code == code


def test_a_mask_of_everything_tells_no_place(tmp_path: Path) -> None:
    nifti(tmp_path / "m.nii", np.ones(SHAPE, np.uint8))
    assert excluded(tmp_path, "m.nii").code == "mask-full"


def test_values_that_are_not_finite_mark_nothing(tmp_path: Path) -> None:
    voxels = mask().astype(np.float32)
    voxels[0, 0, :2] = np.nan, np.inf
    nifti(tmp_path / "m.nii", voxels)
    np.testing.assert_array_equal(inside(tmp_path, "m.nii"), mask() > 0)
    record, _ = process_patient(patient_of(tmp_path, "m.nii"), 0, CONFIG)
    assert [(f.code, "2 voxels" in f.message) for f in record.findings] == [("not-finite", True)]


@pytest.mark.parametrize("axes", [(2, 0, 1), (1, 0, 2), (2, 1, 0)])
@pytest.mark.parametrize("flip", [False, True])
def test_transposed_grids(tmp_path: Path, axes: tuple[int, int, int], flip: bool) -> None:
    voxels, to_lps = mask().transpose(axes), affine()[:, [*axes, 3]]
    if flip:
        voxels = voxels[::-1].copy()
        to_lps[:3, 3] += to_lps[:3, 0] * (len(voxels) - 1)
        to_lps[:3, 0] *= -1
    nifti(tmp_path / "m.nii", voxels, to_lps)
    np.testing.assert_array_equal(inside(tmp_path, "m.nii"), mask() > 0)


def cut_place(start: tuple[int, int, int] = (8, 10, 3)) -> NDArray[np.float64]:
    to_lps = affine()
    to_lps[:3, 3] = (affine() @ [*start, 1])[:3]
    return to_lps


def test_a_mask_cut_to_its_extent_lies_where_its_header_says(tmp_path: Path) -> None:
    nifti(tmp_path / "m.nii", mask()[CUT], cut_place())
    np.testing.assert_array_equal(inside(tmp_path, "m.nii"), mask() > 0)


@pytest.mark.parametrize(
    "place",
    [
        affine(),
        cut_place() @ np.diag([1.3, 1, 1, 1]),
    ],
)
def test_a_cut_mask_whose_place_is_not_known(tmp_path: Path, place: NDArray[np.float64]) -> None:
    """Not that of the images' own header, nor between their voxels."""
    place = place.copy()
    place[3] = [0, 0, 0, 1]
    nifti(tmp_path / "m.nii", mask()[CUT], place)
    assert excluded(tmp_path, "m.nii").code == "mask-differs"


@pytest.mark.parametrize("name", ["m.nii", "pre.nii"])
def test_a_cut_mask_is_placed_only_if_both_tell_their_place(tmp_path: Path, name: str) -> None:
    nifti(tmp_path / "m.nii", mask()[CUT], cut_place())
    one = patient_of(tmp_path, "m.nii")
    content = bytearray((tmp_path / name).read_bytes())
    content[252:256] = bytes(4)  # qform and sform codes
    (tmp_path / name).write_bytes(content)
    found = open_patient(one, CONFIG, FileCache())
    assert isinstance(found, tuple)
    assert [f.code for f in found if f.excludes] == ["mask-differs"]


def seg_nrrd(path: Path, voxels: NDArray[np.uint8], *segments: dict[str, Any]) -> Path:
    """Write as 3D Slicer does: cut to its extent, with what its segments are."""
    lines = ["Segmentation_ReferenceImageExtentOffset:=8 10 3"]
    for n, values in enumerate(segments):
        lines += [f"Segment{n}_{key}:={value}" for key, value in values.items()]
    several = voxels.ndim == 4
    return nrrd(
        path,
        voxels,
        kinds="list domain domain domain" if several else "domain domain domain",
        directions=f"none {DIRECTIONS}" if several else DIRECTIONS,
        origin=tuple(cut_place()[:3, 3]),
        extra=lines,
        packed=True,
    )


def test_seg_nrrd_of_one_segment(tmp_path: Path) -> None:
    voxels = mask()[CUT] * np.uint8(3)
    seg_nrrd(tmp_path / "t.seg.nrrd", voxels, {"LabelValue": 3, "Layer": 0, "Name": "Smith"})
    np.testing.assert_array_equal(inside(tmp_path, "t.seg.nrrd"), mask() > 0)


def test_seg_nrrd_of_several_labels(tmp_path: Path) -> None:
    voxels = mask()[CUT].copy()
    voxels[0, :2, 0] = 2
    seg_nrrd(
        tmp_path / "t.seg.nrrd",
        voxels,
        {"LabelValue": 1, "Name": "Tumor Smith"},
        {"LabelValue": 2, "Name": "Smith"},
    )
    finding = excluded(tmp_path, "t.seg.nrrd")
    assert finding.code == "mask-labels-unclear"
    assert "Smith" not in finding.message
    assert "Tumor" in finding.message
    np.testing.assert_array_equal(inside(tmp_path, "t.seg.nrrd", "1"), mask() > 0)
    assert inside(tmp_path, "t.seg.nrrd", "2").sum() == 2
    assert excluded(tmp_path, "t.seg.nrrd", "3").code == "mask-label-missing"


@pytest.mark.parametrize("labels", [(1, 2), (1, 1)])
def test_seg_nrrd_in_layers(tmp_path: Path, labels: tuple[int, int]) -> None:
    """Segments that overlap lie in layers, where their labels may repeat."""
    first, second = mask()[CUT] * np.uint8(labels[0]), np.zeros((10, 10, 6), np.uint8)
    second[:3, :3, :2] = labels[1]
    seg_nrrd(
        tmp_path / "t.seg.nrrd",
        np.stack([first, second]),
        {"LabelValue": labels[0], "Layer": 0, "Name": "a"},
        {"LabelValue": labels[1], "Layer": 1, "Name": "b"},
    )
    assert excluded(tmp_path, "t.seg.nrrd").code == "mask-labels-unclear"
    np.testing.assert_array_equal(inside(tmp_path, "t.seg.nrrd", "1"), mask() > 0)
    assert inside(tmp_path, "t.seg.nrrd", "2").sum() == 18


def dicom(path: Path, sop_class: str) -> Path:
    data = pydicom.Dataset()
    data.SOPClassUID, data.SOPInstanceUID, data.PatientName = sop_class, "1.2.3", "Secret^Name"
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = sop_class
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize(
    ("sop_class", "word"),
    [
        ("1.2.840.10008.5.1.4.1.1.481.3", "RTSTRUCT"),
        ("1.2.840.10008.5.1.4.1.1.4", "another kind"),
    ],
)
def test_dicom_objects_that_are_no_segmentation(tmp_path: Path, sop_class: str, word: str) -> None:
    dicom(tmp_path / "m.dcm", sop_class)
    finding = excluded(tmp_path, "m.dcm")
    assert finding.code == "mask-no-segmentation"
    assert word in finding.message


def test_a_folder_as_the_mask_is_its_only_file(tmp_path: Path) -> None:
    folder = tmp_path / "SEG_Smith"
    folder.mkdir()
    assert excluded(tmp_path, "SEG_Smith").code == "mask-no-segmentation"
    nifti(folder / "1-1.nii", mask())
    (folder / "LICENSE.txt").write_text("free")
    (folder / ".DS_Store").write_text("")
    np.testing.assert_array_equal(inside(tmp_path, "SEG_Smith"), mask() > 0)
    dicom(folder / "2.dcm", "1.2.840.10008.5.1.4.1.1.4")
    finding = excluded(tmp_path, "SEG_Smith")
    assert finding.code == "mask-no-segmentation"
    assert "2 files" in finding.message
    assert "Smith" not in finding.message


def test_other_labels_are_other_input(tmp_path: Path) -> None:
    """A run that goes on does not take what another label gave."""
    from preprocessing.images.load_patient import input_digest

    nifti(tmp_path / "m.nii", mask())
    patients = [patient_of(tmp_path, "m.nii", label) for label in ("", "1", "2")]
    assert len({input_digest(p) for p in patients}) == 3
    assert patients[1].mask == VolumeFile(tmp_path / "m.nii", label=1)
