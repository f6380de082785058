"""Anyone's own cohort as one table: CSV or Excel.

Columns: ``patient_id``; ``phase_0``, ``phase_1``, … (NIfTI or NRRD file, or a folder that holds
one DICOM series; relative to the table; ``phase_0`` alone may be one file or series of all phases); a tumour
box ``box_row_start``, ``box_row_stop``, ``box_col_start``, ``box_col_stop``, ``box_slice_start``,
``box_slice_stop`` (voxels from 0, stop exclusive; in files rows are the second axis and columns the
first; of DICOM, a slice is InstanceNumber - 1) or a ``mask`` file (or a folder with one DICOM segmentation), with ``mask_label`` where it has
several labels or segments; targets ``ER``, ``PR``, ``HER2`` or any ``target_NAME`` with 0, 1, the
words in `labels` or empty; all other columns are covariates, but ``note`` and those that identify
people: names, days, record numbers.
"""

from __future__ import annotations

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from preprocessing.cohort.cohort import (
    Box,
    Cohort,
    DicomSeries,
    Finding,
    Patient,
    PhaseSource,
    VolumeFile,
)
from preprocessing.cohort.labels import LabelColumn, read_label_column
from preprocessing.cohort.options import NOTHING_SAID, TableOptions
from preprocessing.cohort.tables import (
    COPY,
    EXTENSIONS,
    Row,
    Table,
    Wanted,
    is_table_name,
    normalised,
    only_table,
    refuse_repeated,
    tables_named,
)
from preprocessing.cohort.values import (
    ERRORS,
    identifies,
    is_ambiguous_number,
    is_missing,
    parse_covariate,
    parse_number,
)
from preprocessing.common.errors import InputError, MissingPathError, nearest_hint, storage_trouble
from preprocessing.common.redaction import shown_cell, shown_covariate, shown_file

_IMPOSSIBLE = {ValueError: "it holds a NUL", RuntimeError: "its links lead to themselves"}

EXPECTS = (
    "a manifest, CSV or Excel (or a folder with manifest.csv), with columns patient_id, phase_0, …"
)

BOX_COLUMNS = tuple(f"box_{a}_{e}" for e in ("start", "stop") for a in ("row", "col", "slice"))
KNOWN_TARGETS = ("ER", "PR", "HER2")
# For people: what `radiotrain init manifest` leaves to do.
NOTE = "note"
_TARGET_PREFIX = "target_"
_NO_IMAGES = {".csv", ".htm", ".html", ".json", ".md", ".pdf", ".txt", ".xml"}
_PHASE = re.compile(r"phase_(\d+)")
_FILE = re.compile(rf"manifest{COPY}{EXTENSIONS}", re.IGNORECASE)
_OTHER_COLUMNS = ("patient_id", "mask", "mask_label", *BOX_COLUMNS)
_EXAMPLES = (*_OTHER_COLUMNS, "phase_0", "phase_1", *KNOWN_TARGETS, "target_NAME")
_DAY_OF_EXCEL = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_CUT_BY_EXCEL = re.compile(r"\d[.,]\d+E\+\d+", re.IGNORECASE)


def recognises(path: Path) -> bool:
    """Tell whether `path` is a table, or a folder with ``manifest.csv`` or ``manifest.xlsx``."""
    # Asked of its name: an object store that does not answer says of any file that it is none.
    return is_table_name(path) or bool(tables_in(path))


def tables_in(folder: Path) -> list[Path]:
    """Return the manifests in a folder."""
    return tables_named(folder, _FILE)


def read(
    path: Path,
    options: TableOptions = NOTHING_SAID,
    *,
    needs_targets: bool = True,
) -> Cohort:
    """Read a manifest.

    Parameters
    ----------
    options
        What the user says of its columns and labels.
    needs_targets
        False for patients whose labels are not known yet; any are then left out.

    Raises
    ------
    InputError
        If the table cannot be read, lacks a needed column, or there are several.
    """
    found = (
        path
        if is_table_name(path)
        else only_table(tables_in(path), "the manifest", or_else=", or name the file itself")
    )
    assert found is not None
    options = options.with_known_columns(_own_name, _EXAMPLES)
    table = _own_columns(options.read(found, "patient_id", Wanted("manifest")))
    columns = [c for c in table.columns if c]
    phases = _phase_columns(found, columns)
    targets = _target_columns(found, columns, needs_targets)
    rows = [dict(zip(table.columns, row.cells, strict=True)) for row in table.rows]
    for row in rows:
        row.update({c: _path_text(row[c], found.parent) for c in (*phases, "mask") if c in row})
    _refuse_mangled(table, [row["patient_id"] for row in rows])
    labels: dict[str, LabelColumn] = {}
    if needs_targets:
        options = options.with_known_targets(tuple(targets))
        labels = _labels(table, rows, targets, options)
    used = {"patient_id", "mask", "mask_label", NOTE, *phases, *BOX_COLUMNS, *targets.values()}
    covariates = _covariate_columns(found, [c for c in columns if c not in used])
    decimal = table.decimal()
    patients = []
    for i, (line, row) in enumerate(zip(table.rows, rows, strict=True)):
        patient = _patient(row, found.parent, phases, covariates, decimal)
        told = [f for c in labels.values() if (f := c.findings[i]) is not None]
        known = {t: column.labels[i] for t, column in labels.items()}
        patient = replace(patient, labels=known or dict.fromkeys(targets, -1))
        odd = [
            *told,
            *_short(line, len(table.columns)),
            *_phases_out_of_place(row, phases, patient),
        ]
        patients.append(patient.with_findings(*odd))
    notes = [f"manifest {table.title} {note}" for note in _notes(table, rows, covariates, decimal)]
    return Cohort(
        root=found.parent,
        layout="manifest",
        targets=tuple(targets),
        patients=_merge_repeated(patients),
        notes=(*notes, *(note for column in labels.values() for note in column.notes)),
        tables=options.to_json(),
    )


