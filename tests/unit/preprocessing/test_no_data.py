"""Voxels without a value (NaN, Inf, fill values): padding where they lie, and nothing else changes."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Patient
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.pipeline.check_cohort import check_cohort
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.store import REGION_PADDING, REGION_TUMOUR, PatientRecord, PatientTensor
from tests.unit.preprocessing.volume_writers import TUMOUR, body, manifest, mask, nifti, phase

CROP = (24, 24, 8)
ENGINES = ("none", "separable", "simpleitk")
LARGEST = float(np.finfo(np.float32).max)


def config(engine: str = "none", **others: object) -> PreprocessConfig:
    values = {"crop_shape": CROP, "num_phases": 2, "bias_engine": engine, "n4_iterations": (3, 3)}
    return PreprocessConfig.model_validate(values | others)


def patient(
    folder: Path, pre: NDArray[np.float32], post: NDArray[np.float32], *box: int
) -> Patient:
    nifti(folder / "pre.nii", pre)
    nifti(folder / "post.nii", post)
    nifti(folder / "m.nii", mask())
    return read_cohort(manifest(folder, "p,pre.nii,post.nii,,m.nii,,1")).patients[0]


def stored(one: Patient, settings: PreprocessConfig) -> tuple[PatientRecord, PatientTensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        record, tensor = process_patient(one, 0, settings)
    assert tensor is not None, record.findings
    return record, tensor


def air(zero: bool) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """Two phases, and voxels in the air of which one is to be lost; 0 there if `zero`."""
    lost = ~body()
    lost[:, :, 3:] = False
    lost[20:] = False
    pre, post = phase(0), phase(1)
    if zero:
        pre[lost] = post[lost] = 0
    return pre, post, lost


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e20, -LARGEST, LARGEST])
@pytest.mark.parametrize("zero", [True, False])
@pytest.mark.parametrize("engine", ENGINES)
def test_in_air_it_changes_nothing_else(
    tmp_path: Path, value: float, zero: bool, engine: str
) -> None:
    pre, post, lost = air(zero)
    record, expected = stored(patient(tmp_path, pre, post), config(engine))
    pre, post = pre.copy(), post.copy()
    pre[lost] = value
    post[0, 0, 0] = value
    found_record, found = stored(patient(tmp_path, pre, post), config(engine))
    padding = (found.region & REGION_PADDING) != 0
    assert 0 < padding.sum() < found.region.size / 2
    np.testing.assert_array_equal(found.images[:, ~padding], expected.images[:, ~padding])
    assert (found.images[0, padding] == 0).all()
    np.testing.assert_array_equal(found.region[~padding], expected.region[~padding])
    if expected.bias_field is not None:
        np.testing.assert_array_equal(found.bias_field, expected.bias_field)
    assert found_record.box_in_crop == record.box_in_crop
    codes = [(f.code, f.excludes) for f in found_record.findings]
    assert codes == [("not-finite", False)] * 3  # of each phase, and of the crop
    assert f"has {int(lost.sum())} of" in found_record.findings[0].message


def test_beyond_the_crop_only_the_count_is_told(tmp_path: Path) -> None:
    pre, post = phase(0), phase(1)
    _, expected = stored(patient(tmp_path, pre, post), config())
    post[29, 27, 11] = np.nan
    record, found = stored(patient(tmp_path, pre, post), config())
    np.testing.assert_array_equal(found.images, expected.images)
    np.testing.assert_array_equal(found.region, expected.region)
    assert [f.code for f in record.findings] == ["not-finite"]


@pytest.mark.parametrize("which", [0, 1])
def test_a_voxel_of_the_tumour_is_padding_in_all_phases(tmp_path: Path, which: int) -> None:
    phases = [phase(0), phase(1)]
    _, expected = stored(patient(tmp_path, *phases), config("separable"))
    phases[which][12, 13, 5] = np.nan
    record, found = stored(patient(tmp_path, *phases), config("separable"))
    lost = found.region != expected.region
    assert lost.sum() == 1
    assert expected.region[lost] == REGION_TUMOUR
    assert found.region[lost] == REGION_PADDING
    assert found.images[which][lost] == 0
    if which == 1:  # the field is of the pre-contrast
        np.testing.assert_array_equal(found.images[:, ~lost], expected.images[:, ~lost])
        np.testing.assert_array_equal(found.images[0][lost], expected.images[0][lost])
    assert "1 of them in the tumour" in record.findings[-1].message


@pytest.mark.parametrize(("slices", "excluded"), [(slice(4, 5), True), (slice(4, 4), False)])
def test_much_of_the_tumour_lost_excludes(tmp_path: Path, slices: slice, excluded: bool) -> None:
    post = phase(1)
    post[TUMOUR[0], TUMOUR[1], slices] = np.inf
    record, tensor = process_patient(patient(tmp_path, phase(0), post), 0, config())
    assert (tensor is None) == excluded
    assert [f.code for f in record.findings if f.excludes] == ["not-finite-tumour"] * excluded


@pytest.mark.parametrize("which", [0, 1])
def test_a_phase_without_any_value(tmp_path: Path, which: int) -> None:
    phases = [phase(0), phase(1)]
    phases[which][:] = np.nan
    one = patient(tmp_path, *phases)
    record, tensor = process_patient(one, 0, config("separable"))
    assert tensor is None
    assert [f.code for f in record.findings if f.excludes] == ["not-finite"]
    checked = next(check_cohort(read_cohort(tmp_path / "manifest.csv"), config()))
    assert not checked.usable


@pytest.mark.parametrize("others", [{"resample_mm": (1.2, 1.2, 2.0)}, {"motion": "rigid"}])
def test_interpolated_crops_take_nothing_from_it(tmp_path: Path, others: dict[str, object]) -> None:
    pre, post, lost = air(zero=True)
    _, expected = stored(patient(tmp_path, pre, post), config(**others))
    pre[lost] = post[lost] = np.nan
    _, found = stored(patient(tmp_path, pre, post), config(**others))
    padding = (found.region & REGION_PADDING) != 0
    assert 0 < padding.sum() < found.region.size / 2
    assert np.isfinite(found.images).all()
    np.testing.assert_array_equal(found.images[:, ~padding], expected.images[:, ~padding])


def test_one_bad_patient_ends_no_cohort(tmp_path: Path) -> None:
    nifti(tmp_path / "nan.nii", np.full_like(phase(0), np.nan))
    nifti(tmp_path / "pre.nii", phase(0))
    nifti(tmp_path / "post.nii", phase(1))
    nifti(tmp_path / "m.nii", mask())
    path = manifest(tmp_path, "a,nan.nii,post.nii,,m.nii,,1", "b,pre.nii,post.nii,,m.nii,,0")
    states = [
        process_patient(p, 0, config("separable"))[0].status for p in read_cohort(path).patients
    ]
    assert states == ["excluded", "stored"]


def test_a_value_that_leaves_nothing_of_the_others(tmp_path: Path) -> None:
    """Finite, but one step of 16 bits would be more than the tissue."""
    post = phase(1)
    post[12, 13, 5] = 1e9
    record, tensor = process_patient(patient(tmp_path, phase(0), post), 0, config())
    assert tensor is None
    assert [f.code for f in record.findings] == ["intensity-outlier"]
    scaled = [phase(n) * np.float32(1e6) for n in (0, 1)]
    _, expected = stored(patient(tmp_path, phase(0), phase(1)), config())
    _, found = stored(patient(tmp_path, *scaled), config())
    np.testing.assert_allclose(found.images, expected.images * 1e6, rtol=1e-6)
