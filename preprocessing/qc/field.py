"""The bias field that was divided out, at the voxels where it is looked at.

Axis legend: R rows, C columns, S slices of the crop; the stored field has every `BIAS_STEP`-th.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from preprocessing.qc.planes import Plane, Shape
from preprocessing.store import BIAS_STEP

# A log field of less is shown as next to nothing.
_LEAST_SPAN = 0.05

# From darker than it should be, over nothing, to brighter.
_STOPS = ((106, 176, 243), (38, 84, 148), (24, 28, 33), (153, 80, 28), (250, 170, 92))


def log_field_in_plane(
    field: NDArray[np.float32], shape: Shape, plane: Plane, centre: Shape
) -> NDArray[np.float64]:
    """Return the log field at a plane's pixels, linear between the stored samples.

    Parameters
    ----------
    field
        The stored log field, a sample each `BIAS_STEP` voxels of a crop of `shape`.
    """
    along = [np.arange(n, dtype=np.float64) for n in shape]
    along[plane.normal] = np.array([float(centre[plane.normal])])
    r, c, s = (_weights(p, n) for p, n in zip(along, field.shape, strict=True))
    values = np.einsum("ra,cb,sd,abd->rcs", r, c, s, field.astype(np.float64), optimize=True)
    return plane.cut(values, (0, 0, 0))


def _weights(positions: NDArray[np.float64], num_samples: int) -> NDArray[np.float64]:
    """Return (positions, samples) weights; beyond the last sample the last slope goes on."""
    weights = np.zeros((len(positions), num_samples))
    if num_samples == 1:
        weights[:] = 1.0
        return weights
    at = positions / BIAS_STEP
    left = np.minimum(at.astype(np.intp), num_samples - 2)
    rows = np.arange(len(positions))
    weights[rows, left] = 1 - (at - left)
    weights[rows, left + 1] = at - left
    return weights


def range_percent(
    field: NDArray[np.float32], tissue: NDArray[np.bool_]
) -> tuple[float, float] | None:
    """Return the lowest and highest of exp(field) − 1 over the tissue, in percent.

    Parameters
    ----------
    tissue
        bool (R, C, S).

    Returns
    -------
    None where nothing was corrected.
    """
    if not field.any():
        return None
    sampled = tissue[::BIAS_STEP, ::BIAS_STEP, ::BIAS_STEP]
    values = 100 * np.expm1(field[sampled] if sampled.any() else field.ravel())
    return float(values.min()), float(values.max())


def colour_span(percent: tuple[float, float]) -> float:
    """Return the log field that the bright end of the colour map stands for, the dark end its −.

    Logarithms, since a field multiplies: half as bright is as far from even as twice as bright.
    """
    return max(*(abs(math.log1p(p / 100)) for p in percent), _LEAST_SPAN)


def span_percent(span: float) -> tuple[float, float]:
    """Return the ends of a colour map of `colour_span` in percent."""
    return 100 * math.expm1(-span), 100 * math.expm1(span)


def palette() -> NDArray[np.uint8]:
    """Return the colour map, uint8 (256, 3)."""
    at = np.linspace(0, len(_STOPS) - 1, 256)
    stops = np.array(_STOPS, dtype=np.float64)
    channels = [np.interp(at, np.arange(len(_STOPS)), stops[:, k]) for k in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def css_gradient() -> str:
    """Return the colour map as a CSS gradient, lowest at the left."""
    return f"linear-gradient(90deg, {', '.join(f'rgb({r},{g},{b})' for r, g, b in _STOPS)})"
