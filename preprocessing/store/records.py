"""What was done with each patient: a file each, and all of them in one when the store is finished."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from preprocessing.common.errors import DamagedFileError
from preprocessing.common.json_values import parse_values
from preprocessing.storage import files
from preprocessing.storage.digests import dump_with_digest, load_with_digest
from preprocessing.store.layout import PatientRecord
from preprocessing.store.metadata import Attributes

_DIGITS = 12
# Made once: of thousands of records it takes half the time.
_encode = json.JSONEncoder(sort_keys=True).encode
_LABELS = {0: "0", 1: "1", -1: "?"}
# Where a patient lies in a store, and what its images were read from, decide nothing.
_DECIDE_NOTHING = ("index", "status", "findings", "input_digest", "scale", "checksums")
_DETAILS_THAT_DECIDE_NOTHING = ("phases_table",)


def describe_content(record: PatientRecord, labels: Iterable[int]) -> str:
    """Return a patient's labels, a digest of its voxels and one of all else that is known of it.

    ``10? 3fa9c2d1e4b5 77b2a0c94e1d``: a digit for each target, ``?`` for a missing label; equal
    texts mean equal patients, in whatever store and at whatever place in it.
    """
    details = {k: v for k, v in record.details.items() if k not in _DETAILS_THAT_DECIDE_NOTHING}
    known = {**vars(record), "details": details}
    # What is empty is left out: a field that a later version adds changes nothing by being there.
    known = {k: v for k, v in known.items() if k not in _DECIDE_NOTHING and v not in (None, (), {})}
    voxels = _digest([record.scale, sorted(record.checksums.items())])
    return f"{''.join(_LABELS[int(label)] for label in labels)} {voxels} {_digest(known)}"


def digest_settings(settings: Any, num_phases: int, crop_shape: Iterable[int]) -> str:
    """Return a digest of what all patients of a store were made with."""
    return _digest([settings, num_phases, list(crop_shape)])


def _digest(values: Any) -> str:
    return hashlib.sha256(_encode(values).encode()).hexdigest()[:_DIGITS]


def record_url(url: str, index: int) -> str:
    """Return where a patient's record lies."""
    return files.join(url, "records", f"{index:06d}.json")


def index_url(url: str) -> str:
    """Return where all records of a finished store lie."""
    return files.join(url, "patients.json")


def finished_indices(url: str) -> set[int]:
    """Return the indices of the patients that have a record."""
    names = files.list_names(files.join(url, "records"))
    stems = (name.removesuffix(".json") for name in names if name.endswith(".json"))
    return {int(stem) for stem in stems if stem.isascii() and stem.isdigit()}


def write_record(url: str, record: PatientRecord) -> None:
    """Write what was done with a patient."""
    files.write_text(record_url(url, record.index), dump_with_digest(record.to_json()))


def read_records(url: str, indices: Iterable[int]) -> dict[int, PatientRecord]:
    """Return the records of some patients.

    Raises
    ------
    DamagedFileError
        If one is not what was written, or another patient's.
    """
    ordered = sorted(indices)
    places = [record_url(url, i) for i in ordered]
    contents = files.read_many(places)
    return {
        i: _record(url, place, load_with_digest(content, place, _remedy(url)), i)
        for i, place, content in zip(ordered, places, contents, strict=True)
    }


def write_index(url: str, attributes: Attributes, records: Sequence[PatientRecord]) -> None:
    """Write all records of a finished store, and which attributes it has."""
    values = {"records": [r.to_json() for r in records], "attributes": attributes.digest}
    text = dump_with_digest(values)
    files.write_text(index_url(url), text)


def read_index(url: str, attributes: Attributes) -> list[PatientRecord] | None:
    """Return all records of a finished store, None where it is not finished.

    Raises
    ------
    DamagedFileError
        If they are not what was written, or another store's.
    """
    place = index_url(url)
    try:
        content = files.read_bytes(place)
    except FileNotFoundError:
        return None
    values = load_with_digest(content, place, _remedy(url))
    if values.get("attributes") != attributes.digest:
        raise _of_others(url, place, "was written beside another zarr.json")
    listed = values["records"] if isinstance(values.get("records"), list) else []
    found = [_record(url, place, one, i) for i, one in enumerate(listed)]
    if tuple(record.patient_id for record in found) != attributes.spec.patient_ids:
        raise _of_others(url, place, "lists other patients than the store's zarr.json")
    return found


def _record(url: str, place: str, values: Any, index: int) -> PatientRecord:
    record = parse_values(PatientRecord, values, place, _remedy(url))
    if record.index != index:
        raise _of_others(url, place, f"holds patient number {record.index}, expected {index}")
    return record


def _of_others(url: str, place: str, what: str) -> DamagedFileError:
    message = f"{place} is not this store's, it {what}: {_remedy(url)}"
    return DamagedFileError(message, what)


def _remedy(url: str) -> str:
    return f"run 'radiotrain store verify {url} --repair'"
