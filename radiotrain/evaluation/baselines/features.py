"""Feature table: size and kinetics of the tumour region.

Axis legend: N patients, K features, R rows, C columns, S slices of a crop, P phases (0 is
pre-contrast), V voxels of the region.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.store import REGION_PADDING, REGION_TUMOUR, PatientRecord, Store
from radiotrain.split.split import Split
from radiotrain.split.test_set_access import TestAccess, check_sealed

_READERS = 4


@dataclass(frozen=True)
class Features:
    """Numbers of some patients.

    Parameters
    ----------
    names
        What the K columns are.
    values
        float64 (N, K); NaN where a value is missing.
    """

    patient_ids: tuple[str, ...]
    names: tuple[str, ...]
    values: NDArray[np.float64]

    def of(self, patient_ids: Sequence[str]) -> NDArray[np.float64]:
        """Return float64 (len(patient_ids), K) of some of the patients, in their order."""
        rows = {patient_id: i for i, patient_id in enumerate(self.patient_ids)}
        return self.values[[rows[patient_id] for patient_id in patient_ids]]

    def under(self, names: Sequence[str]) -> Features:
        """Return the columns of these names; NaN in those that it has not."""
        at = {name: k for k, name in enumerate(self.names)}
        values = np.full((len(self.patient_ids), len(names)), np.nan)
        for k, name in enumerate(names):
            if name in at:
                values[:, k] = self.values[:, at[name]]
        return Features(self.patient_ids, tuple(names), values)

    def beside(self, other: Features) -> Features:
        """Return the columns of both, of the same patients."""
        values = np.hstack([self.values, other.of(self.patient_ids)])
        return Features(self.patient_ids, (*self.names, *other.names), values)


def from_rows(patient_ids: Sequence[str], rows: Sequence[Mapping[str, float]]) -> Features:
    """Make a table of one mapping a patient, all with the same keys."""
    names = tuple(rows[0]) if rows else ()
    values = np.array([[row[name] for name in names] for row in rows], dtype=np.float64)
    return Features(tuple(patient_ids), names, values.reshape(len(rows), len(names)))


def read_records(
    store: Store, split: Split, patient_ids: Sequence[str], access: TestAccess | None
) -> list[PatientRecord]:
    """Return what the store says of patients, without their voxels.

    Raises
    ------
    SealedTestSetError
        If a test patient is asked for without access.
    """
    check_sealed(split, patient_ids, access)
    return [store.records[store.index_of(patient_id)] for patient_id in patient_ids]


def read_features(
    measure: Callable[[Store, int], Mapping[str, float]],
    store: Store,
    split: Split,
    patient_ids: Sequence[str],
    access: TestAccess | None,
) -> Features:
    """Measure patients' voxels.

    Parameters
    ----------
    measure
        From the store and a patient's index to named numbers.
    access
        From `radiotrain.split.test_set_access.open_test_set`; needed where a patient is in the test set.

    Raises
    ------
    SealedTestSetError
        If a test patient is asked for without access.
    """
    check_sealed(split, patient_ids, access)
    indices = [store.index_of(patient_id) for patient_id in patient_ids]
    with ThreadPoolExecutor(_READERS) as pool:
        rows = list(pool.map(lambda index: measure(store, index), indices))
    return from_rows(patient_ids, rows)


def is_varied(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return bool (K,): which columns of (N, K) have two or more values."""
    return np.array([len(np.unique(v[~np.isnan(v)])) > 1 for v in values.T], dtype=bool)


_NAMES = ("extent_rows_mm", "extent_columns_mm", "extent_slices_mm", "longest_mm", "log_volume")


def measure_size(store: Store, index: int) -> Mapping[str, float]:
    """Return a patient's `size_features`; NaN where the region is empty or the spacing unknown.

    A box that reaches beyond the crop counts with its full extents.
    """
    record = store.records[index]
    region = (store.read_region(index) & REGION_TUMOUR) != 0
    if record.spacing_mm is None or not region.any():
        return dict.fromkeys(_NAMES, math.nan)
    extents = None
    if record.box_in_crop is not None:
        start, stop = record.box_in_crop
        extents = np.subtract(stop, start).astype(np.float64)
    return size_features(region, record.spacing_mm, extents)


def size_features(
    region: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    extents: NDArray[np.float64] | None = None,
) -> Mapping[str, float]:
    """Return a tumour's extents and volume.

    Parameters
    ----------
    region
        bool (R, C, S), with one voxel or more.
    extents
        (3,) voxels along rows, columns and slices; those of `region` by default.

    Returns
    -------
    ``extent_rows_mm``, ``extent_columns_mm``, ``extent_slices_mm``, the longest of them, and the
    natural logarithm of the volume in mm³ (volumes spread over orders of magnitude).
    """
    if extents is None:
        extents = np.array([np.ptp(axis) + 1 for axis in np.nonzero(region)], dtype=np.float64)
    rows, columns, slices = (float(v) for v in extents * np.asarray(spacing_mm))
    volume_mm3 = float(region.sum()) * math.prod(spacing_mm)
    longest = max(rows, columns, slices)
    values = (rows, columns, slices, longest, math.log(volume_mm3))
    return dict(zip(_NAMES, values, strict=True))


