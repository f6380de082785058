"""Robust normalisation of a crop, inside a bundle.

NumPy alone: a copy goes with each bundle, and model cards show it.
"""

from typing import Any

import numpy as np


def limits(values: Any, margin: float, least: float = 0.0) -> tuple[float, float, float]:
    """Return the lowest and the highest value that count as tissue, and the spread."""
    some = values.reshape(-1)[:: max(1, values.size // 100_000)]
    some = np.sort(some[np.isfinite(some) & (some != 0)])
    if not some.size:
        return -np.inf, np.inf, least
    low, middle, high = (some[int(share * (some.size - 1))] for share in (0.01, 0.5, 0.99))
    spread = max(high - low, abs(middle), least)
    return low - margin * spread, high + margin * spread, spread


def normalise(voxels: Any) -> Any:
    """Return float32 (phase, row, column, slice) of voxels of that shape, NaN outside of the image."""
    voxels = np.array(voxels, dtype=np.float64)
    least = limits(voxels[0], 10)[2]
    for n, phase in enumerate(voxels):
        low, high, _ = limits(phase, 10, least if n else 0.0)
        phase.clip(low, high, out=phase)
    pre = voxels[0][np.isfinite(voxels[0])]
    low, high, _ = limits(voxels[0], 4)
    tissue = pre[(pre >= low) & (pre <= high)]
    if tissue.size == 0 or np.ptp(tissue) == 0:
        tissue = pre
    return np.nan_to_num((voxels - tissue.mean()) / tissue.std(), nan=0.0).astype(np.float32)
