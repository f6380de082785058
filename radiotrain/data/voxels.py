"""One patient's voxels as networks are given them, however they are kept.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.store import REGION_PADDING, Store


@dataclass(frozen=True)
class PatientVoxels:
    """One patient's images.

    Parameters
    ----------
    voxels
        int16 (P, R, C, S); padding holds the value that normalises to 0, so that a network
        sees no edge.
    gain, offset
        Normalised value = voxel × gain + offset. One pair for all phases, from the pre-contrast
        phase, so that enhancement keeps its meaning.
    """

    voxels: NDArray[np.int16]
    gain: np.float32
    offset: np.float32


def read_voxels(store: Store, index: int) -> PatientVoxels:
    """Read the images of the store's patient `index`."""
    voxels, scale = store.read_images(index)
    return for_network(voxels, store.read_region(index), scale)


def for_network(
    voxels: NDArray[np.int16], region: NDArray[np.uint8], scale: float
) -> PatientVoxels:
    """Return images as networks are given them.

    Parameters
    ----------
    voxels
        int16 (P, R, C, S), as stored.
    region
        uint8 (R, C, S), as stored.
    scale
        Intensity of one step of the voxels.
    """
    padding = (region & REGION_PADDING) != 0
    gain, offset = (np.float32(value) for value in normalisation(voxels[0], padding, scale))
    if padding.any():
        voxels = voxels.copy()
        voxels[:, padding] = round(-float(offset) / float(gain))
    return PatientVoxels(voxels, gain, offset)


def normalisation(
    pre_contrast: NDArray[np.int16], padding: NDArray[np.bool_], scale: float
) -> tuple[float, float]:
    """Return the gain and offset that give one patient's pre-contrast mean 0 and deviation 1.

    Parameters
    ----------
    pre_contrast
        int16 (R, C, S).
    padding
        bool (R, C, S); these voxels do not count.
    scale
        Intensity of one step of the int16 values. It cancels out, except that an image of
        one single value stays finite.

    Returns
    -------
    Gain and offset in units of int16 steps: ``voxel * gain + offset``.
    """
    inside = pre_contrast[~padding].astype(np.float64)
    if inside.size == 0:
        return 1.0, 0.0
    mean, deviation = float(inside.mean()), float(inside.std())
    if deviation == 0:
        return scale, -mean * scale
    return 1.0 / deviation, -mean / deviation
