"""Extend a split by new patients.

None of the others is moved. The new test patients are drawn as the first ones were, so many that the
test set keeps its share of all patients: each combination of labels has its share of them within one
patient. Of some such deals the one is taken after which the labels of the whole test set are nearest to
their share. The others go to the folds one after the other, in an order in which neighbours have similar labels: each to the fold that has fewest patients with the same labels, of
those to the one that has fewest with each label by itself (minimisation: Pocock and Simon 1975). Where
the counts of a combination of labels differed by at most one between folds, they do so afterwards. Then
new patients change places until single targets are as even as they can be: `radiotrain.split.balance`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import InputError, MissingPathError, SchemaError
from preprocessing.storage import files
from preprocessing.store import Store
from radiotrain.split.balance import BALANCED, balance_parts, count_labels
from radiotrain.split.split import (
    Extension,
    Split,
    SplitPatients,
    class_warnings,
    deal_test,
    load_split,
    named_parts,
    not_in_split,
    ordered_rows,
)

_NUM_DEALS = 32
# Keeps the random numbers of swaps apart from those of dealing.
_SWAPS_OF_TEST, _SWAPS_OF_FOLDS = 4, 5


@dataclass(frozen=True)
class NewPatients:
    """Patients that a split does not have yet, as row numbers of the store.

    Parameters
    ----------
    test
        For a further part of the test set.
    development
        For the folds, in the order of their labels.
    """

    test: NDArray[np.int64]
    development: NDArray[np.int64]


def extend_split(split: Split, store: Store, dealing: str = BALANCED) -> Split:
    """Return a split with the store's new patients added; it has no file to extend yet.

    Parameters
    ----------
    split
        Checked against the store.
    dealing
        How to deal, as `radiotrain.split.split.Extension` says it.

    Raises
    ------
    InputError
        If its folds are values of a covariate: see `radiotrain.evaluation.shortcuts.folds`.
    """
    if split.folds_by:
        raise InputError(f"the folds are values of {split.folds_by}, expected stratified ones")
    new = deal_new(split, store, dealing)
    labels = _labels(split, store)
    row_of = {patient_id: row for row, patient_id in enumerate(store.patient_ids)}
    before = [labels[[row_of[i] for i in ids]] for ids in split.folds]
    generator = np.random.default_rng([split.seed, len(split.patient_ids), len(new.development), 1])
    chosen = deal_to_folds(before, labels[new.development], generator)
    if dealing:
        swaps = np.random.default_rng([split.seed, len(split.patient_ids), _SWAPS_OF_FOLDS])
        shares = np.full(split.num_folds, 1 / split.num_folds)
        chosen = balance_parts(labels[new.development], chosen, shares, swaps, fixed=before)
    folds = [new.development[chosen == k] for k in range(split.num_folds)]
    return add_patients(split, store, new.test, folds, dealing=dealing)


def dealing_of_extension_at(url: str) -> str:
    """Return how the patients that a split got last were dealt; where there is none, how they are now."""
    extensions = load_split(url).extensions if files.exists(files.absolute(url)) else ()
    return extensions[-1].dealing if extensions else BALANCED


def deal_new(split: Split, store: Store, dealing: str = BALANCED) -> NewPatients:
    """Deal the store's new patients to the test set and to the rest.

    It depends on the ids, the labels, the seed and the number of patients before: splits with the same
    test patients, whatever their folds, get the same ones.

    Raises
    ------
    InputError
        If its test set is a part of a cross-validated test: the other parts would not have the patients.
    """
    if split.outer is not None:
        raise InputError(
            f"the split is {split.outer} of a cross-validated test, which cannot be extended: divide all"
            f" patients again with 'radiotrain split {store.url} --outer {split.outer.num_parts} --out NEW'"
        )
    row_of = {patient_id: row for row, patient_id in enumerate(store.patient_ids)}
    rows = np.array([row_of[i] for i in sorted(not_in_split(split, store))], dtype=np.int64)
    num_before = len(split.patient_ids)
    due = round((num_before + len(rows)) * split.test_fraction) - len(split.test_ids)
    generator = np.random.default_rng([split.seed, num_before, len(rows)])
    labels = _labels(split, store)
    before = labels[[row_of[i] for i in split.patient_ids]]
    owed = count_labels(np.concatenate([before, labels[rows]])) * split.test_fraction
    owed -= count_labels(labels[[row_of[i] for i in split.test_ids]])
    num_test = min(max(due, 0), len(rows))
    deals = [deal_test(labels[rows], num_test, generator) for _ in range(_NUM_DEALS)]
    test, others = min(
        deals, key=lambda d: float(np.sum((count_labels(labels[rows[d[0]]]) - owed) ** 2))
    )
    if not dealing or not 0 < num_test < len(rows):
        return NewPatients(rows[test], rows[others])
    part_of = np.ones(len(rows), dtype=np.int64)
    part_of[test] = 0
    share = num_test / len(rows)
    part_of = balance_parts(
        labels[rows],
        part_of,
        np.array([share, 1 - share]),
        np.random.default_rng([split.seed, num_before, len(rows), _SWAPS_OF_TEST]),
        due=np.stack([owed, count_labels(labels[rows]) - owed]),
    )
    left = ordered_rows(labels[rows], others, part_of == 1)
    return NewPatients(rows[np.flatnonzero(part_of == 0)], rows[left])


def deal_to_folds(
    before: Sequence[NDArray[np.int8]], labels: NDArray[np.int8], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return the fold of each new patient.

    Parameters
    ----------
    before
        int8 (N, T) of each fold's patients: labels of 0, 1 or -1.
    labels
        int8 (M, T) of new patients, similar ones beside each other.
    """
    num_folds, num_targets = len(before), labels.shape[1]
    alike: defaultdict[tuple[int, ...], NDArray[np.int64]] = defaultdict(
        lambda: np.zeros(num_folds, dtype=np.int64)
    )
    # Of each target: patients by label (-1 is the last) and fold; and of all patients.
    single = np.zeros((num_targets, 3, num_folds), dtype=np.int64)
    total = np.zeros(num_folds, dtype=np.int64)
    targets = np.arange(num_targets)

    def put(row: NDArray[np.int8], fold: int) -> None:
        alike[tuple(row.tolist())][fold] += 1
        single[targets, row, fold] += 1
        total[fold] += 1

    for fold, rows in enumerate(before):
        for row in rows:
            put(row, fold)
    chosen = np.zeros(len(labels), dtype=np.int64)
    for n, row in enumerate(labels):
        marginal = single[targets, row].sum(axis=0) + total
        order = np.lexsort((generator.random(num_folds), marginal, alike[tuple(row.tolist())]))
        chosen[n] = order[0]
        put(row, int(order[0]))
    return chosen


