"""Whether the files a patient was made from are still the ones that are there."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from preprocessing import files
from preprocessing.cohort import DicomSeries, Patient, PhaseSource
from preprocessing.errors import storage_trouble


def input_digest(patient: Patient) -> str:
    """Return a short digest over what a reader found and the names and sizes of its files.

    Contents are not read: that would cost more than the work they are read for.
    """
    found: dict[str, Any] = {
        "phases": [_sizes(source) for source in patient.phases],
        "mask": _sizes(patient.mask) if patient.mask else None,
        "box": asdict(patient.box) if patient.box else None,
        "findings": [asdict(f) for f in patient.findings],
    }
    if patient.mask is not None and patient.mask.label is not None:
        found["mask_label"] = patient.mask.label
    if patient.examination is not None:
        found["examination"] = sorted(files.sizes_below(patient.examination.folder).items())
        found["known_phases"] = sorted(patient.examination.known_phases.items())
        if patient.examination.table:
            found["table"] = sorted(patient.examination.table.items())
    text = json.dumps(found, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sizes(source: PhaseSource) -> list[tuple[str, int]]:
    paths = source.files if isinstance(source, DicomSeries) else (source.path,)
    return [(path.name, _size(path)) for path in paths]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        if storage_trouble(error) is not None and not isinstance(error, FileNotFoundError):
            raise  # what cannot be asked is not known to be gone
        return -1
