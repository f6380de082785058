"""What quirks of files do: broken, compressed, of several frames, no images."""

import re

import numpy as np
import pytest
import SimpleITK as sitk
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

from preprocessing.phantom.quirks import QUIRKS
from tests.unit.phantom.quirks.twins import MATRIX, SLICES, voxels

pytestmark = pytest.mark.slow


def test_a_truncated_file_is_the_beginning_of_a_slice_of_the_first_pass(both):
    patient, twin = both("truncated-file")
    pairs = zip(patient.paths, twin.paths, strict=True)
    changed = [(a, b) for a, b in pairs if a.read_bytes() != b.read_bytes()]
    ((cut, whole),) = changed
    assert whole.read_bytes().startswith(cut.read_bytes())
    assert len(whole.read_bytes()) - len(cut.read_bytes()) == MATRIX * MATRIX
    assert whole in {d.path for d in twin.phases[1]}


def test_an_empty_file_is_a_slice_of_the_second_pass(both):
    patient, twin = both("zero-byte-file")
    (empty,) = (p for p in patient.paths if not p.stat().st_size)
    path = twin.cohort / empty.relative_to(patient.cohort)
    assert path in {d.path for d in twin.phases[2]}
    assert len(patient.paths) == len(twin.paths)


@pytest.mark.parametrize(
    ("name", "syntaxes"),
    [
        ("compressed", [RLELossless, JPEG2000Lossless, JPEGLosslessSV1, ImplicitVRLittleEndian]),
        ("big-endian", [ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian]),
    ],
)
def test_other_encodings_hold_the_same_pixels(both, name, syntaxes):
    patient, twin = (p.phases[: len(syntaxes)] for p in both(name))
    for phase, other, syntax in zip(patient, twin, syntaxes, strict=True):
        for mine, theirs in zip(phase, other, strict=True):
            assert mine.file_meta.TransferSyntaxUID == syntax
            decoded = sitk.GetArrayFromImage(sitk.ReadImage(mine.path))[0]
            np.testing.assert_array_equal(decoded, theirs.pixel_array)


def test_objects_that_are_no_images_lie_among_the_slices(both):
    patient, twin = both("not-an-image")
    files = patient.files
    extra = [files[uid] for uid in files.keys() - twin.files.keys()]
    assert sorted(d.Modality for d in extra) == ["PR", "SR"]
    assert not any("PixelData" in d or "Rows" in d for d in extra)
    folders = [phase[0].path.parent.name for phase in twin.phases[:2]]
    assert {d.path.parent.name for d in extra} == set(folders)
    (text,) = set(patient.paths) - {d.path for d in files.values()}
    assert text.parent.name == folders[0]
    assert not text.suffix


def test_multi_frame_file_holds_the_first_pass(both):
    patient, twin = both("multi-frame")
    (data,) = [d for d in patient.files.values() if "NumberOfFrames" in d]
    first_pass = sorted(twin.phases[1], key=lambda d: d.InstanceNumber)
    np.testing.assert_array_equal(data.pixel_array, voxels(first_pass))
    assert data.NumberOfFrames == SLICES
    assert len(twin.files) - len(patient.files) == SLICES - 1
    places = [g.PlanePositionSequence[0] for g in data.PerFrameFunctionalGroupsSequence]
    assert [p.ImagePositionPatient for p in places] == [d.ImagePositionPatient for d in first_pass]


def test_file_names_without_suffix(both):
    files = both("no-suffix")[0].files.values()
    kinds = {bool(re.fullmatch(r"IM-\d{4}-\d{4}", d.path.name)) for d in files}
    assert kinds == {True, False}
    for data in files:
        assert data.path.name.startswith("IM-") or data.path.name == data.SOPInstanceUID


def test_unsigned_pixels_would_wrap_and_mean_the_same(both):
    patient, twin = (p.phases for p in both("unsigned-wrap"))
    for phase, other in zip(patient, twin, strict=True):
        slope, intercept = float(phase[0].RescaleSlope), float(phase[0].RescaleIntercept)
        np.testing.assert_array_equal(voxels(phase) * slope + intercept, voxels(other))
    pre, post = (np.stack([d.pixel_array for d in phase]) for phase in patient[:2])
    assert pre.dtype == post.dtype == np.uint16
    assert (post - pre).max() > 60_000


def test_no_images_but_rows_in_the_workbooks(both):
    patient, twin = both("no-images")
    assert not patient.folder.exists()
    assert len(list(patient.folder.parent.iterdir())) == len(QUIRKS) - 1
    assert patient.box == twin.box
