"""What is looked for each time a test set is opened: a patient on both sides of the split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.store import Store
from radiotrain.evaluation.leaks.duplicates import Duplicate, find_duplicates
from radiotrain.seal import TestAccess, check_sealed
from radiotrain.split import Split


def leak_cautions(
    store: Store, split: Split, access: TestAccess, progress: Callable[[str, int], Any]
) -> tuple[str, ...]:
    """Look at all patients of a split, those of the test set too; return a sentence for each leak.

    Parameters
    ----------
    progress
        See `preprocessing.progress`.
    """
    ids = (*split.development_ids, *split.test_ids)
    check_sealed(split, ids, access)
    with progress("look for duplicates", len(ids)) as advance:
        pairs = find_duplicates(store.image_shape[1:], _crops(store, ids, advance))
    return tuple(_sentences(pairs, split))


def _crops(
    store: Store, ids: tuple[str, ...], advance: Callable[[], object]
) -> Iterator[tuple[str, NDArray[np.int16]]]:
    for patient_id in ids:
        yield patient_id, store.read_images(store.index_of(patient_id))[0][0]
        advance()


def _sentences(pairs: tuple[Duplicate, ...], split: Split) -> Iterator[str]:
    """Say what each pair means, those that spoil the test first."""
    test = set(split.test_ids)
    ranked = sorted(pairs, key=lambda pair: (pair.first in test) == (pair.second in test))
    for pair in ranked:
        sides = {pair.first in test, pair.second in test}
        what = (
            f"{pair.first} and {pair.second} look like one examination under two ids (similarity of"
            f" their crops {pair.similarity:.2f} of 1)"
        )
        if len(sides) == 2:
            yield f"Leak: {what}, one of them tested and the other trained on. Remove one of them."
        elif sides == {True}:
            yield f"{what}: a test patient counts twice. Remove one of them."
        else:
            yield f"{what}, both of them in development: validation may flatter."