def read_boxes(path: Path, options: TableOptions = NOTHING_SAID) -> dict[str, Box]:
    """Read tumour boxes alone: a table with ``patient_id`` and the six box columns.

    Raises
    ------
    MissingPathError
        If there is none.
    InputError
        If it cannot be parsed, lacks a column, or has a box that is none.
    """
    if not path.is_file():
        raise MissingPathError(f"no table of boxes at {path}: name a CSV that exists")
    wanted = {c: theirs for c, theirs in options.columns.items() if c in _OTHER_COLUMNS}
    others = BOX_COLUMNS
    read = replace(options, columns=wanted).read(path, "patient_id", Wanted("table", others))
    table = _own_columns(read)
    for needed in BOX_COLUMNS:
        if needed not in table.columns:
            hint = nearest_hint(needed, [c for c in table.columns if c])
            raise InputError(
                f"table {path} has no column {needed!r}{hint}: expected patient_id and"
                f" {', '.join(BOX_COLUMNS)}"
            )
    boxes = {}
    decimal = table.decimal()
    for cells in table.rows:
        row = dict(zip(table.columns, cells.cells, strict=True))
        findings: list[Finding] = []
        box = _box(row, findings, decimal)
        if findings or row["patient_id"] in boxes:
            why = findings[0].message if findings else "it has several boxes"
            raise InputError(f"table {path}, patient {row['patient_id']!r}: {why}: correct its row")
        if box is not None:
            boxes[row["patient_id"]] = box
    return boxes


def _own_name(name: str) -> str | None:
    """Return a column's name as manifests spell it, None where it is none of theirs."""
    plain = normalised(name)
    for own in (*_OTHER_COLUMNS, *KNOWN_TARGETS):
        if plain == normalised(own):
            return own
    if number := re.fullmatch(r"phase(\d+)", plain, re.ASCII):
        return f"phase_{int(number[1])}"
    prefix = re.match(r"target[\W_]+(?=\S)", name.strip(), re.IGNORECASE)
    return _TARGET_PREFIX + name.strip()[prefix.end() :] if prefix else None


def _own_columns(table: Table) -> Table:
    """Return a table whose columns are spelt as manifests spell them.

    Raises
    ------
    InputError
        If two are called the same.
    """
    refuse_repeated(table.columns, table.title)
    names = [_own_name(c) or c for c in table.columns]
    repeated = [c for c, n in Counter(c for c in names if c).items() if n > 1]
    if repeated:
        there = ", ".join(
            repr(old) for old, new in zip(table.columns, names, strict=True) if new == repeated[0]
        )
        raise InputError(
            f"manifest {table.title} has several columns for {repeated[0]!r} ({there}): rename or"
            " remove all but the right one"
        )
    targets = [c.removeprefix(_TARGET_PREFIX) for c in names if _own_name(c) == c and (
        c in KNOWN_TARGETS or c.startswith(_TARGET_PREFIX)
    )]  # fmt: skip
    twice = [t for t, n in Counter(map(normalised, targets)).items() if n > 1]
    if twice:
        there = ", ".join(repr(t) for t in targets if normalised(t) == twice[0])
        raise InputError(
            f"manifest {table.title} has several columns for one target ({there}, with and without"
            " target_): rename or remove all but the right one"
        )
    return replace(table, columns=tuple(names))


def _refuse_mangled(table: Table, patient_ids: Sequence[str]) -> None:
    """Refuse ids that a spreadsheet has made days or rounded numbers of."""
    for row, patient_id in zip(table.rows, patient_ids, strict=True):
        what = "a day" if _DAY_OF_EXCEL.fullmatch(patient_id) else "a rounded number"
        if what == "a day" or _CUT_BY_EXCEL.fullmatch(patient_id):
            raise InputError(
                f"manifest {table.title} has {what} for patient_id in line {row.number}, as a"
                " spreadsheet makes of ids: format the column as text and enter the ids again"
            )


