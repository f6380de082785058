"""The workbooks of the collection, and the one that maps file paths."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet

from preprocessing.phantom.dicom_writer import MANUFACTURERS, SeriesWriter
from preprocessing.phantom.patient import PhantomPatient, random_stream
from preprocessing.phantom.settings import PhantomSettings

# Both workbooks as TCIA ships them, header rows word for word, values those of the phantom.
#
# ``duke_header.json`` holds the column names and code books of the 98 columns of sheet Data; no
# patient's values. What the phantom does not know is NA, NP or NC, as there.

CLINICAL_NAME = "Clinical_and_Other_Features.xlsx"
BOXES_NAME = "Annotation_Boxes.xlsx"

Cell = str | int | float | None

_BOX_COLUMNS = ("Start Row", "End Row", "Start Column", "End Column", "Start Slice", "End Slice")
_NUM_COLUMNS = 98
_ER, _PR, _HER2 = 23, 24, 25
# What the real workbook says most often in columns that the phantom says nothing about.
_UNKNOWN = {
    **dict.fromkeys((27, 58, 59, *range(92, 98)), "NA"),
    **dict.fromkeys((*range(39, 48), 61, 62, 63, 87), "NP"),
    67: None,
}
_EPOCH = datetime(1990, 1, 1)
_ZIP_EPOCH = (1990, 1, 1, 0, 0, 0)


def clinical_workbook(
    patients: Sequence[PhantomPatient], settings: PhantomSettings, *, flat: bool = False
) -> bytes:
    """Return ``Clinical_and_Other_Features.xlsx``, or a copy flattened to one header row."""
    book = Workbook()
    data = book.worksheets[0]
    data.title = "Data"
    if flat:
        data.append(header_rows()[1])
    else:
        _write_header(data)
    for patient in patients:
        data.append(clinical_row(patient, settings))
    legend = book.create_sheet("Legend")
    for row in _legend():
        legend.append(row)
    _write_header(book.create_sheet("Column Explanations"))
    return encode(book)


def boxes_workbook(boxes: Mapping[str, Mapping[str, int]]) -> bytes:
    """Return ``Annotation_Boxes.xlsx`` from boxes by patient id."""
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = "Sheet1"
    sheet.append(["Patient ID", *_BOX_COLUMNS])
    for patient_id, box in boxes.items():
        sheet.append([patient_id, *(box[name] for name in _BOX_COLUMNS)])
    return encode(book)


def header_rows() -> list[list[str | None]]:
    """Return the three header rows of sheet Data, 98 cells each."""
    header = _header()
    groups: list[str | None] = [None] * _NUM_COLUMNS
    for index, name in header["groups"]:
        groups[index] = name
    columns = header["columns"]
    return [groups, [c["name"] for c in columns], [c["codes"] for c in columns]]


def clinical_row(patient: PhantomPatient, settings: PhantomSettings) -> list[Cell]:
    """Return one patient's 98 cells, coded as the third header row says."""
    rng = random_stream(settings.seed, patient.number, "clinic")
    cells: dict[int, Cell] = dict.fromkeys(range(_NUM_COLUMNS), "NC")
    cells.update(_UNKNOWN)
    cells[0] = patient.patient_id
    cells.update(_technical_cells(patient))
    cells.update(_person_cells(rng))
    cells.update(_tumour_cells(patient, rng))
    return [cells[i] for i in range(_NUM_COLUMNS)]


def _technical_cells(patient: PhantomPatient) -> dict[int, Cell]:
    scanner, stack = patient.protocol.scanner, patient.protocol.phases[0].stored
    position = " X ".join(f"{v:.4f}" for v in stack.origin(0))
    return {
        2: _code(2, MANUFACTURERS[scanner.vendor]),
        3: _code(3, scanner.model),
        4: _code(4, "PFP\\FS"),
        5: _code(5, f"{scanner.field_strength:g}"),
        6: _code(6, "FFP" if scanner.feet_first else "HFP"),
        7: position,
        8: _code(8, scanner.contrast_agent),
        9: _code(9, str(scanner.contrast_ml)),
        10: scanner.repetition_ms,
        11: scanner.echo_ms,
        12: _code(12, f"{stack.rows} X {stack.columns}"),
        13: _code(13, f"{scanner.slice_thickness_mm:g}"),
        14: _code(14, str(stack.rows)),
        15: _code(15, str(stack.columns)),
        16: _code(16, str(scanner.fov_mm)) if scanner.vendor == "GE" else None,
        17: _code(17, str(scanner.flip_deg)),
        18: _code(18, str(scanner.fov_mm)),
    }


