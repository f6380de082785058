"""Duke-Breast-Cancer-MRI as TCIA ships it: two workbooks (or CSV copies) and a DICOM folder a patient."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from preprocessing.cohort import manifest
from preprocessing.cohort.cohort import Box, Cohort, DicomExamination, Finding, Patient
from preprocessing.cohort.labels import read_label_column
from preprocessing.cohort.options import NOTHING_SAID, TableOptions
from preprocessing.cohort.tables import (
    EXTENSIONS,
    Row,
    Table,
    Wanted,
    find_column,
    normalised,
    only_table,
    refuse_repeated,
    stream_table,
    tables_named,
)
from preprocessing.cohort.values import is_missing, parse_number
from preprocessing.common.errors import InputError, MissingPathError, nearest_hint
from preprocessing.common.redaction import shown_cell, shown_covariate
from preprocessing.storage import files

# The two workbooks of Duke-Breast-Cancer-MRI, or CSV copies: clinical features and tumour boxes.
#
# The clinical workbook has three header rows (group, name, code book) as TCIA ships it; copies
# with one header row go round too. Both are read by column name.

TARGETS = ("ER", "PR", "HER2")

_DAYS_PER_YEAR = 365.25
_BOX_COLUMNS = ("Start Row", "Start Column", "Start Slice", "End Row", "End Column", "End Slice")
_COVARIATES = {
    "manufacturer": "Manufacturer",
    "model": "Manufacturer Model Name",
    "field_strength_t": "Field Strength (Tesla)",
    "slice_thickness_mm": "Slice Thickness",
    "menopause": "Menopause (at diagnosis)",
    "race": "Race and Ethnicity",
    "side": "Tumor Location",
    "bilateral": "Bilateral Information",
}
# Numbers in these mean what the code book says, and nothing where the copy has none.
_CODED = {"manufacturer", "model", "field_strength_t", "slice_thickness_mm", "menopause", "race",
          "bilateral"}  # fmt: skip
_ID_COLUMN = "Patient ID"
# Its code book: 0 = neg, 1 = pos, 2 = borderline.
_EQUIVOCAL = {"HER2": frozenset({"2"})}
OWN_NAMES = {
    "patient_id": _ID_COLUMN, **{t: t for t in TARGETS}, **_COVARIATES, "age_years": "Date of Birth (Days)",
    **{f"box_{a}_{e}": f"{word} {axis}" for a, axis in (("row", "Row"), ("col", "Column"), ("slice", "Slice"))
       for e, word in (("start", "Start"), ("stop", "End"))},
}  # fmt: skip
"""Our names of columns to the collection's."""


@dataclass(frozen=True)
class ClinicalRow:
    """What the clinical workbook says of one patient."""

    labels: Mapping[str, int]
    covariates: Mapping[str, str | float | None]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Clinical:
    """The clinical workbook: each patient's row, and what a person should know of it."""

    table: Table
    rows: Mapping[str, ClinicalRow]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Boxes:
    """The workbook of boxes: each patient's box, or why there is none."""

    table: Table
    boxes: Mapping[str, Box | Finding]


@dataclass(frozen=True)
class _Sheet:
    """A table with the columns found: column of each name, code book of each column."""

    columns: Mapping[str, int]
    codes: Mapping[int, Mapping[str, str]]
    rows: Sequence[tuple[str, Row]]
    decimal: str


def own_name(name: str) -> str | None:
    """Return our name of a column that the layout knows by ours or the collection's name."""
    found = [
        ours for ours, theirs in OWN_NAMES.items()
        if normalised(name) in (normalised(ours), normalised(theirs))
    ]  # fmt: skip
    return found[0] if found else None


def is_clinical(path: Path, options: TableOptions = NOTHING_SAID) -> bool:
    """Tell whether a table is the clinical one, and not one of something else by a similar name."""
    try:
        table = options.read(path, "patient_id", Wanted(sheet="Data"), own_names=OWN_NAMES)
    except InputError:
        return False
    names = {normalised(c) for c in table.columns}
    return {normalised(t) for t in TARGETS} <= names


