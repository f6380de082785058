"""The two workbooks of Duke-Breast-Cancer-MRI: clinical features and tumour boxes.

The clinical workbook has three header rows (group, name, code book) as TCIA ships it; copies
with one header row go round too. Both are read by column name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import openpyxl

from preprocessing.cohort import Box, Finding
from preprocessing.errors import InputError, nearest_hint, storage_trouble
from preprocessing.readers.values import is_missing, parse_label, parse_number
from preprocessing.shown_names import shown_cell

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
_HEADER_ROWS_AT_MOST = 6


@dataclass(frozen=True)
class ClinicalRow:
    """What the clinical workbook says of one patient."""

    labels: Mapping[str, int]
    covariates: Mapping[str, str | float | None]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class _Table:
    """Rows of a sheet with the header found: column of each name, code book of each column."""

    columns: Mapping[str, int]
    codes: Mapping[int, Mapping[str, str]]
    rows: Sequence[Sequence[Any]]


def read_clinical(path: Path) -> dict[str, ClinicalRow]:
    """Read labels and covariates by patient id.

    Raises
    ------
    InputError
        If it is no workbook or has no patient or receptor column.
    """
    table = _read_table(path, "Data")
    for target in TARGETS:
        if target not in table.columns:
            hint = nearest_hint(target, table.columns)
            raise InputError(
                f"workbook {path} has no column {target!r}{hint}: expected the clinical workbook of"
                " Duke-Breast-Cancer-MRI with columns ER, PR and HER2"
            )
    return {patient_id: _clinical_row(row, table) for patient_id, row in _by_patient(path, table)}


def read_boxes(path: Path) -> dict[str, Box | Finding]:
    """Read tumour boxes by patient id; the workbook's are 1-based and inclusive.

    Raises
    ------
    InputError
        If it is no workbook or lacks a column.
    """
    table = _read_table(path, None)
    for name in _BOX_COLUMNS:
        if name not in table.columns:
            hint = nearest_hint(name, table.columns)
            raise InputError(f"workbook {path} has no column {name!r}{hint}: expected tumour boxes")
    return {patient_id: _box_row(row, table) for patient_id, row in _by_patient(path, table)}


def _clinical_row(row: Sequence[Any], table: _Table) -> ClinicalRow:
    labels, findings = {}, []
    for target in TARGETS:
        labels[target], finding = parse_label(row[table.columns[target]], target)
        findings.extend([finding] if finding else [])
    covariates: dict[str, str | float | None] = {}
    for name, column_name in _COVARIATES.items():
        column = table.columns.get(column_name)
        if column is not None and column < len(row):
            value = _decode(row[column], table.codes.get(column, {}))
            is_bare_code = column not in table.codes and name in _CODED and _is_whole(value)
            covariates[name] = None if is_bare_code else value
    born = table.columns.get("Date of Birth (Days)")
    days = parse_number(row[born]) if born is not None else None
    covariates["age_years"] = round(-days / _DAYS_PER_YEAR, 2) if days is not None else None
    return ClinicalRow(labels, covariates, tuple(findings))


def _box_row(row: Sequence[Any], table: _Table) -> Box | Finding:
    cells = [row[table.columns[name]] for name in _BOX_COLUMNS]
    numbers = [parse_number(c) for c in cells]
    if any(n is None or n != int(n) for n in numbers):
        shown = ", ".join(shown_cell(c) for c in cells)
        return Finding("box-unreadable", f"tumour box ({shown}) is not six whole numbers")
    r0, c0, s0, r1, c1, s1 = (int(n) for n in numbers if n is not None)
    return Box((r0 - 1, c0 - 1, s0 - 1), (r1, c1, s1))


def _decode(value: Any, codes: Mapping[str, str]) -> str | float | None:
    if is_missing(value):
        return None
    number = parse_number(value)
    key = str(int(number)) if number is not None and number == int(number) else str(value).strip()
    if key in codes:
        text = codes[key]
        if is_missing(text):
            return None
        decoded = parse_number(text)
        return decoded if decoded is not None else text
    return number if number is not None else key


def _is_whole(value: str | float | None) -> bool:
    return isinstance(value, float) and value == int(value)


def _read_table(path: Path, sheet: str | None) -> _Table:
    try:
        book = openpyxl.load_workbook(BytesIO(path.read_bytes()), read_only=True, data_only=True)
    except Exception as error:  # openpyxl raises whatever zipfile and its XML parser do
        if storage_trouble(error) is not None:
            raise
        raise InputError(f"workbook {path} cannot be read: {error}") from error
    try:
        chosen = book[sheet] if sheet in book.sheetnames else book[book.sheetnames[0]]
        rows = [tuple(r) for r in chosen.iter_rows(values_only=True)]
    finally:
        book.close()
    for number, row in enumerate(rows[:_HEADER_ROWS_AT_MOST]):
        if any(_name(c) == "Patient ID" for c in row):
            return _with_header(rows, number)
    raise InputError(f"workbook {path} has no column 'Patient ID' in its first rows")


def _with_header(rows: Sequence[Sequence[Any]], number: int) -> _Table:
    columns: dict[str, int] = {}
    for i, cell in enumerate(rows[number]):
        # The first of several columns of one name: the later ones are about the other breast.
        columns.setdefault(_name(cell), i)
    below = rows[number + 1] if number + 1 < len(rows) else ()
    patient = columns["Patient ID"]
    codes: dict[int, Mapping[str, str]] = {}
    if below and is_missing(below[patient]):
        codes = {i: _parse_codes(str(c)) for i, c in enumerate(below) if c is not None}
    return _Table(columns, codes, rows[number + 1 :])


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


def _by_patient(path: Path, table: _Table) -> Iterable[tuple[str, Sequence[Any]]]:
    column = table.columns["Patient ID"]
    seen = set()
    for row in table.rows:
        if column >= len(row) or is_missing(row[column]):
            continue
        patient_id = str(row[column]).strip()
        if patient_id in seen:
            raise InputError(f"workbook {path} has patient {patient_id} twice: remove one row")
        seen.add(patient_id)
        yield patient_id, row


def _name(cell: Any) -> str:
    return " ".join(str(cell).split()) if cell is not None else ""
