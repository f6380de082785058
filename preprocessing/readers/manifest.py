"""Anyone's own cohort as one CSV.

Columns: ``patient_id``; ``phase_0``, ``phase_1``, … (NIfTI or NRRD file, or a folder that holds
one DICOM series; relative to the CSV; ``phase_0`` alone may be one file of all phases); a tumour box ``box_row_start``, ``box_row_stop``,
``box_col_start``, ``box_col_stop``, ``box_slice_start``, ``box_slice_stop`` (voxels from 0, stop
exclusive; in files rows are the second axis and columns the first) or a ``mask`` file (or a folder
with one DICOM segmentation), with ``mask_label`` where it has several labels or segments; targets
``ER``, ``PR``, ``HER2`` or any ``target_NAME`` with 0, 1 or empty; all other columns are
covariates, but those that identify people: names, days, record numbers.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from preprocessing import files
from preprocessing.cohort import (
    Box,
    Cohort,
    DicomSeries,
    Finding,
    Patient,
    PhaseSource,
    VolumeFile,
)
from preprocessing.errors import InputError, MissingPathError, nearest_hint, storage_trouble
from preprocessing.readers.values import (
    identifies,
    is_missing,
    parse_covariate,
    parse_label,
    parse_number,
)
from preprocessing.shown_names import shown_cell, shown_file

_IMPOSSIBLE = {ValueError: "it holds a NUL", RuntimeError: "its links lead to themselves"}

EXPECTS = "a manifest CSV (or a folder with manifest.csv) with columns patient_id, phase_0, …"

_BOX_COLUMNS = tuple(f"box_{a}_{e}" for e in ("start", "stop") for a in ("row", "col", "slice"))
_KNOWN_TARGETS = ("ER", "PR", "HER2")
_TARGET_PREFIX = "target_"
_NO_IMAGES = {".csv", ".htm", ".html", ".json", ".md", ".pdf", ".txt", ".xml"}
_PHASE = re.compile(r"phase_(\d+)")


def recognises(path: Path) -> bool:
    """Tell whether `path` is a CSV, or a folder with ``manifest.csv``."""
    return _is_csv(path) or files.exists(str(path / "manifest.csv"))


def read(path: Path, *, needs_targets: bool = True) -> Cohort:
    """Read a manifest.

    Parameters
    ----------
    needs_targets
        False for patients whose labels nobody knows yet.

    Raises
    ------
    InputError
        If the CSV cannot be parsed or lacks a needed column.
    """
    csv = path if _is_csv(path) else path / "manifest.csv"
    table = _read_table(csv, "manifest")
    columns = [str(c) for c in table.columns]
    phases = _phase_columns(csv, columns)
    targets = _target_columns(csv, columns, needs_targets)
    rows = [{str(k): str(v).strip() for k, v in row.items()} for row in table.to_dict("records")]
    used = {"patient_id", "mask", "mask_label", *phases, *_BOX_COLUMNS, *targets.values()}
    covariates = _covariate_columns(csv, [c for c in columns if c not in used])
    patients = [_patient(row, csv.parent, phases, targets, covariates) for row in rows]
    return Cohort(
        root=csv.parent,
        layout="manifest",
        targets=tuple(targets),
        patients=_merge_repeated(patients),
    )


def read_boxes(path: Path) -> dict[str, Box]:
    """Read tumour boxes alone: a CSV with ``patient_id`` and the six box columns.

    Raises
    ------
    MissingPathError
        If there is none.
    InputError
        If it cannot be parsed, lacks a column, or has a box that is none.
    """
    if not path.is_file():
        raise MissingPathError(f"no table of boxes at {path}: name a CSV that exists")
    table = _read_table(path, "table")
    for needed in ("patient_id", *_BOX_COLUMNS):
        if needed not in table.columns:
            hint = nearest_hint(needed, [str(c) for c in table.columns])
            raise InputError(
                f"table {path} has no column {needed!r}{hint}: expected patient_id and"
                f" {', '.join(_BOX_COLUMNS)}"
            )
    boxes = {}
    for values in table.to_dict("records"):
        row = {str(k): str(v).strip() for k, v in values.items()}
        findings: list[Finding] = []
        box = _box(row, findings)
        if findings or row["patient_id"] in boxes:
            why = findings[0].message if findings else "it has several boxes"
            raise InputError(f"table {path}, patient {row['patient_id']!r}: {why}: correct its row")
        if box is not None:
            boxes[row["patient_id"]] = box
    return boxes


def _read_table(csv: Path, what: str) -> pd.DataFrame:
    try:
        with csv.open("rb") as file:
            table = pd.read_csv(file, dtype=str, keep_default_na=False)
    except (ValueError, UnicodeDecodeError) as error:
        raise InputError(f"{what} {csv} is not a readable CSV: {error}") from error
    table.columns = [str(c).strip() for c in table.columns]
    return table


def _is_csv(path: Path) -> bool:
    # Asked of its name: an object store that does not answer says of any file that it is none.
    return path.suffix.lower() == ".csv"


def _phase_columns(csv: Path, columns: list[str]) -> list[str]:
    for needed in ("patient_id", "phase_0"):
        if needed not in columns:
            hint = nearest_hint(needed, columns)
            raise InputError(
                f"manifest {csv} has no column {needed!r}{hint}: expected {EXPECTS.split('with ')[-1]}"
            )
    if "mask" not in columns:
        absent = [c for c in _BOX_COLUMNS if c not in columns]
        if absent:
            hint = nearest_hint(absent[0], columns)
            raise InputError(
                f"manifest {csv} has no column {absent[0]!r}{hint}:"
                " give all of box_{row,col,slice}_{start,stop}, or a mask column"
            )
    numbered = {int(m.group(1)): c for c in columns if (m := _PHASE.fullmatch(c))}
    if sorted(numbered) != list(range(len(numbered))):
        raise InputError(
            f"manifest {csv} has phase columns {sorted(numbered)}: number them 0, 1, 2 without gaps"
        )
    return [numbered[i] for i in sorted(numbered)]


def _target_columns(csv: Path, columns: list[str], needed: bool) -> dict[str, str]:
    """Return target name to column."""
    targets = {c: c for c in columns if c in _KNOWN_TARGETS}
    targets |= {c[len(_TARGET_PREFIX) :]: c for c in columns if c.startswith(_TARGET_PREFIX)}
    if needed and not targets:
        raise InputError(
            f"manifest {csv} has no target column: expected ER, PR, HER2 or target_NAME, got {columns}"
        )
    return targets


def _covariate_columns(csv: Path, columns: list[str]) -> list[str]:
    """Leave out what identifies people, and say so."""
    left_out = [c for c in columns if identifies(c)]
    if left_out:
        warnings.warn(
            f"manifest {csv}: columns {', '.join(left_out)} seem to identify people and are left out;"
            " rename one that does not",
            stacklevel=3,
        )
    return [c for c in columns if c not in left_out]


def _patient(
    row: Mapping[str, str],
    root: Path,
    phases: list[str],
    targets: Mapping[str, str],
    covariates: list[str],
) -> Patient:
    findings: list[Finding] = []
    sources = [s for c in phases if (s := _source(row[c], root, findings, c)) is not None]
    mask = _mask(row, root, findings)
    labels = {}
    for target, column in targets.items():
        labels[target], finding = parse_label(row[column], target)
        findings.extend([finding] if finding else [])
    return Patient(
        patient_id=row["patient_id"],
        phases=tuple(sources),
        box=_box(row, findings),
        mask=mask,
        labels=labels,
        covariates={c: parse_covariate(row[c]) for c in covariates if not identifies(c, row[c])},
        findings=tuple(findings),
    )


def _mask(row: Mapping[str, str], root: Path, findings: list[Finding]) -> VolumeFile | None:
    """Return the mask; of a folder, the only image file in it."""
    source = _source(row.get("mask", ""), root, findings, "mask")
    if source is None:
        return None
    cell = row.get("mask_label", "")
    number = None if is_missing(cell) else parse_number(cell)
    if not is_missing(cell) and (number is None or number != int(number)):
        message = f"mask_label is {shown_cell(cell)}, expected a whole number"
        findings.append(Finding("mask-label-unreadable", message))
        return None
    if isinstance(source, DicomSeries):
        images = [p for p in source.files if _is_image(p)]
        if len(images) != 1:
            message = (
                f"the mask is a folder of {len(images)} files, expected a file, or a folder with one"
                " DICOM segmentation"
            )
            findings.append(Finding("mask-no-segmentation", message))
            return None
        source = VolumeFile(images[0], root=root)
    return source if number is None else replace(source, label=int(number))


def _is_image(path: Path) -> bool:
    """Leave out what synchronisers and downloads put beside images."""
    return not path.name.startswith(".") and path.suffix.lower() not in _NO_IMAGES


def _source(cell: str, root: Path, findings: list[Finding], column: str) -> PhaseSource | None:
    if not cell:
        return None
    try:
        path = _inside(root / cell, root)
        if path is not None and path.is_dir():
            return DicomSeries(_files_of(path, root), shown_file(path.name))
    # Of links that lead to themselves, Python 3.11 makes a RuntimeError.
    except (OSError, ValueError, RuntimeError) as error:
        if storage_trouble(error) is not None:
            raise
        why = error.strerror if isinstance(error, OSError) else _IMPOSSIBLE.get(type(error), error)
        message = f"a path of {len(cell)} characters cannot be followed: {why}"
        findings.append(Finding("path-impossible", message))
        return None
    if path is None:
        message = f"the path in column {column} leads out of the manifest's folder"
        findings.append(Finding("path-outside", message))
        return None
    return VolumeFile(path, root=root)


def _inside(path: Path, root: Path) -> Path | None:
    """Return a path, without links, if it is below `root`.

    A manifest is data from elsewhere: it must not make us read the rest of the disk.
    """
    if isinstance(path, Path):
        path = path.resolve()
    return None if ".." in path.parts or not path.is_relative_to(root) else path


def _files_of(folder: Path, root: Path) -> tuple[Path, ...]:
    """Return the files in a folder; a link that leads out of `root` is no file of it."""
    found = (p for p in folder.iterdir() if p.is_file() and _inside(p, root) is not None)
    return tuple(sorted(found, key=str))


def _box(row: Mapping[str, str], findings: list[Finding]) -> Box | None:
    cells = [row.get(c, "") for c in _BOX_COLUMNS]
    if all(is_missing(c) for c in cells):
        return None
    numbers = [parse_number(c) for c in cells]
    if any(n is None or n != int(n) for n in numbers):
        shown = ", ".join(shown_cell(c) for c in cells)
        findings.append(Finding("box-unreadable", f"tumour box ({shown}) is not six whole numbers"))
        return None
    r0, c0, s0, r1, c1, s1 = (int(n) for n in numbers if n is not None)
    return Box((r0, c0, s0), (r1, c1, s1))


def _merge_repeated(patients: list[Patient]) -> tuple[Patient, ...]:
    """Sort by id; a patient in several rows is kept once and excluded: nobody knows which is right."""
    counts = Counter(p.patient_id for p in patients)
    kept: dict[str, Patient] = {}
    for patient in patients:
        kept.setdefault(patient.patient_id, patient)
    for patient_id, count in counts.items():
        if count > 1:
            message = f"{count} rows of the manifest have this patient_id"
            kept[patient_id] = kept[patient_id].with_findings(Finding("patient-repeated", message))
        if not patient_id:
            message = "a row of the manifest has no patient_id"
            kept[patient_id] = kept[patient_id].with_findings(Finding("patient-unnamed", message))
    return tuple(kept[k] for k in sorted(kept))
