"""Fills a store: created or resumed, one patient at a time, finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.config import with_added_settings
from preprocessing.common.errors import InputError, StorageFullError, is_disk_full
from preprocessing.common.json_values import first_difference
from preprocessing.storage import files
from preprocessing.store import layout, metadata, records
from preprocessing.store.layout import PatientRecord, PatientTensor, StoreSpec
from preprocessing.store.metadata import Attributes
from preprocessing.store.reader import Store

_LARGEST = 32767
_Result = TypeVar("_Result")


class StoreWriter:
    """Fills a store, one patient at a time, from any number of processes.

    Patients are chunks of their own, so writers never touch each other's files. Whoever creates
    or finishes a store holds its lock (`preprocessing.storage.folder_lock`).
    """

    def __init__(self, url: str, attributes: Attributes) -> None:
        self.url = url
        self._attributes = attributes

    @property
    def spec(self) -> StoreSpec:
        """What the store is made for."""
        return self._attributes.spec

    @classmethod
    def create_or_resume(
        cls, url: str, spec: StoreSpec, versions: Mapping[str, str]
    ) -> StoreWriter:
        """Open the store at `url` for writing, making it if it is not there.

        Patients that the store does not have yet are appended. Patients that it has and `spec`
        has not are kept if they are done.

        Raises
        ------
        InputError
            If `url` holds something else, or a store made with other settings, targets or
            labels, or unfinished patients that `spec` does not have.
        SchemaError
            If the store there has another schema version.
        """
        url = files.absolute(url)
        attributes = metadata.read_attributes(url)
        if attributes is None:
            metadata.check_free(url)
            attributes = guard_full(url, lambda: metadata.create(url, spec, versions))
            return cls(url, attributes)
        found = attributes.spec
        merged = _merge(url, found, spec)
        if merged != found:
            # Not finished any more, and said so before anything else changes.
            files.remove(records.index_url(url))
            before = attributes
            attributes = guard_full(url, lambda: metadata.extend(url, before, merged))
        return cls(url, attributes)

    def finished(self) -> set[int]:
        """Return the indices of the patients that need no more work."""
        return records.finished_indices(self.url)

    def read_records(self, indices: set[int]) -> dict[int, PatientRecord]:
        """Return the records of some finished patients.

        Raises
        ------
        DamagedFileError
            If one is not what was written.
        """
        return records.read_records(self.url, indices)

    def reopen(self, indices: set[int]) -> None:
        """Take back that these patients, and so the store, are done."""
        if indices:
            files.remove(records.index_url(self.url))
        for index in indices:
            files.remove(records.record_url(self.url, index))

    def write(self, record: PatientRecord, tensor: PatientTensor | None) -> None:
        """Store one patient: voxels first, its record last.

        Raises
        ------
        StorageFullError
            If the disk is full; the patient then counts as not done.
        """
        guard_full(self.url, lambda: self._write(record, tensor))

    def _write(self, record: PatientRecord, tensor: PatientTensor | None) -> None:
        if tensor is not None:
            values, scale = quantise(tensor.images)
            field = tensor.bias_field
            if field is None:
                field = np.zeros(layout.bias_shape(self.spec.crop_shape), dtype=np.float32)
            checksums = {}
            with metadata.written_together(self.url):
                self._array("scale")[record.index] = scale
                for name, content in (("images", values), ("region", tensor.region), ("bias_field", field)):  # fmt: skip
                    self._array(name)[record.index] = content
                    checksums[name] = layout.checksum(content)
            record = replace(record, scale=float(scale), checksums=checksums)
        records.write_record(self.url, record)

    def _array(self, name: str) -> Any:
        return metadata.open_array(self.url, name, self._attributes, "r+")

    def finish(self) -> Store:
        """Gather all records into ``patients.json`` and open the store for reading."""
        everyone = set(range(len(self.spec.patient_ids)))
        found = self.read_records(everyone)
        _sweep(self.url)
        ordered = [found[index] for index in sorted(found)]
        guard_full(self.url, lambda: records.write_index(self.url, self._attributes, ordered))
        return Store.open(self.url)


def quantise(images: NDArray[np.float32]) -> tuple[NDArray[np.int16], np.float32]:
    """Return int16 voxels and the scale that gives the values back.

    The scale spreads the patient's whole range over int16: one step of 12-bit MR is eight of ours.
    """
    largest = float(max(images.max(), -images.min())) if images.size else 0.0
    # Not below the smallest normal number: a subnormal scale has too few digits left.
    smallest = float(np.finfo(np.float32).tiny)
    scale = np.float32(max(largest / _LARGEST, smallest)) if largest > 0 else np.float32(1.0)
    steps = images / scale
    np.rint(steps, out=steps)
    return steps.clip(-_LARGEST, _LARGEST, out=steps).astype(np.int16), scale


def _sweep(url: str) -> None:
    """Remove what killed writers left behind; an object store shows nothing half-written."""
    if files.is_local(url):
        files.remove_partial(url)


def guard_full(url: str, action: Callable[[], _Result]) -> _Result:
    """Do something that writes to a store; say so in one sentence if its disk is full.

    Raises
    ------
    StorageFullError
        If it is.
    """
    try:
        return action()
    except OSError as error:
        if is_disk_full(error):
            raise StorageFullError(
                f"disk full while writing store {url}: nothing finished is lost, free some space"
                " and run the same command again to resume"
            ) from error
        raise


def _merge(url: str, found: StoreSpec, wanted: StoreSpec) -> StoreSpec:
    """Return the spec of a store whose patients are those there and, after them, the new ones."""
    there = dict(zip(found.patient_ids, found.labels, strict=True))
    given = dict(zip(wanted.patient_ids, wanted.labels, strict=True))
    same = replace(wanted, patient_ids=found.patient_ids, labels=found.labels)
    _check_same(url, _as_now(found), _as_now(same))
    for patient_id, labels in given.items():
        if there.get(patient_id, labels) != labels:
            before = dict(zip(found.targets, there[patient_id], strict=True))
            now = dict(zip(found.targets, labels, strict=True))
            raise _refused(url, f"labels of {patient_id} are {before} there and {now} now")
    absent = [i for i, p in enumerate(found.patient_ids) if p not in given]
    unfinished = sorted(set(absent) - records.finished_indices(url)) if absent else []
    if unfinished:
        example = found.patient_ids[unfinished[0]]
        raise _refused(
            url, f"{len(unfinished)} of its patients, such as {example}, are not done and not given"
        )
    new = {p: labels for p, labels in given.items() if p not in there}
    return replace(
        found,
        patient_ids=(*found.patient_ids, *new),
        labels=(*found.labels, *new.values()),
    )


def _as_now(spec: StoreSpec) -> dict[str, Any]:
    """Return a spec as JSON, with the settings that its version did not know."""
    return {**spec.to_json(), "settings": with_added_settings(spec.settings)}


def _check_same(url: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in wanted:
        difference = first_difference({key: found.get(key)}, {key: wanted[key]})
        if difference:
            raise _refused(url, str(difference))


def _refused(url: str, difference: str) -> InputError:
    return InputError(
        f"store {url} was made with other input, {difference}: use the same or name a new store"
    )
