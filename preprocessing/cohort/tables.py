"""One way to read a table: CSV as any program writes it, or an Excel workbook.

All cells become text, as a CSV copy of a workbook has it: a whole number without ``.0``, with the
leading zeros that its format shows; a date in ISO 8601; an error as ``#N/A``. The delimiter is the one
under which a row has the column by which the table is known, and that row is its header.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import openpyxl
from openpyxl.utils import get_column_letter

from preprocessing.cohort.values import decimal_sign
from preprocessing.common.errors import InputError, nearest_hint
from preprocessing.storage import files

# The last ones are refused, with what to do.
SUFFIXES = (".csv", ".tsv", ".tab", ".txt", ".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")
EXTENSIONS = r"\.(?:csv|tsv|tab|txt|xlsx|xlsm|xls|xlsb|ods)"
# What browsers and desktops append to a second file of one name.
COPY = r"(?:[ _-]*(?:\(\d+\)|\(?(?:copy|kopie|copie|copia)\)?(?:[ _]*\(?\d+\)?)?))*"

_DELIMITERS = (",", ";", "\t", "|")
_SEP_LINE = re.compile(r"sep=(.)\r?\n?")
_HEADER_ROWS = 10
_BATCH = 500
_UNICODE_BOMS = (("utf-8-sig", b"\xef\xbb\xbf"), ("utf-16", b"\xff\xfe"), ("utf-16", b"\xfe\xff"))
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_MARKUP = re.compile(rb"\s*<(?:!doctype|html|table|\?xml|meta|head|body)", re.IGNORECASE)
_INVISIBLE = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060"))
_SAVE_AS = "save it as .xlsx or CSV"
_MOST_SHOWN = 3


@dataclass(frozen=True)
class Row:
    """One row.

    Parameters
    ----------
    number
        Line of the text, or row of the sheet, from 1.
    cells
        One for each column of the table, without blanks around.
    num_lacking
        Cells that the line is short of, which are taken as empty.
    """

    number: int
    cells: tuple[str, ...]
    num_lacking: int = 0


@dataclass(frozen=True)
class Table:
    """A table with its header found.

    Parameters
    ----------
    columns
        Names in the header, runs of blanks as one; empty where a column has none.
    notes
        What a person should know of the whole table.
    renamed
        Our names of the columns that the user named.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Iterable[Row] = ()
    notes: tuple[str, ...] = ()
    sheet: str | None = None
    is_text: bool = True
    renamed: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What messages call it."""
        return str(self.path) if self.sheet is None else f"{self.path}, sheet {self.sheet!r}"

    def decimal(self) -> str:
        """Return the sign before decimals, ``,`` or ``.``, where a text's numbers tell it."""
        return decimal_sign(c for row in self.rows for c in row.cells) if self.is_text else ""


@dataclass(frozen=True)
class Wanted:
    """What is asked of a table, beside the column by which it is known.

    Parameters
    ----------
    what
        What messages call it.
    others
        Columns that have to be there too, for messages.
    hint
        What to do where it cannot be read.
    sheet
        Preferred in a workbook of several.
    needs_sheet
        Whether a workbook without that sheet is refused.
    """

    what: str = "table"
    others: tuple[str, ...] = ()
    hint: str = ""
    sheet: str | None = None
    needs_sheet: bool = False

    @property
    def ending(self) -> str:
        """The end of messages."""
        return f": {self.hint}" if self.hint else ""


