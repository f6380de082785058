"""N4 bias field correction on a regular grid, with the B-spline fit done axis by axis.

The algorithm and its constants are ITK's ``N4BiasFieldCorrectionImageFilter``: N3's histogram
sharpening inside a multi-level B-spline approximation of the residual. ITK treats the voxels as
scattered points, 64 control points each. On a regular grid the weight of a voxel on a control
point is a product over axes, so that every sum over voxels is three small matrix products:
the same field in less than a hundredth of the time (docs/benchmarks.md).

Axis legend: (i, j, k) voxels of the shrunk volume, (a, b, c) control points of the lattice.

References
----------
Tustison et al., "N4ITK: Improved N3 Bias Correction", IEEE TMI 29(6), 2010.
Lee, Wolberg, Shin, "Scattered Data Interpolation with Multilevel B-Splines", IEEE TVCG 3(3), 1997.
Sled, Zijdenbos, Evans, "A nonparametric method for automatic correction of intensity
nonuniformity in MRI data", IEEE TMI 17(1), 1998.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.config import N4Settings

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]
Real = TypeVar("Real", np.float32, np.float64)

_ORDER = 3

# The histogram's bins are cut into parts, and all values of a part are treated as its middle. With
# 64 parts or more the distance to ITK's field is that of exact values; see docs/lab-log.md.
_PARTS = 128
_MIDDLES = (np.arange(_PARTS) + 0.5) / _PARTS
# (parts, 2): what a value in each part counts for the bin below it and for the bin above it.
_SHARES = np.stack([1 - _MIDDLES, _MIDDLES], axis=1)


def fit_lattice(volume: Array, mask: NDArray[np.bool_], settings: N4Settings) -> Array:
    """Fit the log bias field and return its control points.

    Parameters
    ----------
    volume
        (I, J, K) intensities.
    mask
        (I, J, K) voxels to fit; those at or below 0 are left out.
    settings
        See `N4Settings`.

    Returns
    -------
    (A, B, C) float64 lattice; evaluate it with `evaluate`.

    Raises
    ------
    ValueError
        If no masked voxel is above 0, or all of them are equal, or one is infinite.
    """
    volume = np.asarray(volume, dtype=np.float64)
    mask = mask & (volume > 0)
    if not mask.any() or np.ptp(volume[mask]) == 0:
        raise ValueError("no masked voxel with a positive, varying intensity")
    if np.isinf(volume[mask]).any():
        raise ValueError("a masked voxel has infinite intensity: leave it out of the mask")
    box = _bounding_box(mask)
    inside = mask[box]
    log_values = np.log(volume[box][inside]).astype(np.float32)
    lattice = np.zeros((1 + _ORDER,) * 3)
    for level, max_iterations in enumerate(settings.iterations):
        if level > 0:
            lattice = _refine(lattice)
        bases = grid_bases(mask.shape, lattice.shape)
        bases = [basis[part] for basis, part in zip(bases, box, strict=True)]
        lattice = _fit_level(log_values, inside, bases, lattice, max_iterations, settings)
    return lattice


def evaluate(
    lattice: Array, coordinates: tuple[Array, Array, Array], shape: tuple[int, ...]
) -> Array:
    """Evaluate a lattice on the grid spanned by coordinates along each axis.

    Parameters
    ----------
    lattice
        (A, B, C) control points.
    coordinates
        Positions along each axis in voxels of the volume that was fitted; those outside
        it get the value at its edge.
    shape
        (I, J, K) of the volume that was fitted.

    Returns
    -------
    Log field, one axis a coordinate array.
    """
    bases = [
        _basis(np.clip(np.asarray(x, dtype=np.float64), 0, n - 1), n, size - _ORDER)
        for x, n, size in zip(coordinates, shape, lattice.shape, strict=True)
    ]
    return _expand(lattice, bases)


def grid_bases(shape: tuple[int, ...], lattice_shape: tuple[int, ...]) -> list[Array]:
    """Return the (voxels, control points) matrix of each axis at the voxels themselves."""
    return [
        _basis(np.arange(n, dtype=np.float64), n, size - _ORDER)
        for n, size in zip(shape, lattice_shape, strict=True)
    ]


def _fit_level(
    log_values: Array32,
    inside: NDArray[np.bool_],
    bases: list[Array],
    lattice: Array,
    max_iterations: int,
    settings: N4Settings,
) -> Array:
    squares = [b**2 for b in bases]
    # Each voxel's residual is spread over its 64 control points in proportion to their weight w:
    # phi = r w / sum(w^2), and a control point averages its phi with weights w^2.
    cubes = [b**3 / s.sum(axis=1, keepdims=True) for b, s in zip(bases, squares, strict=True)]
    weight = _contract(inside.astype(np.float64), squares)
    gain = np.divide(1, weight, out=np.zeros_like(weight), where=weight > 0)
    # float32 as in ITK, whose rounding the iterations amplify; see docs/lab-log.md.
    bases32, cubes32 = _to_float32(bases), _to_float32(cubes)
    # Gathered by index: `grid[inside]` takes half as long again. "wrap" is take's fastest mode.
    voxels = np.flatnonzero(inside)
    grid = np.empty(inside.shape, np.float32)
    residual = np.zeros(inside.shape, np.float32)
    field = _expand(lattice.astype(np.float32), bases32, grid).take(voxels, mode="wrap")
    for _ in range(max_iterations):
        uncorrected = log_values - field
        residual[inside] = uncorrected - sharpen(uncorrected, settings)
        lattice = lattice + _contract(residual, cubes32) * gain
        previous = field
        field = _expand(lattice.astype(np.float32), bases32, grid).take(voxels, mode="wrap")
        if _variation(previous - field) <= settings.convergence:
            break
    return lattice


def _variation(log_ratio: Array32) -> float:
    """Return the coefficient of variation of a ratio, given its logarithm."""
    # ITK's own figure is larger, and it iterates for longer: its running mean, in float32, stops
    # moving after some ten thousand voxels. See docs/lab-log.md.
    ratio = np.exp(log_ratio)
    mean = ratio.mean()
    ratio -= mean
    return float(np.sqrt(ratio.dot(ratio) / (ratio.size - 1)) / mean)


def sharpen(values: Array32, settings: N4Settings) -> Array32:
    """Return each log intensity's expected value after deconvolving their histogram (N3).

    Parameters
    ----------
    values
        (n,) float32 log intensities.
    settings
        See `N4Settings`.

    Returns
    -------
    (n,) float32 sharpened log intensities.
    """
    low, high, last = values.min(), values.max(), settings.num_bins - 1
    slope = (high - low) / np.float32(last)
    if slope == 0:
        return values.copy()
    place = (values - low) / (slope / np.float32(_PARTS))
    # By way of int32: the conversion straight to int64 takes twice as long.
    part = place.astype(np.int32).astype(np.intp)
    counts = np.bincount(part, minlength=last * _PARTS + 1)
    # As in ITK, a value that rounding puts beyond the last bin's centre counts for none: that one
    # voxel moves the field by 1e-4.
    if (high - low) / slope > last:
        counts[-1] = 0
    expected = _deconvolve(_histogram(counts), float(low), float(slope), settings)
    return np.asarray(_interpolate(expected.astype(np.float32)).take(part, mode="wrap"))


def _histogram(counts: NDArray[np.intp]) -> Array:
    """Return the bins' counts, each part's values shared between the two bins around it."""
    shares = counts[:-1].reshape(-1, _PARTS) @ _SHARES
    histogram = np.append(shares[:, 0], counts[-1])
    histogram[1:] += shares[:, 1]
    return histogram


def _interpolate(bins: Array32) -> Array32:
    """Return the values at the parts, from those at the bins' centres."""
    parts = np.stack([bins[:-1], bins[1:]], axis=1) @ _SHARES.T.astype(np.float32)
    return np.append(parts, bins[-1])


