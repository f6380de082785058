"""A finished store, as training and evaluation see it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import (
    DamagedFileError,
    InputError,
    MissingPathError,
    RadiotrainError,
    storage_trouble,
)
from preprocessing.storage import files
from preprocessing.store import layout, metadata
from preprocessing.store.layout import REGION_TUMOUR, PatientRecord, StoreSpec
from preprocessing.store.records import describe_content, finished_indices, read_index


@dataclass(frozen=True)
class Store:
    """A finished store. Index i counts the usable patients only, in the store's order.

    Attributes
    ----------
    url
        Folder or object-store prefix.
    spec
        Layout, targets and settings.
    versions
        Software that made it, by package.
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
    attributes
        All that the store says of itself.
    """

    url: str
    spec: StoreSpec
    versions: Mapping[str, str]
    patient_ids: tuple[str, ...]
    labels: NDArray[np.int8]
    records: tuple[PatientRecord, ...]
    excluded: tuple[PatientRecord, ...]
    fingerprint: str
    attributes: metadata.Attributes = field(repr=False, compare=False)

    @classmethod
    def open(cls, url: str) -> Store:
        """Open a finished store for reading.

        Parameters
        ----------
        url
            Folder or object-store prefix.

        Returns
        -------
        The store; voxels are read when they are asked for.

        Raises
        ------
        MissingPathError
            If there is no store at `url`.
        SchemaError
            If it was written in another schema.
        DamagedFileError
            If its metadata or records are not what was written.
        InputError
            If preprocessing has not finished.
        """
        url = files.absolute(url)
        attributes = metadata.read_attributes(url)
        if attributes is None:
            raise MissingPathError(
                f"no store at {url}: make one with 'radiotrain preprocess COHORT {url}'"
            )
        spec = attributes.spec
        records = read_index(url, attributes)
        if records is None:
            num_done = len(finished_indices(url))
            raise InputError(
                f"store {url} is not finished, {num_done} of {len(spec.patient_ids)} patients done:"
                " run 'radiotrain preprocess' again to resume it"
            )
        usable = tuple(r for r in records if r.status == "stored")
        labels = np.array([spec.labels[r.index] for r in usable], dtype=np.int8)
        return cls(
            url=url,
            spec=spec,
            versions=attributes.versions,
            patient_ids=tuple(r.patient_id for r in usable),
            labels=labels.reshape(len(usable), len(spec.targets)),
            records=usable,
            excluded=tuple(r for r in records if r.status != "stored"),
            fingerprint=_fingerprint(spec.to_json(), records),
            attributes=attributes,
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

    @cached_property
    def contents(self) -> Mapping[str, str]:
        """Each usable patient's content; see `preprocessing.store.records.describe_content`."""
        return {
            record.patient_id: describe_content(record, labels)
            for record, labels in zip(self.records, self.labels.tolist(), strict=True)
        }

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
        scale = self.records[i].scale
        assert scale is not None
        return self._read("images", i), scale

    def read_region(self, i: int) -> NDArray[np.uint8]:
        """Return patient i's region bits as uint8 (R, C, S)."""
        region: NDArray[np.uint8] = self._read("region", i)
        return region

    def read_tumour(self, i: int) -> NDArray[np.bool_]:
        """Return which voxels of patient i are tumour, bool (R, C, S)."""
        tumour: NDArray[np.bool_] = (self.read_region(i) & REGION_TUMOUR) > 0
        return tumour

    def read_bias_field(self, i: int) -> NDArray[np.float32]:
        """Return the log field divided out, at every `BIAS_STEP`-th voxel along (R, C, S)."""
        field: NDArray[np.float32] = self._read("bias_field", i)
        return field

    def _read(self, name: str, i: int) -> NDArray[Any]:
        """Return what an array holds of patient i, never anything else.

        Raises
        ------
        InputError
            If the chunk is damaged, or not there any more.
        """
        record = self.records[i]
        try:
            values = self.read_array(name, i)
        except RadiotrainError:
            raise
        # A codec that Zarr does not know is a key that it does not find.
        except (ValueError, RuntimeError, KeyError) as error:
            if storage_trouble(error) is not None:
                raise
            raise self._damaged(name, record, str(error)) from error
        # A damaged chunk is found by its codec; one that is missing reads as zeros, and one of another
        # patient or an older version is whole by itself.
        if layout.checksum(values) != record.checksums.get(name):
            raise self._damaged(
                name, record, "its chunk is missing, or not the one that was written"
            )
        return values

    def _damaged(self, name: str, record: PatientRecord, words: str) -> DamagedFileError:
        return DamagedFileError(
            f"{name} of {record.patient_id} cannot be read from store {self.url}:"
            f" {' '.join(words.split())[:200]}: run 'radiotrain store verify {self.url} --repair'"
        )

    def read_array(self, name: str, i: int) -> NDArray[Any]:
        """Return what an array holds of patient i, as it is; see `preprocessing.store.verify`.

        Raises
        ------
        ValueError, OSError, RuntimeError
            Of the codecs, where a chunk is damaged.
        """
        array = metadata.open_array(self.url, name, self.attributes, "r")
        return np.asarray(array[self.records[i].index])


def _fingerprint(spec: Mapping[str, Any], records: list[PatientRecord]) -> str:
    parts = [
        json.dumps({k: spec[k] for k in ("targets", "labels", "settings")}, sort_keys=True),
        json.dumps([(r.patient_id, r.status, r.checksums.get("images")) for r in records]),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
