"""One patient's voxels out of a store, or what is wrong with them.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import storage_trouble
from preprocessing.store import REGION_PADDING, REGION_TUMOUR, Store
from preprocessing.store.layout import checksum


class DamagedVoxelsError(Exception):
    """Voxels that are not what was written; the message is for a person."""


@dataclass(frozen=True)
class Voxels:
    """What the store holds of one patient.

    Parameters
    ----------
    images
        int16 (P, R, C, S).
    scale
        Intensity of 1 in `images`.
    tumour, padding
        bool (R, C, S).
    field
        The log bias field, a sample each `BIAS_STEP` voxels.
    """

    images: NDArray[np.int16]
    scale: float
    tumour: NDArray[np.bool_]
    padding: NDArray[np.bool_]
    field: NDArray[np.float32]


def one_patient(store: Store, i: int) -> Store:
    """Return a store of patient i only: what a process that looks at one patient needs."""
    spec = replace(store.spec, patient_ids=(), labels=())
    return replace(
        store,
        spec=spec,
        patient_ids=store.patient_ids[i : i + 1],
        labels=store.labels[i : i + 1],
        records=store.records[i : i + 1],
        excluded=(),
    )


def read_voxels(store: Store, i: int) -> Voxels:
    """Read one patient.

    Raises
    ------
    DamagedVoxelsError
        If a chunk cannot be decoded, or holds other values than were written.
    """
    scale = store.records[i].scale
    assert scale is not None
    images, region, field = (_read(store, i, name) for name in ("images", "region", "bias_field"))
    tumour, padding = (region & bit > 0 for bit in (REGION_TUMOUR, REGION_PADDING))
    return Voxels(images, scale, tumour, padding, field)


def _read(store: Store, i: int, name: str) -> NDArray[Any]:
    try:
        values = store.read_array(name, i)
    except (ValueError, OSError, RuntimeError) as error:
        if storage_trouble(error) is not None:
            raise  # not read is not damaged
        # The codecs' own words: a checksum that differs, a frame that does not decode.
        words = " ".join(str(error).split())[:200].rstrip(".")
        raise DamagedVoxelsError(f"{name} cannot be read: {words}") from error
    # A chunk that is gone reads as zeros, so its own checksum does not tell.
    if checksum(values) != store.records[i].checksums.get(name):
        raise DamagedVoxelsError(f"{name} is not what was written (lost or replaced)")
    return values
