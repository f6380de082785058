from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from preprocessing.qc.measures import AXIAL, CORONAL, PLANES, SAGITTAL, Plane, rectangles_of

SHAPE = (7, 6, 5)
VOXEL = (2, 4, 1)


@pytest.mark.parametrize(
    ("plane", "pixel"),
    [
        # Rows go down and columns right; the head, so the last slice, is at the top.
        (AXIAL, (2, 4)),
        (CORONAL, (5 - 1 - 1, 4)),
        (SAGITTAL, (5 - 1 - 1, 2)),
    ],
)
def test_known_voxel_is_at_known_pixel(plane: Plane, pixel: tuple[int, int]) -> None:
    volume = np.zeros(SHAPE)
    volume[VOXEL] = 1
    picture = plane.cut(volume, VOXEL)
    assert np.argwhere(picture).tolist() == [list(pixel)]


def test_pictures_have_the_sides_of_their_planes() -> None:
    assert [p.cut(np.zeros(SHAPE), VOXEL).shape for p in PLANES] == [(7, 6), (5, 6), (5, 7)]


@given(st.data())
def test_box_outline_lies_around_the_boxes_voxels(data: st.DataObject) -> None:
    spans = [sorted(data.draw(st.tuples(*[st.integers(0, n)] * 2).filter(_apart))) for n in SHAPE]
    start, stop = (tuple(s[i] for s in spans) for i in (0, 1))
    marked = np.zeros(SHAPE, dtype=bool)
    marked[tuple(slice(a, b) for a, b in spans)] = True
    for plane in PLANES:
        picture = plane.cut(marked, start)
        r = plane.rectangle((start, stop), SHAPE)
        expected = np.zeros_like(picture)
        expected[r.y : r.y + r.height, r.x : r.x + r.width] = True
        np.testing.assert_array_equal(picture, expected)


@given(arrays(bool, st.tuples(st.integers(1, 8), st.integers(1, 8))))
def test_rectangles_cover_the_mask_once(mask: np.ndarray) -> None:
    covered = np.zeros(mask.shape, dtype=int)
    for r in rectangles_of(mask):
        covered[r.y : r.y + r.height, r.x : r.x + r.width] += 1
    np.testing.assert_array_equal(covered, mask.astype(int))


def test_a_corner_is_one_rectangle() -> None:
    mask = np.zeros((20, 30), dtype=bool)
    mask[12:, :9] = True
    (corner,) = rectangles_of(mask)
    assert (corner.x, corner.y, corner.width, corner.height) == (0, 12, 9, 8)


def _apart(pair: tuple[int, int]) -> bool:
    return pair[0] != pair[1]
