"""Whether a store still holds what was written, and how it is made whole again.

Everything is written in two places or can be made again: attributes in ``zarr.json`` and its copy,
records in files of their own and in ``patients.json``, labels and scales in arrays and in attributes and
records; the metadata of arrays follows from the attributes, and voxels from the patient's images.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import (
    DamagedFileError,
    MissingPathError,
    RadiotrainError,
    storage_trouble,
)
from preprocessing.storage import files
from preprocessing.storage.folder_lock import exclusive
from preprocessing.store import layout, metadata, records
from preprocessing.store.layout import PatientRecord, StoreSpec
from preprocessing.store.metadata import Attributes
from preprocessing.store.writer import StoreWriter, guard_full

_REPLACED = "is not what was written (lost or replaced)"


@dataclass(frozen=True)
class StoreCheck:
    """What is wrong with a store.

    Parameters
    ----------
    attributes
        Of the store, from the place where they are whole.
    found
        The records that are whole, by index.
    damaged_metadata, damaged_records
        Sentences about files; empty where nothing is wrong.
    is_finished
        Whether the store was finished.
    unreadable
        Arrays whose metadata is damaged: nothing is known of their chunks.
    damaged_arrays
        Sentences by index of the patient.
    lost
        Patients that have to be made again.
    """

    url: str
    attributes: Attributes
    found: dict[int, PatientRecord]
    damaged_metadata: tuple[str, ...]
    damaged_records: tuple[str, ...]
    is_finished: bool
    unreadable: frozenset[str] = frozenset()
    damaged_arrays: dict[int, list[str]] = field(default_factory=dict)
    lost: frozenset[int] = frozenset()

    @property
    def spec(self) -> StoreSpec:
        """What the store was made for."""
        return self.attributes.spec

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.problems() or self.lost)

    @property
    def num_usable(self) -> int:
        """Patients that were not excluded, of those whose records are whole."""
        return sum(record.status == "stored" for record in self.found.values())

    def patient_id(self, index: int) -> str:
        """Return a patient's id."""
        return self.spec.patient_ids[index]

    def problems(self) -> list[str]:
        """Return a line for each problem."""
        lines = [*self.damaged_metadata, *self.damaged_records]
        for index, sentences in sorted(self.damaged_arrays.items()):
            lines += [f"{self.patient_id(index)}  {sentence}" for sentence in sentences]
        return lines


def check_metadata(url: str) -> StoreCheck:
    """Check a store's metadata and records; `check_voxels` does the rest.

    Raises
    ------
    MissingPathError
        If there is no store.
    DamagedFileError
        If its attributes are damaged in both places.
    InputError, SchemaError
        If it is something else, or of another version.
    """
    url = files.absolute(url)
    attributes, damaged = _attributes(url)
    spec = attributes.spec
    index, of_index = None, []
    try:
        index = records.read_index(url, attributes)
        is_finished = index is not None
    except DamagedFileError as error:
        of_index, is_finished = [f"patients.json {error.what}"], True
    num = len(spec.patient_ids) if is_finished else None
    expected = attributes.arrays
    problems = {n: metadata.array_problem(url, n, expected[n], num) for n in layout.ARRAYS}
    damaged += [f"{name}/zarr.json {what}" for name, what in problems.items() if what is not None]
    found, lost, of_records = _records(url, spec, index, is_finished)
    return StoreCheck(
        url,
        attributes,
        found,
        tuple(damaged),
        (*of_index, *of_records),
        is_finished,
        frozenset(name for name, what in problems.items() if what is not None),
        lost=frozenset(lost),
    )


def _attributes(url: str) -> tuple[Attributes, list[str]]:
    """Return a store's attributes from where they are whole, and what is wrong with them."""
    try:
        copy, wrong = metadata.read_copy(url), None
    except FileNotFoundError:
        copy, wrong = None, "attributes.json is missing"
    except DamagedFileError as error:
        copy, wrong = None, f"attributes.json {error.what}"
    try:
        found = metadata.read_attributes(url)
    except DamagedFileError as error:
        if copy is None:
            raise DamagedFileError(
                f"store {url} is damaged in zarr.json and in attributes.json, which hold the same: take"
                " either from a backup, or run 'radiotrain preprocess' into a new folder"
            ) from None
        return copy, [f"zarr.json {error.what}"]
    if found is None:
        raise MissingPathError(f"no store at {url}: name one made by 'radiotrain preprocess'")
    if copy is None or copy.digest == found.digest:
        return found, [wrong] if wrong is not None else []
    # The copy of a store whose extension was cut short is ahead, and is written anew by the next.
    is_ahead = _is_extended(copy, found)
    if _fit(url, copy, labels=not is_ahead) > _fit(url, found, labels=not is_ahead):
        return copy, ["zarr.json is of another store, or older, than all else"]
    return found, [] if is_ahead else [
        "attributes.json is of another store, or older, than zarr.json"
    ]


def _is_extended(attributes: Attributes, before: Attributes) -> bool:
    """Tell whether attributes are earlier ones with patients appended."""
    num, spec = len(before.spec.patient_ids), attributes.spec
    earlier = replace(spec, patient_ids=spec.patient_ids[:num], labels=spec.labels[:num])
    return replace(attributes, spec=earlier).digest == before.digest


def _fit(url: str, attributes: Attributes, *, labels: bool) -> tuple[int, bool]:
    """Return how many records are of the patients that attributes name, and whether the labels are theirs."""
    spec = attributes.spec
    there = records.finished_indices(url) & {*range(len(spec.patient_ids))}
    num = sum(not isinstance(_own_record(url, spec, i), str) for i in there)
    if not labels:
        return num, False
    try:
        read = _read(lambda: np.asarray(metadata.open_array(url, "labels", attributes, "r")[:]))
    except DamagedFileError:
        return num, False
    return num, not isinstance(read, str) and read.tolist() == [list(row) for row in spec.labels]


