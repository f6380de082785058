"""How much a tissue takes up contrast: its mean signal in each phase against the pre-contrast.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_BINS = 256


def relative_enhancement(
    images: NDArray[np.int16], mask: NDArray[np.bool_]
) -> tuple[float, ...] | None:
    """Return mean(S) / mean(S_pre) − 1 over the marked voxels, for each phase.

    The ratio of means, not the mean of ratios: single voxels near 0 before the contrast would
    decide the latter.

    Parameters
    ----------
    images
        (P, R, C, S) in one unit.
    mask
        (R, C, S).

    Returns
    -------
    P numbers, the first 0; None where nothing is marked or there is no signal before contrast.
    """
    if not mask.any():
        return None
    means = [float(phase[mask].mean(dtype=np.float64)) for phase in images]
    if means[0] <= 0:
        return None
    return tuple(mean / means[0] - 1 for mean in means)


def tissue_mask(pre: NDArray[np.int16], padding: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of a pre-contrast image (R, C, S) above Otsu's threshold."""
    inside: NDArray[np.bool_] = ~padding
    values = pre[inside]
    if values.size == 0:
        return inside
    return inside & (pre > otsu_threshold(values))


def otsu_threshold(values: NDArray[np.int16]) -> float:
    """Return the value that parts the two classes of largest variance between them.

    References
    ----------
    Otsu 1979, A threshold selection method from gray-level histograms.
    """
    low, high = int(values.min()), int(values.max())
    if low == high:
        # One value only: tissue if there is signal at all.
        return 0.0
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    sums = np.cumsum(counts * middles)
    above = values.size - below
    # The bins at both ends hold a value each, so no class is ever empty.
    apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
    return float(edges[1:-1][np.argmax(below * above * apart**2)])
