"""Folds of one scanner each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import InputError, nearest_hint
from preprocessing.store import PatientRecord, Store
from radiotrain.evaluation.baselines.features import read_records
from radiotrain.evaluation.shortcuts.acquisition import scanner_name, scanner_of
from radiotrain.split.balance import BALANCED
from radiotrain.split.extend import add_patients, deal_new
from radiotrain.split.split import Split, class_warnings
from radiotrain.statistics.stratified_auc import FEWEST_OF_A_CLASS

SCANNER = "scanner"
"""Stands for the covariate that the shortcut gate takes for the scanner."""


def with_folds_by(split: Split, store: Store, name: str) -> Split:
    """Return a split with the same test patients whose folds are the values of a covariate.

    A value stands alone where some target has `FEWEST_OF_A_CLASS` positive and negative patients of it,
    as no AUC is given with fewer; the others share the last fold. Test patients' values are not read.

    Parameters
    ----------
    name
        A covariate of the store, or `SCANNER`.

    Raises
    ------
    InputError
        If there is no such covariate, or not two values with enough patients.
    """
    ids = split.development_ids
    records = read_records(store, split, ids, None)
    chosen = _covariate(records, name, store.url)
    values = np.array([scanner_of(record, chosen) for record in records])
    rows = np.array([store.index_of(patient_id) for patient_id in ids])
    labels = store.labels[:, [store.targets.index(t) for t in split.targets]]
    groups = dict(_groups(values, labels[rows]))
    if sum(_has_an_auc(labels[rows[chosen_rows]]) for chosen_rows in groups.values()) < 2:
        counts = ", ".join(f"{v} {np.sum(values == v)}" for v in sorted(set(values)))
        raise InputError(
            f"covariate {chosen} has {counts} development patients, expected two values or more with"
            f" {FEWEST_OF_A_CLASS} positive and {FEWEST_OF_A_CLASS} negative patients of a target: name"
            " another covariate"
        )
    folds = [rows[chosen_rows] for chosen_rows in groups.values()]
    test = np.array([store.index_of(patient_id) for patient_id in split.test_ids])
    return replace(
        split,
        folds=tuple(tuple(store.patient_ids[i] for i in sorted(fold)) for fold in folds),
        folds_by=chosen,
        groups=tuple(groups),
        warnings=tuple(class_warnings(labels, split.targets, test, folds)),
    )


def extend_folds_by(split: Split, store: Store, dealing: str = BALANCED) -> Split:
    """Return a split whose folds are values of a covariate with the store's new patients added.

    Each goes to the fold of its value; values that no patient of the folds had get folds of their own,
    as `with_folds_by` makes them. New test patients' values are not read.
    """
    new = deal_new(split, store, dealing)
    known = {
        scanner_of(record, split.folds_by): fold
        for fold, ids in enumerate(split.folds)
        for record in read_records(store, split, ids, None)
    }
    values = np.array(
        [scanner_of(store.records[i], split.folds_by) for i in new.development], dtype=str
    )
    fold_of = np.array([known.get(str(value), -1) for value in values], dtype=np.int64)
    folds = [new.development[fold_of == k] for k in range(split.num_folds)]
    unknown = new.development[fold_of < 0]
    labels = store.labels[unknown][:, [store.targets.index(t) for t in split.targets]]
    added = dict(_groups(values[fold_of < 0], labels))
    folds += [unknown[rows] for rows in added.values()]
    return add_patients(split, store, new.test, folds, tuple(added), dealing=dealing)


def _covariate(records: Sequence[PatientRecord], name: str, url: str) -> str:
    known = sorted({n for record in records for n in record.covariates})
    found = scanner_name(records) if name == SCANNER and SCANNER not in known else name
    if found is None:
        raise InputError(
            f"store {url} has no covariate that tells scanners apart: name one with --folds-by,"
            f" of {', '.join(known) or 'none that it has'}"
        )
    if found not in known:
        raise InputError(
            f"store {url} has no covariate {found!r}{nearest_hint(found, known)}, expected"
            f" {SCANNER} or one of {', '.join(known) or 'none'}"
        )
    return found


def _groups(
    values: NDArray[np.str_], labels: NDArray[np.int8]
) -> Iterator[tuple[str, NDArray[np.int64]]]:
    """Yield the name and rows of each fold; values too rare for an AUC are one together."""
    rare = [v for v in sorted(set(values)) if not _has_an_auc(labels[values == v])]
    for value in sorted(set(values) - set(rare)):
        yield str(value), np.flatnonzero(values == value)
    if rare:
        name = rare[0] if len(rare) == 1 else f"others ({', '.join(rare)})"
        yield str(name), np.flatnonzero(np.isin(values, rare))


def _has_an_auc(labels: NDArray[np.int8]) -> bool:
    fewest = np.minimum(np.sum(labels == 1, axis=0), np.sum(labels == 0, axis=0))
    return bool(np.max(fewest) >= FEWEST_OF_A_CLASS)
