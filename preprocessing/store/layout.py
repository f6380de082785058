"""What a store holds: its values, its arrays, its attributes."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, Crc32cCodec

from preprocessing import files
from preprocessing.cohort import Finding
from preprocessing.errors import InputError, SchemaError
from preprocessing.s3_options import storage_options

SCHEMA_VERSION = 2
REGION_TUMOUR = 1
REGION_PADDING = 2
# The field is smooth over centimetres, so that every fourth voxel says all of it.
BIAS_STEP = 4

# Held by the run that writes; see `preprocessing.store.lock`.
LOCK_NAME = ".writing.json"
# One chunk a patient, whose checksum its record has.
CHECKED_ARRAYS = ("images", "region", "bias_field")
ARRAYS = (*CHECKED_ARRAYS, "scale", "labels")

# All that a store's attributes say until the store is made.
_BEING_MADE = {"radiotrain_store": "being made"}
# What Zarr calls the first file of a store while it writes it.
_FIRST_PARTIAL = re.compile(r"zarr\.[0-9a-f]{32}" + re.escape(files.PARTIAL))


@dataclass(frozen=True)
class StoreSpec:
    """What a store is made for.

    Parameters
    ----------
    patient_ids
        All patients of the cohort, N of them, usable or not.
    labels
        (N, T) of 0, 1 or -1.
    settings
        The resolved preprocessing configuration, as JSON values.
    cohort
        Where the patients came from (layout), as JSON values.
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

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> StoreSpec:
        """Rebuild a spec from `to_json`."""
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


@dataclass(frozen=True)
class PatientTensor:
    """One patient's voxels, ready to be stored.

    Parameters
    ----------
    images
        float32 (P, R, C, S), bias-corrected, in one intensity unit.
    region
        uint8 (R, C, S), bits `REGION_TUMOUR` and `REGION_PADDING`.
    bias_field
        float32 (R, C, S) of every `BIAS_STEP`-th voxel along each axis: the log field that was
        divided out; None where nothing was corrected.
    """

    images: NDArray[np.float32]
    region: NDArray[np.uint8]
    bias_field: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class PatientRecord:
    """What was done with one patient. Holds no time of day, so that equal input gives equal stores.

    Parameters
    ----------
    index
        Of the patient's chunk in each array.
    status
        stored, or excluded: then `findings` say why, and its chunk holds nothing.
    covariates
        Clinical and technical values by column.
    spacing_mm
        Of the stored voxels along rows, columns and slices.
    box_in_crop
        Tumour box in the crop: where it starts along each axis, and where it stops, exclusive.
    phase_names
        As the files name them, technical words only.
    phase_times_s
        Seconds after the pre-contrast, where the files tell.
    scale
        By which stored numbers are multiplied.
    input_digest
        Over the names and sizes of the files it was made from; tells whether they changed.
    checksums
        CRC-32 of what is stored of the patient, by the array's name.
    details
        What was found on the way: ``orientation`` (`geometry.Orientation.code`) and ``own_shape`` of
        the volumes as they came; ``volume_digest`` over the whole pre-contrast volume, where a bias
        field was fitted; ``intensity_gain``; ``motion`` of each phase; ``own_spacing_mm`` of images
        that were resampled; ``phases_by``, what the order of the phases was taken from, and
        ``phase_series``, the keys of their series in a table of phases; ``phases_table``, the digest of
        that table where one decided.
    """

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
    checksums: Mapping[str, int] = field(default_factory=dict)
    input_digest: str | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exclusion_code(self) -> str:
        """The code of the finding that the patient was excluded for."""
        return next((f.code for f in self.findings if f.excludes), "unknown")

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


def create(url: str, spec: StoreSpec, versions: Mapping[str, str]) -> None:
    """Make the arrays, then the attributes: a store that lacks them is not there yet."""
    num = len(spec.patient_ids)
    image_shape = (spec.num_phases, *spec.crop_shape)
    if files.is_local(url):
        Path(url).mkdir(parents=True, exist_ok=True)
    group = _begin(url)
    compressed = [BloscCodec(cname="lz4", shuffle="bitshuffle", clevel=5), Crc32cCodec()]
    for name, shape, dtype in (
        ("images", image_shape, "int16"),
        ("region", spec.crop_shape, "uint8"),
        ("bias_field", bias_shape(spec.crop_shape), "float32"),
    ):
        group.create_array(
            name,
            shape=(num, *shape),
            chunks=(1, *shape),
            dtype=dtype,
            compressors=compressed,
            overwrite=True,
        )
    group.create_array(
        "scale",
        shape=(num,),
        chunks=(1,),
        dtype="float32",
        compressors=[Crc32cCodec()],
        overwrite=True,
    )
    group.create_array(
        "labels",
        shape=(num, len(spec.targets)),
        chunks=(max(num, 1), len(spec.targets)),
        dtype="int8",
        compressors=[Crc32cCodec()],
        overwrite=True,
    )
    write_labels(group, spec)
    group.attrs.put(
        {"schema_version": SCHEMA_VERSION, "spec": spec.to_json(), "versions": dict(versions)}
    )


