"""What is looked for each time a test set is opened: one examination on both sides of the split."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.store import PatientRecord, Store
from radiotrain.evaluation.leaks.duplicates import Duplicate, find_duplicates
from radiotrain.evaluation.leaks.results import LeakCheck
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
        See `preprocessing.progress`.
    """
    ids = (*split.development_ids, *split.test_ids)
    check_sealed(split, ids, access)
    records = [store.records[store.index_of(patient_id)] for patient_id in ids]
    same = _same_volumes(records)
    with progress("look for duplicates", len(ids)) as advance:
        alike = find_duplicates(store.image_shape[1:], _crops(store, ids, advance))
    return (_sides(split), _studies(records, same, split), _images(alike, same, len(ids), split))


def _sides(split: Split) -> LeakCheck:
    parts = [*split.folds, split.test_ids]
    crossing = [i for a, b in combinations(parts, 2) for i in set(a) & set(b)]
    return LeakCheck.of(
        "A patient in two parts of the split",
        f"{len(split.test_ids)} test patients against {len(split.development_ids)} development"
        f" patients in {split.num_folds} folds; all runs were trained on this very split",
        tuple(f"Leak: {i} is in two parts of the split." for i in sorted(crossing)),
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
    records: Sequence[PatientRecord], same: Sequence[tuple[str, str]], split: Split
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
        tuple(_sentences(pairs, split)),
    )


def _images(
    alike: Sequence[Duplicate], same: Sequence[tuple[str, str]], num: int, split: Split
) -> LeakCheck:
    named = {frozenset(pair) for pair in same}
    pairs = [
        (pair.first, pair.second, f"similarity of their crops {pair.similarity:.2f} of 1")
        for pair in alike
        if {pair.first, pair.second} not in named
    ]
    others = f"; {len(same)} with equal volumes not said again" if same else ""
    return LeakCheck.of(
        "One examination under two ids, by how the crops look",
        f"{num} pre-contrast crops, each with each, shifted and rescaled copies too{others}",
        tuple(_sentences(pairs, split)),
    )


def _crops(
    store: Store, ids: tuple[str, ...], advance: Callable[[], object]
) -> Iterator[tuple[str, NDArray[np.int16]]]:
    for patient_id in ids:
        yield patient_id, store.read_images(store.index_of(patient_id))[0][0]
        advance()


def _sentences(pairs: Iterable[_Pair], split: Split) -> Iterator[str]:
    """Say what each pair means, those that spoil the test first."""
    test = set(split.test_ids)
    for first, second, why in sorted(
        pairs, key=lambda pair: (pair[0] in test) == (pair[1] in test)
    ):
        sides = {first in test, second in test}
        what = f"{first} and {second} look like one examination under two ids ({why})"
        if len(sides) == 2:
            yield f"Leak: {what}, one of them tested and the other trained on. Remove one of them."
        elif sides == {True}:
            yield f"{what}: a test patient counts twice. Remove one of them."
        else:
            yield f"{what}, both of them in development: validation may flatter."
