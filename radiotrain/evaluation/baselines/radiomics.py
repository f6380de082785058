"""Radiomic features of the tumour region: shape, first-order and texture, by IBSI's definitions.

Texture and first-order features are mirp's (an optional package), shape is ITK's. Three images are
measured: pre-contrast, first post-contrast, and the difference of the two.

Axis legend: R rows, C columns, S slices of a crop.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.store import REGION_PADDING, REGION_TUMOUR, Store

SETTINGS: Mapping[str, Any] = {
    "images": ("pre", "post", "difference"),
    "unit": "mean pre-contrast intensity of the crop",
    "voxel_mm": 1.0,
    "interpolation": "linear, nearest neighbour for the region",
    "discretisation": "32 bins, fixed number",
    "families": ("statistics", "glcm", "glrlm", "glszm", "gldzm", "ngtdm", "ngldm"),
    "shape": ("volume", "surface", "roundness", "elongation", "flatness", "axes"),
}
"""What decides the features; a cache of others is not read."""

_NUM_BINS = 32
_MARGIN = 3
# Fewer voxels of a cubic millimetre than this have no texture.
_LEAST_VOXELS = 27


def measure_radiomics(store: Store, index: int) -> dict[str, float]:
    """Return the radiomic features of one patient, empty where they are not defined.

    Parameters
    ----------
    index
        Of the patient in the store.

    Returns
    -------
    ``shape_*`` and, of each image, ``pre_*``, ``post_*``, ``difference_*`` under mirp's names. Values
    that are not finite are left out. Empty where the region is empty or the spacing is not known.
    """
    spacing = store.records[index].spacing_mm
    phases, _ = store.read_images(index)
    bits = store.read_region(index)
    padding = (bits & REGION_PADDING) != 0
    region = ((bits & REGION_TUMOUR) != 0) & ~padding
    if spacing is None or not region.any():
        return {}
    reference = float(phases[0][~padding].mean())
    if reference <= 0:
        return {}
    pre = phases[0].astype(np.float32) / reference
    images = {"pre": pre}
    if len(phases) > 1:
        post = phases[1].astype(np.float32) / reference
        images |= {"post": post, "difference": post - pre}
    return radiomic_features(images, region, spacing)


def radiomic_features(
    images: Mapping[str, NDArray[np.float32]],
    region: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
) -> dict[str, float]:
    """Return the features of a region.

    Parameters
    ----------
    images
        Name to float32 (R, C, S).
    region
        bool (R, C, S), with one voxel or more.
    spacing_mm
        Of voxels along rows, columns and slices.

    References
    ----------
    Zwanenburg et al., Radiology 295 (2020) 328-338: the Image Biomarker Standardisation Initiative.
    """
    found = {f"shape_{name}": value for name, value in _shape(region, spacing_mm).items()}
    cut = _around(region)
    cubes = _resampled(region[cut].astype(np.float32), spacing_mm, nearest=True) > 0.5
    if int(cubes.sum()) < _LEAST_VOXELS:
        return found
    for name, image in images.items():
        resampled = _resampled(image[cut], spacing_mm, nearest=False)
        if np.ptp(resampled[cubes]) > 0:
            found |= {f"{name}_{key}": value for key, value in _texture(resampled, cubes)}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def _around(region: NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the box around a region, with a margin for interpolation."""
    return tuple(
        slice(max(0, int(axis.min()) - _MARGIN), int(axis.max()) + _MARGIN + 1)
        for axis in np.nonzero(region)
    )


def _resampled(
    image: NDArray[np.float32], spacing_mm: tuple[float, float, float], *, nearest: bool
) -> NDArray[np.float32]:
    import SimpleITK as sitk

    whole = _to_itk(image, spacing_mm)
    size = [
        max(1, round(length * step / SETTINGS["voxel_mm"]))
        for length, step in zip(whole.GetSize(), whole.GetSpacing(), strict=True)
    ]
    resample = sitk.ResampleImageFilter()
    resample.SetSize(size)
    resample.SetOutputSpacing([SETTINGS["voxel_mm"]] * 3)
    resample.SetInterpolator(sitk.sitkNearestNeighbor if nearest else sitk.sitkLinear)
    resample.SetOutputPixelType(sitk.sitkFloat32)
    found: NDArray[np.float32] = sitk.GetArrayFromImage(resample.Execute(whole))
    return found


def _to_itk(image: NDArray[Any], spacing_mm: tuple[float, float, float]) -> Any:
    """Return an ITK image whose array has the same axes; ITK counts them from the last."""
    import SimpleITK as sitk

    whole = sitk.GetImageFromArray(image)
    whole.SetSpacing(tuple(float(step) for step in spacing_mm[::-1]))
    return whole


def _shape(region: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> dict[str, float]:
    """Return volume (mm³), surface (mm², counted by intercepts), ratios without unit, and principal axes (mm)."""
    import SimpleITK as sitk

    shape = sitk.LabelShapeStatisticsImageFilter()
    shape.Execute(_to_itk(region.astype(np.uint8), spacing_mm))
    axes = (4 * math.sqrt(max(0.0, moment)) for moment in shape.GetPrincipalMoments(1))
    return {
        "log_volume": math.log(shape.GetPhysicalSize(1)),
        "surface": shape.GetPerimeter(1),
        "roundness": shape.GetRoundness(1),
        "elongation": shape.GetElongation(1),
        "flatness": shape.GetFlatness(1),
        **dict(zip(("least_axis", "minor_axis", "major_axis"), axes, strict=True)),
    }


def _texture(image: NDArray[np.float32], region: NDArray[np.bool_]) -> Iterator[tuple[str, float]]:
    """Yield mirp's features of a volume of cubic voxels of 1 mm."""
    from mirp import extract_features

    with warnings.catch_warnings():
        # Of features that are not defined for a region; they come as NaN, and are left out.
        warnings.simplefilter("ignore")
        found = extract_features(
            image=image,
            mask=region,
            base_feature_families=list(SETTINGS["families"]),
            base_discretisation_method="fixed_bin_number",
            base_discretisation_n_bins=_NUM_BINS,
        )
    first = list(found[0].columns).index("image_mask_adapt_size") + 1
    for name, value in found[0].iloc[0, first:].items():
        yield str(name), float(value)
