"""What a result can depend on of each patient, as a short text that differs where it does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from preprocessing.store.layout import PatientRecord

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
