"""The store: one chunk of int16 voxels a patient, in Zarr v3, on a folder or S3.

Axis legend: N patients, P phases, R rows, C columns, S slices, T targets.

====================  =======================  ==========================================
``images``            int16 (N, P, R, C, S)    voxel value = int16 × scale of its patient
``scale``             float32 (N,)             same intensity unit for all phases of a patient
``region``            uint8 (N, R, C, S)       bit 0 tumour box or mask, bit 1 padding
``labels``            int8 (N, T)              0, 1 or -1 (missing)
``records/I.json``    one a patient            what was done; written last, so it means complete
``patients.json``     all records              written when every patient is done
====================  =======================  ==========================================

This module needs only numpy, zarr and fsspec: a training machine has no imaging libraries.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from preprocessing import files
from preprocessing.cohort import Finding
from preprocessing.errors import (
    InputError,
    MissingPathError,
    SchemaError,
    StorageFullError,
    is_disk_full,
)

SCHEMA_VERSION = 1
REGION_TUMOUR = 1
REGION_PADDING = 2

_LARGEST = 32767
_ARRAYS = {"images", "region", "scale", "labels"}


@dataclass(frozen=True)
class StoreSpec:
    """What a store is made for; two runs may share a store only if all of it is equal.

    Parameters
    ----------
    patient_ids
        All patients of the cohort, N of them, usable or not.
    labels
        (N, T) of 0, 1 or -1.
    settings
        The resolved preprocessing configuration, as JSON values.
    cohort
        Where the patients came from (layout, digests of tables), as JSON values.
    """

    patient_ids: tuple[str, ...]
    targets: tuple[str, ...]
    labels: tuple[tuple[int, ...], ...]
    num_phases: int
    crop_shape: tuple[int, int, int]
    settings: Mapping[str, Any] = field(default_factory=dict)
    cohort: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return dict(json.loads(json.dumps(asdict(self))))


@dataclass(frozen=True)
class PatientTensor:
    """One patient's voxels, ready to be stored.

    Parameters
    ----------
    images
        float32 (P, R, C, S), bias-corrected, in one intensity unit.
    region
        uint8 (R, C, S), bits `REGION_TUMOUR` and `REGION_PADDING`.
    """

    images: NDArray[np.float32]
    region: NDArray[np.uint8]


@dataclass(frozen=True)
class PatientRecord:
    """What was done with one patient. Holds no time of day, so that equal input gives equal stores."""

    index: int
    patient_id: str
    status: Literal["stored", "excluded"]
    findings: tuple[Finding, ...] = ()
    covariates: Mapping[str, str | float | None] = field(default_factory=dict)
    spacing_mm: tuple[float, float, float] | None = None
    box_in_crop: tuple[tuple[int, int, int], tuple[int, int, int]] | None = None
    phase_names: tuple[str, ...] = ()
    phase_times_s: tuple[float | None, ...] = ()
    scale: float | None = None
    image_crc32: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> PatientRecord:
        """Rebuild a record from `to_json`."""
        box = values["box_in_crop"]
        spacing = values["spacing_mm"]
        return PatientRecord(
            **{
                **values,
                "findings": tuple(Finding(**f) for f in values["findings"]),
                "spacing_mm": tuple(spacing) if spacing is not None else None,
                "box_in_crop": (tuple(box[0]), tuple(box[1])) if box is not None else None,
                "phase_names": tuple(values["phase_names"]),
                "phase_times_s": tuple(values["phase_times_s"]),
            }
        )


class StoreWriter:
    """Fills a store, one patient at a time, from any number of processes.

    Patients are chunks of their own, so writers never touch each other's files.
    """

    def __init__(self, url: str, spec: StoreSpec) -> None:
        self.url = url
        self.spec = spec

    @classmethod
    def create_or_resume(
        cls, url: str, spec: StoreSpec, versions: Mapping[str, str]
    ) -> StoreWriter:
        """Open the store at `url` for writing, making it if it is not there.

        Raises
        ------
        InputError
            If `url` holds something else, or a store made from other patients or settings.
        SchemaError
            If the store there has another schema version.
        """
        url = files.absolute(url)
        found = _read_attributes(url)
        if found is None:
            if files.list_names(url) and "zarr.json" not in files.list_names(url):
                raise InputError(
                    f"{url} is not empty and is no store: name a folder that is new or empty"
                )
            _guard_full(url, lambda: _create(url, spec, versions))
        else:
            _check_schema(url, found)
            _check_same(url, found["spec"], spec.to_json())
        return cls(url, spec)

    def finished(self) -> set[int]:
        """Return the indices of the patients that need no more work."""
        names = files.list_names(files.join(self.url, "records"))
        return {int(n.removesuffix(".json")) for n in names if n.endswith(".json") and n[0] != "."}

    def write(self, record: PatientRecord, tensor: PatientTensor | None) -> None:
        """Store one patient: voxels first, its record last.

        Raises
        ------
        StorageFullError
            If the disk is full; the patient then counts as not done.
        """
        _guard_full(self.url, lambda: self._write(record, tensor))

    def _write(self, record: PatientRecord, tensor: PatientTensor | None) -> None:
        if tensor is not None:
            values, scale = quantise(tensor.images)
            group = zarr.open_group(self.url, mode="r+")
            _array(group, "images")[record.index] = values
            _array(group, "region")[record.index] = tensor.region
            _array(group, "scale")[record.index] = scale
            record = PatientRecord(
                **{
                    **{k: getattr(record, k) for k in record.__dataclass_fields__},
                    "scale": float(scale),
                    "image_crc32": zlib.crc32(np.ascontiguousarray(values).tobytes()),
                }
            )
        files.write_text(self._record_url(record.index), _dump(record.to_json()))

    def finish(self) -> Store:
        """Gather all records into ``patients.json`` and open the store for reading."""
        records = [
            json.loads(files.read_text(self._record_url(i)))
            for i in range(len(self.spec.patient_ids))
        ]
        _guard_full(
            self.url,
            lambda: files.write_text(files.join(self.url, "patients.json"), _dump(records)),
        )
        return Store.open(self.url)

    def _record_url(self, index: int) -> str:
        return files.join(self.url, "records", f"{index:06d}.json")


@dataclass(frozen=True)
class Store:
    """A finished store. Index i counts the usable patients only, in the order of their ids.

    Attributes
    ----------
    patient_ids
        Usable patients, M of them.
    labels
        int8 (M, T).
    records
        Of the usable patients, same order.
    excluded
        Records of the others, each with the findings that say why.
    fingerprint
        Short digest over settings, patients, labels and voxels.
    """

    url: str
    spec: StoreSpec
    versions: Mapping[str, str]
    patient_ids: tuple[str, ...]
    labels: NDArray[np.int8]
    records: tuple[PatientRecord, ...]
    excluded: tuple[PatientRecord, ...]
    fingerprint: str

    @classmethod
    def open(cls, url: str) -> Store:
        """Open a finished store for reading.

        Raises
        ------
        MissingPathError
            If there is no store at `url`.
        SchemaError
            If it was written in another schema.
        InputError
            If preprocessing has not finished.
        """
        url = files.absolute(url)
        attributes = _read_attributes(url)
        if attributes is None:
            raise MissingPathError(
                f"no store at {url}: make one with 'radiotrain preprocess COHORT {url}'"
            )
        _check_schema(url, attributes)
        spec = _spec_from_json(attributes["spec"])
        index_url = files.join(url, "patients.json")
        if not files.exists(index_url):
            num_done = len(StoreWriter(url, spec).finished())
            raise InputError(
                f"store {url} is not finished, {num_done} of {len(spec.patient_ids)} patients done:"
                " run 'radiotrain preprocess' again to resume it"
            )
        records = [PatientRecord.from_json(r) for r in json.loads(files.read_text(index_url))]
        usable = tuple(r for r in records if r.status == "stored")
        labels = np.array([spec.labels[r.index] for r in usable], dtype=np.int8)
        return cls(
            url=url,
            spec=spec,
            versions=attributes["versions"],
            patient_ids=tuple(r.patient_id for r in usable),
            labels=labels.reshape(len(usable), len(spec.targets)),
            records=usable,
            excluded=tuple(r for r in records if r.status != "stored"),
            fingerprint=_fingerprint(attributes["spec"], records),
        )

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the T targets."""
        return self.spec.targets

    @property
    def image_shape(self) -> tuple[int, int, int, int]:
        """(P, R, C, S)."""
        return (self.spec.num_phases, *self.spec.crop_shape)

    @property
    def num_bytes(self) -> int:
        """Size of all usable patients' images as int16, uncompressed."""
        return len(self.patient_ids) * int(np.prod(self.image_shape)) * 2

    def index_of(self, patient_id: str) -> int:
        """Return a usable patient's index."""
        try:
            return self.patient_ids.index(patient_id)
        except ValueError:
            hint = "it was excluded" if patient_id in self.spec.patient_ids else "it is not there"
            raise InputError(
                f"store {self.url} has no usable patient {patient_id!r}: {hint}"
            ) from None

    def read_images(self, i: int) -> tuple[NDArray[np.int16], float]:
        """Return patient i's voxels as int16 (P, R, C, S) and their scale."""
        record = self.records[i]
        assert record.scale is not None
        group = zarr.open_group(self.url, mode="r")
        return np.asarray(_array(group, "images")[record.index]), record.scale

    def read_region(self, i: int) -> NDArray[np.uint8]:
        """Return patient i's region bits as uint8 (R, C, S)."""
        group = zarr.open_group(self.url, mode="r")
        return np.asarray(_array(group, "region")[self.records[i].index])


