"""What a store says of patients: covariates, labels, and how large the tumour is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.evaluation.baselines.size import measure_size
from radiotrain.evaluation.subgroups.facts import Facts
from radiotrain.evaluation.subgroups.variables import TEST_PART, TUMOUR_SIZE
from radiotrain.seal import TestAccess, check_sealed
from radiotrain.split import Split, named_parts

_READERS = 4


def facts_of_split(store: Store, split: Split, access: TestAccess) -> Facts:
    """Return what is known of a split's patients.

    Raises
    ------
    SealedTestSetError
        If the access is to another split's test set.
    """
    ids = (*split.development_ids, *split.test_ids)
    check_sealed(split, ids, access)
    facts, parts = facts_of_patients(store, ids), named_parts(split)
    if len(parts) < 2:
        return facts
    of_part = {i: {TEST_PART: f"part {n}"} for n, part in parts for i in part}
    return facts.beside(Facts(of_part, {}, facts.source))


def facts_of_store(store: Store, tested: Sequence[str]) -> Facts:
    """Return what a store knows of its patients, for a predictions table that is already there.

    No test set is opened by it: whoever has the table has the predictions. No image is read, only
    where the tumour is.

    Raises
    ------
    InputError
        If the store knows none of the tested patients.
    """
    if not set(store.patient_ids) & set(tested):
        raise InputError(
            f"store {store.url} holds none of the {len(tested)} test patients of the table (first:"
            f" {min(tested, default='none')!r}): give the store whose patients were predicted"
        )
    return facts_of_patients(store, store.patient_ids)


def facts_of_patients(store: Store, ids: Sequence[str]) -> Facts:
    """Return what a store knows of some patients; the caller has asked the seal."""
    rows = [store.index_of(patient_id) for patient_id in ids]
    with ThreadPoolExecutor(_READERS) as pool:
        sizes = list(pool.map(lambda row: measure_size(store, row)["longest_mm"], rows))
    covariates = {
        patient_id: {
            **store.records[row].covariates,
            TUMOUR_SIZE: None if math.isnan(size) else size,
        }
        for patient_id, row, size in zip(ids, rows, sizes, strict=True)
    }
    labels = {
        target: {i: int(store.labels[row, column]) for i, row in zip(ids, rows, strict=True)}
        for column, target in enumerate(store.targets)
    }
    return Facts(covariates, labels, f"store {store.url}")
