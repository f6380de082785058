"""How the tumour region looks before contrast medium, and how it enhances.

Axis legend: P phases (0 is pre-contrast), R rows, C columns, S slices, V voxels of the region.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from preprocessing.store import REGION_PADDING, REGION_TUMOUR, Store

_PERCENTILES = (10, 50, 90)
# A voxel darker than this share of the tissue's mean counts as that bright: where there is almost
# no signal, a relative enhancement would be noise divided by noise.
_DARKEST = 0.1
# Of a rise or fall that counts: the curve types of BI-RADS (Kuhl 1999) take 10 % for the late
# phase and 50 % for the early one.
_LATE_CHANGE = 0.1
_EARLY_RISE = 0.5
# The hottest voxels stand for the tumour where the region is a box with fat in it.
_HOT_PERCENTILE = 90


def measure_kinetics(store: Store, index: int) -> Mapping[str, float]:
    """Return a patient's `kinetics_features`."""
    phases, _ = store.read_images(index)
    bits = store.read_region(index)
    return kinetics_features(phases, (bits & REGION_TUMOUR) != 0, (bits & REGION_PADDING) != 0)


def kinetics_features(
    phases: NDArray[np.int16], region: NDArray[np.bool_], padding: NDArray[np.bool_]
) -> Mapping[str, float]:
    """Return first-order features of the tumour region.

    All intensities are in units of the crop's mean pre-contrast intensity, so that gain and
    scale cancel.

    Parameters
    ----------
    phases
        int16 (P, R, C, S), pre-contrast first.
    region, padding
        bool (R, C, S); padding counts nowhere.

    Returns
    -------
    ``pre_*``; for each later phase p ``rise_p_*``, the relative enhancement (S_p − S_0) / S_0;
    with two later phases or more ``late_*``, the change (S_last − S_1) / S_1, and shares of voxels
    by curve type. Always the same names for a number of phases; NaN where the region is empty.

    References
    ----------
    Kuhl et al., Radiology 211 (1999) 101-110: curve types.
    """
    inside = region & ~padding
    reference = float(phases[0][~padding].mean()) if not padding.all() else 0.0
    num_posts = len(phases) - 1
    if not inside.any() or reference <= 0:
        return dict.fromkeys(_names(num_posts), math.nan)
    voxels = phases[:, inside].astype(np.float64) / reference
    found = _spread("pre", voxels[0])
    floored = np.maximum(voxels, _DARKEST)
    rises = floored[1:] / floored[0] - 1
    for p, rise in enumerate(rises, start=1):
        found |= _spread(f"rise_{p}", rise)
        found[f"rise_{p}_of_means"] = voxels[p].mean() / max(voxels[0].mean(), _DARKEST) - 1
    if num_posts:
        found |= _early(rises[0])
    if num_posts > 1:
        found |= _late(rises[0], floored[-1] / floored[1] - 1)
    return {name: float(found[name]) for name in _names(num_posts)}


def _names(num_posts: int) -> tuple[str, ...]:
    names = list(_spread_names("pre"))
    for p in range(1, num_posts + 1):
        names += [*_spread_names(f"rise_{p}"), f"rise_{p}_of_means"]
    if num_posts:
        names += ["share_rising_fast", "rise_heterogeneity"]
    if num_posts > 1:
        names += [*_spread_names("late"), "late_hot", "share_washing_out", "share_persistent"]
    return tuple(names)


def _spread_names(name: str) -> tuple[str, ...]:
    return (f"{name}_mean", f"{name}_sd", *(f"{name}_p{q}" for q in _PERCENTILES))


def _spread(name: str, values: NDArray[np.float64]) -> dict[str, float]:
    """Return mean, standard deviation and percentiles of (V,)."""
    numbers = (values.mean(), values.std(), *np.percentile(values, _PERCENTILES))
    return dict(zip(_spread_names(name), map(float, numbers), strict=True))


def _early(rise: NDArray[np.float64]) -> dict[str, float]:
    """Return what the first post-contrast phase says; the heterogeneity is SD / (1 + mean)."""
    return {
        "share_rising_fast": float(np.mean(rise > _EARLY_RISE)),
        "rise_heterogeneity": float(rise.std() / max(1 + rise.mean(), _DARKEST)),
    }


def _late(rise: NDArray[np.float64], late: NDArray[np.float64]) -> dict[str, float]:
    """Return what follows the first post-contrast phase.

    Parameters
    ----------
    rise
        (V,), of the first post-contrast phase.
    late
        (V,), change from then to the last phase.
    """
    hot = rise >= np.percentile(rise, _HOT_PERCENTILE)
    return {
        **_spread("late", late),
        "late_hot": float(late[hot].mean()),
        "share_washing_out": float(np.mean(late < -_LATE_CHANGE)),
        "share_persistent": float(np.mean(late > _LATE_CHANGE)),
    }
