"""The common orientation against patient coordinates: moving along an axis moves in the patient."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.cohort import Box
from preprocessing.geometry import Grid, Orientation

SHAPE = (7, 6, 5)
ALL = [(p, s) for p in permutations(range(3)) for s in product((1.0, -1.0), repeat=3)]


def grid_of(axes, signs, tilt=0.0):
    """A grid whose own axis i runs along patient axis axes[i], tilted about the patient's x."""
    directions = np.zeros((3, 3))
    for own, (patient, sign) in enumerate(zip(axes, signs, strict=True)):
        directions[patient, own] = sign * (own + 1.0)
    c, s = np.cos(tilt), np.sin(tilt)
    rotation = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
    return Grid.from_array(SHAPE, np.column_stack([rotation @ directions, [1.0, 2.0, 3.0]]))


def patient_position(grid):
    rows, columns, slices = np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij")
    index = np.stack([rows, columns, slices, np.ones_like(rows)], axis=-1)
    return index @ grid.matrix.T  # (R, C, S, xyz)


@pytest.mark.parametrize(("axes", "signs"), ALL)
@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_common_axes_run_back_left_and_up(axes, signs, tilt):
    grid = grid_of(axes, signs, tilt)
    orientation = Orientation.of(grid)
    x, y, z = np.moveaxis(patient_position(grid), -1, 0)
    assert (np.diff(orientation.apply(y), axis=0) > 0).all()
    assert (np.diff(orientation.apply(x), axis=1) > 0).all()
    assert (np.diff(orientation.apply(z), axis=2) > 0).all()


@pytest.mark.parametrize(("axes", "signs"), ALL)
@pytest.mark.parametrize("tilt", [0.0, 0.3])
def test_code_says_where_each_own_axis_runs_to(axes, signs, tilt):
    grid = grid_of(axes, signs, tilt)
    x, y, z = np.moveaxis(patient_position(grid), -1, 0)
    towards = {"L": x, "R": -x, "P": y, "A": -y, "S": z, "I": -z}
    code = Orientation.of(grid).code
    assert len(code) == 3
    for axis, letter in enumerate(code):
        assert (np.diff(towards[letter], axis=axis) > 0).all()


@given(
    st.sampled_from(ALL),
    st.tuples(*[st.integers(0, n - 1) for n in SHAPE]),
    st.tuples(*[st.integers(1, 9)] * 3),
)
def test_box_marks_the_same_voxels_in_both_orientations(kind, start, size):
    grid = grid_of(*kind)
    orientation = Orientation.of(grid)
    stop = tuple(min(a + n, m) for a, n, m in zip(start, size, SHAPE, strict=True))
    own = Box(start, stop)
    marked = np.zeros(SHAPE, np.float32)
    marked[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))] = 1
    common = orientation.box(own, SHAPE)
    expected = np.zeros(orientation.shape(SHAPE), np.float32)
    expected[tuple(slice(a, b) for a, b in zip(common.start, common.stop, strict=True))] = 1
    np.testing.assert_array_equal(orientation.apply(marked), expected)
    assert orientation.box_to_own(common, SHAPE) == own


def test_spacing_and_distance():
    grid = grid_of((1, 0, 2), (1, 1, 1))
    assert grid.spacing_mm == (1.0, 2.0, 3.0)
    moved = grid.matrix + np.array([[0, 0, 0, 0.5]] * 3)
    assert grid.largest_distance_voxels(Grid.from_array(SHAPE, moved)) == pytest.approx(0.75**0.5)


@given(st.sampled_from(ALL), st.sampled_from(ALL))
def test_a_grid_turned_towards_another_runs_as_it_does(own, other):
    """And every voxel stays where it is in the patient."""
    grid, wanted = grid_of(*own), grid_of(*other)
    axes, flips = grid.turn_towards(wanted)
    turned = grid.turned(axes, flips)
    alike = turned.matrix[:, :3] / turned.spacing_mm * (wanted.matrix[:, :3] / wanted.spacing_mm)
    np.testing.assert_allclose(alike.sum(axis=0), 1)
    positions = np.flip(
        patient_position(grid).transpose(*axes, 3), [i for i in range(3) if flips[i]]
    )
    np.testing.assert_allclose(positions, patient_position(turned))
