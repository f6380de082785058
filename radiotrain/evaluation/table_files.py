"""Tables that anyone may bring: a CSV, read as text throughout, or a Parquet file."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

from preprocessing import files
from preprocessing.errors import InputError, MissingPathError
from radiotrain.checked_parquet import check_parquet, digest_in

# Of a column. Longer is no header.
_LONGEST_NAME = 200


def read_table(path: str | Path, name: str, expected: str) -> pd.DataFrame:
    """Return the table in a ``.csv`` or ``.parquet`` file, on a folder or an object store.

    Where it carries a checksum of ours, it has to match.

    Parameters
    ----------
    name
        What messages call the table.
    expected
        What a CSV should be.

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
    suffix = Path(url).suffix
    if suffix.lower() not in (".csv", ".parquet"):
        raise InputError(f"{name} {url} ends in {suffix!r}, expected .csv or .parquet")
    is_csv = suffix.lower() == ".csv"
    try:
        content = files.read_bytes(url)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingPathError(
            f"no {name} at {url}: give the path of a .csv or .parquet file"
        ) from error
    except IsADirectoryError as error:
        raise InputError(f"{url} is a folder, expected a .csv or .parquet file") from error
    if not is_csv and digest_in(content) is not None:
        check_parquet(content, url, "restore it from a copy, or make it again")
    try:
        return _read_csv(content) if is_csv else pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError) as error:
        kind, advice = (
            ("CSV", f"expected {expected}")
            if is_csv
            else ("Parquet", "write it again, or give a .csv")
        )
        raise InputError(
            f"{name} {url} cannot be read as {kind} ({str(error).strip()}): {advice}"
        ) from error


def _read_csv(content: bytes) -> pd.DataFrame:
    """Read everything as text, so that patient ``007`` stays that."""
    # With a header of its own, pandas would take surplus first columns for names of rows.
    table = pd.read_csv(
        io.BytesIO(content), header=None, dtype=str, keep_default_na=False, encoding="utf-8-sig"
    )
    header = [str(h).strip() for h in table.iloc[0]]
    longest = max(map(len, header), default=0)
    if longest > _LONGEST_NAME:
        raise ValueError(f"a column's name has {longest} characters")
    return table.iloc[1:].set_axis(header, axis=1)
