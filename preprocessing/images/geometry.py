"""Where voxels lie in the patient, and the one orientation all stored crops have.

DICOM patient coordinates (LPS, mm): x to the patient's left, y to the back, z to the head.
The common orientation is (row, column, slice) = (to the back, to the patient's left, to the
head), the usual way of looking at axial slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Box

Shape = tuple[int, int, int]

# For each common axis, the patient axis (index into LPS) along which it increases.
_COMMON_AXES = (1, 0, 2)


@dataclass(frozen=True)
class Grid:
    """A volume's voxel grid in the patient.

    Parameters
    ----------
    shape
        (rows, columns, slices) of the volume's own axes.
    affine
        3×4, voxel index (row, column, slice, 1) to LPS mm.
    """

    shape: Shape
    affine: tuple[tuple[float, float, float, float], ...]

    @staticmethod
    def from_array(shape: Shape, affine: NDArray[np.float64]) -> Grid:
        """Make a grid from a 3×4 (or 4×4) array."""
        rows = [tuple(float(v) for v in row) for row in affine[:3]]
        return Grid(shape, tuple((a, b, c, d) for a, b, c, d in rows))

    @property
    def matrix(self) -> NDArray[np.float64]:
        """The affine as a 3×4 array."""
        return np.array(self.affine)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along (row, column, slice)."""
        r, c, s = np.linalg.norm(self.matrix[:, :3], axis=0)
        return float(r), float(c), float(s)

    def part(self, box: Box) -> Grid:
        """Return the grid of some of the voxels."""
        own = self.matrix
        own[:, 3] += own[:, :3] @ box.start
        return Grid.from_array(box.shape, own)

    def turned(self, axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> Grid:
        """Return the grid of an array whose axes were permuted, then flipped."""
        own = self.matrix
        columns, origin = [], own[:, 3].copy()
        for axis, flip in zip(axes, flips, strict=True):
            columns.append(-own[:, axis] if flip else own[:, axis])
            if flip:
                origin += own[:, axis] * (self.shape[axis] - 1)
        a, b, c = axes
        shape = (self.shape[a], self.shape[b], self.shape[c])
        return Grid.from_array(shape, np.column_stack([*columns, origin]))

    def turn_towards(self, other: Grid) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
        """Return the axes and flips (see `turned`) after which the axes run most like another's."""
        own = self.matrix[:, :3] / np.array(self.spacing_mm)
        theirs = other.matrix[:, :3] / np.array(other.spacing_mm)
        alike = theirs.T @ own  # (their axis, own axis)
        a, b, c = max(
            permutations(range(3)), key=lambda p: sum(abs(alike[i, p[i]]) for i in range(3))
        )
        return (a, b, c), (bool(alike[0, a] < 0), bool(alike[1, b] < 0), bool(alike[2, c] < 0))

    def offset_in(self, other: Grid) -> tuple[tuple[int, int, int], float]:
        """Return where this grid begins in one whose axes run alike, and how far off that is.

        Returns
        -------
        Voxels of `other` before this grid's first one, and the largest distance, in voxels of
        `other`, of this grid's corners from where whole voxels of `other` put them.
        """
        first = np.linalg.solve(other.matrix[:, :3], self.matrix[:, 3] - other.matrix[:, 3])
        r, c, s = (int(n) for n in np.rint(first))
        begun = other.matrix[:, :3] @ (r, c, s) + other.matrix[:, 3]
        exact = Grid.from_array(self.shape, np.column_stack([other.matrix[:, :3], begun]))
        return (r, c, s), exact.largest_distance_voxels(self)

    def largest_distance_voxels(self, other: Grid) -> float:
        """Return how far corresponding corners of two grids of one shape lie apart, in voxels."""
        corners = np.array(
            [[r, c, s, 1.0] for r in (0, self.shape[0] - 1) for c in (0, self.shape[1] - 1)
             for s in (0, self.shape[2] - 1)]
        ).T  # fmt: skip
        apart = np.linalg.norm((self.matrix - other.matrix) @ corners, axis=0)
        return float(apart.max() / min(self.spacing_mm))


@dataclass(frozen=True)
class Orientation:
    """How a volume's own axes become the common ones, by swapping and flipping only.

    Parameters
    ----------
    axes
        For each common axis, the volume's own axis that is nearest to it.
    flips
        For each common axis, whether the own axis runs the other way.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @staticmethod
    def of(grid: Grid) -> Orientation:
        """Return the orientation of the nearest common axes; exact unless the grid is oblique."""
        directions = grid.matrix[:, :3] / np.array(grid.spacing_mm)
        wanted = directions[list(_COMMON_AXES)]  # (common axis, own axis)
        best = max(
            permutations(range(3)), key=lambda p: sum(abs(wanted[i, p[i]]) for i in range(3))
        )
        a, b, c = best
        return Orientation(
            (a, b, c), (bool(wanted[0, a] < 0), bool(wanted[1, b] < 0), bool(wanted[2, c] < 0))
        )

    @property
    def code(self) -> str:
        """Where the volume's own rows, columns and slices run to, a letter each.

        P or A (back, front), L or R, S or I (head, feet): ``ARS`` of a prone breast MRI whose row
        numbers rise to the front.
        """
        letters = ["", "", ""]
        for common, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            letters[axis] = ("PLS", "ARI")[flip][common]
        return "".join(letters)

    def shape(self, own: Shape) -> Shape:
        """Return a volume's shape in the common orientation."""
        a, b, c = self.axes
        return own[a], own[b], own[c]

    def box(self, box: Box, own: Shape) -> Box:
        """Return a box of the volume's own axes in the common orientation."""
        pairs = []
        for axis, flip in zip(self.axes, self.flips, strict=True):
            start, stop = box.start[axis], box.stop[axis]
            size = own[axis]
            pairs.append((size - stop, size - start) if flip else (start, stop))
        (r0, r1), (c0, c1), (s0, s1) = pairs
        return Box((r0, c0, s0), (r1, c1, s1))

    def box_to_own(self, box: Box, own: Shape) -> Box:
        """Return a box of the common orientation in the volume's own axes."""
        start, stop = [0, 0, 0], [0, 0, 0]
        for common, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            a, b = box.start[common], box.stop[common]
            start[axis], stop[axis] = (own[axis] - b, own[axis] - a) if flip else (a, b)
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def apply(self, array: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return an array of the volume's own axes in the common orientation."""
        turned = np.transpose(array, self.axes)
        return np.flip(turned, tuple(i for i in range(3) if self.flips[i]))

    def spacing(self, own: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return own-axis spacings along the common axes."""
        a, b, c = self.axes
        return own[a], own[b], own[c]
