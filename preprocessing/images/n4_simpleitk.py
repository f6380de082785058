"""N4 by SimpleITK: the reference engine, and the oracle of the tests."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from preprocessing.common.config import N4Settings
from preprocessing.images.n4 import grid_bases

Array = NDArray[np.float64]


def fit_log_field(volume: Array, mask: NDArray[np.bool_], settings: N4Settings) -> Array:
    """Return SimpleITK's log bias field (I, J, K) at the voxels of `volume`."""
    # The filter's own SetNumberOfThreads is not honoured; only the global default is.
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    image = sitk.GetImageFromArray(np.asarray(volume, dtype=np.float32))
    mask_image = sitk.GetImageFromArray((mask & (volume > 0)).astype(np.uint8))
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(list(settings.iterations))
    n4.SetConvergenceThreshold(settings.convergence)
    n4.SetNumberOfHistogramBins(settings.num_bins)
    n4.SetBiasFieldFullWidthAtHalfMaximum(settings.fwhm)
    n4.SetWienerFilterNoise(settings.wiener_noise)
    n4.Execute(image, mask_image)
    return np.asarray(sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)), dtype=np.float64)


def fit_lattice(volume: Array, mask: NDArray[np.bool_], settings: N4Settings) -> Array:
    """Return control points (A, B, C) that give SimpleITK's field; see `preprocessing.images.n4`.

    SimpleITK does not show its lattice, but the field at the voxels determines it (where an
    axis has fewer voxels than control points: one that gives the same field at the voxels).
    """
    lattice = fit_log_field(volume, mask, settings)
    spans = 2 ** (len(settings.iterations) - 1)
    for axis, basis in enumerate(grid_bases(volume.shape, (spans + 3,) * 3)):
        lattice = np.moveaxis(np.tensordot(np.linalg.pinv(basis), lattice, (1, axis)), 0, axis)
    return lattice
