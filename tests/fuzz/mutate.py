"""Changes to files: to their bytes, to the values in them, to cells of tables."""

from __future__ import annotations

import copy
import io
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import openpyxl
from openpyxl.utils.exceptions import IllegalCharacterError

ODD_BYTES = (b"\x00", b"\xff", b"\n", b'"', b"{", b"}", b"[", b",", b"-", b"e", b"\xef\xbb\xbf")
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 10**20, -(10**20), 2**31, 2**63, 0.5, 1e308, -0.0, 1e-320, "",
    "x", "x" * 5000, "é\u2028\x00", "../../etc/passwd", "nan", "1e-4", [], {}, [[]], [None], [0] * 300,
    {"": None}, {"a": {"b": {"c": []}}}, "s3://name@place/x", "running", "finished", "ER",
)  # fmt: skip
ODD_CELLS: tuple[Any, ...] = (
    None, "", " ", "x", "nan", "NaN", "-", "1", "0", "1.5", "1e999", "0x10", "١", "9" * 400, "=1+1",
    "#REF!", "\x00x", "é\u2028", "TRUE", "../..", "1;2", "a,b", '"', "Breast_MRI_001", "2024-01-01",
    "P000", "P001", "test", "validation", 0, 1, -1, 2, 99999, 1.5, 1e308, True, False,
)  # fmt: skip


def bytes_changed(content: bytes, rng: random.Random) -> bytes:
    """Return a file's content with one to four changes of its bytes."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        content = rng.choice(_OF_BYTES)(content, rng)
    return content


def _flip(content: bytes, rng: random.Random) -> bytes:
    if not content:
        return b"x"
    changed = bytearray(content)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(content: bytes, rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def _hole(content: bytes, rng: random.Random) -> bytes:
    start, length = rng.randrange(len(content) + 1), rng.choice((1, 16, 512, 4096))
    return content[:start] + bytes(len(content[start : start + length])) + content[start + length :]


def _remove(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + content[start + rng.choice((1, 2, 7, 64)) :]


def _insert(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.choice(ODD_BYTES) * rng.choice((1, 1, 2, 3000)) + content[start:]


def _repeat(content: bytes, rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    part = content[start : start + rng.choice((1, 8, 64, 1024))]
    return content[:start] + part + content[start:]


_OF_BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    _flip, _flip, _flip, _cut, _hole, _remove, _insert, _repeat,
)  # fmt: skip


def values_changed(values: Any, rng: random.Random) -> Any:
    """Return JSON values with one to three of them odd, missing, repeated or of another place."""
    values = copy.deepcopy(values)
    for _ in range(rng.choice((1, 1, 2, 3))):
        values = _change_value(values, rng)
    return values


def _change_value(values: Any, rng: random.Random) -> Any:
    places = [((), values), *_places(values, ())]
    path, _ = rng.choice(places)
    if not path:
        return copy.deepcopy(rng.choice(ODD_VALUES)) if rng.random() < 0.1 else values
    parent = values
    for key in path[:-1]:
        parent = parent[key]
    kind = rng.randrange(6)
    if kind == 0:
        del parent[path[-1]]
    elif kind == 1 and isinstance(parent, dict):
        parent[rng.choice(("", "unknown", "schema_version", "Name"))] = rng.choice(ODD_VALUES)
    elif kind == 2 and isinstance(parent, list):
        parent.append(copy.deepcopy(rng.choice(parent)))
    elif kind == 3:
        parent[path[-1]] = copy.deepcopy(rng.choice(places)[1])
    else:
        parent[path[-1]] = copy.deepcopy(rng.choice(ODD_VALUES))
    return values


def _places(values: Any, path: tuple[Any, ...]) -> list[tuple[tuple[Any, ...], Any]]:
    items: Any = ()
    if isinstance(values, dict):
        items = values.items()
    elif isinstance(values, list):
        items = enumerate(values)
    found = []
    for key, value in items:
        found.append(((*path, key), value))
        found += _places(value, (*path, key))
    return found


def workbook_changed(content: bytes, rng: random.Random) -> bytes:
    """Return an Excel file with odd cells, rows and columns."""
    book = openpyxl.load_workbook(io.BytesIO(content))
    sheet = book.active
    for _ in range(rng.choice((1, 1, 2, 5))):
        row, column = rng.randint(1, sheet.max_row), rng.randint(1, sheet.max_column)
        kind = rng.randrange(8)
        if kind == 0:
            sheet.delete_rows(row)
        elif kind == 1:
            sheet.delete_cols(column)
        elif kind == 2:
            sheet.insert_rows(row)
        elif kind == 3:
            sheet.append([cell.value for cell in sheet[row]])
        elif kind == 4 and sheet.max_row > 1:
            sheet.merge_cells(
                start_row=row, start_column=column, end_row=row + 1, end_column=column
            )
        else:
            _put(sheet, row, column, rng.choice(ODD_CELLS))
    buffer = io.BytesIO()
    try:
        book.save(buffer)
    except (AttributeError, ValueError, IndexError):
        return bytes_changed(content, rng)  # openpyxl cannot write it
    return buffer.getvalue()


def _put(sheet: Any, row: int, column: int, value: Any) -> None:
    # What Excel's format cannot hold, or a part of a merged cell.
    with suppress(ValueError, AttributeError, IllegalCharacterError):
        sheet.cell(row, column).value = value


def csv_changed(content: bytes, rng: random.Random) -> bytes:
    """Return a CSV file with odd cells, lines, separators and encodings."""
    lines = content.decode("utf-8").splitlines()
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines)) if lines else 0
        kind = rng.randrange(8)
        if not lines or kind == 0:
            lines.insert(at, ",".join(str(rng.choice(ODD_CELLS)) for _ in range(rng.randrange(9))))
        elif kind == 1:
            lines.pop(at)
        elif kind == 2:
            lines.append(lines[at])
        else:
            cells = lines[at].split(",")
            cells[rng.randrange(len(cells))] = str(rng.choice(ODD_CELLS))
            lines[at] = ",".join(cells)
    text = rng.choice(("\n", "\n", "\r\n")).join(lines) + rng.choice(("\n", ""))
    text = text.replace(",", rng.choice((",", ",", ",", ";", "\t")))
    return text.encode(rng.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16")), errors="replace")
