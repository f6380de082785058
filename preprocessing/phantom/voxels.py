"""Where each voxel lies in the patient, for stacks of transverse slices as scanners write them.

Coordinates are DICOM's LPS in millimetres: +x to the patient's left, +y posterior, +z superior.
Axis legend: (k, r, c) slice in order of InstanceNumber, pixel row, pixel column.

All rotations are about the x axis (an oblique Siemens stack, a pitch between phases), so that x
depends on the column alone and (y, z) on slice and row alone; what is evaluated at the points
of a whole volume then costs a few operations a voxel.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Points:
    """Positions of a block of voxels.

    Parameters
    ----------
    x
        (C,) float32, mm.
    y, z
        (K, R) float32, mm.
    """

    x: F32
    y: F32
    z: F32

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return (*self.y.shape, self.x.size)

    def block(self, slices: slice, rows: slice, columns: slice) -> Points:
        """Return a part of the block."""
        return Points(self.x[columns], self.y[slices, rows], self.z[slices, rows])

    def around(
        self, centre_mm: tuple[float, float, float], reach_mm: float
    ) -> tuple[slice, slice, slice] | None:
        """Return the smallest (k, r, c) part holding all points within `reach_mm`; None if none."""
        near_yz = (np.abs(self.y - centre_mm[1]) <= reach_mm) & (
            np.abs(self.z - centre_mm[2]) <= reach_mm
        )
        spans = [
            _span(near_yz.any(axis=1)),
            _span(near_yz.any(axis=0)),
            _span(np.abs(self.x - centre_mm[0]) <= reach_mm),
        ]
        slices, rows, columns = spans
        if slices is None or rows is None or columns is None:
            return None
        return slices, rows, columns


def _span(hit: NDArray[np.bool_]) -> slice | None:
    found = np.flatnonzero(hit)
    return slice(int(found[0]), int(found[-1]) + 1) if found.size else None


@dataclass(frozen=True)
class Pose:
    """A rigid displacement of the patient: shift in mm, pitch about the x axis through `pivot`."""

    shift_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    pitch_rad: float = 0.0
    pivot_yz_mm: tuple[float, float] = (0.0, 0.0)

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves."""
        return self.shift_mm == (0.0, 0.0, 0.0) and self.pitch_rad == 0.0

    def to_patient(self, points: Points) -> Points:
        """Return the anatomy's own coordinates of scanner positions (the inverse displacement)."""
        if self.is_identity:
            return points
        y0, z0 = self.pivot_yz_mm
        y = points.y - np.float32(y0 + self.shift_mm[1])
        z = points.z - np.float32(z0 + self.shift_mm[2])
        cos, sin = np.float32(math.cos(self.pitch_rad)), np.float32(math.sin(self.pitch_rad))
        return Points(
            points.x - np.float32(self.shift_mm[0]),
            cos * y + sin * z + np.float32(y0),
            -sin * y + cos * z + np.float32(z0),
        )


@dataclass(frozen=True)
class SliceStack:
    """The geometry of one series.

    Parameters
    ----------
    rows, columns, slices
        Size in voxels.
    pixel_mm, spacing_mm
        In-plane spacing, and the distance between neighbouring slices.
    centre_mm
        Position of the stack's middle.
    row_sign
        Direction cosine along x of increasing column: 1, or −1 where pictures are turned by
        180° (prone GE: both in-plane axes run backwards).
    tilt_rad
        Obliqueness: rotation of the stack about the x axis.
    instance_sign
        1 if InstanceNumber counts towards superior, −1 towards inferior.
    mirrored
        Whether only one of the in-plane axes runs backwards.
    """

    rows: int
    columns: int
    slices: int
    pixel_mm: float
    spacing_mm: float
    centre_mm: tuple[float, float, float]
    row_sign: int
    tilt_rad: float
    instance_sign: int
    mirrored: bool = False

    @property
    def orientation(self) -> tuple[float, ...]:
        """ImageOrientationPatient."""
        cos, sin = math.cos(self.tilt_rad), math.sin(self.tilt_rad)
        along_row = self.row_sign
        down = -along_row if self.mirrored else along_row
        # Adding 0.0 turns −0.0 into 0.0.
        return (float(along_row), 0.0, 0.0, 0.0, down * cos + 0.0, down * sin + 0.0)

    @property
    def normal(self) -> tuple[float, float, float]:
        """Unit vector across the slices, towards superior."""
        return 0.0, -math.sin(self.tilt_rad) + 0.0, math.cos(self.tilt_rad)

    def origin(self, index: int) -> tuple[float, float, float]:
        """ImagePositionPatient of the slice whose InstanceNumber is ``index + 1``."""
        along_row = -0.5 * (self.columns - 1) * self.pixel_mm
        along_column = -0.5 * (self.rows - 1) * self.pixel_mm
        along_normal = self.instance_sign * (index - 0.5 * (self.slices - 1)) * self.spacing_mm
        o, n = self.orientation, self.normal
        x, y, z = (
            c + along_row * o[i] + along_column * o[3 + i] + along_normal * n[i]
            for i, c in enumerate(self.centre_mm)
        )
        return x, y, z

    def points(self, slices: slice | None = None) -> Points:
        """Return the voxels' positions, of all slices or of some in order of InstanceNumber."""
        indices = range(self.slices)[slices or slice(None)]
        origins = np.array([self.origin(i) for i in indices])
        o = self.orientation
        down = np.arange(self.rows) * self.pixel_mm
        x = origins[0, 0] + np.arange(self.columns) * self.pixel_mm * o[0]
        y = origins[:, 1, None] + down * o[4]
        z = origins[:, 2, None] + down * o[5]
        return Points(x.astype(np.float32), y.astype(np.float32), z.astype(np.float32))

    def flipped(self, slices: bool, rows: bool, columns: bool) -> SliceStack:
        """Return the same voxels counted from the other end of the axes told."""
        return replace(
            self,
            row_sign=-self.row_sign if columns else self.row_sign,
            instance_sign=-self.instance_sign if slices else self.instance_sign,
            mirrored=self.mirrored != (rows != columns),
        )

    def thicker(self, factor: int) -> SliceStack:
        """Return the stack over the same volume with `factor` times fewer, thicker slices."""
        return replace(self, slices=self.slices // factor, spacing_mm=self.spacing_mm * factor)
