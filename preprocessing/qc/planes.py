"""The three planes through a point of a crop, as a radiologist looks at them.

Axis legend: R rows (to the back), C columns (to the patient's left), S slices (to the head) of
the crop; a picture is (height, width), its first row at the top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, int, int]
Box = tuple[Shape, Shape]

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True)
class Rectangle:
    """A part of a picture, in pixels; pixel i covers i to i + 1."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Plane:
    """How a plane is cut out of a crop.

    Parameters
    ----------
    normal, down, across
        The crop's axis that the plane lies across, and those along the picture's sides.
    upwards
        Whether the crop's axis `down` increases towards the top of the picture.
    letters
        The patient's side at the top, right, bottom and left of the picture.
    """

    name: str
    normal: int
    down: int
    across: int
    upwards: bool
    letters: tuple[str, str, str, str]

    def cut(self, volume: NDArray[_Scalar], centre: Shape) -> NDArray[_Scalar]:
        """Return the picture (height, width) of a volume (R, C, S)."""
        picture: NDArray[_Scalar] = np.take(volume, centre[self.normal], axis=self.normal)
        if self.down > self.across:
            picture = picture.T
        return picture[::-1] if self.upwards else picture

    def rectangle(self, box: Box, shape: Shape) -> Rectangle:
        """Return where a half-open box of a crop of `shape` lies in the picture."""
        (x0, y0), (x1, y1) = ((corner[self.across], corner[self.down]) for corner in box)
        if self.upwards:
            y0, y1 = shape[self.down] - y1, shape[self.down] - y0
        return Rectangle(x0, y0, x1 - x0, y1 - y0)


AXIAL = Plane("axial", 2, 0, 1, upwards=False, letters=("A", "L", "P", "R"))
CORONAL = Plane("coronal", 0, 2, 1, upwards=True, letters=("H", "L", "F", "R"))
SAGITTAL = Plane("sagittal", 1, 2, 0, upwards=True, letters=("H", "P", "F", "A"))
PLANES = (AXIAL, CORONAL, SAGITTAL)


def rectangles_of(mask: NDArray[np.bool_]) -> tuple[Rectangle, ...]:
    """Return rectangles that together cover a picture's marked pixels and no others."""
    open_since: dict[tuple[int, int], int] = {}
    found = []
    for y in range(mask.shape[0] + 1):
        runs = set(_runs(mask[y])) if y < mask.shape[0] else set()
        for run in [run for run in open_since if run not in runs]:
            start = open_since.pop(run)
            found.append(Rectangle(run[0], start, run[1] - run[0], y - start))
        for run in runs:
            open_since.setdefault(run, y)
    return tuple(sorted(found, key=lambda r: (r.y, r.x)))


def _runs(row: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the half-open runs of marked pixels in a row."""
    edges = np.flatnonzero(np.diff(row.astype(np.int8), prepend=0, append=0))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