_PERCENTILES = (10, 50, 90)
# A voxel darker than this share of the tissue's mean counts as that bright: where there is almost
# no signal, a relative enhancement would be noise divided by noise.
_DARKEST = 0.1
# Of a rise or fall that counts: the curve types of BI-RADS (Kuhl 1999) take 10 % for the late
# phase and 50 % for the early one.
_LATE_CHANGE = 0.1
_EARLY_RISE = 0.5
# The hottest voxels stand for the tumour where the region is a box with fat in it.
_HOT_PERCENTILE = 90


def measure_kinetics(store: Store, index: int) -> Mapping[str, float]:
    """Return a patient's `kinetics_features`."""
    phases, _ = store.read_images(index)
    bits = store.read_region(index)
    return kinetics_features(phases, (bits & REGION_TUMOUR) != 0, (bits & REGION_PADDING) != 0)


def kinetics_features(
    phases: NDArray[np.int16], region: NDArray[np.bool_], padding: NDArray[np.bool_]
) -> Mapping[str, float]:
    """Return first-order features of the tumour region.

    All intensities are in units of the crop's mean pre-contrast intensity, so that gain and
    scale cancel.

    Parameters
    ----------
    phases
        int16 (P, R, C, S), pre-contrast first.
    region, padding
        bool (R, C, S); padding counts nowhere.

    Returns
    -------
    ``pre_*``; for each later phase p ``rise_p_*``, the relative enhancement (S_p − S_0) / S_0;
    with two later phases or more ``late_*``, the change (S_last − S_1) / S_1, and shares of voxels
    by curve type. Always the same names for a number of phases; NaN where the region is empty.

    References
    ----------
    Kuhl et al., Radiology 211 (1999) 101-110: curve types.
    """
    inside = region & ~padding
    reference = float(phases[0][~padding].mean()) if not padding.all() else 0.0
    num_posts = len(phases) - 1
    if not inside.any() or reference <= 0:
        return dict.fromkeys(_names(num_posts), math.nan)
    voxels = phases[:, inside].astype(np.float64) / reference
    found = _spread("pre", voxels[0])
    floored = np.maximum(voxels, _DARKEST)
    rises = floored[1:] / floored[0] - 1
    for p, rise in enumerate(rises, start=1):
        found |= _spread(f"rise_{p}", rise)
        found[f"rise_{p}_of_means"] = voxels[p].mean() / max(voxels[0].mean(), _DARKEST) - 1
    if num_posts:
        found |= _early(rises[0])
    if num_posts > 1:
        found |= _late(rises[0], floored[-1] / floored[1] - 1)
    return {name: float(found[name]) for name in _names(num_posts)}


def _names(num_posts: int) -> tuple[str, ...]:
    names = list(_spread_names("pre"))
    for p in range(1, num_posts + 1):
        names += [*_spread_names(f"rise_{p}"), f"rise_{p}_of_means"]
    if num_posts:
        names += ["share_rising_fast", "rise_heterogeneity"]
    if num_posts > 1:
        names += [*_spread_names("late"), "late_hot", "share_washing_out", "share_persistent"]
    return tuple(names)


def _spread_names(name: str) -> tuple[str, ...]:
    return (f"{name}_mean", f"{name}_sd", *(f"{name}_p{q}" for q in _PERCENTILES))


def _spread(name: str, values: NDArray[np.float64]) -> dict[str, float]:
    """Return mean, standard deviation and percentiles of (V,)."""
    numbers = (values.mean(), values.std(), *np.percentile(values, _PERCENTILES))
    return dict(zip(_spread_names(name), map(float, numbers), strict=True))


def _early(rise: NDArray[np.float64]) -> dict[str, float]:
    """Return what the first post-contrast phase says; the heterogeneity is SD / (1 + mean)."""
    return {
        "share_rising_fast": float(np.mean(rise > _EARLY_RISE)),
        "rise_heterogeneity": float(rise.std() / max(1 + rise.mean(), _DARKEST)),
    }


def _late(rise: NDArray[np.float64], late: NDArray[np.float64]) -> dict[str, float]:
    """Return what follows the first post-contrast phase.

    Parameters
    ----------
    rise
        (V,), of the first post-contrast phase.
    late
        (V,), change from then to the last phase.
    """
    hot = rise >= np.percentile(rise, _HOT_PERCENTILE)
    return {
        **_spread("late", late),
        "late_hot": float(late[hot].mean()),
        "share_washing_out": float(np.mean(late < -_LATE_CHANGE)),
        "share_persistent": float(np.mean(late > _LATE_CHANGE)),
    }
