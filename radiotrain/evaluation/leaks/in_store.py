"""What is looked for each time a test set is opened: one examination on both sides of the split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.store import PatientRecord, Store
from radiotrain.evaluation.leaks.duplicates import Duplicate, find_duplicates
from radiotrain.evaluation.leaks.results import Finding, LeakCheck
from radiotrain.seal import TestAccess, check_sealed
from radiotrain.split import Split

# A pair, and why it is thought to be one examination.
_Pair = tuple[str, str, str]


def check_store(
    store: Store, split: Split, access: TestAccess, progress: Callable[[str, int], Any]
) -> tuple[LeakCheck, ...]:
    """Look at all patients of a split, those of the test set too.

    Parameters
    ----------
    progress
        See `preprocessing.common.progress`.
    """
    check_sealed(split, split.test_ids, access)
    return _check_parts(store, [split], _sides(split), progress)


def check_outer_parts(
    store: Store,
    splits: Sequence[Split],
    accesses: Sequence[TestAccess],
    progress: Callable[[str, int], Any],
) -> tuple[LeakCheck, ...]:
    """Look at all patients of a cross-validated test, each of whom is a test patient of some part.

    Parameters
    ----------
    splits, accesses
        Of each outer part.
    """
    for split, access in zip(splits, accesses, strict=True):
        check_sealed(split, split.test_ids, access)
    sides = LeakCheck.of(
        "A patient in two parts of a split",
        f"{len(splits[0].patient_ids)} patients, each a test patient of one of the outer parts of a repeat and in none of"
        " that part's folds; all runs were trained on the split of their part",
        [
            finding
            for split in splits
            for sides in [_sides(split)]
            for finding in zip(sides.findings, sides.patients, strict=True)
        ],
    )
    return _check_parts(store, splits, sides, progress)


def _check_parts(
    store: Store,
    splits: Sequence[Split],
    sides: LeakCheck,
    progress: Callable[[str, int], Any],
) -> tuple[LeakCheck, ...]:
    ids = (*splits[0].development_ids, *splits[0].test_ids)
    records = [store.records[store.index_of(patient_id)] for patient_id in ids]
    same = _same_volumes(records)
    with progress("look for duplicates", len(ids)) as advance:
        alike = find_duplicates(store.image_shape[1:], _crops(store, ids, advance))
    return (sides, _studies(records, same, splits), _images(alike, same, len(ids), splits))


def _sides(split: Split) -> LeakCheck:
    parts = [*split.folds, split.test_ids]
    crossing = [i for a, b in combinations(parts, 2) for i in set(a) & set(b)]
    return LeakCheck.of(
        "A patient in two parts of the split",
        f"{len(split.test_ids)} test patients against {len(split.development_ids)} development"
        f" patients in {split.num_folds} folds; all runs were trained on this very split",
        [("Leak: a patient is in two parts of the split.", (i,)) for i in sorted(crossing)],
    )


def _same_volumes(records: Sequence[PatientRecord]) -> tuple[tuple[str, str], ...]:
    """Return pairs of patients whose whole pre-contrast volumes are equal."""
    known: dict[str, list[str]] = {}
    for record in records:
        digest = record.details.get("volume_digest")
        if digest is not None:
            known.setdefault(digest, []).append(record.patient_id)
    return tuple(pair for ids in known.values() for pair in combinations(ids, 2))


def _studies(
    records: Sequence[PatientRecord], same: Sequence[tuple[str, str]], splits: Sequence[Split]
) -> LeakCheck:
    question = "One examination under two ids, by its whole pre-contrast volume"
    num = sum("volume_digest" in record.details for record in records)
    if not num:
        why = "the store has no digests of volumes: it was made without N4, or by an older version"
        return LeakCheck(question, "not done", why)
    pairs = [(*pair, "the voxels that N4 was fitted to are the same") for pair in same]
    return LeakCheck.of(
        question,
        f"digests of the volumes of {num} of {len(records)} patients",
        list(_sentences(pairs, splits)),
    )


def _images(
    alike: Sequence[Duplicate], same: Sequence[tuple[str, str]], num: int, splits: Sequence[Split]
) -> LeakCheck:
    named = {frozenset(pair) for pair in same}
    pairs = [
        (pair.first, pair.second, f"similarity of their crops {pair.similarity:.2f}")
        for pair in alike
        if {pair.first, pair.second} not in named
    ]
    others = f"; {len(same)} with equal volumes not said again" if same else ""
    return LeakCheck.of(
        "One examination under two ids, by how the crops look",
        f"{num} pre-contrast crops, each with each, shifted and rescaled copies too{others}",
        list(_sentences(pairs, splits)),
    )


def _crops(
    store: Store, ids: tuple[str, ...], advance: Callable[[], object]
) -> Iterator[tuple[str, NDArray[np.int16]]]:
    for patient_id in ids:
        yield patient_id, store.read_images(store.index_of(patient_id))[0][0]
        advance()


def _sentences(pairs: Iterable[_Pair], splits: Sequence[Split]) -> Iterator[Finding]:
    """Say what each pair means, those that spoil the test first."""
    tests = [set(split.test_ids) for split in splits]

    def sides_of(first: str, second: str) -> set[bool]:
        """Return where the two are, in a split that parts them if there is one, else where one is tested."""
        found = [{first in test, second in test} for test in tests]
        return max(found, key=lambda sides: (len(sides), True in sides))

    for first, second, why in sorted(pairs, key=lambda pair: len(sides_of(pair[0], pair[1])) == 1):
        sides = sides_of(first, second)
        what = f"two ids look like one examination ({why})"
        if len(sides) == 2:
            sentence = f"Leak: {what}, one of them tested and the other trained on. Remove one."
        elif sides == {True}:
            sentence = f"Among test patients, {what}, so that one counts twice. Remove one."
        else:
            sentence = f"In development, {what}: validation may be optimistic."
        yield sentence, (first, second)