def _begin(url: str) -> zarr.Group:
    """Return the group of a store to be made, perhaps begun before."""
    try:
        return open_group(url, "r+")
    except (FileNotFoundError, zarr.errors.GroupNotFoundError):
        options = storage_options(url) or None
        return zarr.create_group(url, attributes=dict(_BEING_MADE), storage_options=options)


def extend(url: str, spec: StoreSpec) -> None:
    """Make room for patients appended to those of a store, whose spec becomes `spec`.

    The attributes change last: cut short, the store is what it was, and is extended again.
    """
    group = open_group(url, "r+")
    num = len(spec.patient_ids)
    for name in ARRAYS:
        found = array(group, name)
        found.resize((num, *found.shape[1:]))
    write_labels(group, spec)
    group.attrs.update({"spec": spec.to_json()})


def write_labels(group: zarr.Group, spec: StoreSpec) -> None:
    """Write all labels."""
    shape = (len(spec.patient_ids), len(spec.targets))
    array(group, "labels")[:] = np.array(spec.labels, dtype=np.int8).reshape(shape)


def bias_shape(crop_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the shape of one patient's stored log field."""
    r, c, s = (-(-n // BIAS_STEP) for n in crop_shape)
    return r, c, s


def open_group(url: str, mode: Literal["r", "r+"]) -> zarr.Group:
    """Open the Zarr group of a store."""
    options = storage_options(url) or None
    # Told the format, Zarr does not look for files of older ones: six requests of an object store.
    return zarr.open_group(url, mode=mode, storage_options=options, zarr_format=3)


def array(group: zarr.Group, name: str) -> Any:
    """Return an array of the group; Zarr's own type could as well be a group."""
    return group[name]


def read_attributes(url: str) -> dict[str, Any] | None:
    """Return a store's attributes, or None where there is no store (or only half-made).

    Raises
    ------
    InputError
        If there is a Zarr group or array of somebody else's.
    """
    try:
        attributes = dict(open_group(url, "r").attrs)
    except (FileNotFoundError, zarr.errors.GroupNotFoundError):
        return None
    except zarr.errors.ContainsArrayError as error:
        raise InputError(f"{url} is a Zarr array, expected a store: name its folder") from error
    if attributes == _BEING_MADE:
        return None
    if "schema_version" not in attributes or "spec" not in attributes:
        raise InputError(f"{url} is a Zarr group but no radiotrain store: name another folder")
    return attributes


def check_free(url: str) -> None:
    """Refuse to make a store among other things. One that was begun may be begun again.

    Raises
    ------
    InputError
        If there is anything else at `url`.
    """
    names = set(files.list_names(url))
    ours = {LOCK_NAME, "zarr.json", *ARRAYS} if "zarr.json" in names else {LOCK_NAME}
    if any(name not in ours and not _FIRST_PARTIAL.fullmatch(name) for name in names):
        raise InputError(f"{url} is not empty and is no store: name a folder that is new or empty")


def check_schema(url: str, attributes: Mapping[str, Any]) -> None:
    """Refuse a store of another schema.

    Raises
    ------
    SchemaError
        If it is one.
    """
    found = attributes["schema_version"]
    if found != SCHEMA_VERSION:
        raise SchemaError(
            f"store {url} has schema {found}, expected {SCHEMA_VERSION}:"
            " run 'radiotrain preprocess' again into a new folder"
        )


def checksum(values: NDArray[Any]) -> int:
    """Return the CRC-32 of an array's values."""
    return zlib.crc32(np.ascontiguousarray(values).tobytes())


def record_url(url: str, index: int) -> str:
    """Return where a patient's record lies."""
    return files.join(url, "records", f"{index:06d}.json")


def index_url(url: str) -> str:
    """Return where all records of a finished store lie."""
    return files.join(url, "patients.json")


def finished_indices(url: str) -> set[int]:
    """Return the indices of the patients that have a record."""
    names = files.list_names(files.join(url, "records"))
    return {int(n.removesuffix(".json")) for n in names if n.endswith(".json") and n[0] != "."}


def read_records(url: str, indices: set[int]) -> dict[int, PatientRecord]:
    """Return the records of some patients."""
    ordered = sorted(indices)
    texts = files.read_many([record_url(url, i) for i in ordered])
    return {i: PatientRecord.from_json(json.loads(t)) for i, t in zip(ordered, texts, strict=True)}
