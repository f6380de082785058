"""Random changes of a batch on its device: drawn for the whole batch, applied to any part of it.

================  ====================================================
``draw.py``       what is drawn for a batch
``spatial.py``    flip, rotation, tilt, zoom and shift, resampled once
``intensity.py``  enhancement, gamma, gain, brightness and noise
================  ====================================================
"""

from __future__ import annotations

import torch
from torch import Tensor

from preprocessing.common.errors import InputError
from radiotrain.augment.draw import Draw, draw
from radiotrain.augment.intensity import change_intensities
from radiotrain.augment.spatial import grid_thetas, input_from_output, resample
from radiotrain.one_copy import copy_together

__all__ = ["Draw", "apply", "draw"]


def apply(images: Tensor, drawn: Draw, spacing_mm: Tensor) -> Tensor:
    """Change a batch.

    Each patient is changed on its own, so what becomes of it does not depend on the others.

    Parameters
    ----------
    images
        float32 (B, P, R, C, S), normalised: phases, rows, columns, slices; on any device.
    drawn
        For the same B patients.
    spacing_mm
        float32 (B, 3), mm per voxel along rows, columns, slices.

    Returns
    -------
    float32 (B, P, R, C, S), new memory. Outside the crop the nearest voxel is repeated.

    Raises
    ------
    InputError
        When the draw or the spacing is of another number of patients.
    """
    if not len(images) == len(drawn) == len(spacing_mm):
        raise InputError(
            f"{len(images)} patients' images, {len(drawn)} draws and {len(spacing_mm)} spacings,"
            " expected as many of each: take the draw's share and rows of these patients"
        )
    changed = torch.empty_like(images, memory_format=torch.contiguous_format)
    matrices, offsets = input_from_output(drawn, spacing_mm)
    # One copy for the batch: one for each patient would let the host wait for the device each time.
    (thetas,) = copy_together([grid_thetas(matrices, offsets, images.shape[2:])], images.device)
    for n, image in enumerate(changed):
        resample(images[n], matrices[n], offsets[n], image, thetas[n : n + 1])
        change_intensities(image, drawn.rows(n, n + 1))
    return changed
