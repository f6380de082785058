"""Where a crop's voxels lie in a volume, and the volume's values there.

Axis legend: (row, column, slice) in the common orientation throughout. A crop voxel's position
counts the volume's voxels along an axis, 0 being the centre of the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from preprocessing.cohort import Box
from preprocessing.crop import Crop, choose_crop
from preprocessing.geometry import Shape

# How far the smoothing of coarser axes looks.
_REACH_SD = 3.0

Spacing = tuple[float, float, float]


@dataclass(frozen=True)
class CropGrid:
    """A crop over a volume whose voxels it may not share.

    Parameters
    ----------
    crop
        Over the volume as it would be with voxels of the crop's size.
    volume_mm
        Size of the volume's voxels.
    voxel_mm
        Size of the crop's voxels.
    """

    crop: Crop
    volume_shape: Shape
    volume_mm: Spacing
    voxel_mm: Spacing

    @staticmethod
    def around(
        box: Box, volume_shape: Shape, volume_mm: Spacing, crop_shape: Shape, voxel_mm: Spacing
    ) -> CropGrid:
        """Place a crop of `crop_shape` voxels of `voxel_mm` around a box of the volume."""
        ratios = _ratios(voxel_mm, volume_mm)
        shape = _rescaled(volume_shape, ratios)
        crop = choose_crop(_scaled(box, ratios, shape), shape, crop_shape)
        return CropGrid(crop, volume_shape, volume_mm, voxel_mm)

    @property
    def is_native(self) -> bool:
        """Whether the crop has the volume's own voxels."""
        return self.voxel_mm == self.volume_mm

    def box_in_crop(self, box: Box) -> Box:
        """Return a box of the volume in the crop's own indices, cut at the crop's edge."""
        ratios = _ratios(self.voxel_mm, self.volume_mm)
        bounds = _rescaled(self.volume_shape, ratios)
        return self.crop.box_in_crop(_scaled(box, ratios, bounds))

    def covers(self, box: Box) -> bool:
        """Tell whether any of a box of the volume lies in the crop."""
        ratios = _ratios(self.voxel_mm, self.volume_mm)
        return all(
            min(box.stop[a], self.crop.inside.stop[a] * ratios[a])
            > max(box.start[a], self.crop.inside.start[a] * ratios[a]) + 1e-6
            for a in range(3)
        )

    def positions(self, axis: int, step: int = 1) -> NDArray[np.float64]:
        """Return the position in the volume of every `step`-th crop voxel along an axis."""
        indices = np.arange(0, self.crop.shape[axis], step, dtype=np.float64)
        indices += self.crop.inside.start[axis] - self.crop.offset[axis]
        ratio = self.voxel_mm[axis] / self.volume_mm[axis]
        return (indices + 0.5) * ratio - 0.5

    def needed_part(self, margin_mm: float = 0.0) -> Box:
        """Return the voxels of the volume that values in the crop depend on."""
        start, stop = [0] * 3, [0] * 3
        for axis in range(3):
            ratio = self.voxel_mm[axis] / self.volume_mm[axis]
            first = (self.crop.inside.start[axis] + 0.5) * ratio - 0.5
            last = (self.crop.inside.stop[axis] - 0.5) * ratio - 0.5
            margin = margin_mm / self.volume_mm[axis] + _REACH_SD * _smoothing(ratio)
            start[axis] = max(math.floor(first - margin), 0)
            stop[axis] = min(math.ceil(last + margin) + 1, self.volume_shape[axis])
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def sample(
        self,
        part: Box,
        voxels: NDArray[np.float32],
        transform: sitk.Transform | None = None,
        *,
        nearest: bool = False,
    ) -> NDArray[np.float32]:
        """Return the crop's values by linear interpolation, 0 in the padding.

        Axes that get coarser are smoothed first, so that small structures do not alias.

        Parameters
        ----------
        part
            What part of the volume `voxels` are, at least `needed_part`.
        voxels
            float32 (r, c, s).
        transform
            From points of the crop to points of the volume, in mm (see `image_of`); None moves
            nothing.
        nearest
            Take the nearest voxel instead, for masks.
        """
        if not nearest:
            for axis in range(3):
                sigma = _smoothing(self.voxel_mm[axis] / self.volume_mm[axis])
                if sigma > 0:
                    voxels = gaussian_filter1d(
                        voxels, sigma, axis=axis, mode="nearest", truncate=_REACH_SD
                    )
        inside = self.crop.inside
        resample = sitk.ResampleImageFilter()
        resample.SetSize([int(n) for n in reversed(inside.shape)])
        resample.SetOutputSpacing([float(v) for v in reversed(self.voxel_mm)])
        origin = [
            (inside.start[a] + 0.5) * self.voxel_mm[a] - 0.5 * self.volume_mm[a] for a in range(3)
        ]
        resample.SetOutputOrigin(list(reversed(origin)))
        resample.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
        # A moved crop may look a little beyond the volume's edge: what is at the edge goes on.
        resample.SetUseNearestNeighborExtrapolator(True)
        if transform is not None:
            resample.SetTransform(transform)
        values = sitk.GetArrayFromImage(resample.Execute(image_of(part, voxels, self.volume_mm)))
        return self.crop.place(values)


def image_of(part: Box, voxels: NDArray[np.float32], volume_mm: Spacing) -> sitk.Image:
    """Return part of a volume as an image whose points are mm from the volume's first voxel.

    ITK's axes (x, y, z) are (slice, column, row).
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels, dtype=np.float32))
    image.SetSpacing([float(v) for v in reversed(volume_mm)])
    image.SetOrigin([float(n * mm) for n, mm in zip(part.start, volume_mm, strict=True)][::-1])
    return image


def _smoothing(ratio: float) -> float:
    """Return the Gaussian's SD, in voxels, that a voxel `ratio` times as large calls for."""
    return 0.5 * math.sqrt(ratio**2 - 1) if ratio > 1.01 else 0.0


def _ratios(voxel_mm: Spacing, volume_mm: Spacing) -> Spacing:
    r, c, s = (new / old for new, old in zip(voxel_mm, volume_mm, strict=True))
    return r, c, s


def _rescaled(shape: Shape, ratios: Spacing) -> Shape:
    """Return a volume's shape in larger or smaller voxels: whole ones, a rest is left out."""
    r, c, s = (max(1, int(n / ratio + 1e-6)) for n, ratio in zip(shape, ratios, strict=True))
    return r, c, s


def _scaled(box: Box, ratios: Spacing, bounds: Shape) -> Box:
    """Return the smallest box of larger or smaller voxels that holds `box`."""
    start, stop = [0] * 3, [0] * 3
    for axis, (ratio, size) in enumerate(zip(ratios, bounds, strict=True)):
        start[axis] = min(math.floor(box.start[axis] / ratio + 1e-6), size - 1)
        end = min(math.ceil(box.stop[axis] / ratio - 1e-6), size)
        stop[axis] = max(end, start[axis] + 1)
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
