"""A store's Zarr metadata: made, extended, and never believed when it is damaged.

=====================  ====================================================================
``zarr.json``          the store's attributes: schema version, spec, software versions, and the
                       checksum of each array's ``zarr.json``; with a checksum over all of them
``attributes.json``    the same attributes, from which a damaged ``zarr.json`` is made again
``ARRAY/zarr.json``    Zarr's own; its checksum leaves the number of patients out, which grows
=====================  ====================================================================
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from preprocessing.common.errors import DamagedFileError, InputError, MissingPathError, SchemaError
from preprocessing.common.json_values import parse_values
from preprocessing.storage import durable, files
from preprocessing.storage.digests import DIGEST_KEY, digest_of, dump_with_digest, load_with_digest
from preprocessing.storage.lock_notes import is_lock
from preprocessing.storage.s3_options import storage_options
from preprocessing.store import layout
from preprocessing.store.layout import StoreSpec


class ZarrFolder(LocalStore):
    """Zarr's own writes files whole, but syncs neither them nor their folders."""

    def __init__(self, root: Path | str, *, read_only: bool = False) -> None:
        super().__init__(root, read_only=read_only)
        # What `together` is to sync; None where each write is synced by itself.
        self._unsynced: list[Path] | None = None
        self._lock = threading.Lock()

    async def set(self, key: str, value: Buffer) -> None:
        """Write a chunk, or what describes an array."""
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        """Write a chunk, or what describes an array."""
        if self._unsynced is None:
            self._check_writable()
            durable.write(self.root / key, value.as_buffer_like())
        else:
            super().set_sync(key, value)
            self._unsynced.append(self.root / key)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write what is not there; a store has one writer that makes it."""
        if not await self.exists(key):
            await self.set(key, value)

    async def delete(self, key: str) -> None:
        """Remove a chunk: one of zeros is not kept."""
        if self._unsynced is None:
            await asyncio.to_thread(durable.remove, [self.root / key])
        else:
            await super().delete(key)
            self._unsynced.append(self.root / key)

    async def delete_dir(self, prefix: str) -> None:
        """Remove an array that is made anew."""
        await super().delete_dir(prefix)
        if (above := (self.root / prefix).parent).is_dir():
            await asyncio.to_thread(durable.sync_folder, above)

    @contextmanager
    def together(self) -> Iterator[None]:
        """Sync the writes inside when all are done: several times as fast as each by itself.

        One thread at a time.
        """
        with self._lock:
            unsynced: list[Path] = []
            self._unsynced = unsynced
            try:
                yield
            finally:
                self._unsynced = None
            durable.sync_together(unsynced, self.root)


_ATTRIBUTES = "attributes.json"
# Whatever the number of patients, so that this may grow.
_LABELS_A_CHUNK = 1024
# All that a store's attributes say until the store is made.
_BEING_MADE = {"radiotrain_store": "being made"}
# How the first and the last file of a new store are called while they are written.
_PARTIAL = re.compile(
    rf"\.(zarr\.json|{re.escape(_ATTRIBUTES)})\.[0-9a-f]{{8}}{re.escape(files.PARTIAL)}"
)


@dataclass(frozen=True)
class Attributes:
    """What a store says of itself.

    Parameters
    ----------
    arrays
        The checksum of each array's metadata, by name.
    """

    schema_version: int
    spec: StoreSpec
    versions: Mapping[str, str]
    arrays: Mapping[str, str]

    def __post_init__(self) -> None:
        """Refuse other arrays than a store has.

        Raises
        ------
        ValueError
            If there are.
        """
        if {*self.arrays} != {*layout.ARRAYS}:
            raise ValueError(f"has the arrays {sorted(self.arrays)}")

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return values

    @property
    def digest(self) -> str:
        """The checksum over all of them."""
        return digest_of(self.to_json())


def create(url: str, spec: StoreSpec, versions: Mapping[str, str]) -> Attributes:
    """Make the arrays, then the attributes: a store without them is not there yet. Return these."""
    if files.is_local(url):
        durable.make_folder(Path(url))
    group = _begin(url)
    _create_arrays(group, spec)
    write_labels(url, spec)
    arrays = {name: _array_digest(_read_document(url, name)) for name in layout.ARRAYS}
    attributes = Attributes(layout.SCHEMA_VERSION, spec, dict(versions), arrays)
    _put_attributes(url, group, attributes)
    return attributes


def _create_arrays(group: zarr.Group, spec: StoreSpec) -> None:
    num = len(spec.patient_ids)
    image_shape = (spec.num_phases, *spec.crop_shape)
    compressed = [BloscCodec(cname="lz4", shuffle="bitshuffle", clevel=5), Crc32cCodec()]
    for name, shape, dtype in (
        ("images", image_shape, "int16"),
        ("region", spec.crop_shape, "uint8"),
        ("bias_field", layout.bias_shape(spec.crop_shape), "float32"),
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
        chunks=(_LABELS_A_CHUNK, len(spec.targets)),
        dtype="int8",
        compressors=[Crc32cCodec()],
        overwrite=True,
    )


def _begin(url: str) -> zarr.Group:
    """Return the group of a store to be made, perhaps begun before."""
    try:
        return _open_group(url)
    except (FileNotFoundError, zarr.errors.GroupNotFoundError):
        return zarr.create_group(attributes=dict(_BEING_MADE), **_writable(url))


def extend(url: str, attributes: Attributes, spec: StoreSpec) -> Attributes:
    """Make room for patients appended to those of a store; return its new attributes.

    The attributes change last: cut short, the store is what it was, and is extended again.
    """
    group = _open_group(url)
    num = len(spec.patient_ids)
    for name in layout.ARRAYS:
        found: Any = group[name]
        found.resize((num, *found.shape[1:]))
    write_labels(url, spec)
    extended = replace(attributes, spec=spec)
    _put_attributes(url, group, extended)
    return extended


def write_labels(url: str, spec: StoreSpec) -> None:
    """Write all labels."""
    shape = (len(spec.patient_ids), len(spec.targets))
    array: Any = zarr.open_array(path="labels", mode="r+", zarr_format=3, **_writable(url))
    array[:] = np.array(spec.labels, dtype=np.int8).reshape(shape)


def _put_attributes(url: str, group: zarr.Group, attributes: Attributes) -> None:
    text = dump_with_digest(attributes.to_json())
    files.write_text(files.join(url, _ATTRIBUTES), text)
    group.attrs.put(json.loads(text))


def read_attributes(url: str) -> Attributes | None:
    """Return a store's attributes, or None where there is no store (or only half-made).

    Raises
    ------
    InputError
        If there is a Zarr group or array that is no store.
    SchemaError
        If the store has another schema version.
    DamagedFileError
        If they are not what was written.
    """
    document = _read_document(url)
    place = files.join(url, "zarr.json")
    if document is None:
        if _has_copy(url):
            raise _damaged(url, place, "is missing")
        return None
    attributes = document.get("attributes")
    if attributes == _BEING_MADE:
        return None
    kind = (document.get("zarr_format"), document.get("node_type"))
    attributes = attributes if isinstance(attributes, dict) else {}
    is_ours = bool({"schema_version", "spec"} & {*attributes})
    if is_ours and (kind == (3, "group") or _has_copy(url)):
        found = _parse(url, place, attributes)
        if kind == (3, "group"):
            return found
    if _has_copy(url):
        raise _damaged(url, place, "is not what was written")
    if kind[1] == "array":
        raise InputError(f"{url} is a Zarr array, expected a store: name its folder")
    raise InputError(f"{url} is a Zarr group but no radiotrain store: name another folder")


def _has_copy(url: str) -> bool:
    return files.exists(files.join(url, _ATTRIBUTES))


def _parse(url: str, place: str, values: Mapping[str, Any]) -> Attributes:
    rest = {key: value for key, value in values.items() if key != DIGEST_KEY}
    is_whole = values.get(DIGEST_KEY) == digest_of(rest)
    version = values.get("schema_version")
    # A store of an older version has no checksum.
    if version != layout.SCHEMA_VERSION and (is_whole or DIGEST_KEY not in values):
        raise SchemaError(
            f"store {url} has schema {str(version)[:50]}, expected {layout.SCHEMA_VERSION}:"
            " run 'radiotrain preprocess' again into a new folder"
        )
    if not is_whole:
        raise _damaged(url, place, "does not match its checksum")
    return parse_values(Attributes, rest, place, _remedy(url))


def read_copy(url: str) -> Attributes:
    """Return the attributes from their second place, as `read_attributes` does.

    Raises
    ------
    FileNotFoundError
        If they are not there.
    DamagedFileError
        If they are not what was written.
    SchemaError
        If they are of another version.
    """
    place = files.join(url, _ATTRIBUTES)
    values = load_with_digest(files.read_bytes(place), place, _remedy(url))
    return _parse(url, place, {**values, DIGEST_KEY: digest_of(values)})


def check_free(url: str) -> None:
    """Refuse to make a store among other things. One that was begun may be begun again.

    Raises
    ------
    InputError
        If there is anything else at `url`.
    """
    names = {name for name in files.list_names(url) if not is_lock(name)}
    ours = {"zarr.json", _ATTRIBUTES, *layout.ARRAYS} if "zarr.json" in names else set()
    if any(name not in ours and not _PARTIAL.fullmatch(name) for name in names):
        raise InputError(f"{url} is not empty and is no store: name a folder that is new or empty")


def open_array(url: str, name: str, attributes: Attributes, mode: Literal["r", "r+"]) -> Any:
    """Return an array of a store, opened and checked once in a process.

    Parameters
    ----------
    attributes
        Of the store: they hold the checksum of the array's metadata.

    Raises
    ------
    DamagedFileError
        If its metadata is not what was written.
    """
    num = len(attributes.spec.patient_ids)
    return _open_array(url, name, attributes.arrays[name], num, mode, os.getpid())


@lru_cache(maxsize=32)
def _open_array(
    url: str, name: str, expected: str, num: int, mode: Literal["r", "r+"], process: int
) -> Any:
    """Open an array of `num` patients; connections end with a process."""
    if array_problem(url, name, expected) is not None:
        place = files.join(url, name, "zarr.json")
        raise _damaged(url, place, "does not match its checksum")
    where = _readable(url) if mode == "r" else _writable(url)
    # Told the format, Zarr does not look for files of older ones.
    array = zarr.open_array(path=name, mode=mode, zarr_format=3, **where)
    if array.shape[0] < num:
        place = files.join(url, name, "zarr.json")
        raise _damaged(url, place, f"has {array.shape[0]} patients, expected {num}")
    return array


@contextmanager
def written_together(url: str) -> Iterator[None]:
    """Have all that is written to a store's arrays inside on the disk at the end."""
    store = _writable(url)["store"]
    if not isinstance(store, ZarrFolder):
        yield  # an object store's put lasts by itself
        return
    with store.together():
        yield


