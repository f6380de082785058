"""Voxels far beyond the tissue: set to a limit, said, and nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig, with_added_settings
from preprocessing.common.errors import InputError
from preprocessing.images.clipping import MOST_SAMPLED, OutlierClip, find_limits
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.store import PatientRecord, PatientTensor, StoreSpec, StoreWriter
from preprocessing.store.writer import quantise
from tests.unit.preprocessing.volume_writers import SHAPE, body, manifest, mask, nifti, phase

F32 = NDArray[np.float32]
CROP = (24, 24, 8)
MARGIN = 10.0


def oracle(values: F32, margin: float) -> tuple[float, float]:
    """By numpy's own percentiles, of all voxels: for images that are not thinned out."""
    tissue = [float(v) for v in values.ravel() if np.isfinite(v) and v != 0]
    low, middle, high = np.quantile(tissue, [0.01, 0.5, 0.99], method="lower")
    spread = max(high - low, abs(middle))
    return low - margin * spread, high + margin * spread


def stored(
    folder: Path, pre: F32, post: F32, **settings: object
) -> tuple[PatientRecord, PatientTensor]:
    folder.mkdir(exist_ok=True)
    nifti(folder / "pre.nii", pre)
    nifti(folder / "post.nii", post)
    nifti(folder / "m.nii", mask())
    patient = read_cohort(manifest(folder, "p,pre.nii,post.nii,,m.nii,,1")).patients[0]
    values = {"crop_shape": CROP, "num_phases": 2, "bias_engine": "none", "n4_iterations": (3, 3)}
    config = PreprocessConfig.model_validate(values | settings)
    record, tensor = process_patient(patient, 0, config)
    assert tensor is not None, record.findings
    return record, tensor


def one(value: float) -> Callable[[F32], None]:
    def spoil(voxels: F32) -> None:
        voxels[14, 13, 6] = value

    return spoil


def row(value: float) -> Callable[[F32], None]:
    def spoil(voxels: F32) -> None:
        voxels[5:25, 10, 6] = value

    return spoil


def air(value: float) -> Callable[[F32], None]:
    # In the crop, but no tissue.
    def spoil(voxels: F32) -> None:
        voxels[4, 3, 3] = value

    return spoil


def several(voxels: F32) -> None:
    voxels[10, 10:14, 5] = [1e6, -1e6, 5e5, 1e5]


SPOILT = {
    "one voxel": one(1e6),
    "one of 6e4": one(6e4),
    "a row of a spike": row(6e4),
    "negative": one(-1e6),
    "a negative row": row(-3e5),
    "outside the tissue": air(1e6),
    "several": several,
}


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("kind", SPOILT)
def test_what_is_no_tissue_is_set_to_the_limit_and_said(
    tmp_path: Path, kind: str, which: int
) -> None:
    clean = [phase(0), phase(1)]
    before_record, before = stored(tmp_path / "clean", *clean)
    spoilt = [voxels.copy() for voxels in clean]
    SPOILT[kind](spoilt[which])
    record, found = stored(tmp_path / "spoilt", *spoilt)
    _, plain = stored(tmp_path / "spoilt", *spoilt, outlier_margin=None)

    changed = plain.images != before.images
    assert 1 <= changed.sum() <= 20
    np.testing.assert_array_equal(found.images[~changed], before.images[~changed])
    low, high = oracle(plain.images[which], MARGIN)
    least = max(high - low, 0)
    assert (np.abs(found.images[changed]) < 2 * least).all()
    np.testing.assert_allclose(found.images[which], plain.images[which].clip(low, high), rtol=1e-6)

    (finding,) = [f for f in record.findings if f.code == "outliers-clipped"]
    assert not finding.excludes
    assert ("phase 1 has" if which else "the pre-contrast has") in finding.message
    assert record.details["clipped_voxels"][which] == int(changed.sum())
    assert sum(record.details["clipped_voxels"]) == int(changed.sum())
    assert record.details["intensity_limits"][which] == pytest.approx([low, high])
    # No check of physics takes the broken voxels for another kind of image.
    codes = {f.code for f in record.findings} - {"outliers-clipped"}
    assert codes == {f.code for f in before_record.findings}

    steps, _ = quantise(found.images)
    inside = ~changed[which]
    assert len(np.unique(steps[which][inside])) > 0.9 * len(
        np.unique(quantise(before.images)[0][which][inside])
    )


