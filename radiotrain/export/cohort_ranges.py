"""The training patients in numbers, none of whom can be told from them.

Axis legend: N patients, P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.store import REGION_PADDING, REGION_TUMOUR, PatientRecord, Store
from radiotrain.data.patients import target_columns
from radiotrain.data.shared import READERS
from radiotrain.evaluation.baselines.covariates import (
    FEWEST_OF_A_CATEGORY,
    as_number,
    as_text,
    kind_of,
)
from radiotrain.export.description import OTHER, Cohort, Images, LabelCounts, Range
from radiotrain.inputs import measure_images

_QUANTILES = (0.01, 0.5, 0.99)


class VoxelMeasures:
    """What patients' voxels are like: each is read once, however many models are described."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], dict[str, float]] = {}

    def of(self, store: Store, index: int) -> dict[str, float]:
        """Return what `measure_voxels` says of a patient."""
        key = store.fingerprint, index
        if key not in self._known:
            images, scale = store.read_images(index)
            self._known[key] = measure_voxels(images, store.read_region(index), scale)
        return self._known[key]


def describe_cohort(
    store: Store,
    patient_ids: Sequence[str],
    targets: Sequence[str],
    covariates: Sequence[str],
    measures: VoxelMeasures,
    advance: Callable[[], None],
) -> Cohort:
    """Describe the training patients; reads the voxels of those that were not measured before.

    Parameters
    ----------
    patient_ids
        Training patients, none of the test.
    covariates
        That the network reads, beside those of the acquisition.
    advance
        Called once for each patient.
    """
    indices = [store.index_of(patient_id) for patient_id in patient_ids]
    records = [store.records[i] for i in indices]
    names = sorted({name for record in records for name in record.covariates})
    told = [name for name in names if kind_of(name) == "acquisition" or name in covariates]
    numbers, categories = describe_covariates(records, told)
    return Cohort(
        num_patients=len(records),
        labels=_labels(store, indices, targets),
        spacing_mm=_spacing(records),
        phase_times_s=_phase_times(records, store.spec.num_phases),
        voxels=_voxels(store, indices, measures, advance),
        images=_images(store, indices),
        numbers=numbers,
        categories=categories,
    )


def common_phase_names(records: Sequence[PatientRecord]) -> tuple[str, ...]:
    """Return the phase names that most patients have, if enough of them have the same."""
    counts = Counter(record.phase_names for record in records if record.phase_names)
    names, num = counts.most_common(1)[0] if counts else ((), 0)
    return names if num >= FEWEST_OF_A_CATEGORY else ()


def describe_covariates(
    records: Sequence[PatientRecord], names: Sequence[str]
) -> tuple[dict[str, Range], dict[str, dict[str, int]]]:
    """Return the ranges of covariates that are numbers, and the counts of the others' values."""
    numbers: dict[str, Range] = {}
    categories: dict[str, dict[str, int]] = {}
    for name in names:
        texts = [t for r in records if (t := as_text(r.covariates.get(name))) is not None]
        values = [as_number(text) for text in texts]
        if texts and not any(math.isnan(value) for value in values):
            _put(numbers, name, values)
        else:
            categories[name] = _counts(texts)
    return numbers, categories


def measure_range(values: Sequence[float]) -> Range | None:
    """Return where most of some patients' values lie; None where they are too few to tell."""
    known = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    if len(known) < FEWEST_OF_A_CATEGORY:
        return None
    low, median, high = (float(q) for q in np.quantile(known, _QUANTILES))
    return Range(num_patients=len(known), low=low, median=median, high=high)


