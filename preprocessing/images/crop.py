"""The region around the tumour: chosen, placed in the volume, and sampled."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from preprocessing.cohort.cohort import Box, Finding
from preprocessing.images.geometry import Shape
from preprocessing.store import REGION_PADDING, REGION_TUMOUR

# A box of whose rows, columns or slices less lies in the images was not drawn on them: slices of
# reformatted copies count on beyond the images' last one.
_SMALLEST_SHARES = (0.25, 0.25, 0.5)
# Above it, the crop shows more padding than patient.
_LARGEST_PADDING = 0.5


@dataclass(frozen=True)
class Crop:
    """A region of fixed size over a volume, in the common orientation.

    Parameters
    ----------
    inside
        The part of the volume that the region covers.
    offset
        Where that part begins in the region; not 0 where the region overhangs the volume.
    shape
        Of the region.
    """

    inside: Box
    offset: Shape
    shape: Shape

    def place(self, part: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the region with `part` (the voxels of `inside`) in it and 0 elsewhere."""
        region = np.zeros(self.shape, dtype=np.float32)
        region[self._slices()] = part
        return region

    def box_in_crop(self, box: Box) -> Box:
        """Return a box of the volume in the region's own indices, cut at the region's edge."""
        start = [0, 0, 0]
        stop = [0, 0, 0]
        for axis in range(3):
            shift = self.offset[axis] - self.inside.start[axis]
            start[axis] = min(max(box.start[axis] + shift, 0), self.shape[axis])
            stop[axis] = min(max(box.stop[axis] + shift, 0), self.shape[axis])
        return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))

    def region_bits(self, tumour: Box | NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return uint8 (R, C, S) with the tumour's and the padding's bits set.

        Parameters
        ----------
        tumour
            Box in the region's own indices, or bool (R, C, S).
        """
        bits = np.full(self.shape, REGION_PADDING, dtype=np.uint8)
        bits[self._slices()] = 0
        if isinstance(tumour, Box):
            spans = zip(tumour.start, tumour.stop, strict=True)
            bits[tuple(slice(a, b) for a, b in spans)] |= REGION_TUMOUR
        else:
            bits[tumour] |= REGION_TUMOUR
        return bits

    def _slices(self) -> tuple[slice, ...]:
        return tuple(slice(o, o + n) for o, n in zip(self.offset, self.inside.shape, strict=True))


def choose_crop(box: Box, volume: Shape, crop_shape: Shape) -> Crop:
    """Centre a region on the tumour box, moved as little as needed to stay inside the volume.

    Where the volume is smaller than the region, it is centred in it and the rest is padding.
    """
    start, stop, offset = [0] * 3, [0] * 3, [0] * 3
    for axis in range(3):
        size, room = crop_shape[axis], volume[axis]
        first = (box.start[axis] + box.stop[axis] - size) // 2
        if room >= size:
            first = min(max(first, 0), room - size)
            start[axis], stop[axis] = first, first + size
        else:
            offset[axis] = (size - room) // 2
            start[axis], stop[axis] = 0, room
    return Crop(
        inside=Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])),
        offset=(offset[0], offset[1], offset[2]),
        shape=crop_shape,
    )


def box_in_part(box: Box, part: Box) -> Box:
    """Return a box of a volume in the indices of part of it, uncut."""
    r0, c0, s0 = (a - n for a, n in zip(box.start, part.start, strict=True))
    r1, c1, s1 = (a - n for a, n in zip(box.stop, part.start, strict=True))
    return Box((r0, c0, s0), (r1, c1, s1))


def check_box(box: Box, volume: Shape, crop_shape: Shape) -> tuple[Box, tuple[Finding, ...]]:
    """Return the box cut at the volume's edge, with findings where that or the crop loses any."""
    start = [max(a, 0) for a in box.start]
    stop = [min(b, n) for b, n in zip(box.stop, volume, strict=True)]
    cut = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
    where = f"box {box.start}-{box.stop}, volume {volume} (row, column, slice)"
    if any(b <= a for a, b in zip(box.start, box.stop, strict=True)):
        return cut, (Finding("box-empty", f"the tumour box ends before it begins: {where}"),)
    if any(n <= 0 for n in cut.shape):
        return cut, (Finding("box-outside", f"the tumour box lies outside the images: {where}"),)
    shares = [a / b for a, b in zip(cut.shape, box.shape, strict=True)]
    if any(a < b for a, b in zip(shares, _SMALLEST_SHARES, strict=True)):
        rows, columns, slices = (f"{100 * share:.0f} %" for share in shares)
        message = (
            f"of the tumour box's rows {rows}, columns {columns} and slices {slices} lie inside of"
            f" the images, too few for one drawn on them: {where}"
        )
        return cut, (Finding("box-outside", message),)
    findings = []
    if cut != box:
        message = f"the tumour box reaches beyond the images and was cut at their edge: {where}"
        findings.append(Finding("box-cut", message, excludes=False))
    if any(n > size for n, size in zip(cut.shape, crop_shape, strict=True)):
        message = (
            f"the tumour box {cut.shape} is larger than the crop {crop_shape}: its middle is kept"
        )
        findings.append(Finding("box-larger-than-crop", message, excludes=False))
    return cut, tuple(findings)


def check_size(box: Box, volume: Shape) -> tuple[Finding, ...]:
    """Return what is odd about the size of a tumour's box: one voxel, or the whole volume."""
    where = f"box {box.start}-{box.stop}, volume {volume} (row, column, slice)"
    if box.shape == volume:
        message = f"the tumour box holds the whole image and so tells no place: {where}"
        return (Finding("box-holds-image", message, excludes=False),)
    if box.shape == (1, 1, 1):
        message = f"the tumour is a single voxel: {where}"
        return (Finding("tumour-one-voxel", message, excludes=False),)
    return ()


def check_region(region: NDArray[np.uint8], crop: Crop) -> tuple[Finding, ...]:
    """Return what is odd about a crop's region: no tumour voxel in it, or mostly padding.

    Parameters
    ----------
    region
        uint8 (R, C, S), see `Crop.region_bits`.
    """
    if not ((region & REGION_TUMOUR > 0) & (region & REGION_PADDING == 0)).any():
        message = f"no voxel of the tumour lies in the crop of {crop.shape} (row, column, slice)"
        return (Finding("tumour-not-in-crop", message),)
    padding = 1 - math.prod(crop.inside.shape) / math.prod(crop.shape)
    if padding <= _LARGEST_PADDING:
        return ()
    message = (
        f"{100 * padding:.0f} % of the crop of {crop.shape} lie outside of the images, whose part in"
        f" it is {crop.inside.shape} (row, column, slice)"
    )
    return (Finding("crop-mostly-padding", message, excludes=False),)


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