def test_without_it_few_levels_of_a_phase_would_be_left(tmp_path: Path) -> None:
    spoilt = phase(0)
    one(1e6)(spoilt)
    _, plain = stored(tmp_path, spoilt, phase(1), outlier_margin=None)
    _, found = stored(tmp_path, spoilt, phase(1))
    assert len(np.unique(quantise(plain.images)[0][0])) < 20
    assert len(np.unique(quantise(found.images)[0][0])) > 200


@pytest.mark.parametrize("engine", ["none", "separable"])
@pytest.mark.parametrize("resample", [None, [1.0, 1.0, 2.0]])
def test_clean_images_are_the_same_to_the_bit(
    tmp_path: Path, engine: str, resample: list[float] | None
) -> None:
    settings = {"bias_engine": engine, "resample_mm": resample}
    record, found = stored(tmp_path, phase(0), phase(1), **settings)
    plain_record, plain = stored(tmp_path, phase(0), phase(1), **settings, outlier_margin=None)
    assert found.images.tobytes() == plain.images.tobytes()
    assert record == plain_record
    if plain.bias_field is not None and found.bias_field is not None:
        assert found.bias_field.tobytes() == plain.bias_field.tobytes()


@pytest.mark.parametrize("kind", ["one voxel", "a row of a spike", "outside the tissue"])
def test_the_bias_field_is_that_of_the_tissue(tmp_path: Path, kind: str) -> None:
    _, clean = stored(tmp_path / "clean", phase(0), phase(1), bias_engine="separable")
    spoilt = phase(0)
    SPOILT[kind](spoilt)
    _, found = stored(tmp_path / "spoilt", spoilt, phase(1), bias_engine="separable")
    assert clean.bias_field is not None
    assert found.bias_field is not None
    error = np.abs(found.bias_field - clean.bias_field).max()
    assert error < 0.12, error


def test_interpolation_does_not_spread_a_broken_voxel(tmp_path: Path) -> None:
    spoilt = phase(0)
    one(1e6)(spoilt)
    settings = {"resample_mm": [1.0, 1.0, 2.0]}
    _, clean = stored(tmp_path / "clean", phase(0), phase(1), **settings)
    record, found = stored(tmp_path / "spoilt", spoilt, phase(1), **settings)
    changed = found.images != clean.images
    assert 1 <= changed.sum() <= 18
    assert found.images.max() <= record.details["intensity_limits"][0][1]
    assert record.details["clipped_voxels"] == [1, 0]


@pytest.mark.parametrize(
    "image",
    [
        np.full((6, 6, 8), 7, np.float32),
        np.zeros((6, 6, 8), np.float32),
        np.full((6, 6, 8), np.nan, np.float32),
        np.zeros((0, 6, 8), np.float32),
    ],
)
def test_images_of_one_value_stay(image: F32) -> None:
    clip = OutlierClip(MARGIN)
    assert clip.clip(image) is image
    assert clip.findings() == ()
    assert clip.details() == {}


def test_a_hot_voxel_in_an_image_of_one_value_is_clipped() -> None:
    image = np.full((6, 6, 8), 7, np.float32)
    image[1, 2, 3] = 1e6
    assert OutlierClip(MARGIN).clip(image).max() == 7 + 10 * 7


def test_zeros_are_no_tissue() -> None:
    rng = np.random.default_rng(1)
    image = np.zeros((64, 64, 8), np.float32)
    image[30:34, 30:34, 2:6] = rng.normal(500, 60, (4, 4, 4))
    assert (image != 0).mean() < 0.002
    clip = OutlierClip(MARGIN)
    assert clip.clip(image) is image
    image[0, 0, 0] = 1e6
    found = clip.clip(image)
    assert found.max() < 1e4
    np.testing.assert_array_equal(found[1:], image[1:])


@pytest.mark.parametrize("lesion", [1, 40])
@pytest.mark.parametrize("factor", [3, 6, 10])
def test_what_enhances_strongly_is_tissue(lesion: int, factor: int) -> None:
    """Vessels and tumours, in tissue without contrast of its own as in a phantom."""
    rng = np.random.default_rng(2)
    pre = rng.normal(300, 3, (40, 40, 8)).astype(np.float32)
    post = pre.copy()
    post.ravel()[:lesion] *= factor
    clip = OutlierClip(MARGIN)
    assert clip.clip(pre) is pre
    assert clip.clip(post) is post