def measure_voxels(
    images: NDArray[np.int16], region: NDArray[np.uint8], scale: float
) -> dict[str, float]:
    """Return what one patient's stored intensities are like.

    Parameters
    ----------
    images
        int16 (P, R, C, S).
    region
        uint8 (R, C, S).
    scale
        Intensity of one step.

    Returns
    -------
    ``pre_contrast_mean`` and ``pre_contrast_sd`` (in the store's unit), ``padding_share``, and for each
    later phase ``phase_K_over_pre`` and ``phase_K_over_pre_in_tumour``: how much brighter than the
    pre-contrast it is, in deviations of that. NaN where there are no such voxels.
    """
    padding = (region & REGION_PADDING) != 0
    inside = ~padding
    tumour = inside & ((region & REGION_TUMOUR) != 0)
    pre = images[0].astype(np.float64)
    mean, deviation = _mean(pre, inside), math.nan
    if inside.any():
        deviation = float(pre[inside].std())
    found = {
        "pre_contrast_mean": mean * scale,
        "pre_contrast_sd": deviation * scale,
        "padding_share": float(padding.mean()),
    }
    for k in range(1, len(images)):
        gain = (images[k] - pre) / deviation if deviation > 0 else np.full(pre.shape, np.nan)
        found[f"phase_{k}_over_pre"] = _mean(gain, inside)
        found[f"phase_{k}_over_pre_in_tumour"] = _mean(gain, tumour)
    return found


def _mean(values: NDArray[np.float64], where: NDArray[np.bool_]) -> float:
    return float(values[where].mean()) if where.any() else math.nan


def _voxels(
    store: Store, indices: Sequence[int], measures: VoxelMeasures, advance: Callable[[], None]
) -> dict[str, Range]:
    def measure(index: int) -> dict[str, float]:
        found = measures.of(store, index)
        advance()
        return found

    with ThreadPoolExecutor(READERS) as pool:
        rows = list(pool.map(measure, indices))
    ranges: dict[str, Range] = {}
    for name in rows[0] if rows else ():
        _put(ranges, name, [row[name] for row in rows])
    return ranges


def _images(store: Store, indices: Sequence[int]) -> Images:
    numbers, properties = measure_images(store, indices)
    ranges: dict[str, Range] = {}
    for name in sorted({name for values in numbers for name in values}):
        _put(ranges, name, [values[name] for values in numbers if name in values])
    return Images(
        numbers=ranges,
        properties={
            name: _counts([values[name] for values in properties if name in values])
            for name in sorted({name for values in properties for name in values})
        },
    )


def _labels(store: Store, indices: Sequence[int], targets: Sequence[str]) -> dict[str, LabelCounts]:
    counts = {}
    for target, column in zip(targets, target_columns(store, targets), strict=True):
        found = Counter(store.labels[list(indices), column].tolist())
        counts[target] = LabelCounts(
            positive=found[1], negative=found[0], missing=found[MISSING_LABEL]
        )
    return counts


def _spacing(records: Sequence[PatientRecord]) -> dict[str, Range]:
    known = [record.spacing_mm for record in records if record.spacing_mm is not None]
    ranges: dict[str, Range] = {}
    for axis, name in enumerate(("row", "column", "slice")):
        _put(ranges, name, [spacing[axis] for spacing in known])
    return ranges


def _phase_times(records: Sequence[PatientRecord], num_phases: int) -> tuple[Range | None, ...]:
    return tuple(
        measure_range([t for r in records if (t := _time(r, k)) is not None])
        for k in range(num_phases)
    )


def _time(record: PatientRecord, phase: int) -> float | None:
    return record.phase_times_s[phase] if phase < len(record.phase_times_s) else None


def _put(ranges: dict[str, Range], name: str, values: Sequence[float]) -> None:
    found = measure_range(values)
    if found is not None:
        ranges[name] = found


def _counts(texts: Sequence[str]) -> dict[str, int]:
    counts: Mapping[str, int] = Counter(texts)
    shared = {t: num for t, num in sorted(counts.items()) if num >= FEWEST_OF_A_CATEGORY}
    rest = len(texts) - sum(shared.values())
    # The number of the rest would tell it where it is small.
    return shared | ({OTHER: rest} if rest >= FEWEST_OF_A_CATEGORY else {})
