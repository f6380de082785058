"""Whether a finished store still holds what was written: every byte is read once more."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.errors import storage_trouble
from preprocessing.store import layout
from preprocessing.store.lock import exclusive
from preprocessing.store.reader import Store
from preprocessing.store.writer import StoreWriter, guard_full


@dataclass(frozen=True)
class Verified:
    """One patient and what is not as it was written.

    Parameters
    ----------
    problems
        In words; empty where all is as it was.
    lost_voxels
        Whether the patient has to be made again: what else is damaged, others say too.
    """

    patient_id: str
    problems: tuple[str, ...]
    lost_voxels: bool = False


def verify(store: Store) -> Iterator[Verified]:
    """Read all that is stored of each usable patient and compare it with its checksums."""
    labels = _read(lambda: _whole(store, "labels"))
    scales = _scales(store)
    for i, patient_id in enumerate(store.patient_ids):
        record = store.records[i]
        problems = []
        for name in layout.CHECKED_ARRAYS:
            read = _read(partial(store.read_array, name, i))
            if isinstance(read, str):
                problems.append(f"{name} cannot be read: {read}")
            elif layout.checksum(read) != record.checksums.get(name):
                problems.append(f"{name} is not what was written (lost or replaced)")
        lost_voxels = bool(problems)
        own_labels = labels if isinstance(labels, str) else labels[record.index]
        for name, value, wanted in (
            ("scale", scales[i], record.scale),
            ("labels", own_labels, list(store.spec.labels[record.index])),
        ):
            if isinstance(value, str):
                problems.append(f"{name} cannot be read: {value}")
            elif value.tolist() != wanted:
                problems.append(f"{name} is not what was written (lost or replaced)")
        yield Verified(patient_id, tuple(problems), lost_voxels)


def take_back(store: Store, indices: set[int]) -> None:
    """Make patients count as not done; write the labels and the other patients' scales anew.

    Raises
    ------
    StorageFullError
        If the disk is full.
    """
    with exclusive(store.url):
        guard_full(store.url, lambda: _rewrite(store, indices))
        StoreWriter(store.url, store.spec).reopen(indices)


def _rewrite(store: Store, but: set[int]) -> None:
    group = layout.open_group(store.url, "r+")
    layout.write_labels(group, store.spec)
    scales = layout.array(group, "scale")
    for record in store.records:
        if record.index in but or record.scale is None:
            continue
        found = _read(partial(scales.__getitem__, record.index))
        if isinstance(found, str) or found != record.scale:
            scales[record.index] = record.scale


def _scales(store: Store) -> list[NDArray[Any] | str]:
    """Return each usable patient's scale, read at once if all can be."""
    whole = _read(lambda: _whole(store, "scale"))
    if not isinstance(whole, str):
        return [whole[record.index] for record in store.records]
    return [_read(partial(store.read_array, "scale", i)) for i in range(len(store.records))]


def _whole(store: Store, name: str) -> NDArray[Any]:
    return np.asarray(layout.array(layout.open_group(store.url, "r"), name)[:])


def _read(read: Callable[[], NDArray[Any]]) -> NDArray[Any] | str:
    """Return what was read, or the codecs' own words: a checksum that differs, a broken frame."""
    try:
        return read()
    except (ValueError, OSError, RuntimeError) as error:
        if storage_trouble(error) is not None:
            raise  # not read is not damaged
        return " ".join(str(error).split())[:200]