def _records(
    url: str, spec: StoreSpec, index: list[PatientRecord] | None, is_finished: bool
) -> tuple[dict[int, PatientRecord], set[int], list[str]]:
    """Return whole records, patients that have none though they should, and sentences about both."""
    wanted = range(len(spec.patient_ids))
    there = records.finished_indices(url)
    found: dict[int, PatientRecord] = {}
    lost: set[int] = set()
    sentences = []
    for i in wanted:
        own = _own_record(url, spec, i) if i in there else "is missing"
        listed = index[i] if index is not None else None
        if isinstance(own, str):
            if i in there or is_finished:
                sentences.append(f"records/{i:06d}.json {own}")
            if listed is not None:
                found[i] = listed
            elif i in there or is_finished:
                lost.add(i)
        elif listed is not None and own != listed:
            sentences.append(f"records/{i:06d}.json is another one than in patients.json")
            lost.add(i)
        else:
            found[i] = own
    sentences += [
        f"records/{i:06d}.json is of no patient of the store" for i in sorted(there - set(wanted))
    ]
    return found, lost, sentences


def _own_record(url: str, spec: StoreSpec, index: int) -> PatientRecord | str:
    try:
        record = records.read_records(url, [index])[index]
    except FileNotFoundError:
        return "is missing"
    except DamagedFileError as error:
        return error.what
    if record.patient_id != spec.patient_ids[index]:
        return f"is of patient {record.patient_id}, expected {spec.patient_ids[index]}"
    return record


def check_voxels(check: StoreCheck, advance: Callable[[], Any] = lambda: None) -> StoreCheck:
    """Read all that is stored of each usable patient and compare it with its checksums.

    Arrays whose metadata is damaged are left out.
    """
    spec, damaged, lost = check.spec, {}, set(check.lost)
    usable = {i: r for i, r in check.found.items() if r.status == "stored" and i not in lost}
    readable = [name for name in layout.ARRAYS if name not in check.unreadable]
    labels = _labels(check) if usable and "labels" in readable else ""
    for i, record in usable.items():
        problems = []
        for name in (name for name in layout.CHECKED_ARRAYS if name in readable):
            read = _read(partial(_chunk, check, name, i))
            if isinstance(read, str):
                problems.append(f"{name} cannot be read: {read}")
            elif layout.checksum(read) != record.checksums.get(name):
                problems.append(f"{name} {_REPLACED}")
        if problems:
            lost.add(i)
        for name, wanted in (("scale", record.scale), ("labels", list(spec.labels[i]))):
            if name not in readable:
                continue
            value = labels if name == "labels" else _scale(check, i)
            if name == "labels" and not isinstance(value, str):
                value = value[i]
            if isinstance(value, str):
                problems.append(f"{name} cannot be read: {value}")
            elif value.tolist() != wanted:
                problems.append(f"{name} {_REPLACED}")
        if problems:
            damaged[i] = problems
        advance()
    return replace(check, damaged_arrays=damaged, lost=frozenset(lost))


def repair_metadata(check: StoreCheck) -> StoreCheck:
    """Write damaged metadata anew, so that all arrays can be read; return what is wrong then.

    Raises
    ------
    StorageFullError
        If the disk is full.
    """
    if check.damaged_metadata:
        with exclusive(check.url):
            guard_full(check.url, lambda: metadata.repair(check.url, check.attributes))
    return replace(check, unreadable=frozenset())


def repair(check: StoreCheck) -> None:
    """Write anew what stands in two places; make lost patients count as not done.

    Metadata is whole already: `repair_metadata`.

    Raises
    ------
    StorageFullError
        If the disk is full.
    """
    with exclusive(check.url):
        guard_full(check.url, lambda: _repair(check))


def _repair(check: StoreCheck) -> None:
    url, spec = check.url, check.spec
    metadata.write_labels(url, spec)
    writer = StoreWriter(url, check.attributes)
    writer.reopen(
        set(check.lost) | (records.finished_indices(url) - set(range(len(spec.patient_ids))))
    )
    kept = {i: record for i, record in check.found.items() if i not in check.lost}
    for i, record in kept.items():
        if _own_record(url, spec, i) != record:
            records.write_record(url, record)
        if record.scale is not None and _scale(check, i) != record.scale:
            _array(check, "scale", "r+")[i] = record.scale
    if check.is_finished and not check.lost:
        records.write_index(url, check.attributes, [kept[i] for i in sorted(kept)])


def _array(check: StoreCheck, name: str, mode: Any = "r") -> Any:
    return metadata.open_array(check.url, name, check.attributes, mode)


def _chunk(check: StoreCheck, name: str, index: int) -> NDArray[Any]:
    return np.asarray(_array(check, name)[index])


def _labels(check: StoreCheck) -> NDArray[Any] | str:
    return _read(lambda: np.asarray(_array(check, "labels")[:]))


def _scale(check: StoreCheck, index: int) -> NDArray[Any] | str:
    return _read(partial(_chunk, check, "scale", index))


def _read(read: Callable[[], NDArray[Any]]) -> NDArray[Any] | str:
    """Return what was read, or the codecs' own words: a checksum that differs, a broken frame."""
    try:
        return read()
    # A codec that Zarr does not know is a key that it does not find.
    except (ValueError, OSError, RuntimeError, KeyError, IndexError) as error:
        if storage_trouble(error) is not None or isinstance(error, RadiotrainError):
            raise  # not read is not damaged
        return " ".join(str(error).split())[:200]
