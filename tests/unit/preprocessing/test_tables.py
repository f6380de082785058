"""One way to read a table: what programs write as CSV, and what workbooks hold."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.worksheet.worksheet import Worksheet

from preprocessing.cohort.tables import Wanted, only_table, read_table, tables_named
from preprocessing.cohort.values import decimal_sign, parse_covariate, parse_number
from preprocessing.common.errors import InputError

HEADER = ["patient_id", "phase_0", "ER", "Größe"]
ROWS = [["001", "a,b.nii", "1", "ü"], ["002", "c;d.nii", "", "x"]]


def text_of(delimiter: str, end: str = "\n") -> str:
    lines = [HEADER, *ROWS]
    quoted = [[f'"{c}"' if set(c) & set(",;|") else c for c in line] for line in lines]
    return "".join(delimiter.join(line) + end for line in quoted)


def written(folder: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cells(path: Path, key: str = "patient_id") -> list[list[str]]:
    return [list(row.cells) for row in read_table(path, key).rows]


def workbook(
    folder: Path, rows: list[list[object]], change: Callable[[Worksheet], object] | None = None
) -> Path:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    for row in rows:
        sheet.append(row)
    if change is not None:
        change(sheet)
    book.save(folder / "t.xlsx")
    return folder / "t.xlsx"


def with_sheet_xml(path: Path, old: str, new: str) -> Path:
    """Replace text in the first sheet's own XML, as no library writes it."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(out, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "xl/worksheets/sheet1.xml":
                assert old.encode() in content
                content = content.replace(old.encode(), new.encode())
            target.writestr(name, content)
    path.write_bytes(out.getvalue())
    return path


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_every_way_to_write_a_csv_is_one_table(
    tmp_path: Path, delimiter: str, end: str, encoding: str
) -> None:
    table = read_table(written(tmp_path, text_of(delimiter, end).encode(encoding)), "patient_id")
    assert list(table.columns) == HEADER
    assert [list(row.cells) for row in table.rows] == ROWS
    assert [row.number for row in table.rows] == [2, 3]
    assert table.notes == ()


def test_what_is_not_utf8_is_windows_1252_and_said(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, text_of(";").encode("cp1252")), "patient_id")
    assert [list(row.cells) for row in table.rows] == ROWS
    (note,) = table.notes
    assert "read as Windows-1252" in note


def test_bytes_that_windows_1252_lacks_are_latin_1(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, b"patient_id,x\n1,\x81\xfc\n"), "patient_id")
    assert [row.cells[1] for row in table.rows] == ["\x81ü"]
    assert "read as Latin-1" in table.notes[0]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("sep=;\r\npatient_id;x\r\n1;a,b\r\n", [["1", "a,b"]]),
        ("Our cohort; 2021\n\npatient_id;x\n1;2\n", [["1", "2"]]),
        ("# made by, us\npatient_id,x\n1,2\n", [["1", "2"]]),
        ('patient_id,x\n1,"a\nb, ""c"""\n2,3\n', [["1", 'a\nb, "c"'], ["2", "3"]]),
        ("patient_id,x,,\n1,2,,\n\n,,,\n2,3,,\n", [["1", "2", "", ""], ["2", "3", "", ""]]),
        ("patient_id,x\n1,2,\n2,3\n", [["1", "2"], ["2", "3"]]),
        ("patient_id , x\n\u00a01 ,\u200b 2\n", [["1", "2"]]),
        # More commas than semicolons: what has the column is the header.
        ("patient_id;boxes, a, b, c, d\n1;1,2,3,4,5\n", [["1", "1,2,3,4,5"]]),
    ],
)
def test_rows_and_cells(tmp_path: Path, content: str, expected: list[list[str]]) -> None:
    assert cells(written(tmp_path, content)) == expected


