"""Each choice of fidelity, on a phantom whose truth is known."""

import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest

from preprocessing.cohort.cohort import VolumeFile
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.config import PreprocessConfig
from preprocessing.images.bias import fit_bias_field
from preprocessing.images.geometry import Orientation
from preprocessing.images.load_patient import choose_phases, open_patient
from preprocessing.images.volumes import UnreadableImageError
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from preprocessing.pipeline.process_patient import process_patient
from preprocessing.storage.file_cache import FileCache
from preprocessing.store import BIAS_STEP, REGION_PADDING, REGION_TUMOUR

CROP = (40, 40, 20)
PLAIN = PreprocessConfig(crop_shape=CROP)


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fidelity")
    settings = PhantomSettings(patients=6, matrix=128, slices=48, motion=1.0, noise=0.01, seed=3)
    write_phantom(folder, settings)
    return read_cohort(folder), json.loads((folder / "truth.json").read_text())["patients"]


def stored(patient, **changes):
    record, tensor = process_patient(patient, 0, PLAIN.model_copy(update=changes))
    assert tensor is not None, record.findings
    return record, tensor


def curve(tensor):
    tumour = (tensor.region & REGION_TUMOUR) > 0
    means = tensor.images[:, tumour].mean(axis=1, dtype=np.float64)
    return means[1:] / means[0] - 1


# Phases.


@pytest.mark.parametrize(
    ("num_found", "wanted", "choice", "expected"),
    [
        (5, 4, "first", (0, 1, 2, 3)),
        (5, 4, "last", (0, 2, 3, 4)),
        (5, 4, "even", (0, 1, 2, 4)),
        (5, 3, "even", (0, 1, 4)),
        (4, 4, "even", (0, 1, 2, 3)),
        (4, 4, "last", (0, 1, 2, 3)),
        (6, 2, "even", (0, 1)),
        (3, 1, "even", (0,)),
        (3, 1, "last", (0,)),
    ],
)
def test_chosen_phases(num_found, wanted, choice, expected):
    config = PreprocessConfig(num_phases=wanted, phase_choice=choice)
    assert choose_phases(num_found, config) == expected


def test_too_few_phases_are_a_finding():
    with pytest.raises(UnreadableImageError, match="3 phases found, 4 needed"):
        choose_phases(3, PLAIN)


def test_phases_of_a_patient_with_four_posts(phantom):
    cohort, truth = phantom
    patient = next(p for p in cohort.patients if len(truth[p.patient_id]["series"]) == 6)
    times = [s["time_s"] for s in truth[patient.patient_id]["series"] if s["phase"] is not None]
    for choice, expected in (("first", (0, 1, 2, 3)), ("last", (0, 2, 3, 4))):
        record, _ = stored(patient, phase_choice=choice, bias_engine="none")
        assert record.phase_times_s == pytest.approx([times[i] - times[0] for i in expected])


# Intensity.


def test_tissue_units_change_the_gain_and_not_the_curve(phantom):
    cohort, _ = phantom
    medians = []
    for patient in cohort.patients[:3]:
        record, plain = stored(patient)
        normalised_record, normalised = stored(patient, intensity="tissue")
        gain = normalised_record.details["intensity_gain"]
        np.testing.assert_allclose(normalised.images, plain.images * gain, rtol=1e-5)
        np.testing.assert_allclose(curve(normalised), curve(plain), rtol=1e-5)
        assert "intensity_gain" not in record.details
        opened = open_patient(patient, PLAIN, FileCache())
        medians.append(fit_bias_field(opened.volumes[0], PLAIN).tissue_median * gain)
    np.testing.assert_allclose(medians, 1000)


def test_tissue_units_need_no_bias_field(phantom):
    cohort, _ = phantom
    _, plain = stored(cohort.patients[0], bias_engine="none")
    _, normalised = stored(cohort.patients[0], bias_engine="none", intensity="tissue")
    ratio = normalised.images[plain.images > 0] / plain.images[plain.images > 0]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    assert not normalised.bias_field.any()


# Voxels.


def test_resampled_crop_shows_the_same_tumour(phantom):
    cohort, _ = phantom
    for patient in cohort.patients:
        own, plain = stored(patient)
        made, tensor = stored(patient, resample_mm=(2.0, 2.0, 3.0))
        assert made.spacing_mm == (2.0, 2.0, 3.0)
        assert tensor.images.shape == (4, *CROP)
        # The box is where the tumour is in both, to less than a voxel.
        apart = tumour_from_box(made, tensor) - tumour_from_box(own, plain)
        assert np.abs(apart / made.spacing_mm).max() < 1
        assert np.linalg.norm(apart) < 3


def tumour_from_box(record, tensor):
    """From the middle of the box to the middle of what enhances in it, mm."""
    rise = np.clip(tensor.images[1] - tensor.images[0], 0, None).astype(np.float64)
    rise[(tensor.region & REGION_TUMOUR) == 0] = 0
    rise[rise < 0.5 * rise.max()] = 0
    middle = [np.average(np.arange(n), weights=rise.sum(axis=tuple({0, 1, 2} - {axis})))
              for axis, n in enumerate(rise.shape)]  # fmt: skip
    start, stop = np.array(record.box_in_crop)
    return (np.array(middle) + 0.5 - (start + stop) / 2) * record.spacing_mm


def test_own_voxels_asked_for_by_size_are_left_alone(phantom):
    cohort, _ = phantom
    own, plain = stored(cohort.patients[0])
    _, same = stored(cohort.patients[0], resample_mm=own.spacing_mm)
    np.testing.assert_array_equal(same.images, plain.images)