def _labels(
    table: Table,
    rows: Sequence[Mapping[str, str]],
    targets: Mapping[str, str],
    options: TableOptions,
) -> dict[str, LabelColumn]:
    numbers = [row.number for row in table.rows]
    return {
        target: read_label_column(
            [row[column] for row in rows],
            target,
            f"manifest {table.title}",
            told=options.labels.get(target),
            numbers=numbers,
        )
        for target, column in targets.items()
    }


def _path_text(cell: str, root: Path) -> str:
    """Return a path as this system writes it, empty where the cell says that there is none."""
    if not cell or not (is_missing(cell) or "\\" in cell):
        return cell
    try:
        is_there = (root / cell).exists()
    except (OSError, ValueError, RuntimeError):
        return cell  # the finding about it comes from following it
    if is_there:
        return cell
    return "" if is_missing(cell) else cell.replace("\\", "/")


def _phases_out_of_place(
    row: Mapping[str, str], phases: Sequence[str], patient: Patient
) -> list[Finding]:
    """Refuse a phase that would take the place of an empty one before it, and one given twice."""
    given = [bool(row[column]) for column in phases]
    findings = []
    if False in given and True in given[given.index(False) :]:
        empty = given.index(False)
        later = given.index(True, empty)
        message = f"phase_{empty} is empty, and phase_{later} is not: a phase is missing"
        findings.append(Finding("phase-missing", message))
    paths = [row[column] for column in phases if row[column]]
    if len(set(paths)) < len(paths) and patient.usable:
        findings.append(Finding("phases-same-file", "two phases are the same file or folder"))
    return findings


def _short(line: Row, num_columns: int) -> list[Finding]:
    if not line.num_lacking:
        return []
    message = (
        f"its line has {num_columns - line.num_lacking} of {num_columns} cells: the last ones are taken as"
        " empty"
    )
    return [Finding("row-short", message, excludes=False)]


def _notes(
    table: Table, rows: Sequence[Mapping[str, str]], covariates: Sequence[str], decimal: str
) -> list[str]:
    notes = list(table.notes)
    nameless = [i for i, column in enumerate(table.columns) if not column]
    if any(row.cells[i] for row in table.rows for i in nameless) and not table.renamed:
        notes.append("has cells in a column without a name: they are left out")
    unsure = [c for c in covariates if any(is_ambiguous_number(row[c], decimal) for row in rows)]
    if unsure:
        notes.append(
            f"has numbers in {', '.join(unsure)} that may have decimals or thousands, as 1,234: they are"
            " taken as texts; write 1234 or 1.234"
        )
    return notes


def _phase_columns(csv: Path, columns: list[str]) -> list[str]:
    for needed in ("patient_id", "phase_0"):
        if needed not in columns:
            hint = nearest_hint(needed, columns)
            raise InputError(
                f"manifest {csv} has no column {needed!r}{hint}: expected {EXPECTS.split('with ')[-1]}"
            )
    if "mask" not in columns:
        absent = [c for c in BOX_COLUMNS if c not in columns]
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
    """Return target name to column, in the order of the columns of each kind."""
    targets = {c: c for c in columns if c in KNOWN_TARGETS}
    targets |= {c[len(_TARGET_PREFIX) :]: c for c in columns if c.startswith(_TARGET_PREFIX)}
    if needed and not targets:
        raise InputError(
            f"manifest {csv} has no target column: expected ER, PR, HER2 or target_NAME, got {columns};"
            " where it has another name, say --column ER=NAME"
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
    covariates: list[str],
    decimal: str,
) -> Patient:
    findings: list[Finding] = []
    sources = [s for c in phases if (s := _source(row[c], root, findings, c)) is not None]
    mask = _mask(row, root, findings)
    return Patient(
        patient_id=row["patient_id"],
        phases=tuple(sources),
        box=_box(row, findings, decimal),
        mask=mask,
        covariates={
            c: shown_covariate(c, parse_covariate(row[c], decimal))
            for c in covariates
            if not identifies(c, row[c])
        },
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


def _box(row: Mapping[str, str], findings: list[Finding], decimal: str) -> Box | None:
    cells = [row.get(c, "") for c in BOX_COLUMNS]
    if all(is_missing(c) for c in cells):
        return None
    numbers = [parse_number(c, decimal) for c in cells]
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
    alike: dict[str, list[str]] = defaultdict(list)
    for patient_id in counts:
        alike["".join(patient_id.split()).casefold()].append(patient_id)
    for patient_id, count in counts.items():
        if count > 1:
            message = f"{count} rows of the manifest have this patient_id"
            kept[patient_id] = kept[patient_id].with_findings(Finding("patient-repeated", message))
        if not patient_id or patient_id.lower() in ERRORS:
            message = "a row of the manifest has no patient_id"
            kept[patient_id] = kept[patient_id].with_findings(Finding("patient-unnamed", message))
        elif len(alike["".join(patient_id.split()).casefold()]) > 1:
            message = "another patient_id differs from this one in case and blanks only"
            finding = Finding("patient-id-similar", message, excludes=False)
            kept[patient_id] = kept[patient_id].with_findings(finding)
    return tuple(kept[k] for k in sorted(kept))