def _readable(url: str) -> dict[str, Any]:
    return {"store": url, "storage_options": storage_options(url) or None}


def _writable(url: str) -> dict[str, Any]:
    """Return what Zarr is given to write to."""
    if not files.is_local(url):
        return _readable(url)
    return {"store": _folder(files.filesystem(url)[1], os.getpid())}


@lru_cache(maxsize=8)
def _folder(path: str, process: int) -> ZarrFolder:
    return ZarrFolder(path)


def array_problem(url: str, name: str, expected: str, num: int | None = None) -> str | None:
    """Say what is wrong with an array's metadata; None where nothing is.

    Parameters
    ----------
    num
        Patients of the array; None where it may have been extended since.
    """
    try:
        document = _read_document(url, name)
    except DamagedFileError:
        return "is not the JSON that was written"
    if document is None:
        return "is missing"
    if _array_digest(document) != expected:
        return "does not match its checksum"
    if num is not None and document["shape"][0] != num:
        return f"has {document['shape'][0]} patients, expected {num}"
    return None


def repair(url: str, attributes: Attributes) -> None:
    """Write all metadata of a store anew.

    Parameters
    ----------
    attributes
        Of the store, whole.
    """
    text = dump_with_digest(attributes.to_json())
    with tempfile.TemporaryDirectory() as folder:
        group = zarr.create_group(folder)
        _create_arrays(group, attributes.spec)
        group.attrs.put(json.loads(text))
        for name in layout.ARRAYS:
            document = (Path(folder) / name / "zarr.json").read_text("utf-8")
            if _array_digest(json.loads(document)) != attributes.arrays[name]:
                raise InputError(
                    f"the metadata of {name} in store {url} cannot be made again by zarr"
                    f" {zarr.__version__}: install the version that made it,"
                    f" {attributes.versions.get('zarr', 'which is unknown')}, and repair again"
                )
            files.write_text(files.join(url, name, "zarr.json"), document)
        files.write_text(files.join(url, _ATTRIBUTES), text)
        root = (Path(folder) / "zarr.json").read_text("utf-8")
        files.write_text(files.join(url, "zarr.json"), root)