def _person_cells(rng: np.random.Generator) -> dict[int, Cell]:
    age = float(np.clip(rng.normal(53, 11), 24, 88))
    # 51 years is the usual age at menopause.
    post = rng.random() < 1 / (1 + np.exp(-(age - 51) / 2))
    return {
        1: int(rng.integers(1, 60)),
        19: -round(age * 365.25),
        20: int(post),
        21: int(rng.choice([1, 1, 1, 2, 3])),
        22: 0,
    }


def _tumour_cells(patient: PhantomPatient, rng: np.random.Generator) -> dict[int, Cell]:
    er, pr, her2 = (patient.labels[t] for t in ("ER", "PR", "HER2"))
    tumour = patient.scene.tumour
    clock = int(rng.integers(1, 13))
    return {
        _ER: er,
        _PR: pr,
        _HER2: her2,
        26: _subtype(er, pr, her2),
        28: 1 if tumour.radius_mm < 10 else 2,
        29: int(rng.choice([0, 0, 1])),
        30: 0,
        **{i: int(rng.integers(1, 4)) for i in range(31, 35)},
        35: 1,
        36: tumour.side,
        37: f"{tumour.side} {clock}",
        38: 0,
        **dict.fromkeys(range(48, 53), 0),
    }


def _subtype(er: int, pr: int, her2: int) -> int:
    if er or pr:
        return 1 if her2 else 0
    return 2 if her2 else 3


def _code(column: int, value: str) -> Cell:
    """Return a value's number in a column's code book; NC where the book lacks it."""
    book = _header()["columns"][column]["codes"]
    if book is None:
        return _as_number(value)
    pairs = (part.rsplit("=", 1) for part in book.split(",") if "=" in part)
    codes = {name.strip(): int(code) for name, code in pairs}
    return codes.get(value, "NC")


def _as_number(value: str) -> Cell:
    return int(value) if value.isdigit() else value


@cache
def _header() -> dict[str, Any]:
    text = files("preprocessing.phantom").joinpath("duke_header.json").read_text("utf-8")
    return dict(json.loads(text))


def _write_header(sheet: Worksheet) -> None:
    for row in header_rows():
        sheet.append(row)
    for cells in _header()["merged"]:
        sheet.merge_cells(cells)


def _legend() -> list[list[str]]:
    return [
        ["Abbr", "Meaning"],
        ["NA", "Not Available"],
        ["NC", "Not Collected"],
        ["NP", "Not Pertinent"],
        ["", "Synthetic cohort: no row describes a person"],
    ]


def encode(book: Workbook) -> bytes:
    """Return the file's bytes with all dates fixed, so that equal content gives equal bytes."""
    buffer = io.BytesIO()
    book.save(buffer)
    fixed = io.BytesIO()
    stamp = _EPOCH.strftime("%Y-%m-%dT%H:%M:%SZ").encode()
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(fixed, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":
                content = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", stamp, content)
            entry = zipfile.ZipInfo(name, _ZIP_EPOCH)
            target.writestr(entry, content, zipfile.ZIP_DEFLATED)
    return fixed.getvalue()


NAME = "Breast-Cancer-MRI-filepath_filename-mapping.xlsx"

_COLUMNS = ("original_path_and_filename", "classic_path", "descriptive_path", "sop_instance_UID")


def mapping_workbook(
    collection: str, patients: Iterable[tuple[PhantomPatient, list[SeriesWriter]]]
) -> bytes:
    """Return the workbook, a row a file.

    Parameters
    ----------
    collection
        Name of the folder that TCIA's paths begin with.
    patients
        Each with the writers of its series.
    """
    book = Workbook()
    sheet = book.worksheets[0]
    sheet.title = "Sheet1"
    sheet.append(_COLUMNS)
    for patient, writers in patients:
        for writer in writers:
            for row in _rows(collection, patient.patient_id, writer):
                sheet.append(row)
    return encode(book)


def _rows(collection: str, patient_id: str, writer: SeriesWriter) -> Iterator[tuple[str, ...]]:
    phase = writer.series.phase
    word = "T1" if phase is None else f"post_{phase}" if phase else "pre"
    folder = Path(collection) / patient_id
    for index in range(writer.series.stack.slices):
        number = writer.stored_index(index) + 1
        # Three digits, however the download names its files.
        name = f"1-{number:03d}.dcm"
        yield (
            f"DICOM_Images/{patient_id}/{word}/{patient_id}_{word}_{number:04d}.dcm",
            str(folder / writer.folder("classic") / name),
            str(folder / writer.folder("descriptive") / name),
            str(writer.sop_uid(index)),
        )