def _deconvolve(histogram: Array, low: float, slope: float, settings: N4Settings) -> Array:
    num = settings.num_bins
    padded = 2 ** ((num - 1).bit_length() + 1)
    offset = (padded - num) // 2
    own = slice(offset, offset + num)
    width = settings.fwhm / slope
    position = np.arange(padded)
    distance = np.minimum(position, padded - position)
    pair = np.zeros((2, padded))
    pair[0] = np.exp(-4 * np.log(2) * (distance / width) ** 2)
    pair[0] *= 2 * np.sqrt(np.log(2) / np.pi) / width
    pair[1, own] = histogram
    spectra = np.fft.rfft(pair)
    blur = spectra[0].real
    wiener = blur / (blur * blur + settings.wiener_noise)
    sharp = np.maximum(np.fft.irfft(spectra[1] * wiener, padded), 0)
    pair[0] = (low + (position - offset) * slope) * sharp
    pair[1] = sharp
    numerator, denominator = np.fft.irfft(np.fft.rfft(pair) * blur, padded)[:, own]
    expected = np.divide(numerator, denominator, out=np.zeros(num), where=denominator != 0)
    return np.asarray(expected)


def _basis(positions: Array, size: int, num_spans: int) -> Array:
    """Return (positions, num_spans + 3) cubic B-spline weights; voxels 0 … size - 1 span all."""
    scaled = positions / max(size - 1, 1) * num_spans
    span = np.minimum(scaled.astype(np.int64), num_spans - 1)
    u = scaled - span
    weights = np.stack(
        [
            (1 - u) ** 3 / 6,
            (3 * u**3 - 6 * u**2 + 4) / 6,
            (-3 * u**3 + 3 * u**2 + 3 * u + 1) / 6,
            u**3 / 6,
        ],
        axis=1,
    )
    matrix = np.zeros((len(positions), num_spans + _ORDER))
    columns = span[:, None] + np.arange(_ORDER + 1)
    matrix[np.arange(len(positions))[:, None], columns] = weights
    return matrix


