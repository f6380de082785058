"""N4 bias field correction on a regular grid, with the B-spline fit done axis by axis.

The algorithm and its constants are ITK's ``N4BiasFieldCorrectionImageFilter``: N3's histogram
sharpening inside a multi-level B-spline approximation of the residual. ITK treats the voxels as
scattered points, 64 control points each. On a regular grid the weight of a voxel on a control
point is a product over axes, so that every sum over voxels is three small matrix products:
the same field at a fiftieth of the time (docs/benchmarks.md).

Axis legend: (i, j, k) voxels of the shrunk volume, (a, b, c) control points of the lattice.

References
----------
Tustison et al., "N4ITK: Improved N3 Bias Correction", IEEE TMI 29(6), 2010.
Lee, Wolberg, Shin, "Scattered Data Interpolation with Multilevel B-Splines", IEEE TVCG 3(3), 1997.
Sled, Zijdenbos, Evans, "A nonparametric method for automatic correction of intensity
nonuniformity in MRI data", IEEE TMI 17(1), 1998.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Array32 = NDArray[np.float32]

_ORDER = 3


@dataclass(frozen=True)
class N4Settings:
    """Settings with ITK's names and defaults.

    Parameters
    ----------
    iterations
        Largest number of iterations at each level; as many levels as entries. The lattice
        has one span an axis at the first level and twice as many at each next one.
    convergence
        A level ends when the coefficient of variation of the field's change falls below this.
    num_bins, fwhm, wiener_noise
        Histogram sharpening: bins, full width at half maximum of the field's log histogram,
        and the noise of the Wiener filter.
    """

    iterations: tuple[int, ...] = (50, 50, 50, 50)
    convergence: float = 0.001
    num_bins: int = 200
    fwhm: float = 0.15
    wiener_noise: float = 0.01


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
        If no masked voxel is above 0, or all of them are equal.
    """
    volume = np.asarray(volume, dtype=np.float64)
    mask = mask & (volume > 0)
    if not mask.any() or np.ptp(volume[mask]) == 0:
        raise ValueError("no masked voxel with a positive, varying intensity")
    log_values = np.log(volume[mask]).astype(np.float32)
    lattice = np.zeros((1 + _ORDER,) * 3)
    for level, max_iterations in enumerate(settings.iterations):
        if level > 0:
            lattice = _refine(lattice)
        lattice = _fit_level(log_values, mask, lattice, max_iterations, settings)
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
    mask: NDArray[np.bool_],
    lattice: Array,
    max_iterations: int,
    settings: N4Settings,
) -> Array:
    bases = grid_bases(mask.shape, lattice.shape)
    squares = [b**2 for b in bases]
    # Each voxel's residual is spread over its 64 control points in proportion to their weight w:
    # phi = r w / sum(w^2), and a control point averages its phi with weights w^2.
    cubes = [b**3 / s.sum(axis=1, keepdims=True) for b, s in zip(bases, squares, strict=True)]
    weight = _contract(mask.astype(np.float64), squares)
    field = _expand(lattice, bases)[mask]
    residual_volume = np.zeros(mask.shape)
    for _ in range(max_iterations):
        # float32 as in ITK, whose rounding the iterations amplify; see docs/lab-log.md.
        uncorrected = (log_values - field).astype(np.float32)
        residual_volume[mask] = uncorrected - sharpen(uncorrected, settings)
        moment = _contract(residual_volume, cubes)
        lattice = lattice + np.divide(moment, weight, out=np.zeros_like(moment), where=weight > 0)
        new_field = _expand(lattice, bases)[mask]
        change = np.exp(new_field - field)
        field = new_field
        if change.std(ddof=1) / change.mean() <= settings.convergence:
            break
    return lattice


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
    low, last = values.min(), settings.num_bins - 1
    slope = (values.max() - low) / np.float32(last)
    if slope == 0:
        return values.copy()
    place = (values - low) / slope
    index = np.minimum(place.astype(np.int64), last)
    fraction = place - index.astype(np.float32)
    # Each value counts for the two bins around it. As in ITK, one that rounding puts beyond the
    # last bin's centre counts for none: that one voxel moves the field by 1e-4.
    share = np.where(place > last, 0, 1 - fraction)
    histogram = np.zeros(settings.num_bins + 1)
    histogram += np.bincount(index, weights=share, minlength=settings.num_bins + 1)
    between = index < last
    histogram = histogram + np.bincount(
        index[between] + 1, weights=fraction[between], minlength=settings.num_bins + 1
    )
    expected = _deconvolve(histogram[:-1], float(low), float(slope), settings).astype(np.float32)
    rise = np.append(np.diff(expected), np.float32(0))
    return np.asarray(expected[index] + rise[index] * fraction)


def _deconvolve(histogram: Array, low: float, slope: float, settings: N4Settings) -> Array:
    num = settings.num_bins
    padded = 2 ** (int(np.ceil(np.log2(num))) + 1)
    offset = (padded - num) // 2
    signal = np.zeros(padded)
    signal[offset : offset + num] = histogram
    width = settings.fwhm / slope
    distance = np.minimum(np.arange(padded), padded - np.arange(padded))
    gaussian = np.exp(-(distance**2) * 4 * np.log(2) / width**2)
    blur = np.fft.fft(gaussian * 2 * np.sqrt(np.log(2) / np.pi) / width)
    wiener = (np.conj(blur) / (np.conj(blur) * blur + settings.wiener_noise)).real
    sharp = np.maximum(np.fft.ifft(np.fft.fft(signal) * wiener).real, 0)
    centres = low + (np.arange(padded) - offset) * slope
    numerator = np.fft.ifft(np.fft.fft(centres * sharp) * blur).real
    denominator = np.fft.ifft(np.fft.fft(sharp) * blur).real
    expected = np.divide(numerator, denominator, out=np.zeros(padded), where=denominator != 0)
    return np.asarray(expected[offset : offset + num])


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


def _expand(lattice: Array, bases: list[Array]) -> Array:
    """Field at the voxels: ``sum_abc lattice[a,b,c] X[i,a] Y[j,b] Z[k,c]``."""
    x, y, z = bases
    partial = np.tensordot(x, lattice, axes=(1, 0))
    partial = np.matmul(y, partial)
    return np.asarray(np.matmul(partial, z.T))


def _contract(volume: Array, bases: list[Array]) -> Array:
    """Sum over voxels: ``sum_ijk volume[i,j,k] X[i,a] Y[j,b] Z[k,c]``."""
    x, y, z = bases
    partial = np.matmul(volume, z)
    partial = np.matmul(y.T, partial)
    return np.tensordot(x, partial, axes=(0, 0))
