"""Read tables of any common format; write spreadsheet-safe cells.

Cells of a text and of a workbook are read as text throughout, so that patient ``007`` stays that.

References
----------
OWASP, CSV Injection: the signs at which spreadsheets take a cell for a formula.
"""

from __future__ import annotations

import codecs
import gzip
import io
import re
import zlib
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pandas as pd

from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.storage import files
from radiotrain.runs.checked_files import check_parquet, digest_in

TEXT_SUFFIXES = (".csv", ".tsv", ".tab", ".txt")
WORKBOOK_SUFFIXES = (".xlsx", ".xlsm")
_PARQUET = ".parquet"
_GZIP = ".gz"
_EXPECTED = ".csv, .tsv, .txt, .csv.gz, .xlsx or .parquet"
# Of a column. Longer is no header.
_LONGEST_NAME = 200
_SEPARATORS = (",", ";", "\t", "|")
# Excel writes it above the header where the separator is not the usual one.
_SEPARATOR_LINE = re.compile(r"sep=(.)\r?\n")
_SHARE_OF_ZEROS = 0.9
_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"


def is_table_name(name: str) -> bool:
    """Tell whether a file is called as one that `read_table` reads."""
    return bool(_suffix(name))


def read_table(
    path: str | Path, name: str, expected: str, *, columns: Sequence[str] = ("patient_id",)
) -> pd.DataFrame:
    """Return the table in a file, on a folder or an object store.

    A text may be UTF-8 or UTF-16, with or without a byte order mark, compressed by gzip, and have
    commas, semicolons, tabs or ``|`` between its values. Where a Parquet file carries a checksum of
    ours, it has to match.

    Parameters
    ----------
    name
        What messages call the table.
    expected
        What a text should be.
    columns
        Some that it has: by them the separator of a text and the sheet of a workbook are found.

    Raises
    ------
    MissingPathError
        If there is no such file.
    InputError
        If it is no such file.
    DamagedFileError
        If it is a Parquet file of ours, and not what was written.
    """
    url = str(path)
    suffix = _suffix(url)
    if not suffix:
        raise InputError(
            f"{name} {url} ends in {Path(url).suffix!r}, expected {_EXPECTED}: save it as one of them"
        )
    content = _content(url, name)
    if suffix.endswith(_GZIP):
        content = _unpacked(content, url, name)
    if suffix == _PARQUET:
        return _read_parquet(content, url, name)
    if suffix in WORKBOOK_SUFFIXES or content.startswith((_ZIP, _OLE)):
        return _read_workbook(url, name, columns)
    try:
        return _read_text(content, columns)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name} {url} cannot be read as CSV ({str(error).strip()}): expected {expected}"
        ) from error


def _suffix(name: str) -> str:
    """Return the ending that says what a file is, lower case; empty where it is another."""
    suffixes = [s.lower() for s in PurePosixPath(name).suffixes[-2:]]
    last = suffixes[-1] if suffixes else ""
    if last == _GZIP:
        return "".join(suffixes) if suffixes[0] in TEXT_SUFFIXES else ""
    return last if last in (*TEXT_SUFFIXES, *WORKBOOK_SUFFIXES, _PARQUET) else ""


def _content(url: str, name: str) -> bytes:
    try:
        return files.read_bytes(url)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingPathError(
            f"no {name} at {url}: give the path of a {_EXPECTED} file"
        ) from error
    except IsADirectoryError as error:
        raise InputError(f"{url} is a folder, expected a {_EXPECTED} file") from error


def _unpacked(content: bytes, url: str, name: str) -> bytes:
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{name} {url} cannot be unpacked ({str(error).strip()}): compress it again with gzip, or"
            " give the .csv"
        ) from error


def _read_parquet(content: bytes, url: str, name: str) -> pd.DataFrame:
    if digest_in(content) is not None:
        check_parquet(content, url, "restore it from a copy, or make it again")
    try:
        table = pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{name} {url} cannot be read as Parquet ({str(error).strip()}): write it again, or give"
            " a .csv"
        ) from error
    # What pandas kept as names of rows is a column for everyone else.
    named = [level for level in table.index.names if level is not None]
    return table.reset_index(level=named) if named else table


def _read_workbook(url: str, name: str, columns: Sequence[str]) -> pd.DataFrame:
    # It takes the readers of cohorts with it, which a text can do without.
    from preprocessing.cohort.tables import Wanted, read_table

    others = tuple(columns[1:]) or ("one column for each covariate",)
    found = read_table(files.to_path(url), columns[0], Wanted(what=name, others=others))
    if found.notes:
        raise InputError(f"{name} {url} {found.notes[0].split(':')[0]}: show or delete them first")
    named = [i for i, column in enumerate(found.columns) if column]
    rows = [[row.cells[i] for i in named] for row in found.rows]
    return pd.DataFrame(rows, columns=[found.columns[i] for i in named], dtype="str")


def _read_text(content: bytes, columns: Sequence[str]) -> pd.DataFrame:
    text = _decoded(content)
    separator = _separator(text, columns)
    if marked := _SEPARATOR_LINE.match(text):
        separator, text = marked[1], text[marked.end() :]
    # With a header of its own, pandas would take surplus first columns for names of rows.
    table = pd.read_csv(
        io.StringIO(text, newline=""),
        header=None,
        dtype=str,
        keep_default_na=False,
        sep=separator,
    )
    header = [str(h).strip() for h in table.iloc[0]]
    longest = max(map(len, header), default=0)
    if longest > _LONGEST_NAME:
        raise ValueError(f"a column's name has {longest} characters")
    return table.iloc[1:].set_axis(header, axis=1)


def _decoded(content: bytes) -> str:
    """Return the text: UTF-16 by its mark or its zeros, else UTF-8."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16")
    start = content[:1000]
    for encoding, zeros in (("utf-16-le", start[1::2]), ("utf-16-be", start[::2])):
        if len(zeros) > 1 and zeros.count(0) > _SHARE_OF_ZEROS * len(zeros):
            return content.decode(encoding)
    return content.decode("utf-8-sig")


def _separator(text: str, columns: Sequence[str]) -> str:
    """Return the sign between values: that under which the header has most of the columns."""
    header = next((line for line in io.StringIO(text) if line.strip()), "")
    found = {
        sign: len({cell.strip(" \"'\n").casefold() for cell in header.split(sign)} & set(columns))
        for sign in _SEPARATORS
    }
    return max(found, key=lambda sign: found[sign])


_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_text(value: str) -> str:
    """Return a text that no spreadsheet takes for a formula: one that might be gets a ``'``."""
    return f"'{value}" if value.startswith(_FORMULA_SIGNS) else value