def test_a_subtraction_may_enhance_as_much_as_other_phases() -> None:
    rng = np.random.default_rng(3)
    pre = rng.normal(300, 40, (40, 40, 8)).astype(np.float32)
    subtraction = rng.normal(0, 5, pre.shape).astype(np.float32)
    subtraction[4:6, 4:6, 4] = 1500
    clip = OutlierClip(MARGIN)
    clip.clip(pre)
    assert clip.clip(subtraction) is subtraction


@given(
    st.integers(0, 2**32),
    st.integers(1, 400),
    st.sampled_from([1e-20, 0.5, 1.0, 4e3, 1e20]),
    st.floats(1, 20),
)
def test_limits_are_those_of_numpys_percentiles(
    seed: int, size: int, unit: float, margin: float
) -> None:
    rng = np.random.default_rng(seed)
    values = (rng.gamma(2, unit, size) - unit).astype(np.float32)
    values[rng.random(size) < 0.2] = 0
    values[rng.random(size) < 0.1] = np.nan
    if not (np.isfinite(values) & (values != 0)).any():
        return
    found = find_limits(values, margin)
    assert (found.low, found.high) == pytest.approx(oracle(values, margin))
    doubled = find_limits(values * 2, margin)
    assert (doubled.low, doubled.high) == pytest.approx((2 * found.low, 2 * found.high))


def test_of_large_images_every_nth_voxel_is_looked_at() -> None:
    rng = np.random.default_rng(0)
    large = rng.gamma(2, 100, 5 * MOST_SAMPLED + 3).astype(np.float32)
    found, expected = find_limits(large, MARGIN), oracle(large[::5], MARGIN)
    assert (found.low, found.high) == pytest.approx(expected)


def test_many_clipped_voxels_ask_for_a_look() -> None:
    image = np.random.default_rng(0).normal(500, 50, SHAPE).astype(np.float32)
    image[4, 4, :] = 1e5
    clip = OutlierClip(MARGIN)
    clip.clip(image)
    (finding,) = clip.findings()
    assert "0.1% of a phase, look whether they are tissue" in finding.message
    assert body().shape == image.shape


def spec(settings: dict[str, object], *ids: str) -> StoreSpec:
    return StoreSpec(ids, ("ER",), ((1,),) * len(ids), 1, (4, 4, 4), settings=settings)


def test_a_store_of_an_earlier_version_is_extended_by_its_own_rule_alone(tmp_path: Path) -> None:
    old = PreprocessConfig(num_phases=1, outlier_margin=None).model_dump(mode="json")
    named = dict(old)
    del old["outlier_margin"]
    url = str(tmp_path / "store")
    writer = StoreWriter.create_or_resume(url, spec(old, "a"), {})
    image = np.ones((1, 4, 4, 4), np.float32)
    region = np.zeros((4, 4, 4), np.uint8)
    first = PatientRecord(0, "a", "stored")
    writer.write(first, PatientTensor(image, region))
    before = writer.finish().fingerprint

    wanted = PreprocessConfig(num_phases=1).model_dump(mode="json")
    with pytest.raises(InputError, match=r"outlier_margin.*use the same or name a new store"):
        StoreWriter.create_or_resume(url, spec(wanted, "a", "b"), {})
    writer = StoreWriter.create_or_resume(url, spec(named, "a"), {})
    assert writer.finish().fingerprint == before
    writer = StoreWriter.create_or_resume(url, spec(named, "a", "b"), {})
    writer.write(replace(first, index=1, patient_id="b"), PatientTensor(image, region))
    store = writer.finish()
    assert store.patient_ids == ("a", "b")
    assert "outlier_margin" not in store.spec.settings


def test_settings_that_do_not_name_it_are_those_of_an_earlier_version() -> None:
    assert with_added_settings({"shrink": 4}) == {"shrink": 4, "outlier_margin": None}
    assert with_added_settings({"outlier_margin": 10.0}) == {"outlier_margin": 10.0}
    assert with_added_settings({}) == {}