def read_clinical(path: Path, options: TableOptions = NOTHING_SAID) -> Clinical:
    """Read labels and covariates by patient id.

    Raises
    ------
    InputError
        If it is no table, has no patient or receptor column, or has one twice.
    """
    table = options.read(path, "patient_id", Wanted("workbook", sheet="Data"), own_names=OWN_NAMES)
    columns = {}
    for name in OWN_NAMES.values():
        column = find_column(name, table.columns, table.title)
        if column is not None:
            columns[name] = column
        elif name in TARGETS:
            hint = nearest_hint(name, [c for c in table.columns if c and c not in TARGETS])
            raise InputError(
                f"workbook {path} has no column {name!r}{hint}: expected the clinical workbook of"
                " Duke-Breast-Cancer-MRI with columns ER, PR and HER2"
            )
    sheet = _sheet(table, columns)
    labels: dict[str, dict[str, int]] = {i: {} for i, _ in sheet.rows}
    findings: dict[str, list[Finding]] = {i: [] for i, _ in sheet.rows}
    notes = [*table.notes, *_nameless(table, sheet.rows, bool(sheet.codes))]
    for target in TARGETS:
        found = read_label_column(
            [row.cells[columns[target]] for _, row in sheet.rows],
            target,
            f"workbook {table.title}",
            told=options.labels.get(target),
            equivocal=_EQUIVOCAL.get(target, frozenset()),
            numbers=[row.number for _, row in sheet.rows],
        )
        notes.extend(found.notes)
        for (patient_id, _), label, finding in zip(
            sheet.rows, found.labels, found.findings, strict=True
        ):
            labels[patient_id][target] = label
            findings[patient_id].extend([finding] if finding else [])
    rows = {
        i: ClinicalRow(labels[i], _covariates(row.cells, sheet), (*findings[i], *_short(row)))
        for i, row in sheet.rows
    }
    return Clinical(table, rows, tuple(notes))


def read_boxes(path: Path, options: TableOptions = NOTHING_SAID) -> Boxes:
    """Read tumour boxes by patient id; the workbook's are 1-based and inclusive.

    Raises
    ------
    InputError
        If it is no table, lacks a column, or has one twice.
    """
    table = options.read(path, "patient_id", Wanted("workbook"), own_names=OWN_NAMES)
    refuse_repeated(table.columns, table.title)
    columns = {}
    for name in (_ID_COLUMN, *_BOX_COLUMNS):
        column = find_column(name, table.columns, table.title)
        if column is None:
            hint = nearest_hint(name, [c for c in table.columns if c])
            raise InputError(f"workbook {path} has no column {name!r}{hint}: expected tumour boxes")
        columns[name] = column
    sheet = _sheet(table, columns)
    return Boxes(table, {patient_id: _box_row(row.cells, sheet) for patient_id, row in sheet.rows})


def _short(row: Row) -> list[Finding]:
    if not row.num_lacking:
        return []
    message = f"its line is {row.num_lacking} cells short: the last ones are taken as empty"
    return [Finding("row-short", message, excludes=False)]


def _covariates(cells: Sequence[str], sheet: _Sheet) -> dict[str, str | float | None]:
    covariates: dict[str, str | float | None] = {}
    for name, column_name in _COVARIATES.items():
        column = sheet.columns.get(column_name)
        if column is not None:
            value = _decode(cells[column], sheet.codes.get(column, {}), sheet.decimal)
            is_bare_code = column not in sheet.codes and name in _CODED and _is_whole(value)
            covariates[name] = None if is_bare_code else shown_covariate(name, value)
    born = sheet.columns.get("Date of Birth (Days)")
    days = parse_number(cells[born], sheet.decimal) if born is not None else None
    covariates["age_years"] = round(-days / _DAYS_PER_YEAR, 2) if days is not None else None
    return covariates


def _box_row(cells: Sequence[str], sheet: _Sheet) -> Box | Finding:
    chosen = [cells[sheet.columns[name]] for name in _BOX_COLUMNS]
    numbers = [parse_number(c, sheet.decimal) for c in chosen]
    if any(n is None or n != int(n) for n in numbers):
        shown = ", ".join(shown_cell(c) for c in chosen)
        return Finding("box-unreadable", f"tumour box ({shown}) is not six whole numbers")
    r0, c0, s0, r1, c1, s1 = (int(n) for n in numbers if n is not None)
    return Box((r0 - 1, c0 - 1, s0 - 1), (r1, c1, s1))


