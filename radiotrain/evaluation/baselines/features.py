"""A table of features: one row a patient, one named column a number.

Axis legend: N patients, K features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.store import PatientRecord, Store
from radiotrain.seal import TestAccess, check_sealed
from radiotrain.split import Split

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
        From `radiotrain.seal.open_test_set`; needed where a patient is in the test set.

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
