"""CSV copies of Duke's real workbooks say what the workbooks say; skipped where there are none."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import openpyxl
import pytest

from preprocessing.cohort.cohort import Cohort
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.common.errors import InputError

pytestmark = pytest.mark.slow
CLINICAL, BOXES = "Clinical_and_Other_Features", "Annotation_Boxes"


def rows_of(path: Path) -> list[list[object]]:
    book = openpyxl.load_workbook(path, read_only=True)
    return [list(row) for row in book.worksheets[0].iter_rows(values_only=True)]


def as_text(rows: list[list[object]], delimiter: str, decimal: str) -> str:
    def cell(value: object) -> object:
        return str(value).replace(".", decimal) if isinstance(value, float) else value

    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows([cell(v) for v in row] for row in rows)
    return out.getvalue()


@pytest.fixture(scope="module")
def workbooks(real_data: Path) -> Path:
    return real_data / "duke_tables"


@pytest.fixture(scope="module")
def original(workbooks: Path) -> Cohort:
    return read_cohort(workbooks)


@pytest.mark.parametrize(
    ("delimiter", "decimal", "encoding", "suffix"),
    [
        (",", ".", "utf-8", "csv"),
        (";", ",", "cp1252", "csv"),
        ("\t", ".", "utf-16", "txt"),
    ],
)
def test_a_csv_copy_says_what_the_workbook_says(
    workbooks: Path,
    original: Cohort,
    tmp_path: Path,
    delimiter: str,
    decimal: str,
    encoding: str,
    suffix: str,
) -> None:
    for name in (CLINICAL, BOXES):
        text = as_text(rows_of(workbooks / f"{name}.xlsx"), delimiter, decimal)
        (tmp_path / f"{name}.{suffix}").write_bytes(text.encode(encoding, errors="replace"))
    copy = read_cohort(tmp_path)
    assert copy.patients == original.patients
    positive = {t: sum(p.labels[t] == 1 for p in copy.patients) for t in copy.targets}
    assert positive == {"ER": 686, "PR": 598, "HER2": 163}
    assert sum(p.box is not None for p in copy.patients) == 922


def test_a_copy_with_one_header_row_has_the_same_labels_and_boxes(
    workbooks: Path, original: Cohort, tmp_path: Path
) -> None:
    _, names, _, *patients = rows_of(workbooks / f"{CLINICAL}.xlsx")
    # As pandas writes an index before the table.
    numbered = [[i, *row] for i, row in enumerate(patients)]
    (tmp_path / f"{CLINICAL}.csv").write_text(as_text([[None, *names], *numbered], ";", ","))
    shutil.copy(workbooks / f"{BOXES}.xlsx", tmp_path)
    copy = read_cohort(tmp_path)
    assert [(p.patient_id, p.labels, p.box) for p in copy.patients] == [
        (p.patient_id, p.labels, p.box) for p in original.patients
    ]


def test_a_copy_beside_the_workbook_is_refused_by_name(workbooks: Path, tmp_path: Path) -> None:
    for name in (CLINICAL, BOXES):
        shutil.copy(workbooks / f"{name}.xlsx", tmp_path)
    text = as_text(rows_of(workbooks / f"{CLINICAL}.xlsx"), ",", ".")
    (tmp_path / f"{CLINICAL}.csv").write_text(text)
    with pytest.raises(InputError, match=rf"'{CLINICAL}\.csv' and '{CLINICAL}\.xlsx'"):
        read_cohort(tmp_path)