def _decode(value: str, codes: Mapping[str, str], decimal: str) -> str | float | None:
    if is_missing(value):
        return None
    number = parse_number(value, decimal)
    key = str(int(number)) if number is not None and number == int(number) else value
    if key in codes:
        text = codes[key]
        if is_missing(text):
            return None
        decoded = parse_number(text)
        return decoded if decoded is not None else text
    return number if number is not None else key


def _is_whole(value: str | float | None) -> bool:
    return isinstance(value, float) and value == int(value)


def _sheet(table: Table, columns: Mapping[str, int]) -> _Sheet:
    """Return the rows of patients, and what the code book below the header says."""
    rows = tuple(table.rows)
    patient = columns[_ID_COLUMN]
    codes: dict[int, Mapping[str, str]] = {}
    if rows and is_missing(rows[0].cells[patient]):
        codes = {i: _parse_codes(c) for i, c in enumerate(rows[0].cells) if c}
    return _Sheet(columns, codes, tuple(_by_patient(table, patient)), table.decimal())


def _nameless(table: Table, rows: Sequence[tuple[str, Row]], has_codes: bool) -> list[str]:
    """Say how many rows, beside the code book, have cells and no patient."""
    count = sum(1 for _ in table.rows) - len(rows) - has_codes
    return [f"{count} rows have no patient id: they are left out"] if count else []


def _parse_codes(text: str) -> dict[str, str]:
    """Read a code book: ``GE MEDICAL SYSTEMS=0, MPTronic software=1`` or ``{0 = pre, 1 = post}``."""
    codes = {}
    for part in re.split(r"[,\n]", text.strip().strip("{}")):
        left, _, right = (p.strip() for p in part.partition("="))
        if re.fullmatch(r"\d+", right):
            codes[right] = left
        elif re.fullmatch(r"\d+", left) and right:
            codes[left] = right
    return codes


def _by_patient(table: Table, column: int) -> Iterable[tuple[str, Row]]:
    seen = set()
    for row in table.rows:
        patient_id = row.cells[column]
        if is_missing(patient_id):
            continue
        if patient_id in seen:
            raise InputError(
                f"workbook {table.title} has patient {patient_id} twice: remove one row"
            )
        seen.add(patient_id)
        yield patient_id, row


# The collection's optional table of file paths, which says for each file which series it was.
#
# Its ``original_path_and_filename`` names the series ``pre``, ``post_1`` … ``post_4`` or ``T1``; the
# other columns say where the file lies in a download with classic or descriptive folder names.

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


EXPECTS = "a folder with Clinical_and_Other_Features.xlsx, Annotation_Boxes.xlsx and the DICOM"

_CLINICAL = re.compile(rf"clinical.*{EXTENSIONS}", re.IGNORECASE)
# As a copy of it may be called: "Copy of Clinical_and_Other_Features.xlsx".
_MAYBE_CLINICAL = re.compile(rf".*clinical.*{EXTENSIONS}", re.IGNORECASE)
_CLINICAL_AS_SHIPPED = re.compile(rf".*clinical[\W_]?and[\W_]?other.*{EXTENSIONS}", re.IGNORECASE)
_OF_MAMA_MIA = re.compile(r".*clinical_and_imaging_info", re.IGNORECASE)
_BOXES = re.compile(rf".*annotation.*box.*{EXTENSIONS}", re.IGNORECASE)
_MAPPING = re.compile(rf".*filepath.*mapping.*{EXTENSIONS}", re.IGNORECASE)
_PATIENT = re.compile(r"Breast_MRI_\d+")
# root / manifest-… / Duke-Breast-Cancer-MRI / Breast_MRI_001
_DEEPEST_PATIENT_FOLDER = 3


def recognises(path: Path) -> bool:
    """Tell whether `path` is a folder with the clinical workbook or patients' folders."""
    if not path.is_dir():
        return False
    return bool(tables_named(path, _CLINICAL_AS_SHIPPED)) or (
        # Anyone's own cohort may have a table or folders called so.
        not manifest.recognises(path) and bool(_named(path, _CLINICAL) or _patient_folders(path))
    )


