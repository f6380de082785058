"""The bias field of a patient: fitted once, small, on the pre-contrast; evaluated where needed.

One field serves all phases: independent fits take the contrast agent for inhomogeneity and
destroy the enhancement curve (docs/decisions/0003).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Box
from preprocessing.common.config import PreprocessConfig
from preprocessing.images import n4, n4_simpleitk
from preprocessing.images.clipping import find_limits
from preprocessing.images.geometry import Shape
from preprocessing.images.volumes import Volume

Positions = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

# A darkest block brighter than this, relative to the brightest, is no air.
_AIR = 0.1
# Of a volume with voxels that are no tissue, how many spreads beyond the percentiles blocks may lie.
_MARGIN_OF_BROKEN = 1.0
# An axis is never shrunk below this many voxels: the finest lattice has 8 spans an axis.
_FEWEST_VOXELS = 16


@dataclass(frozen=True)
class BiasField:
    """A log bias field as control points over a shrunk volume.

    Parameters
    ----------
    lattice
        (A, B, C) control points.
    shape
        Of the shrunk volume.
    shrink
        Voxels of the full volume per shrunk voxel, along each axis.
    centre
        Full-volume position of the first shrunk voxel's centre, along each axis.
    tissue_median
        Median of the corrected tissue that the field was fitted on, in the scanner's units.
    volume_digest
        Over the shrunk volume: the same for one examination under any id or file name.
    """

    lattice: NDArray[np.float64]
    shape: Shape
    shrink: Shape
    centre: tuple[float, float, float]
    tissue_median: float
    volume_digest: str

    def log_field(self, part: Box) -> NDArray[np.float64]:
        """Return the log field at the voxels of `part` of the full volume."""
        x, y, z = (
            np.arange(a, b, dtype=np.float64) for a, b in zip(part.start, part.stop, strict=True)
        )
        return self.at((x, y, z))

    def at(self, positions: Positions) -> NDArray[np.float64]:
        """Return the log field on the grid spanned by positions in the full volume."""
        x, y, z = (
            (p - centre) / shrink
            for p, centre, shrink in zip(positions, self.centre, self.shrink, strict=True)
        )
        return n4.evaluate(self.lattice, (x, y, z), self.shape)


def fit_bias_field(volume: Volume, config: PreprocessConfig) -> BiasField:
    """Fit the field of a pre-contrast volume, with mean log field 0 over the tissue.

    Reads every `shrink`-th slice only, and averages `shrink` × `shrink` voxels within it.

    Raises
    ------
    ValueError
        If the volume has no tissue to fit on.
    """
    shrink = choose_shrink(volume.grid.shape, config.shrink)
    small, centre = read_shrunk(volume, shrink)
    digest = _digest(small)
    if config.outlier_margin is not None:
        small = _without_outliers(small, config.outlier_margin)
    mask = tissue_mask(small)
    shape = (small.shape[0], small.shape[1], small.shape[2])
    lattice = _fit(small, mask, config)
    x, y, z = (np.arange(n, dtype=np.float64) for n in shape)
    log_field = n4.evaluate(lattice, (x, y, z), shape)[mask]
    # B-spline weights sum to 1, so a constant added to the lattice is added to the field.
    mean = float(log_field.mean())
    tissue = small[mask] * np.exp(mean - log_field)
    median = float(np.median(tissue))
    return BiasField(lattice - mean, shape, shrink, centre, median, digest)


def _without_outliers(small: NDArray[np.float64], margin: float) -> NDArray[np.float64]:
    """Return blocks as they are, or, where some are no tissue, without any far from the rest.

    Otsu's threshold would lie between all tissue and those few.
    """
    if find_limits(small, margin).hold(small):
        return small
    limits = find_limits(small, _MARGIN_OF_BROKEN)
    return small.clip(limits.low, limits.high)


def _fit(
    small: NDArray[np.float64], mask: NDArray[np.bool_], config: PreprocessConfig
) -> NDArray[np.float64]:
    if config.bias_engine == "none":
        return np.zeros((4, 4, 4))
    engine = n4_simpleitk if config.bias_engine == "simpleitk" else n4
    return np.asarray(engine.fit_lattice(small, mask, config.n4))


def _digest(small: NDArray[np.float64]) -> str:
    """Return 16 hexadecimal digits; nothing about the patient can be read from them."""
    content = str(small.shape).encode() + small.astype("<f4").tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


def choose_shrink(shape: Shape, wanted: int) -> Shape:
    """Return the shrink factor of each axis: as wanted, less where the axis is short."""
    r, c, s = (min(wanted, max(1, n // _FEWEST_VOXELS)) for n in shape)
    return r, c, s


def read_shrunk(
    volume: Volume, shrink: Shape
) -> tuple[NDArray[np.float64], tuple[float, float, float]]:
    """Return the shrunk volume and the full-volume position of its first voxel's centre."""
    rows, columns, slices = volume.grid.shape
    r, c, s = shrink
    first_slice = (s - 1) // 2
    part = Box((0, 0, first_slice), (rows - rows % r, columns - columns % c, slices))
    # Slice by slice as the files are; sums of some 12-bit values are exact in float32.
    planes = np.moveaxis(volume.read(part, step=s), 2, 0)
    lost = np.isnan(planes)
    if lost.any():
        planes = np.where(lost, np.float32(0), planes)
    binned = _sum_blocks(planes, r, c) / (r * c)
    if lost.any():
        share = _sum_blocks(lost, r, c) / (r * c)
        binned += share * _air(binned[share == 0])
    return binned, ((r - 1) / 2, (c - 1) / 2, float(first_slice))


def _sum_blocks(planes: NDArray[Any], r: int, c: int) -> NDArray[np.float64]:
    """Return the sums of (slice, row, column) over `r` × `c` voxels, as (row, column, slice)."""
    num, rows, columns = planes.shape
    by_rows = planes.reshape(num, rows // r, r, -1).sum(axis=2)
    sums = by_rows.reshape(num, rows // r, columns // c, c).sum(axis=3)
    return np.ascontiguousarray(np.moveaxis(sums, 0, 2), dtype=np.float64)


def _air(blocks: NDArray[np.float64]) -> float:
    """Return what a voxel without a value counts as, given the blocks that have them all.

    So that Otsu's threshold stays where it is: as the other voxels of air, 0 where these are 0, and
    0 where there is no air left.
    """
    if not blocks.size:
        return 0.0
    darkest, brightest = float(blocks.min()), float(blocks.max())
    if darkest == 0 or abs(darkest) > _AIR * brightest:
        return 0.0
    return float(np.median(blocks[~tissue_mask(blocks[:, None, None])[:, 0, 0]]))


def tissue_mask(volume: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the voxels above Otsu's threshold (200 bins): breast tissue against air."""
    image = sitk.GetImageFromArray(volume.astype(np.float32))
    above = sitk.OtsuThreshold(image, 0, 1, 200)
    return np.asarray(sitk.GetArrayFromImage(above)).astype(bool)