def _open_group(url: str) -> zarr.Group:
    return zarr.open_group(mode="r+", zarr_format=3, **_writable(url))


def _read_document(url: str, name: str = "") -> dict[str, Any] | None:
    """Return a ``zarr.json``, None where there is none."""
    place = files.join(url, *filter(None, (name,)), "zarr.json")
    try:
        values = json.loads(files.read_bytes(place))
    except (FileNotFoundError, NotADirectoryError, MissingPathError):
        return None
    except (ValueError, RecursionError):
        raise _damaged(url, place, "is not the JSON that was written") from None
    if not isinstance(values, dict):
        raise _damaged(url, place, "is not the JSON that was written")
    return values


def _array_digest(document: Mapping[str, Any] | None) -> str:
    """Return the checksum of an array's metadata, whatever its number of patients."""
    values = dict(document or {})
    shape = values.get("shape")
    if isinstance(shape, list) and shape and isinstance(shape[0], int):
        values["shape"] = ["any", *shape[1:]]
    return digest_of(values)


def _damaged(url: str, place: str, what: str) -> DamagedFileError:
    return DamagedFileError(f"{place} is damaged, it {what}: {_remedy(url)}", what)


def _remedy(url: str) -> str:
    return f"run 'radiotrain store verify {url} --repair'"
