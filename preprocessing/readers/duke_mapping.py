"""The collection's optional table of file paths, which says for each file which series it was.

Its ``original_path_and_filename`` names the series ``pre``, ``post_1`` … ``post_4`` or ``T1``; the
other columns say where the file lies in a download with classic or descriptive folder names.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from preprocessing.errors import InputError
from preprocessing.readers.tables import Wanted, find_column, stream_table

_ORIGINAL = "original_path_and_filename"
_PLACES = ("classic_path", "descriptive_path")
_PATIENT = re.compile(r"Breast_MRI_\d+")
_AGAIN = "download it from the collection's page on TCIA again, or remove it to go by series names"
_POST = re.compile(r"post_?(\d+)", re.IGNORECASE)


def read_mapping(path: Path) -> dict[str, dict[str, int]]:
    """Read the phase of each series folder, by patient.

    Returns
    -------
    Patient id to what `DicomExamination.known_phases` holds: a folder below the patient's to its
    phase; file by file only for folders whose files are of several series.

    Raises
    ------
    InputError
        If it is no table or lacks a column.
    """
    # folder -> phase -> names: most folders have one phase, and one entry is kept for them.
    folders: dict[tuple[str, str], dict[int, list[str]]] = defaultdict(lambda: defaultdict(list))
    for original, *places in _rows(path):
        phase = phase_of(original)
        for place in places:
            found = _below_patient(place)
            if found is not None:
                patient_id, folder, name = found
                folders[patient_id, folder][phase].append(name)
    known: dict[str, dict[str, int]] = defaultdict(dict)
    for (patient_id, folder), phases in folders.items():
        if len(phases) == 1:
            known[patient_id][folder] = next(iter(phases))
        else:
            known[patient_id] |= {f"{folder}/{n}": p for p, names in phases.items() for n in names}
    return dict(known)


def phase_of(original: str) -> int:
    """Return 0 for a path below ``pre``, N below ``post_N``, -1 below anything else."""
    for part in reversed(re.split(r"[\\/]", original)[:-1]):
        if part.lower() == "pre":
            return 0
        if match := _POST.fullmatch(part):
            return int(match.group(1))
    return -1


def _below_patient(place: str) -> tuple[str, str, str] | None:
    """Split ``…/Breast_MRI_001/STUDY/SERIES/1-001.dcm`` into patient, ``STUDY/SERIES`` and name."""
    parts = re.split(r"[\\/]", place.strip())
    for i, part in enumerate(parts[:-1]):
        if _PATIENT.fullmatch(part):
            return part, "/".join(parts[i + 1 : -1]), parts[-1]
    return None


def _rows(path: Path) -> Iterable[tuple[str, ...]]:
    """Yield the original path and the places of each file."""
    table = stream_table(path, _ORIGINAL, Wanted(hint=_AGAIN))
    places = []
    for name in (_ORIGINAL, *_PLACES):
        column = find_column(name, table.columns, table.title)
        if column is None:
            raise InputError(
                f"table {path} has no column {name!r}, got {[c for c in table.columns if c]}: {_AGAIN}"
            )
        places.append(column)
    for row in table.rows:
        yield tuple(row.cells[column] for column in places)