def _refine(lattice: Array) -> Array:
    """Return the lattice of twice the spans that describes the same field."""
    for axis in range(3):
        spans = lattice.shape[axis] - _ORDER
        # Enough sample points to determine a cubic spline of 2 * spans spans.
        points = np.linspace(0, 1, 8 * spans + 9)
        fine = _basis(points * (len(points) - 1), len(points), 2 * spans)
        coarse = _basis(points * (len(points) - 1), len(points), spans)
        change = np.linalg.pinv(fine) @ coarse
        lattice = np.moveaxis(np.tensordot(change, lattice, axes=(1, axis)), 0, axis)
    return lattice


def _expand(
    lattice: NDArray[Real], bases: Sequence[NDArray[Real]], out: NDArray[Real] | None = None
) -> NDArray[Real]:
    """Field at the voxels: ``sum_abc lattice[a,b,c] X[i,a] Y[j,b] Z[k,c]``."""
    x, y, z = bases
    partial = np.tensordot(x, np.matmul(lattice, z.T), axes=(1, 0))
    return np.asarray(np.matmul(y, partial, out=out))


def _contract(volume: NDArray[Real], bases: Sequence[NDArray[Real]]) -> NDArray[Real]:
    """Sum over voxels: ``sum_ijk volume[i,j,k] X[i,a] Y[j,b] Z[k,c]``."""
    x, y, z = bases
    # The middle axis first: one small product for each i, which stays in the processor's cache.
    partial = np.matmul(y.T, volume)
    return np.asarray(np.matmul(np.tensordot(x, partial, axes=(0, 0)), z))


def _to_float32(arrays: list[Array]) -> list[Array32]:
    return [array.astype(np.float32) for array in arrays]


def _bounding_box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    spans = []
    for others in ((1, 2), (0, 2), (0, 1)):
        hits = np.flatnonzero(mask.any(axis=others))
        spans.append(slice(hits[0], hits[-1] + 1))
    return spans[0], spans[1], spans[2]
