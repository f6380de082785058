"""How large a tumour is, from its region and the spacing of voxels.

Axis legend: R rows, C columns, S slices of a crop.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from preprocessing.store import REGION_TUMOUR, Store

_NAMES = ("extent_rows_mm", "extent_columns_mm", "extent_slices_mm", "longest_mm", "log_volume")


def measure_size(store: Store, index: int) -> Mapping[str, float]:
    """Return a patient's `size_features`; NaN where the region is empty or the spacing unknown.

    A box that reaches beyond the crop counts with its full extents.
    """
    record = store.records[index]
    region = (store.read_region(index) & REGION_TUMOUR) != 0
    if record.spacing_mm is None or not region.any():
        return dict.fromkeys(_NAMES, math.nan)
    extents = None
    if record.box_in_crop is not None:
        start, stop = record.box_in_crop
        extents = np.subtract(stop, start).astype(np.float64)
    return size_features(region, record.spacing_mm, extents)


def size_features(
    region: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    extents: NDArray[np.float64] | None = None,
) -> Mapping[str, float]:
    """Return a tumour's extents and volume.

    Parameters
    ----------
    region
        bool (R, C, S), with one voxel or more.
    extents
        (3,) voxels along rows, columns and slices; those of `region` by default.

    Returns
    -------
    ``extent_rows_mm``, ``extent_columns_mm``, ``extent_slices_mm``, the longest of them, and the
    natural logarithm of the volume in mm³ (volumes spread over orders of magnitude).
    """
    if extents is None:
        extents = np.array([np.ptp(axis) + 1 for axis in np.nonzero(region)], dtype=np.float64)
    rows, columns, slices = (float(v) for v in extents * np.asarray(spacing_mm))
    volume_mm3 = float(region.sum()) * math.prod(spacing_mm)
    longest = max(rows, columns, slices)
    values = (rows, columns, slices, longest, math.log(volume_mm3))
    return dict(zip(_NAMES, values, strict=True))
