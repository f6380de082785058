"""Where the tumour is: in raw pixels, by the workbook's box, and in the patient."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing.phantom.anatomy import Anatomy, Tumour
from preprocessing.phantom.patient import draw_labels, draw_patient
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.voxels import Points, Pose, SliceStack

VENDORS = pytest.mark.parametrize("vendor", ["GE", "Siemens"])


def enhancement(patient):
    """Signed difference of first post and pre, (K, R, C)."""
    return patient.phases[1].voxels - patient.phases[0].voxels


@VENDORS
def test_largest_enhancement_lies_inside_the_box(clean, vendor):
    patients = clean.of(vendor)
    assert len(patients) >= 2
    for patient in patients:
        difference = enhancement(patient)
        inside = difference[patient.box].copy()
        difference[patient.box] = 0
        assert inside.max() > 1.5 * difference.max(), patient.patient_id


@VENDORS
def test_box_is_tight_around_the_enhancing_voxels(clean, vendor):
    for patient in clean.of(vendor):
        pre = patient.phases[0].voxels
        # Background tissue enhances by less than 0.1 at the first of three or four passes.
        hot = (enhancement(patient) / np.maximum(pre, 1) > 0.3) & (pre > 50)
        for axis, span in enumerate(patient.box):
            found = np.flatnonzero(hot.any(axis=tuple({0, 1, 2} - {axis})))
            assert abs(found[0] - span.start) <= 1, (patient.patient_id, axis)
            assert abs(found[-1] + 1 - span.stop) <= 1, (patient.patient_id, axis)


@VENDORS
def test_true_mask_fits_the_images_better_than_any_shifted_one(clean, vendor):
    for patient in clean.of(vendor):
        difference, mask = enhancement(patient), patient.mask
        here = difference[mask].mean()
        for axis in range(3):
            for step in (-1, 1):
                shifted = np.roll(mask, step, axis)
                assert here > difference[shifted].mean(), (patient.patient_id, axis, step)


def test_box_holds_the_true_mask_exactly(clean):
    for patient in clean.patients:
        mask = patient.mask
        assert mask.sum() == patient.truth["tumour"]["num_voxels"] > 30
        for axis, span in enumerate(patient.box):
            found = np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis})))
            assert (found[0], found[-1] + 1) == (span.start, span.stop)


@VENDORS
def test_tumour_centre_in_lps_lies_inside_the_box_by_the_headers(clean, vendor):
    for patient in clean.of(vendor):
        index = patient.phases[0].index(patient.truth["tumour"]["centre_lps_mm"])
        for at, span in zip(index, patient.box, strict=True):
            assert span.start <= at <= span.stop - 1, patient.patient_id


@VENDORS
def test_mask_lies_around_the_tumour_in_lps_by_the_headers(clean, vendor):
    for patient in clean.of(vendor):
        tumour = patient.truth["tumour"]
        positions = patient.phases[0].lps(*np.nonzero(patient.mask))
        offset = positions.mean(axis=0) - tumour["centre_lps_mm"]
        assert np.all(np.abs(offset) < max(patient.truth["spacing_mm"])), patient.patient_id
        distance = np.linalg.norm(positions - tumour["centre_lps_mm"], axis=1)
        assert 0.7 * tumour["radius_mm"] < distance.max() < 1.9 * tumour["radius_mm"]


def test_side_of_the_tumour_is_the_patients_own(clean):
    sides = set()
    for patient in clean.patients:
        x = patient.phases[0].lps(*np.nonzero(patient.mask))[:, 0].mean()
        assert patient.truth["tumour"]["side"] == ("L" if x > 0 else "R")
        sides.add(patient.truth["tumour"]["side"])
    assert sides == {"L", "R"}


@VENDORS
def test_breasts_hang_to_the_front(clean, vendor):
    """Prone GE pictures have the breasts at the bottom, Siemens pictures at the top."""
    for patient in clean.of(vendor):
        pre = patient.phases[0]
        positions = pre.lps(*np.nonzero(pre.voxels > 100))
        assert np.quantile(positions[:, 1], 0.1) < -60
        row = np.nonzero(patient.mask)[1].mean()
        assert (row > 32) == (vendor == "GE")


def test_a_patient_looks_the_same_in_either_orientation_once_sampled_in_lps():
    cohort = PhantomSettings(patients=1, matrix=64, slices=24, motion=0.0)
    patient = draw_patient(cohort, 1, draw_labels(cohort)[0])
    siemens = replace(patient.protocol.phases[0].stack, tilt_rad=0.0)
    ge = replace(siemens, row_sign=-1, instance_sign=-1)
    upright, turned = (patient.scene.dynamic(s.points(), 1) for s in (siemens, ge))
    assert np.abs(upright - turned).max() > 1
    # Positions are in float32: 1e-5 mm and a border's slope of 1 over 2 mm.
    np.testing.assert_allclose(turned[::-1, ::-1, ::-1], upright, atol=1e-4)


stacks = st.builds(
    SliceStack,
    rows=st.integers(2, 9),
    columns=st.integers(2, 9),
    slices=st.integers(2, 9),
    pixel_mm=st.floats(0.5, 8),
    spacing_mm=st.floats(0.5, 11),
    centre_mm=st.tuples(*[st.floats(-30, 30)] * 3),
    row_sign=st.sampled_from([-1, 1]),
    tilt_rad=st.floats(-0.2, 0.2),
    instance_sign=st.sampled_from([-1, 1]),
)


@settings(deadline=None, max_examples=60)
@given(stacks)
def test_points_are_what_position_orientation_and_spacing_say(stack):
    points = stack.points()
    along_row, along_column = np.array(stack.orientation).reshape(2, 3)
    normal = np.cross(along_row, along_column)
    np.testing.assert_allclose(normal, stack.normal, atol=1e-12)
    k, r, c = np.meshgrid(*map(np.arange, points.shape), indexing="ij")
    origins = np.array([stack.origin(i) for i in range(stack.slices)])
    expected = (
        origins[k]
        + r[..., None] * stack.pixel_mm * along_column
        + c[..., None] * stack.pixel_mm * along_row
    )
    axes = (points.x, points.y[..., None], points.z[..., None])
    found = np.stack([np.broadcast_to(a, points.shape) for a in axes], axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(expected.mean(axis=(0, 1, 2)), stack.centre_mm, atol=1e-6)
    steps = np.diff(origins, axis=0) @ normal
    np.testing.assert_allclose(steps, stack.instance_sign * stack.spacing_mm, atol=1e-9)


def point(x, y, z):
    return Points(np.full(1, x, np.float32), *np.float32([[[y]], [[z]]]))


def test_a_shifted_patient_is_found_at_the_shifted_place():
    back = Pose((3.0, -2.0, 5.0)).to_patient(point(13, -52, 25))
    assert (back.x.item(), back.y.item(), back.z.item()) == (10.0, -50.0, 20.0)


@settings(deadline=None)
@given(st.floats(-0.1, 0.1), st.floats(-130, 0), st.floats(-80, 80))
def test_pitch_turns_about_its_pivot_by_its_angle(pitch, y, z):
    back = Pose((0.0, 0.0, 0.0), pitch, (-30.0, 0.0)).to_patient(point(7, y, z))
    assert back.x.item() == 7.0
    before = complex(y + 30, z)
    after = complex(back.y.item() + 30, back.z.item())
    assert abs(after - before * np.exp(-1j * pitch)) < 1e-3


def test_motion_is_drawn_within_two_deviations_and_only_after_the_first_phase():
    cohort = PhantomSettings(patients=40, matrix=64, slices=24, motion=0.5)
    shifts = []
    for number, labels in enumerate(draw_labels(cohort), start=1):
        patient = draw_patient(cohort, number, labels)
        stack = patient.protocol.phases[0].stack
        first, *later = patient.poses
        assert first.is_identity
        size = np.array([stack.pixel_mm, stack.pixel_mm, stack.spacing_mm])
        shifts += [np.array(pose.shift_mm) / size for pose in later]
    assert np.abs(shifts).max() <= 2 * 0.5 + 1e-9
    # Drawn values beyond two deviations are put on the limit, which takes 4 % off the spread.
    np.testing.assert_allclose(np.std(shifts, axis=0), 0.96 * 0.5, rtol=0.2)


@pytest.mark.parametrize("voxel_mm", [3.0, 11.0])
def test_no_part_of_a_tumour_lies_beyond_its_reach(voxel_mm):
    """Truth and images are computed within that reach only: beyond, it would be cut off flat."""
    grid = np.arange(-45, 46, 3.0)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        latents = {"ER": 0.0, "PR": 0.0, "HER2": 2.0}
        tumour = Tumour.draw(rng, Anatomy.draw(rng, voxel_mm), latents)
        y, z = np.meshgrid(tumour.centre_mm[1] + grid, tumour.centre_mm[2] + grid)
        x = tumour.centre_mm[0] + grid
        points = Points(x.astype(np.float32), y.astype(np.float32), z.astype(np.float32))
        # Its share of a voxel falls to nothing over `edge_mm` around the border.
        tissue = tumour.radial(points) < 1 + 0.5 * tumour.edge_mm / tumour.radius_mm
        assert tissue.any()
        tissue[points.around(tumour.centre_mm, tumour.reach_mm)] = False
        assert not tissue.any(), seed