def quantise(images: NDArray[np.float32]) -> tuple[NDArray[np.int16], np.float32]:
    """Return int16 voxels and the scale that gives the values back.

    The scale spreads the patient's whole range over int16: one step of 12-bit MR is eight of ours.
    """
    largest = float(np.max(np.abs(images))) if images.size else 0.0
    # Not below the smallest normal number: a subnormal scale has too few digits left.
    smallest = float(np.finfo(np.float32).tiny)
    scale = np.float32(max(largest / _LARGEST, smallest)) if largest > 0 else np.float32(1.0)
    return np.rint(images / scale).clip(-_LARGEST, _LARGEST).astype(np.int16), scale


def _create(url: str, spec: StoreSpec, versions: Mapping[str, str]) -> None:
    """Make the arrays, then the attributes: a store without attributes is not there yet."""
    num = len(spec.patient_ids)
    image_shape = (spec.num_phases, *spec.crop_shape)
    fs, path = files.filesystem(url)
    fs.makedirs(path, exist_ok=True)
    group = zarr.open_group(url, mode="w")
    codecs = [
        BloscCodec(cname="lz4", shuffle="bitshuffle", clevel=5),
        Crc32cCodec(),
    ]
    checked = [Crc32cCodec()]
    group.create_array(
        "images",
        shape=(num, *image_shape),
        chunks=(1, *image_shape),
        dtype="int16",
        compressors=codecs,
    )
    group.create_array(
        "region",
        shape=(num, *spec.crop_shape),
        chunks=(1, *spec.crop_shape),
        dtype="uint8",
        compressors=codecs,
    )
    group.create_array("scale", shape=(num,), chunks=(1,), dtype="float32", compressors=checked)
    shape = (num, len(spec.targets))
    labels = np.array(spec.labels, dtype=np.int8).reshape(shape)
    array = group.create_array(
        "labels", shape=shape, chunks=shape, dtype="int8", compressors=checked
    )
    array[:] = labels
    group.attrs.update(
        {"schema_version": SCHEMA_VERSION, "spec": spec.to_json(), "versions": dict(versions)}
    )