def test_a_short_line_says_how_much_it_lacks(tmp_path: Path) -> None:
    rows = list(read_table(written(tmp_path, "patient_id,a,b\n1,2,3\n2,3\n"), "patient_id").rows)
    assert [(row.cells, row.num_lacking) for row in rows] == [
        (("1", "2", "3"), 0),
        (("2", "3", ""), 1),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # pandas takes the first column for row labels and shifts all others by one.
        ("patient_id,a\np1,x,1\np2,y,2\n", "has 3 cells in line 2, its header 2"),
        ("patient_id,a\np1,x\n\np2,y,2\n", "has 3 cells in line 4, its header 2"),
        ('patient_id,a\np1,"x\np2,y\n', "a quote is opened and not closed"),
        ('patient_id,a\np1,"x"y\n', "a quote is opened and not closed, or closed amid a cell"),
        ("", r"cannot be read \(it is empty"),
        ("\n\n", r"cannot be read \(it is empty"),
        ("patient,a\n1,2\n", r"no column 'patient_id' \(did you mean 'patient'\?\)"),
        ("a,b\n1,2\n", "no column 'patient_id', got 'a', 'b'"),
        ("<html><table><tr><td>patient_id", "is HTML or XML, whatever its name says"),
        (bytes(range(256)) * 3, "bytes that are no text"),
        (b"\xd0\xcf\x11\xe0" + bytes(600), r"is an old Excel workbook \(\.xls\)"),
        (b"PK\x03\x04broken", "cannot be read"),
        (b"\xff\xfea", "is not a readable CSV"),
    ],
)
@pytest.mark.parametrize("name", ["t.csv", "t.xls"])
def test_what_is_no_table_is_refused_in_one_sentence(
    tmp_path: Path, content: str | bytes, message: str, name: str
) -> None:
    with pytest.raises(InputError, match=message) as error:
        read_table(written(tmp_path, content, name), "patient_id")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"mimetype": "x", "content.xml": "<a/>"}, r"OpenDocument file \(\.ods\)"),
        ({"xl/workbook.bin": "x"}, r"binary workbook \(\.xlsb\)"),
        ({"Index/Document.iwa": "x"}, "Apple Numbers"),
        ({"a.txt": "x"}, "cannot be read"),
    ],
)
def test_other_archives_are_named(tmp_path: Path, names: dict[str, str], message: str) -> None:
    path = tmp_path / "t.xlsx"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match=message):
        read_table(path, "patient_id")


def test_a_table_is_what_its_content_says_whatever_its_name(tmp_path: Path) -> None:
    content = workbook(tmp_path, [["patient_id"], ["1"]]).read_bytes()
    assert cells(written(tmp_path, content, "t.csv")) == [["1"]]
    assert cells(written(tmp_path, "patient_id;a\n1;2\n", "u.xlsx")) == [["1", "2"]]


def test_cells_of_a_workbook_are_those_of_its_csv(tmp_path: Path) -> None:
    row: list[object] = [
        7,
        2.0,
        0.1,
        True,
        None,
        datetime(2021, 3, 1),
        " text ",
        7,
        0.8,
        "#N/A",
        -3,
    ]

    def formats(sheet: Worksheet) -> None:
        sheet["H2"].number_format = "000"
        sheet["I2"].number_format = "0%"

    path = workbook(tmp_path, [["patient_id", *"abcdefghij"], row], formats)
    expected = ["7", "2", "0.1", "TRUE", "", "2021-03-01 00:00:00", "text", "007", "80%", "#N/A",
                "-3"]  # fmt: skip
    assert cells(path) == [expected]


def test_a_formula_without_a_value_is_refused_by_its_cell(tmp_path: Path) -> None:
    """openpyxl, as any program that does not calculate, writes the formula alone."""
    rows: list[list[object]] = [["patient_id", "ER"], ["1", "1"], ["2", "=1+0"]]
    path = workbook(tmp_path, rows)
    with pytest.raises(InputError, match="a formula without a value in cell B3: open it in Excel"):
        read_table(path, "patient_id")


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ('<c r="B3"><f>1+0</f><v>1</v></c>', "1"),
        ('<c r="B3" t="str"><f>""</f><v></v></c>', ""),
        ('<c r="B3" t="b"><f>TRUE()</f><v>1</v></c>', "TRUE"),
        ('<c r="B3" t="e"><f>NA()</f><v>#N/A</v></c>', "#N/A"),
    ],
)
def test_a_formulas_value_is_the_cells(tmp_path: Path, cell: str, value: str) -> None:
    path = workbook(tmp_path, [["patient_id", "ER"], ["1", "1"], ["2", "=1+0"]])
    with_sheet_xml(path, '<c r="B3"><f>1+0</f><v /></c>', cell)
    assert cells(path)[1] == ["2", value]


