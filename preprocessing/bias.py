"""The bias field of a patient: fitted once, small, on the pre-contrast; evaluated where needed.

One field serves all phases: independent fits take the contrast agent for inhomogeneity and
destroy the enhancement curve (docs/decisions/0003).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from preprocessing import n4, n4_simpleitk
from preprocessing.cohort import Box
from preprocessing.config import PreprocessConfig
from preprocessing.geometry import Shape
from preprocessing.volumes import Volume

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
    """

    lattice: NDArray[np.float64]
    shape: Shape
    shrink: Shape
    centre: tuple[float, float, float]

    def log_field(self, part: Box) -> NDArray[np.float64]:
        """Return the log field at the voxels of `part` of the full volume."""
        x, y, z = (
            (np.arange(a, b) - centre) / shrink
            for a, b, centre, shrink in zip(
                part.start, part.stop, self.centre, self.shrink, strict=True
            )
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
    mask = tissue_mask(small)
    engine = n4_simpleitk if config.bias_engine == "simpleitk" else n4
    lattice = engine.fit_lattice(small, mask, config.n4)
    shape = (small.shape[0], small.shape[1], small.shape[2])
    own = tuple(np.arange(n, dtype=np.float64) for n in shape)
    # B-spline weights sum to 1, so a constant added to the lattice is added to the field.
    mean = float(n4.evaluate(lattice, (own[0], own[1], own[2]), shape)[mask].mean())
    return BiasField(lattice - mean, shape, shrink, centre)


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
    voxels = volume.read(part, step=s)
    num = voxels.shape[2]
    binned = voxels.reshape(rows // r, r, columns // c, c, num).mean(axis=(1, 3), dtype=np.float64)
    return binned, ((r - 1) / 2, (c - 1) / 2, float(first_slice))


def tissue_mask(volume: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return the voxels above Otsu's threshold (200 bins): breast tissue against air."""
    image = sitk.GetImageFromArray(volume.astype(np.float32))
    above = sitk.OtsuThreshold(image, 0, 1, 200)
    return np.asarray(sitk.GetArrayFromImage(above)).astype(bool)