def _array(group: zarr.Group, name: str) -> Any:
    return group[name]


def _read_attributes(url: str) -> dict[str, Any] | None:
    """Return a store's attributes, or None where there is no store (or only half-made)."""
    try:
        group = zarr.open_group(url, mode="r")
    except (FileNotFoundError, zarr.errors.GroupNotFoundError):
        return None
    attributes = dict(group.attrs)
    if "schema_version" not in attributes:
        if not set(group.keys()) <= _ARRAYS:
            raise InputError(f"{url} is a Zarr group but no radiotrain store: name another folder")
        return None
    return attributes


def _check_schema(url: str, attributes: Mapping[str, Any]) -> None:
    found = attributes["schema_version"]
    if found != SCHEMA_VERSION:
        raise SchemaError(
            f"store {url} has schema {found}, expected {SCHEMA_VERSION}:"
            " run 'radiotrain preprocess' again into a new folder"
        )


def _check_same(url: str, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for key in wanted:
        if found.get(key) != wanted[key]:
            detail = _first_difference(key, found.get(key), wanted[key])
            raise InputError(
                f"store {url} was made with other input, {detail}: use the same or name a new store"
            )


def _first_difference(key: str, found: Any, wanted: Any) -> str:
    if isinstance(found, dict) and isinstance(wanted, dict):
        for name in sorted({*found, *wanted}):
            if found.get(name) != wanted.get(name):
                return _first_difference(f"{key}.{name}", found.get(name), wanted.get(name))
    if isinstance(found, list) and isinstance(wanted, list) and len(str(wanted)) > 80:
        return f"{key} differs ({len(found)} entries there, {len(wanted)} now)"
    return f"{key} is {found!r} there and {wanted!r} now"


def _spec_from_json(values: Mapping[str, Any]) -> StoreSpec:
    rows, columns, slices = values["crop_shape"]
    return StoreSpec(
        patient_ids=tuple(values["patient_ids"]),
        targets=tuple(values["targets"]),
        labels=tuple(tuple(row) for row in values["labels"]),
        num_phases=values["num_phases"],
        crop_shape=(rows, columns, slices),
        settings=values["settings"],
        cohort=values["cohort"],
    )


def _fingerprint(spec: Mapping[str, Any], records: list[PatientRecord]) -> str:
    parts = [
        json.dumps({k: spec[k] for k in ("targets", "labels", "settings")}, sort_keys=True),
        json.dumps([(r.patient_id, r.status, r.image_crc32) for r in records]),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _dump(values: Any) -> str:
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"


def _guard_full(url: str, action: Any) -> None:
    try:
        action()
    except StorageFullError:
        raise
    except OSError as error:
        if is_disk_full(error):
            raise StorageFullError(
                f"disk full while writing store {url}: nothing finished is lost, free some space"
                " and run the same command again to resume"
            ) from error
        raise