# The field.


def test_stored_field_is_the_one_divided_out(phantom):
    """At every fourth voxel, in the common orientation, whichever way the scanner's axes run."""
    cohort, _ = phantom
    for patient in cohort.patients:
        record, tensor = stored(patient)
        _, raw = stored(patient, bias_engine="none")
        every = (slice(None, None, BIAS_STEP),) * 3
        inside = ((tensor.region & REGION_PADDING) == 0) & (raw.images[0] > 0)
        seen = inside[every]
        assert seen.sum() > 50
        ratio = raw.images[0][every][seen] / tensor.images[0][every][seen]
        np.testing.assert_allclose(np.exp(tensor.bias_field[seen]), ratio, rtol=1e-4)
        assert np.ptp(tensor.bias_field) > 0.01, record.patient_id


def test_field_of_a_resampled_crop_lies_where_its_voxels_do(phantom):
    cohort, _ = phantom
    patient = cohort.patients[1]
    _, fine = stored(patient, resample_mm=(1.5, 1.5, 2.0))
    opened = open_patient(patient, PLAIN, FileCache())
    whole = fit_bias_field(opened.volumes[0], PLAIN)
    assert fine.bias_field.shape == (10, 10, 5)
    lowest, highest = np.inf, -np.inf
    shape = opened.volumes[0].grid.shape
    axes = tuple(np.arange(n, dtype=np.float64) for n in shape)
    values = whole.at(axes)
    lowest, highest = values.min(), values.max()
    assert fine.bias_field.min() >= lowest - 1e-6
    assert fine.bias_field.max() <= highest + 1e-6
    orientation = Orientation.of(opened.volumes[0].grid)
    assert orientation.shape(shape)[2] == 48


# Motion.


def test_rigid_motion_is_found_and_undone(phantom):
    """At the tumour, to half a voxel on average, where up to two voxels had been moved."""
    cohort, truth = phantom
    before, after = [], []
    for patient in cohort.patients:
        record, _ = stored(patient, motion="rigid", bias_engine="none")
        entry = truth[patient.patient_id]
        spacing = np.array(entry["spacing_mm"])  # x, y, z
        for motion, pose in zip(record.details["motion"][1:], entry["poses"][1:], strict=False):
            true = displacement(pose, entry["tumour"]["centre_lps_mm"])
            # Rows go to the back (y), columns to the left (x), slices to the head (z).
            row, column, slice_ = motion["shift_mm"]
            found = np.array([column, row, slice_])
            before.append(np.linalg.norm(true / spacing))
            after.append(np.linalg.norm((true - found) / spacing))
    assert np.mean(before) > 1.2
    assert np.mean(after) < 0.5 * np.mean(before)


def test_moved_phases_fit_the_pre_contrast_better(phantom):
    cohort, _ = phantom
    for patient in cohort.patients[:3]:
        _, plain = stored(patient, bias_engine="none")
        record, moved = stored(patient, bias_engine="none", motion="rigid")
        np.testing.assert_allclose(moved.images[0], plain.images[0], atol=1e-3)
        assert not [f for f in record.findings if f.code == "motion-implausible"]
        assert mismatch(moved) < mismatch(plain)


def test_motion_needs_posts():
    with pytest.raises(ValueError, match="no phase to move"):
        PreprocessConfig(num_phases=1, motion="rigid")


def mismatch(tensor):
    """Median absolute difference of the posts outside the tumour, once a gain is taken out."""
    pre, *posts = tensor.images.astype(np.float64)
    tissue = (pre > np.percentile(pre, 60)) & ((tensor.region & REGION_TUMOUR) == 0)
    values = []
    for post in posts:
        ratio = post[tissue] / pre[tissue]
        values.append(np.std(np.clip(ratio, 0.3, 3)))
    return np.mean(values)


def displacement(pose, centre):
    """How far the tissue at a point of the pre-contrast has moved in a phase, LPS mm."""
    x, y, z = centre
    y0, z0 = pose["pivot_yz_mm"]
    cos, sin = np.cos(pose["pitch_rad"]), np.sin(pose["pitch_rad"])
    turned = np.array(
        [x, cos * (y - y0) - sin * (z - z0) + y0, sin * (y - y0) + cos * (z - z0) + z0]
    )
    return turned + pose["shift_mm"] - np.array(centre)


# Region.


def test_the_box_can_stand_for_the_mask(phantom, tmp_path):
    cohort, _ = phantom
    patient = cohort.patients[0]
    opened = open_patient(patient, PLAIN, FileCache())
    rows, columns, slices = opened.volumes[0].grid.shape
    mask = np.zeros((rows, columns, slices), dtype=np.uint8)
    (r0, c0, s0), (r1, c1, s1) = opened.box.start, opened.box.stop
    mask[r0, c0, s0] = mask[r1 - 1, c1 - 1, s1 - 1] = 1
    path = tmp_path / "mask.nii.gz"
    nibabel.save(nibabel.Nifti1Image(mask.swapaxes(0, 1), np.eye(4)), path)
    segmented = replace(patient, mask=VolumeFile(path))
    _, plain = stored(patient, bias_engine="none")
    _, as_mask = stored(segmented, bias_engine="none")
    _, as_box = stored(segmented, bias_engine="none", region="box")
    assert ((as_mask.region & REGION_TUMOUR) > 0).sum() == 2
    np.testing.assert_array_equal(as_box.region, plain.region)
    np.testing.assert_array_equal(as_box.images, plain.images)