def tables_in(folder: Path) -> list[Path]:
    """Return the collection's tables in a folder, called as they are shipped."""
    return [*tables_named(folder, _CLINICAL_AS_SHIPPED), *tables_named(folder, _BOXES)]


def read(path: Path, options: TableOptions = NOTHING_SAID) -> Cohort:
    """Read the workbooks and find each patient's folder.

    Raises
    ------
    MissingPathError
        If a workbook is missing.
    InputError
        If a workbook cannot be used, or there are two of a kind.
    """
    options = options.with_known_columns(own_name, tuple(OWN_NAMES)).with_known_targets(TARGETS)
    clinical_path = only_table(_clinical_tables(path, options), "the clinical workbook")
    boxes_path = only_table(tables_named(path, _BOXES), "the workbook of boxes")
    mapping_path = only_table(tables_named(path, _MAPPING), "the table of file paths")
    for found, name in (
        (clinical_path, "Clinical_and_Other_Features.xlsx"),
        (boxes_path, "Annotation_Boxes.xlsx"),
    ):
        if found is None:
            raise MissingPathError(
                f"no {name} in {path}: download it from the collection's page on TCIA into this folder"
            )
    assert clinical_path is not None
    assert boxes_path is not None
    clinical, boxes = read_clinical(clinical_path, options), read_boxes(boxes_path, options)
    options.refuse_unused((clinical.table, boxes.table))
    folders = _patient_folders(path)
    known_phases = read_mapping(mapping_path) if mapping_path else {}
    patient_ids = sorted({*clinical.rows, *folders})
    patients = tuple(
        _patient(i, clinical.rows.get(i), boxes.boxes.get(i), folders.get(i, []),
                 known_phases.get(i, {}))
        for i in patient_ids
    )  # fmt: skip
    notes = [f"{clinical_path.name}: {note}" for note in clinical.notes]
    notes += [f"{boxes_path.name}: {note}" for note in boxes.table.notes]
    return Cohort(path, "duke", TARGETS, patients, tuple(notes), options.to_json())


def _named(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    return [p for p in tables_named(folder, pattern) if not _OF_MAMA_MIA.match(p.name)]


def _clinical_tables(folder: Path, options: TableOptions) -> Sequence[Path]:
    """Return the tables that may be the clinical one, by their names and, of several, contents."""
    found = _named(folder, _MAYBE_CLINICAL)
    if len(found) < 2:
        return found
    shipped = _named(folder, _CLINICAL_AS_SHIPPED)
    return [p for p in found if p in shipped or is_clinical(p, options)] or found


def _patient(
    patient_id: str,
    clinical: ClinicalRow | None,
    box: Box | Finding | None,
    folders: list[Path],
    known_phases: Mapping[str, int],
) -> Patient:
    findings: list[Finding] = []
    patient = Patient(patient_id, labels=dict.fromkeys(TARGETS, -1))
    if clinical is None:
        findings.append(Finding("no-clinical-row", "the clinical workbook has no row for it"))
    else:
        patient = replace(patient, labels=clinical.labels, covariates=clinical.covariates)
        findings.extend(clinical.findings)
    if isinstance(box, Box):
        patient = replace(patient, box=box)
    else:
        findings.append(box or Finding("no-box", "the annotation workbook has no box for it"))
    if not folders:
        findings.append(Finding("no-images", f"no folder {patient_id} with images"))
    else:
        folder = folders[0]
        if len(folders) > 1:
            folder = max(folders, key=lambda f: (len(files.sizes_below(f)), str(f)))
            message = f"{len(folders)} folders of this patient: the one with most files is used"
            findings.append(Finding("several-folders", message, excludes=False))
        patient = replace(patient, examination=DicomExamination(folder, known_phases))
    return patient.with_findings(*findings)


def _patient_folders(root: Path) -> Mapping[str, list[Path]]:
    folders: dict[str, list[Path]] = {}
    level = [root]
    for _ in range(_DEEPEST_PATIENT_FOLDER):
        below = [p for folder in level for p in sorted(folder.iterdir()) if p.is_dir()]
        for place in below:
            if _PATIENT.fullmatch(place.name):
                folders.setdefault(place.name, []).append(place)
        level = [p for p in below if not _PATIENT.fullmatch(p.name)]
    return folders
