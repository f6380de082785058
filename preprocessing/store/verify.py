"""Whether a finished store still holds what was written: every byte is read once more."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from preprocessing.store import layout
from preprocessing.store.lock import exclusive
from preprocessing.store.reader import Store
from preprocessing.store.writer import StoreWriter


@dataclass(frozen=True)
class Verified:
    """One patient and what is not as it was written, in words; empty where all is."""

    patient_id: str
    problems: tuple[str, ...]


def verify(store: Store) -> Iterator[Verified]:
    """Read all that is stored of each usable patient and compare it with its checksums."""
    labels = _read(lambda: _whole(store, "labels"))
    scales = _read(lambda: _whole(store, "scale"))
    for i, patient_id in enumerate(store.patient_ids):
        record = store.records[i]
        problems = []
        for name in layout.CHECKED_ARRAYS:
            read = _read(lambda name=name, i=i: store.read_array(name, i))  # type: ignore[misc]
            if isinstance(read, str):
                problems.append(f"{name} cannot be read: {read}")
            elif checksum(read) != record.checksums.get(name):
                problems.append(f"{name} is not what was written (lost or replaced)")
        for name, values, wanted in (
            ("scale", scales, record.scale),
            ("labels", labels, list(store.spec.labels[record.index])),
        ):
            if isinstance(values, str):
                problems.append(f"{name} cannot be read: {values}")
            elif values[record.index].tolist() != wanted:
                problems.append(f"{name} is not what was written (lost or replaced)")
        yield Verified(patient_id, tuple(problems))


def take_back(store: Store, indices: set[int]) -> None:
    """Make patients count as not done, and write the labels anew."""
    with exclusive(store.url):
        writer = StoreWriter(store.url, store.spec)
        writer.reopen(indices)
        layout.write_labels(zarr.open_group(store.url, mode="r+"), store.spec)


def checksum(values: NDArray[Any]) -> int:
    """Return the CRC-32 of an array's values."""
    return zlib.crc32(np.ascontiguousarray(values).tobytes())


def _whole(store: Store, name: str) -> NDArray[Any]:
    return np.asarray(layout.array(zarr.open_group(store.url, mode="r"), name)[:])


def _read(read: Callable[[], NDArray[Any]]) -> NDArray[Any] | str:
    """Return what was read, or the codecs' own words: a checksum that differs, a broken frame."""
    try:
        return read()
    except (ValueError, OSError, RuntimeError) as error:
        return " ".join(str(error).split())[:200]
