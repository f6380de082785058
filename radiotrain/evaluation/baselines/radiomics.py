"""IBSI radiomic features of the tumour region, cached.

Texture and first-order features are mirp's (an optional package), shape is ITK's. Three images are
measured: pre-contrast, first post-contrast, and the difference of the two.

They are kept in a Parquet file beside the store, a row a patient. Features say nothing of labels,
but those of test patients are measured with access to the test set only.

Axis legend: R rows, C columns, S slices of a crop.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preprocessing.common.errors import DamagedFileError, InputError
from preprocessing.processes import machine
from preprocessing.storage import files
from preprocessing.store import REGION_PADDING, REGION_TUMOUR, Store
from radiotrain.evaluation.baselines.features import Features
from radiotrain.runs.checked_files import check_parquet, from_parquet, to_parquet
from radiotrain.split.split import Split
from radiotrain.split.test_set_access import TestAccess, check_sealed

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


_KEY = "voxels"
_FEWEST_FOR_PROCESSES = 4
_OPENED: list[Store] = []


def check_installed() -> None:
    """Refuse where the package that measures is missing.

    Raises
    ------
    InputError
        If mirp cannot be imported.
    """
    if importlib.util.find_spec("mirp") is None:
        raise InputError(
            "--radiomics needs the package mirp, which is not installed: run"
            " pip install 'radiotrain[radiomics]'"
        )


def cache_url(store: Store) -> str:
    """Return where a store's features are kept."""
    return f"{store.url.rstrip('/')}.radiomics.parquet"


def read_radiomics(
    store: Store,
    split: Split,
    patient_ids: Sequence[str],
    access: TestAccess | None,
    on_patient: Callable[[], object] = lambda: None,
) -> Features:
    """Return radiomic features of patients, NaN where one is not defined.

    Parameters
    ----------
    access
        From `radiotrain.split.test_set_access.open_test_set`; needed where a patient is in the test set.
    on_patient
        Called after each patient.

    Raises
    ------
    SealedTestSetError
        If a test patient is asked for without access.
    """
    check_sealed(split, patient_ids, access)
    cache = _Cache.read(store)
    keys = {patient_id: _voxels(store, patient_id) for patient_id in patient_ids}
    missing = [i for i in patient_ids if keys[i] not in cache.rows]
    for _ in range(len(patient_ids) - len(missing)):
        on_patient()
    for patient_id, row in zip(missing, _measured(store, missing), strict=True):
        cache.rows[keys[patient_id]] = row
        on_patient()
    if missing:
        # A place that cannot be written to costs time only.
        with suppress(OSError, InputError):
            cache.write()
    rows = [cache.rows[keys[patient_id]] for patient_id in patient_ids]
    names = tuple(sorted({name for row in rows for name in row}))
    values = np.array([[row.get(name, np.nan) for name in names] for row in rows])
    return Features(tuple(patient_ids), names, values.reshape(len(rows), len(names)))


@dataclass(frozen=True)
class _Cache:
    """What was measured so far, by the digest of the patient's voxels."""

    url: str
    about: Mapping[str, str]
    rows: dict[str, Mapping[str, float]]

    @classmethod
    def read(cls, store: Store) -> _Cache:
        url = cache_url(store)
        about = {"settings": json.dumps(SETTINGS), "mirp": _version()}
        empty = cls(url, about, {})
        with suppress(FileNotFoundError, DamagedFileError):
            content = files.read_bytes(url)
            check_parquet(content, url, "it is measured again")
            table, found = from_parquet(content)
            if found == about:
                # Without what is not finite, as it was measured.
                rows = table.set_index(_KEY).T.to_dict()
                finite: dict[str, Mapping[str, float]] = {
                    str(key): {
                        str(name): value for name, value in row.items() if math.isfinite(value)
                    }
                    for key, row in rows.items()
                }
                return cls(url, about, finite)
        return empty

    def write(self) -> None:
        table = pd.DataFrame.from_dict(dict(self.rows), orient="index").rename_axis(_KEY)
        files.write_bytes(self.url, to_parquet(table.reset_index(), self.about))


def _version() -> str:
    from importlib.metadata import version

    return version("mirp")


def _voxels(store: Store, patient_id: str) -> str:
    record = store.records[store.index_of(patient_id)]
    known = (dict(record.checksums), record.spacing_mm, patient_id)
    return json.dumps(known, sort_keys=True)


def _measured(store: Store, patient_ids: Sequence[str]) -> Iterable[Mapping[str, float]]:
    """Yield the features of patients; in processes of their own, since mirp is Python."""
    indices = [store.index_of(patient_id) for patient_id in patient_ids]
    num = min(machine.num_cpus(), len(indices) // _FEWEST_FOR_PROCESSES)
    # mirp logs each image to standard output: a process of its own keeps that apart.
    with ProcessPoolExecutor(
        max(1, num), get_context("spawn"), initializer=_open, initargs=(store.url,)
    ) as pool:
        yield from pool.map(_measure, indices)


def _open(url: str) -> None:
    logging.disable(logging.INFO)
    _OPENED.append(Store.open(url))


def _measure(index: int) -> Mapping[str, float]:
    return measure_radiomics(_OPENED[0], index)
