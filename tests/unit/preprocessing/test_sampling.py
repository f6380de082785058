import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from preprocessing.cohort.cohort import Box
from preprocessing.images.crop import CropGrid

VOLUME, MM = (30, 26, 20), (0.8, 0.8, 1.6)
BOX = Box((10, 9, 6), (18, 15, 12))


def grid(crop=(12, 12, 8), voxel_mm=(1.0, 1.0, 2.0), box=BOX):
    return CropGrid.around(box, VOLUME, MM, crop, voxel_mm)


def positions_mm(made):
    """Crop voxel centres in mm from the centre of the volume's first voxel."""
    axes = [made.positions(a) * MM[a] for a in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"))


def cut(volume, part):
    return volume[tuple(slice(a, b) for a, b in zip(part.start, part.stop, strict=True))]


def test_own_voxels_come_back_unchanged():
    volume = np.random.default_rng(0).normal(100, 20, VOLUME).astype(np.float32)
    made = grid(voxel_mm=MM)
    assert made.is_native
    part = made.needed_part()
    assert part == made.crop.inside
    np.testing.assert_allclose(made.sample(part, cut(volume, part)), cut(volume, part), rtol=1e-5)


def test_finer_voxels_are_linear_interpolation():
    """Against scipy, on noise."""
    volume = np.random.default_rng(1).normal(100, 20, VOLUME).astype(np.float32)
    made = grid(voxel_mm=(0.5, 0.6, 1.0))
    part = made.needed_part()
    expected = map_coordinates(
        volume, np.stack([positions_mm(made)[a] / MM[a] for a in range(3)]), order=1, mode="nearest"
    )
    np.testing.assert_allclose(made.sample(part, cut(volume, part)), expected, rtol=1e-4)


@pytest.mark.parametrize("voxel_mm", [(0.5, 0.7, 1.0), (1.0, 1.0, 2.0), (1.5, 0.8, 3.0)])
def test_a_ramp_stays_the_ramp(voxel_mm):
    """Places are right to a thousandth of a voxel, whatever the size of the voxels."""
    r, c, s = np.meshgrid(
        *[np.arange(n) * mm for n, mm in zip(VOLUME, MM, strict=True)], indexing="ij"
    )
    volume = (3 * r - 2 * c + s).astype(np.float32)
    made = grid((6, 6, 3), voxel_mm)
    part = made.needed_part()
    r, c, s = positions_mm(made)
    np.testing.assert_allclose(made.sample(part, cut(volume, part)), 3 * r - 2 * c + s, atol=2e-3)


def test_coarser_voxels_are_smoothed_first():
    """A checkerboard is grey from afar; interpolation alone would show stripes."""
    volume = (np.indices(VOLUME).sum(axis=0) % 2 * 100).astype(np.float32)
    made = grid((5, 5, 3), (2.4, 2.4, 4.8))
    part = made.needed_part()
    values = made.sample(part, cut(volume, part))
    assert np.abs(values - 50).max() < 5


def test_only_the_needed_part_matters():
    volume = np.random.default_rng(2).normal(100, 20, VOLUME).astype(np.float32)
    made = grid((6, 6, 3))
    part = made.needed_part()
    elsewhere = np.full(VOLUME, 1e6, dtype=np.float32)
    elsewhere[tuple(slice(a, b) for a, b in zip(part.start, part.stop, strict=True))] = cut(
        volume, part
    )
    whole = Box((0, 0, 0), VOLUME)
    near = made.sample(part, cut(volume, part))
    far = made.sample(whole, elsewhere)
    np.testing.assert_allclose(near, far, rtol=1e-5)
    assert part.shape < VOLUME


def test_beyond_the_volume_is_padding():
    made = grid((40, 12, 40))
    volume = np.full(VOLUME, 7.0, dtype=np.float32)
    part = made.needed_part()
    values = made.sample(part, cut(volume, part))
    assert values.shape == (40, 12, 40)
    inside = made.crop.inside.shape
    assert (values == 0).sum() == values.size - np.prod(inside)
    np.testing.assert_allclose(values[values != 0], 7.0, rtol=1e-5)


voxel = st.floats(0.4, 3.0)


@given(
    st.tuples(voxel, voxel, voxel),
    st.tuples(*[st.integers(0, n - 3) for n in VOLUME]),
    st.tuples(*[st.integers(1, 3)] * 3),
)
def test_the_box_is_in_the_crop_where_it_is_in_the_patient(voxel_mm, start, size):
    box = Box(start, tuple(min(a + b, n) for a, b, n in zip(start, size, VOLUME, strict=True)))
    made = grid((24, 24, 24), voxel_mm, box)
    found = made.box_in_crop(box)
    for axis in range(3):
        at = made.positions(axis)
        low, high = at[found.start[axis]], at[found.stop[axis] - 1]
        half = voxel_mm[axis] / MM[axis] / 2
        # Its voxels hold all of the box, but for a rest at the volume's far edge.
        edge = VOLUME[axis] - 0.5 - 2 * half
        assert low - half <= max(min(box.start[axis] - 0.5, edge), -0.5) + 1e-3
        assert high + half >= min(box.stop[axis] - 0.5, edge) - 1e-3
        assert high - low < (box.stop[axis] - box.start[axis]) + 2 * 2 * half + 1e-3


@pytest.mark.parametrize(
    ("start", "stop", "covered"),
    [
        ((10, 9, 6), (18, 15, 12), True),
        ((28, 9, 6), (30, 15, 12), False),  # in the rest that is no whole voxel of 8 mm
        ((27, 9, 6), (30, 15, 12), True),
        ((10, 9, 19), (18, 15, 20), True),
        ((0, 0, 0), (30, 26, 20), True),
    ],
)
def test_a_box_in_the_rest_beyond_the_last_whole_voxel_is_not_covered(start, stop, covered):
    """24 mm of rows make two voxels of 11 mm, 22 mm: what begins at 22.4 is in none."""
    box = Box(start, stop)
    made = grid(crop=(2, 2, 2), voxel_mm=(11.0, 8.0, 8.0), box=box)
    assert made.covers(box) == covered
    # In any case, a whole box of crop voxels lies there.
    assert all(n > 0 for n in made.box_in_crop(box).shape)


@given(st.tuples(*[st.integers(0, 19)] * 3), st.tuples(*[st.integers(1, 8)] * 3),
       st.tuples(*[st.floats(0.5, 6.0)] * 3))  # fmt: skip
def test_a_covered_box_shares_some_place_with_a_voxel_of_the_crop(start, size, voxel_mm):
    box = Box(start, tuple(min(a + n, m) for a, n, m in zip(start, size, VOLUME, strict=True)))
    made = grid(crop=(6, 6, 6), voxel_mm=voxel_mm, box=box)
    shared = []
    for axis in range(3):
        inside, offset = made.crop.inside, made.crop.offset[axis]
        own = made.positions(axis)[offset : offset + inside.shape[axis]]
        half = voxel_mm[axis] / MM[axis] / 2
        reach = np.minimum(own + half, box.stop[axis] - 0.5) - np.maximum(
            own - half, box.start[axis] - 0.5
        )
        shared.append((reach > 1e-6).any())
    assert made.covers(box) == all(shared)