@dataclass(frozen=True)
class _Grid:
    """What may be the table: a sheet, or a text under one delimiter."""

    sheet: str | None = None
    delimiter: str = ""
    text: str = field(default="", repr=False)
    first_line: int = 1
    worksheet: Any = None
    formulas: Mapping[tuple[int, int], str] = field(default_factory=dict)

    def rows(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Yield number and cells of each row that is not empty."""
        found = self._sheet_rows() if self.worksheet is not None else self._text_rows()
        return ((number, cells) for number, cells in found if any(cells))

    def _text_rows(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        reader = csv.reader(
            io.StringIO(self.text, newline=""), delimiter=self.delimiter, strict=True
        )
        number = self.first_line
        for cells in reader:
            yield number, tuple(_clean(cell) for cell in cells)
            number = self.first_line + reader.line_num

    def _sheet_rows(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        self.worksheet.reset_dimensions()
        rows = enumerate(self.worksheet.iter_rows(), start=1)
        while batch := _quietly(rows):
            for number, row in batch:
                yield (
                    number,
                    tuple(
                        self.formulas.get((number, i)) or _clean(_cell_text(cell))
                        for i, cell in enumerate(row, start=1)
                    ),
                )


class _UnreadableTableError(Exception):
    """Why a file's content is no table."""


class _NoColumnError(_UnreadableTableError):
    """No line of a file has the column that its header is known by."""


_UNCALCULATED = "\0formula"


def normalised(name: str) -> str:
    """Return a column's name without case, blanks, ``_`` and ``-``: ``Patient ID`` is patient_id."""
    return re.sub(r"[\s_-]+", "", name).casefold()


def find_column(name: str, columns: Sequence[str], title: str) -> int | None:
    """Return where a column is, by its name or by one that differs in case, blanks and ``_`` only.

    Raises
    ------
    InputError
        If several are called so.
    """
    found = [i for i, column in enumerate(columns) if normalised(column) == normalised(name)]
    if len(found) > 1:
        names = ", ".join(repr(columns[i]) for i in found)
        raise InputError(
            f"table {title} has {len(found)} columns for {name!r} ({names}): rename or remove all"
            " but the right one"
        )
    return found[0] if found else None


def refuse_repeated(columns: Sequence[str], title: str) -> None:
    """Refuse columns of one name.

    Raises
    ------
    InputError
        If there are some.
    """
    named = {i: re.sub(r"[\s_]+", " ", c).casefold() for i, c in enumerate(columns) if c}
    repeated = [c for c, n in Counter(named.values()).items() if n > 1]
    if repeated:
        names = ", ".join(repr(columns[i]) for i, c in named.items() if c == repeated[0])
        raise InputError(
            f"table {title} has several columns of one name ({names}): rename or remove all but the"
            " right one"
        )


def is_table_name(path: Path) -> bool:
    """Tell whether a file is called as a table is; lock files of Office and ``._`` files are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(("~$", "._", ".~"))


def tables_named(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Return the tables in a folder that are called so."""
    found = [folder / name for name in files.list_names(str(folder)) if pattern.fullmatch(name)]
    return [path for path in found if is_table_name(path)]


def only_table(found: Sequence[Path], what: str, *, or_else: str = "") -> Path | None:
    """Return the only one of some tables, None where there is none.

    Raises
    ------
    InputError
        If there are several: which one is right cannot be known.
    """
    if len(found) > 1:
        names = " and ".join(repr(path.name) for path in found)
        raise InputError(
            f"{found[0].parent} holds {len(found)} tables that may be {what}: {names}; move all but"
            f" the right one out of this folder{or_else}"
        )
    return found[0] if found else None


def read_table(path: Path, key: str, wanted: Wanted = Wanted()) -> Table:
    """Read a table.

    Parameters
    ----------
    key
        The column by which it is known: its header is the first row that has it.

    Raises
    ------
    InputError
        If it cannot be read, has no such column, or several sheets have it.
    """
    table = stream_table(path, key, wanted)
    rows = tuple(table.rows)
    # A sheet has cells right of its header, as where names are in another row or merged.
    width = max((len(row.cells) for row in rows), default=0)
    columns = (*table.columns, *[""] * (width - len(table.columns)))
    filled = (replace(r, cells=(*r.cells, *[""] * (len(columns) - len(r.cells)))) for r in rows)
    return replace(table, columns=columns, rows=tuple(filled))


def stream_table(path: Path, key: str, wanted: Wanted = Wanted()) -> Table:
    """Open a table whose rows are read one after the other, once; see `read_table`."""
    sheet = wanted.sheet
    try:
        grids, notes = _grids(path.read_bytes())
        if wanted.needs_sheet and grids[0].worksheet is not None:
            names = [str(g.sheet) for g in grids]
            grids = [g for g in grids if g.sheet == sheet]
            if not grids:
                raise _UnreadableTableError(
                    f"has no sheet {sheet!r}{nearest_hint(str(sheet), names)}, got"
                    f" {', '.join(names)}"
                )
        grid, header, columns = _find_header(grids, key, wanted)
    except _UnreadableTableError as error:
        is_text = path.suffix.lower() in (".xlsx", ".xlsm") and isinstance(error, _NoColumnError)
        what_else = "cannot be read as a workbook, and as text it " if is_text and (
            grids[0].worksheet is None
        ) else ""  # fmt: skip
        raise InputError(f"{wanted.what} {path} {what_else}{error}{wanted.ending}") from error
    named = grid.sheet if len(grids) > 1 or wanted.needs_sheet else None
    rows = _rows(grid, header, columns, f"{wanted.what} {path}", wanted.ending)
    return Table(path, columns, rows, tuple(notes), named, grid.worksheet is None)


def _rows(
    grid: _Grid, header: int, columns: tuple[str, ...], title: str, ending: str
) -> Iterator[Row]:
    """Yield the rows below the header."""
    is_text = grid.worksheet is None
    try:
        for number, cells in grid.rows():
            if number <= header:
                continue
            if is_text and any(cells[len(columns) :]):
                raise _UnreadableTableError(
                    f"has {len(cells)} cells in line {number}, its header"
                    f" {len(columns)}: put quotes around what holds a"
                    f" {_shown_delimiter(grid.delimiter)}, or name all columns"
                )
            empty = [i for i, cell in enumerate(cells) if cell == _UNCALCULATED]
            if empty:
                place = f"{get_column_letter(empty[0] + 1)}{number}"
                raise _UnreadableTableError(
                    f"has a formula without a value in cell {place}: open it in Excel or"
                    " LibreOffice, save it there, and try again"
                )
            num_lacking = max(0, len(columns) - len(cells)) if is_text else 0
            padded = (*cells, *[""] * (len(columns) - len(cells)))
            yield Row(number, padded[: len(columns)] if is_text else padded, num_lacking)
    except csv.Error as error:
        raise InputError(f"{title} is not a readable CSV: {_csv_reason(error)}{ending}") from error
    except _UnreadableTableError as error:
        raise InputError(f"{title} {error}{ending}") from error
    except Exception as error:  # openpyxl raises whatever zipfile and its XML parser do
        raise InputError(f"{title} cannot be read ({_reason(error)}){ending}") from error


def _shown_delimiter(delimiter: str) -> str:
    return {",": "comma", ";": "semicolon", "\t": "tab"}.get(delimiter, "delimiter")


def _find_header(
    grids: Sequence[_Grid], key: str, wanted: Wanted
) -> tuple[_Grid, int, tuple[str, ...]]:
    """Return the sheet or delimiter under which a row has the key, that row's number and names."""
    found: list[tuple[_Grid, int, tuple[str, ...]]] = []
    seen: list[tuple[str, ...]] = []
    trouble = None
    for grid in grids:
        try:
            first = list(islice(grid.rows(), _HEADER_ROWS))
        except csv.Error as error:
            trouble = f"is not a readable CSV: {_csv_reason(error)}"
            first = _rows_before_error(grid)
        except Exception as error:  # noqa: BLE001 - openpyxl raises whatever its parsers do
            trouble = f"cannot be read ({_reason(error)})"
            continue
        for number, cells in first:
            if normalised(key) in map(normalised, cells):
                found.append((grid, number, _names(cells)))
                break
        seen.extend(_names(cells) for _, cells in first[:1])
    if not found:
        names = max((tuple(n for n in row if n) for row in seen), key=len, default=())
        if trouble is not None and not names:
            raise _UnreadableTableError(trouble)
        if not names and not wanted.needs_sheet:
            raise _UnreadableTableError(f"cannot be read (it is empty: no column {key!r})")
        nearest = nearest_hint(key, [n for n in names if n not in wanted.others])
        shown = "" if nearest or len(names) < 2 or wanted.others else f", got {_shown(names)}"
        if wanted.others:
            shown = f", expected {', '.join((key, *wanted.others))}"
        told = "; where it has another name, say --column patient_id=NAME"
        shown += told if key == "patient_id" and not wanted.others else ""
        raise _NoColumnError(f"has no column {key!r}{nearest}{shown}")
    if found[0][0].worksheet is None:
        return max(found, key=lambda one: len(one[2]))
    preferred = [one for one in found if one[0].sheet == wanted.sheet]
    if len(found) > 1 and not preferred:
        sheets = [repr(one[0].sheet) for one in found]
        raise _UnreadableTableError(
            f"has {len(found)} sheets with a column {key!r} ({', '.join(sheets)}): remove all but the"
            " right one"
        )
    return (preferred or found)[0]


def _rows_before_error(grid: _Grid) -> list[tuple[int, tuple[str, ...]]]:
    rows = []
    with suppress(csv.Error):
        for row in islice(grid.rows(), _HEADER_ROWS):
            rows.append(row)  # noqa: PERF402 - what came before the error is kept
    return rows


def _names(cells: Sequence[str]) -> tuple[str, ...]:
    """Return a header's names, runs of blanks as one."""
    return tuple(" ".join(cell.split()) if cell != _UNCALCULATED else "" for cell in cells)


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return ", ".join(map(repr, names[:_MOST_SHOWN])) + more


def _grids(content: bytes) -> tuple[list[_Grid], list[str]]:
    """Return what may be the table, told by the content and not by the file's name."""
    if content.startswith(_ZIP):
        return _sheets(content)
    if content.startswith(_OLE):
        raise _UnreadableTableError(
            f"is an old Excel workbook (.xls), or one with a password: {_SAVE_AS}"
        )
    if _MARKUP.match(content):
        raise _UnreadableTableError(f"is HTML or XML, whatever its name says: {_SAVE_AS}")
    text, notes = _decode(content)
    first_line = 1
    delimiters: Sequence[str] = _DELIMITERS
    if match := _SEP_LINE.match(text):
        text, first_line, delimiters = text[match.end() :], 2, (match[1],)
    return [_Grid(delimiter=d, text=text, first_line=first_line) for d in delimiters], notes


def _decode(content: bytes) -> tuple[str, list[str]]:
    for encoding, mark in _UNICODE_BOMS:
        if content.startswith(mark):
            try:
                return content.decode(encoding), []
            except UnicodeDecodeError as error:
                raise _UnreadableTableError(f"is not a readable CSV: {error.reason}") from error
    start = content[:1000]
    for encoding, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
        if len(start) > 3 and zeros.count(0) > 0.9 * len(zeros):
            with suppress(UnicodeDecodeError):
                return content.decode(encoding), []
    with suppress(UnicodeDecodeError):
        return content.decode("utf-8"), []
    if start.count(0) > 2:
        raise _UnreadableTableError("is not a readable CSV: it holds bytes that are no text")
    note = "is not UTF-8: read as Windows-1252, check what has accents or umlauts"
    try:
        return content.decode("cp1252"), [note]
    except UnicodeDecodeError:
        return content.decode("latin-1"), [note.replace("Windows-1252", "Latin-1")]


def _sheets(content: bytes) -> tuple[list[_Grid], list[str]]:
    _refuse_other_archives(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
        grids = []
        hidden = 0
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for sheet in book.worksheets:
                xml = archive.read(str(getattr(sheet, "_worksheet_path", "")))
                hidden += len(re.findall(rb'<(?:\w+:)?row [^>]*hidden="(?:1|true)"', xml))
                grids.append(_Grid(sheet=sheet.title, worksheet=sheet, formulas=_uncalculated(xml)))
    except Exception as error:  # openpyxl raises whatever zipfile and its XML parser do
        raise _UnreadableTableError(f"cannot be read ({_reason(error)})") from error
    if not grids:
        raise _UnreadableTableError("cannot be read (it has no sheets)")
    notes = [f"has {hidden} hidden rows: they are read as the others"] if hidden else []
    return grids, notes


def _refuse_other_archives(content: bytes) -> None:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = set(archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _UnreadableTableError(f"cannot be read ({_reason(error)})") from error
    if "xl/workbook.bin" in names:
        raise _UnreadableTableError(f"is a binary workbook (.xlsb): {_SAVE_AS}")
    if "content.xml" in names and "mimetype" in names:
        raise _UnreadableTableError(f"is an OpenDocument file (.ods): {_SAVE_AS}")
    if any(name.startswith("Index/") and name.endswith(".iwa") for name in names):
        raise _UnreadableTableError(f"is an Apple Numbers file: {_SAVE_AS}")


def _uncalculated(xml: bytes) -> dict[tuple[int, int], str]:
    """Return row and column of the formulas whose value no program has written yet.

    openpyxl makes None of them, as of an empty cell, and as of a formula whose value is an empty text.
    """
    if not re.search(rb"<(?:\w+:)?f[ >/]", xml):
        return {}
    found: dict[tuple[int, int], str] = {}
    row = column = 0
    for event, element in ElementTree.iterparse(io.BytesIO(xml), events=("start", "end")):
        tag = element.tag.rpartition("}")[2]
        if event == "start" and tag == "row":
            row, column = int(element.get("r") or row + 1), 0
        elif event == "end" and tag == "c":
            place = re.match(r"([A-Z]+)\d+", element.get("r") or "")
            column = _column_number(place[1]) if place else column + 1
            inner = {child.tag.rpartition("}")[2]: child for child in element}
            value = inner["v"].text if "v" in inner else None
            if "f" in inner and not value and element.get("t") != "str":
                found[row, column] = _UNCALCULATED
        elif event == "end" and tag == "row":
            element.clear()
    return found


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = 26 * number + ord(letter) - ord("A") + 1
    return number


def _quietly(rows: Iterator[tuple[int, Any]]) -> list[tuple[int, Any]]:
    """Return some rows; what openpyxl warns of stands in the cells."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(islice(rows, _BATCH))


def _cell_text(cell: Any) -> str:
    value = cell.value
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, (int, float)):
        return _number_text(value, str(cell.number_format or ""))
    if isinstance(value, datetime):
        return value.isoformat(" ")
    if isinstance(value, (date, time)):
        return value.isoformat()
    return str(value)


def _number_text(value: float, number_format: str) -> str:
    if re.fullmatch(r"0+(?:\.0+)?%", number_format):
        return f"{100 * value:.10g}%"
    if value != int(value) or abs(value) >= 1e15:
        return repr(value)
    zeros = number_format if re.fullmatch(r"0+", number_format) else ""
    return f"{int(value):0{len(zeros)}d}" if zeros else str(int(value))


def _clean(cell: str) -> str:
    return cell.translate(_INVISIBLE).strip()


def _csv_reason(error: csv.Error) -> str:
    text = str(error)
    if "unexpected end" in text or "expected after" in text:
        return "a quote is opened and not closed, or closed amid a cell"
    return text


def _reason(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
