"""Acquisition parameters and background intensities of patients.

Axis legend: N patients, K numbers, R rows, C columns, S slices.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.store import REGION_PADDING, REGION_TUMOUR, PatientRecord, Store
from radiotrain.data.storage import normalisation
from radiotrain.evaluation.baselines.covariates import (
    Column,
    as_number,
    as_text,
    choose_columns,
    make_column,
)

# What counts as the scanner, the first of these that differs between patients.
_SCANNER_NAMES = (
    "manufacturer",
    "vendor",
    "scanner",
    "model",
    "field_strength_t",
    "field_t",
    "site",
)
_MARGIN_MM = 10.0
_PERCENTILES = (1, 10, 25, 50, 75, 90, 99)


@dataclass(frozen=True)
class Variable:
    """One thing about the acquisition, as numbers, and as a question with yes and no.

    Parameters
    ----------
    values
        float64 (N, K), NaN for missing.
    question
        E.g. ``SIEMENS or not``.
    answers
        int64 (N,) of 0, 1 or -1 (missing).
    """

    name: str
    values: NDArray[np.float64]
    question: str
    answers: NDArray[np.int64]


def acquisition_variables(records: Sequence[PatientRecord]) -> tuple[Variable, ...]:
    """Return the acquisition variables of patients that differ between them.

    Those are the covariates that `baselines.covariates.ACQUISITION_PATTERNS` names, the spacing of
    the crop's voxels, orientation and matrix of the images before they were cropped and turned the
    same way (stores of older versions do not say), and the time from the pre-contrast phase to the
    first one after it.
    """
    columns = choose_columns(records, "acquisition")
    found = [
        _from_column(column, [record.covariates.get(column.name) for record in records])
        for column in columns
    ]
    codes = [record.details.get("orientation") for record in records]
    orientation = make_column("image orientation", codes)
    if orientation is not None:
        found.append(_from_column(orientation, codes))
    shapes = [record.details.get("own_shape") for record in records]
    matrix = np.array([shape[:2] if shape else (math.nan,) * 2 for shape in shapes])
    found.append(
        _from_numbers("image matrix", matrix.reshape(-1, 2), matrix.prod(axis=1), "voxels")
    )
    spacing = np.array([r.spacing_mm or (math.nan,) * 3 for r in records], dtype=np.float64)
    found.append(_from_numbers("voxel size", spacing.reshape(-1, 3), spacing.prod(axis=1), "mm³"))
    times = np.array([_first_time(record) for record in records])
    found.append(_from_numbers("time to first phase", times[:, None], times, "s"))
    return tuple(variable for variable in found if variable is not None)


def scanner_name(records: Sequence[PatientRecord]) -> str | None:
    """Return the covariate that tells scanners apart, None where none does."""
    for name in _SCANNER_NAMES:
        values = {as_text(record.covariates.get(name)) for record in records} - {None}
        if len(values) > 1:
            return name
    return None


def scanner_of(record: PatientRecord, name: str) -> str:
    """Return what groups a patient: the covariate's text, or ``not known``."""
    return as_text(record.covariates.get(name)) or "not known"


def measure_background(store: Store, index: int) -> Mapping[str, float]:
    """Return a patient's `background_features`."""
    phases, scale = store.read_images(index)
    bits = store.read_region(index)
    spacing = store.records[index].spacing_mm or (1.0, 1.0, 1.0)
    tumour, padding = (bits & REGION_TUMOUR) != 0, (bits & REGION_PADDING) != 0
    return background_features(phases[0], tumour, padding, spacing, scale)


def background_features(
    pre_contrast: NDArray[np.int16],
    tumour: NDArray[np.bool_],
    padding: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    scale: float,
) -> Mapping[str, float]:
    """Return first-order features of the crop without the tumour and 10 mm around its box.

    Intensities are normalised as new runs' networks are given them. Only the pre-contrast phase counts:
    how the parenchyma enhances is biology, and known to go with receptors.

    Parameters
    ----------
    pre_contrast
        int16 (R, C, S).
    tumour, padding
        bool (R, C, S).

    Returns
    -------
    Percentiles, standard deviation, mean absolute difference of neighbours along each axis (noise
    and interpolation), and the share of padding. NaN where no background is left.
    """
    outside = ~padding
    if tumour.any():
        outside = outside.copy()
        outside[_grown(tumour, spacing_mm)] = False
    names = [f"background_p{q}" for q in _PERCENTILES]
    names += ["background_sd", "rough_rows", "rough_columns", "rough_slices"]
    found = dict.fromkeys(names, math.nan) | {"padding_share": float(padding.mean())}
    if not outside.any():
        return found
    gain, offset = normalisation(pre_contrast, padding, scale, "robust")
    image = pre_contrast.astype(np.float64) * gain + offset
    inside = image[outside]
    numbers = [*np.percentile(inside, _PERCENTILES), inside.std()]
    numbers += [_roughness(image, outside, axis) for axis in range(3)]
    return found | {name: float(v) for name, v in zip(names, numbers, strict=True)}


def _from_column(column: Column, raw: Sequence[str | float | None]) -> Variable | None:
    values = np.array([column.encode(value) for value in raw], dtype=np.float64)
    if not column.categories:
        numbers = np.array([as_number(value) for value in raw])
        return _from_numbers(column.name, values, numbers, "")
    texts = [as_text(value) for value in raw]
    common, _ = Counter(t for t in texts if t is not None).most_common(1)[0]
    answers = [MISSING_LABEL if text is None else int(text == common) for text in texts]
    return Variable(column.name, values, f"{common} or not", np.array(answers, dtype=np.int64))


def _from_numbers(
    name: str, values: NDArray[np.float64], numbers: NDArray[np.float64], unit: str
) -> Variable | None:
    known = numbers[~np.isnan(numbers)]
    different = np.unique(np.round(known, 3))
    if len(different) < 2:
        return None
    # The cut that divides patients most evenly; of two values, between them.
    middles = (different[1:] + different[:-1]) / 2
    cut = float(middles[np.argmin([abs(np.mean(known > m) - 0.5) for m in middles])])
    answers = np.where(np.isnan(numbers), MISSING_LABEL, numbers > cut).astype(np.int64)
    return Variable(name, values, f"above {cut:.3g} {unit}".strip() + " or not", answers)


def _first_time(record: PatientRecord) -> float:
    times = record.phase_times_s
    return math.nan if len(times) < 2 or times[1] is None else float(times[1])


def _grown(
    tumour: NDArray[np.bool_], spacing_mm: tuple[float, float, float]
) -> tuple[slice, slice, slice]:
    """Return the tumour's bounding box, grown by the margin."""
    parts = []
    for axis, mm in zip(np.nonzero(tumour), spacing_mm, strict=True):
        margin = math.ceil(_MARGIN_MM / mm)
        parts.append(slice(max(0, int(axis.min()) - margin), int(axis.max()) + 1 + margin))
    return parts[0], parts[1], parts[2]


def _roughness(image: NDArray[np.float64], outside: NDArray[np.bool_], axis: int) -> float:
    both = np.logical_and(
        np.take(outside, range(1, outside.shape[axis]), axis),
        np.take(outside, range(outside.shape[axis] - 1), axis),
    )
    return float(np.abs(np.diff(image, axis=axis)[both]).mean()) if both.any() else math.nan
