"""The common orientation against patient coordinates: moving along an axis moves in the patient."""

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from preprocessing.cohort.cohort import Box
from preprocessing.images.geometry import Grid, Orientation

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


def oblique_grid(seed):
    """A grid turned anyhow, with voxels of three lengths."""
    generator = np.random.default_rng(seed)
    directions = Rotation.random(rng=generator).as_matrix() * generator.uniform(0.3, 6.0, 3)
    return Grid.from_array(SHAPE, np.column_stack([directions, generator.normal(0, 50, 3)]))


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


def test_a_matrix_with_its_last_row_makes_the_same_grid():
    grid = oblique_grid(0)
    assert Grid.from_array(SHAPE, np.vstack([grid.matrix, [0, 0, 0, 1]])) == grid


@pytest.mark.parametrize("seed", range(20))
def test_distance_is_that_of_the_voxels_farthest_apart(seed):
    """Against every voxel, not the corners alone; in the smallest side of this grid's voxels."""
    grid, other = oblique_grid(seed), oblique_grid(100 + seed)
    apart = np.linalg.norm(patient_position(grid) - patient_position(other), axis=-1)
    sides = [np.linalg.norm(np.diff(patient_position(grid), axis=a), axis=-1) for a in range(3)]
    expected = apart.max() / min(side.mean() for side in sides)
    assert grid.largest_distance_voxels(other) == pytest.approx(expected)


@pytest.mark.parametrize("first", [(0, 0, 0), (2, 1, 3), (-4, 5, -1)])
@pytest.mark.parametrize("shift", [(0, 0, 0), (0.25, 0, 0), (0, -0.25, 0.25)])
def test_a_part_of_a_grid_begins_where_it_was_cut_and_tells_how_far_off_it_is(first, shift):
    whole = oblique_grid(0)
    origin = whole.matrix @ (*(np.array(first) + shift), 1)
    part = Grid.from_array((3, 2, 2), np.column_stack([whole.matrix[:, :3], origin]))
    found, apart = part.offset_in(whole)
    assert found == first
    moved_mm = np.linalg.norm(whole.matrix[:, :3] @ shift)
    assert apart == pytest.approx(moved_mm / min(whole.spacing_mm), abs=1e-9)


def test_a_part_with_other_voxels_is_off_by_what_they_add_up_to():
    whole = grid_of((1, 0, 2), (1, 1, 1))
    longer = whole.matrix * [1, 1, 1.1, 1]
    _, apart = Grid.from_array((4, 2, 6), longer).offset_in(whole)
    assert apart == pytest.approx(5 * 0.3)


def cosines(grid, other):
    """Of each axis with the other's of the same number."""
    own, theirs = (g.matrix[:, :3] / np.linalg.norm(g.matrix[:, :3], axis=0) for g in (grid, other))
    return (own * theirs).sum(axis=0)


# So many, because long voxels would change the answer for one pair in twenty only.
@pytest.mark.parametrize("seed", range(150))
def test_of_all_turns_the_one_that_is_nearest_is_taken(seed):
    """However oblique two grids are, and however long their voxels."""
    grid, wanted = oblique_grid(seed), oblique_grid(1000 + seed)
    turns = [
        (axes, flips)
        for axes in permutations(range(3))
        for flips in product((False, True), repeat=3)
    ]
    nearest = max(turns, key=lambda turn: cosines(grid.turned(*turn), wanted).sum())
    assert grid.turn_towards(wanted) == nearest
    back_left_up = Grid.from_array(SHAPE, np.eye(4)[[1, 0, 2]])
    nearest = max(turns, key=lambda turn: cosines(grid.turned(*turn), back_left_up).sum())
    found = Orientation.of(grid)
    assert (found.axes, found.flips) == nearest
    assert found.spacing(grid.spacing_mm) == pytest.approx(grid.turned(*nearest).spacing_mm)


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
