"""Rigid motion between phases, found by registering each post-contrast phase to the pre-contrast.

Mutual information, since contrast medium changes the intensities but not where tissues are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Box
from preprocessing.images.crop import Spacing, image_of

# Breasts in a coil move by millimetres; a larger result is a registration gone astray.
LARGEST_SHIFT_MM = 15.0
_LARGEST_ROTATION_DEG = 8.0
_BINS = 32
_ITERATIONS = 80
_SHRINK_PER_LEVEL = (4, 2)
_SMOOTHING_MM_PER_LEVEL = (4.0, 2.0)


@dataclass(frozen=True)
class Motion:
    """How a phase lies relative to the pre-contrast, about the middle of the region.

    Parameters
    ----------
    shift_mm
        Along (row, column, slice).
    rotation_deg
        About the (row, column, slice) axis.
    transform
        From points of the pre-contrast to points of the phase.
    """

    shift_mm: tuple[float, float, float]
    rotation_deg: tuple[float, float, float]
    transform: sitk.Transform

    @property
    def is_plausible(self) -> bool:
        """Whether a patient in a breast coil could have moved so."""
        return (
            float(np.linalg.norm(self.shift_mm)) <= LARGEST_SHIFT_MM
            and max(map(abs, self.rotation_deg)) <= _LARGEST_ROTATION_DEG
        )


def find_motion(
    part: Box, pre: NDArray[np.float32], post: NDArray[np.float32], volume_mm: Spacing
) -> Motion:
    """Register part of a post-contrast phase to the same part of the pre-contrast.

    Parameters
    ----------
    part
        Of the volume.
    pre, post
        float32 (r, c, s), its voxels.

    Raises
    ------
    ValueError
        If the registration fails.
    """
    # Sums of several threads differ from run to run.
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    fixed, moving = image_of(part, pre, volume_mm), image_of(part, post, volume_mm)
    found = sitk.Euler3DTransform()
    found.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([n / 2 for n in fixed.GetSize()]))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.NONE)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=_ITERATIONS, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(_SHRINK_PER_LEVEL)
    method.SetSmoothingSigmasPerLevel(_SMOOTHING_MM_PER_LEVEL)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(found, inPlace=True)
    try:
        method.Execute(fixed, moving)
    except RuntimeError as error:
        raise ValueError(f"motion: {' '.join(str(error).split())[-160:]}") from error
    *angles, x, y, z = found.GetParameters()
    a, b, c = (round(float(np.degrees(v)), 4) for v in reversed(angles))
    return Motion((round(z, 4), round(y, 4), round(x, 4)), (a, b, c), found)
