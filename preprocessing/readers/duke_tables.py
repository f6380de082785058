"""The two workbooks of Duke-Breast-Cancer-MRI, or CSV copies: clinical features and tumour boxes.

The clinical workbook has three header rows (group, name, code book) as TCIA ships it; copies
with one header row go round too. Both are read by column name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from preprocessing.cohort import Box, Finding
from preprocessing.errors import InputError, nearest_hint
from preprocessing.readers.labels import read_label_column
from preprocessing.readers.options import NOTHING_SAID, TableOptions
from preprocessing.readers.tables import (
    Row,
    Table,
    Wanted,
    find_column,
    normalised,
    refuse_repeated,
)
from preprocessing.readers.values import is_missing, parse_number
from preprocessing.shown_names import shown_cell, shown_covariate

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
_PATIENT = "Patient ID"
# Its code book: 0 = neg, 1 = pos, 2 = borderline.
_EQUIVOCAL = {"HER2": frozenset({"2"})}
OWN_NAMES = {
    "patient_id": _PATIENT, **{t: t for t in TARGETS}, **_COVARIATES, "age_years": "Date of Birth (Days)",
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
    for name in (_PATIENT, *_BOX_COLUMNS):
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
    patient = columns[_PATIENT]
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
