"""What a store holds: its values and the names of its arrays."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Finding

SCHEMA_VERSION = 3
REGION_TUMOUR = 1
REGION_PADDING = 2
# The field is smooth over centimetres, so that every fourth voxel says all of it.
BIAS_STEP = 4

# Of a crop with all phases: what Zarr's codecs compress at once.
_MAX_VOXELS = 2**30 - 1

# One chunk a patient, whose checksum its record has.
CHECKED_ARRAYS = ("images", "region", "bias_field")
ARRAYS = (*CHECKED_ARRAYS, "scale", "labels")


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

    def __post_init__(self) -> None:
        """Refuse what no cohort is.

        Raises
        ------
        ValueError
            If patients are repeated, labels are not one row a patient, or sizes are out of range.
        """
        if len(set(self.patient_ids)) < len(self.patient_ids):
            raise ValueError("a patient is there twice")
        if [len(row) for row in self.labels] != [len(self.targets)] * len(self.patient_ids):
            raise ValueError("labels are not one row of all targets a patient")
        if not {label for row in self.labels for label in row} <= {-1, 0, 1}:
            raise ValueError("labels are not all 0, 1 or -1")
        sizes = (self.num_phases, *self.crop_shape)
        if min(sizes) < 1 or math.prod(sizes) > _MAX_VOXELS:
            raise ValueError(f"crops of {sizes} voxels, expected at most {_MAX_VOXELS} in all")


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


def bias_shape(crop_shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Return the shape of one patient's stored log field."""
    r, c, s = (-(-n // BIAS_STEP) for n in crop_shape)
    return r, c, s


def checksum(values: NDArray[Any]) -> int:
    """Return the CRC-32 of an array's values."""
    return zlib.crc32(np.ascontiguousarray(values).data)