def add_patients(
    split: Split,
    store: Store,
    test: NDArray[np.int64],
    folds: Sequence[NDArray[np.int64]],
    groups: Sequence[str] = (),
    *,
    dealing: str = BALANCED,
) -> Split:
    """Return a split with patients of the store, by row numbers, added at the end of its parts.

    Parameters
    ----------
    folds
        Of each fold, and after them of new ones.
    groups
        Names of the new ones, where folds are values of a covariate.
    dealing
        How they were dealt.
    """
    ids = store.patient_ids
    if not len(test) and not any(len(rows) for rows in folds):
        # Of schema 1: nothing changes but that it knows its patients.
        return replace(split, store_fingerprint="")
    before = (*split.folds, *((),) * (len(folds) - split.num_folds))
    extended = replace(
        split,
        test_ids=(*split.test_ids, *sorted(ids[i] for i in test)),
        folds=tuple(
            (*old, *sorted(ids[i] for i in rows)) for old, rows in zip(before, folds, strict=True)
        ),
        groups=(*split.groups, *groups),
        extensions=(
            *split.extensions,
            Extension(len(split.test_ids), tuple(len(fold) for fold in split.folds), dealing),
        ),
        store_fingerprint="",
    )
    row_of = {patient_id: row for row, patient_id in enumerate(ids)}

    def rows(patient_ids: Sequence[str]) -> NDArray[np.int64]:
        return np.array([row_of[i] for i in patient_ids], dtype=np.int64)

    parts = named_parts(extended)
    warnings = class_warnings(
        _labels(split, store),
        split.targets,
        rows(extended.test_ids),
        [rows(fold) for fold in extended.folds],
        {f"part {n} of the test set": rows(part) for n, part in parts if len(parts) > 1},
    )
    patients = SplitPatients.of(store, extended.patient_ids)
    return replace(extended, patients=patients, warnings=tuple(warnings))


def _labels(split: Split, store: Store) -> NDArray[np.int8]:
    """Return the labels, int8 (M, T), of the store's patients for the split's targets."""
    return store.labels[:, [store.targets.index(target) for target in split.targets]]


@dataclass(frozen=True)
class Lineage:
    """A split's file and those of the splits that it extends, as far as they are found.

    Parameters
    ----------
    urls, splits
        Newest first.
    missing
        The file that should come next and is not found, or holds another split; empty where all are
        found.
    """

    urls: tuple[str, ...]
    splits: tuple[Split, ...]
    missing: str = ""


def find_lineage(split_url: str) -> Lineage:
    """Find the file of each split that a split extends."""
    url = files.absolute(split_url)
    urls, splits = [url], [load_split(url)]
    while splits[-1].extends:
        newer = splits[-1]
        url = _resolve(urls[-1], newer.extends)
        try:
            found = load_split(url)
        except (MissingPathError, SchemaError):
            found = None
        # One that no patient was added to has the same fingerprint.
        known = {s.fingerprint for s in (newer, *newer.before[-1:])}
        if found is None or found.fingerprint not in known or url in urls:
            return Lineage(tuple(urls), tuple(splits), url)
        urls.append(url)
        splits.append(found)
    return Lineage(tuple(urls), tuple(splits))


def is_tested_on(split: Split, of_runs: Split) -> bool:
    """Tell whether `of_runs` is a split, or what `Split.for_runs_of` makes of it for one it extends."""
    known = (split, *(split.for_runs_of(before.fingerprint) for before in split.before))
    return of_runs.fingerprint in {one.fingerprint for one in known}


def file_of_extended(split_url: str, extended_url: str) -> str:
    """Return what `Split.extends` says: the name of a file beside, or where it is."""
    folder, _, name = files.absolute(extended_url).rpartition("/")
    is_beside = folder == files.absolute(split_url).rpartition("/")[0]
    return name if is_beside else files.absolute(extended_url)


def _resolve(split_url: str, extends: str) -> str:
    is_name = "/" not in extends
    return files.join(split_url.rpartition("/")[0], extends) if is_name else extends