def test_a_wrong_note_of_the_sheets_size_hides_no_cells(tmp_path: Path) -> None:
    path = workbook(tmp_path, [["patient_id", "ER"], ["1", "1"]])
    with_sheet_xml(path, '<dimension ref="A1:B2" />', '<dimension ref="A1" />')
    assert cells(path) == [["1", "1"]]


def test_hidden_rows_are_read_and_said(tmp_path: Path) -> None:
    def hide(sheet: Worksheet) -> None:
        sheet.row_dimensions[2].hidden = True

    table = read_table(workbook(tmp_path, [["patient_id"], ["1"], ["2"]], hide), "patient_id")
    assert [row.cells for row in table.rows] == [("1",), ("2",)]
    assert table.notes == ("has 1 hidden rows: they are read as the others",)


def test_of_several_sheets_the_one_with_the_column_is_read(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    book.worksheets[0].append(["legend"])
    for title in ("data", "old"):
        sheet = book.create_sheet(title)
        sheet.append(["Our cohort"])
        sheet.append(["Patient ID", "ER"])
        sheet.append([title, 1])
    book.save(tmp_path / "two.xlsx")
    with pytest.raises(InputError, match=r"2 sheets with a column 'patient_id' \('data', 'old'\)"):
        read_table(tmp_path / "two.xlsx", "patient_id")
    chosen = read_table(tmp_path / "two.xlsx", "patient_id", Wanted(sheet="old"))
    assert [row.cells for row in chosen.rows] == [("old", "1")]
    del book["old"]
    book.save(tmp_path / "one.xlsx")
    assert cells(tmp_path / "one.xlsx") == [["data", "1"]]


def test_lock_files_are_no_tables_and_a_second_one_is_named(tmp_path: Path) -> None:
    import re

    pattern = re.compile(r".*manifest.*", re.IGNORECASE)
    for name in ("manifest.csv", "~$manifest.xlsx", "._manifest.csv", "manifest.pdf"):
        written(tmp_path, "x", name)
    assert only_table(tables_named(tmp_path, pattern), "the manifest") == tmp_path / "manifest.csv"
    written(tmp_path, "x", "Manifest (1).XLSX")
    with pytest.raises(InputError, match=r"'Manifest \(1\)\.XLSX' and 'manifest\.csv'; move all"):
        only_table(tables_named(tmp_path, pattern), "the manifest")


@pytest.mark.parametrize(
    ("text", "decimal", "number"),
    [
        ("1.5", "", 1.5),
        ("1,5", "", 1.5),
        ("12,0", "", 12.0),
        ("0,125", "", 0.125),
        ("-0,25", ".", -0.25),
        ("1,234", "", None),
        ("1,234", ",", 1.234),
        ("1,234", ".", 1234.0),
        ("1.234", "", 1.234),
        ("1.234", ".", 1.234),
        ("1.234", ",", 1234.0),
        ("1,234.5", "", 1234.5),
        ("1.234,5", "", 1234.5),
        ("1,234,567", "", 1234567.0),
        ("1.234.567", "", 1234567.0),
        ("12 345,5", "", 12345.5),
        ("1'234", "", 1234.0),
        ("1e3", "", 1000.0),
        ("1_000", "", None),
        ("1,2,3", "", None),
        ("inf", "", None),
        ("1e999", "", None),
        ("٣", "", None),
        ("-1", "", None),
        ("", "", None),
    ],
)
def test_numbers(text: str, decimal: str, number: float | None) -> None:
    assert parse_number(text, decimal) == number


def test_the_sign_before_decimals_is_told_by_the_table() -> None:
    assert decimal_sign(["1,234", "0,5", "x"]) == ","
    assert decimal_sign(["1.234", "0.5"]) == "."
    assert decimal_sign(["1,234", "1.234"]) == ""
    assert decimal_sign(["1,5", "1.5"]) == ""


@pytest.mark.parametrize(
    ("cell", "value"), [("80%", 0.8), ("12,5 %", 0.125), ("#REF!", None), ("x%", "x%"), ("B", "B")]
)
def test_covariates(cell: str, value: str | float | None) -> None:
    assert parse_covariate(cell) == value


@given(st.floats(min_value=-1e6, max_value=1e6).map(lambda x: round(x, 2)))
def test_a_number_with_a_decimal_comma_is_that_with_a_point(number: float) -> None:
    text = f"{number:.2f}"
    assert parse_number(text.replace(".", ",")) == parse_number(text) == float(text)
