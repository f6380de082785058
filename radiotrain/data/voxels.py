"""One patient's voxels as networks are given them, however they are kept.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from preprocessing.images.clipping import find_limits
from preprocessing.store import REGION_PADDING, Store

# Which intensities a network is given: ``plain``, as stored; or ``robust``, without voxels that are no
# tissue. A run's configuration has it (`train.normalisation`), and so has an exported model.
NormalisationRule = Literal["plain", "robust"]

# Farther from tissue, in the spreads of `preprocessing.images.clipping`, a voxel is set to the limit; it then
# enters no mean and deviation from here on. The farthest voxel of 796 real crops that
# were looked at lies 3.6 spreads beyond the 99th percentile (8-bit, windowed; docs/decisions/0041).
CLIP_MARGIN, COUNT_MARGIN = 10.0, 4.0


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


def read_voxels(store: Store, index: int, rule: NormalisationRule) -> PatientVoxels:
    """Read the images of the store's patient `index`."""
    voxels, scale = store.read_images(index)
    return for_network(voxels, store.read_region(index), scale, rule)


def for_network(
    voxels: NDArray[np.int16], region: NDArray[np.uint8], scale: float, rule: NormalisationRule
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
    kept = voxels
    if rule == "robust":
        voxels = _without_outliers(voxels, padding)
    found = normalisation(voxels[0], padding, scale, rule)
    gain, offset = (np.float32(value) for value in found)
    if padding.any():
        if voxels is kept:
            voxels = voxels.copy()
        voxels[:, padding] = round(-float(offset) / float(gain))
    return PatientVoxels(voxels, gain, offset)


def _without_outliers(voxels: NDArray[np.int16], padding: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Return phases (P, R, C, S) with what is no tissue set to each phase's limits; see `NormalisationRule`."""
    inside = ~padding
    least, clipped = 0.0, None
    for n, phase in enumerate(voxels):
        limits = find_limits(phase, CLIP_MARGIN, counted=inside, least_spread=least)
        if n == 0:
            least = limits.spread
        if not limits.hold(phase):
            clipped = voxels.copy() if clipped is None else clipped
            clipped[n] = np.clip(phase, *_as_int16(limits.low, limits.high))
    return voxels if clipped is None else clipped


def _as_int16(low: float, high: float) -> tuple[int, int]:
    # Percentiles of integers are integers, and so are limits by a whole margin.
    return max(round(low), -32768), min(round(high), 32767)


def normalisation(
    pre_contrast: NDArray[np.int16],
    padding: NDArray[np.bool_],
    scale: float,
    rule: NormalisationRule,
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
    rule
        ``robust`` leaves voxels that are no tissue out of mean and deviation, unless nothing else
        differs from the mean.

    Returns
    -------
    Gain and offset in units of int16 steps: ``voxel * gain + offset``.
    """
    inside = pre_contrast[~padding].astype(np.float64)
    if inside.size == 0:
        return 1.0, 0.0
    mean, deviation = float(inside.mean()), float(inside.std())
    if rule == "robust" and deviation > 0:
        limits = find_limits(pre_contrast, COUNT_MARGIN, counted=~padding)
        if not limits.hold(inside):
            tissue = inside[(inside >= limits.low) & (inside <= limits.high)]
            if tissue.size and np.ptp(tissue) > 0:
                mean, deviation = float(tissue.mean()), float(tissue.std())
    if deviation == 0:
        return scale, -mean * scale
    return 1.0 / deviation, -mean / deviation
