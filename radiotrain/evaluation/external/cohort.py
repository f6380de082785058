"""The store of another cohort, as models of fewer phases read it.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import InputError
from preprocessing.store import PatientRecord, Store
from radiotrain.split import Split
from radiotrain.split_patients import SplitPatients

_DIGITS = 12
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class StoreOfPhases(Store):
    """A store of which some phases are read.

    Parameters
    ----------
    phases
        Their numbers in the store, from 0.
    """

    phases: tuple[int, ...] = ()

    def read_images(self, i: int) -> tuple[NDArray[np.int16], float]:
        """Return patient i's voxels of these phases as int16 (P, R, C, S) and their scale."""
        voxels, scale = super().read_images(i)
        return voxels[list(self.phases)], scale


@dataclass(frozen=True)
class Cohort:
    """A cohort that no model was trained on.

    Parameters
    ----------
    sealed
        All its patients as the test patients of a split without folds, so that the same seal keeps them.
    """

    store: Store
    sealed: Split

    @property
    def patient_ids(self) -> tuple[str, ...]:
        """Usable patients."""
        return self.sealed.test_ids

    @property
    def fingerprint(self) -> str:
        """Short digest of which patients these are and of their labels, however they were preprocessed.

        Ids alone would take two hospitals that count their patients from 1 for one cohort.
        """
        labels = dict(zip(self.store.patient_ids, self.store.labels.tolist(), strict=True))
        known = [self.store.targets, [[i, labels[i]] for i in sorted(self.patient_ids)]]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:_DIGITS]

    @property
    def name(self) -> str:
        """Name of its store, without the place."""
        return last_part(self.store.url)


def last_part(url: str) -> str:
    """Return the name of a store, without the place: reports are passed on."""
    return url.rstrip("/").rsplit("/", 1)[-1]


def open_cohort(url: str) -> Cohort:
    """Open the finished store of a cohort.

    Raises
    ------
    MissingPathError, SchemaError, DamagedFileError
        See `Store.open`.
    InputError
        If it is not finished, or has no usable patient.
    """
    store = Store.open(url)
    if not store.patient_ids:
        raise InputError(
            f"store {store.url} has no usable patient ({len(store.excluded)} were excluded): see"
            f" 'radiotrain qc {store.url}'"
        )
    sealed = Split(
        seed=0,
        targets=store.targets,
        test_fraction=1.0,
        test_ids=tuple(sorted(store.patient_ids)),
        folds=(),
        patients=SplitPatients.of(store, store.patient_ids),
    )
    return Cohort(store, sealed)


def parse_phases(text: str) -> tuple[int, ...]:
    """Return numbers of phases from ``0,1,3``.

    Raises
    ------
    InputError
        If they are not numbers that rise from 0.
    """
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or found[0] != 0 or any(b <= a for a, b in pairwise(found)):
        raise InputError(
            f"--phases is {text!r}, expected the cohort's phases that the networks shall read, in the order"
            " of time from the pre-contrast, 0, on, e.g. 0,1,3"
        )
    return found


def with_phases(cohort: Cohort, phases: Sequence[int]) -> Cohort:
    """Return a cohort of which these phases are read.

    Raises
    ------
    InputError
        If it has not all of them.
    """
    store, num = cohort.store, cohort.store.spec.num_phases
    if max(phases) >= num:
        raise InputError(
            f"--phases names phase {max(phases)}, but store {store.url} has {num} phases, 0 to {num - 1}:"
            " name some of these"
        )
    values = {f.name: getattr(store, f.name) for f in fields(Store)}
    values["spec"] = replace(store.spec, num_phases=len(phases))
    values["records"] = tuple(_record_of(record, phases) for record in store.records)
    return replace(cohort, store=StoreOfPhases(**values, phases=tuple(phases)))


def _record_of(record: PatientRecord, phases: Sequence[int]) -> PatientRecord:
    return replace(
        record,
        phase_names=_chosen(record.phase_names, phases),
        phase_times_s=_chosen(record.phase_times_s, phases),
    )


def _chosen(values: tuple[_Value, ...], phases: Sequence[int]) -> tuple[_Value, ...]:
    return tuple(values[p] for p in phases) if len(values) > max(phases) else ()
