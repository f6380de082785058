"""Parquet files that carry their own checksum: every byte counts, and any reader reads them.

The SHA-256 stands in the file's key-value metadata, computed with zeros in its place. It is checked
before anything is parsed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from preprocessing.common.errors import DamagedFileError

if TYPE_CHECKING:
    import pandas as pd

_ABOUT_KEY, _DIGEST_KEY = "radiotrain.about", "radiotrain.sha256"
# Found again without knowing Parquet.
_MARK = b"radiotrain-sha256:"
_LENGTH = 64


def to_parquet(table: pd.DataFrame, about: Mapping[str, str] | None = None) -> bytes:
    """Return a table as a Parquet file with its checksum.

    Parameters
    ----------
    about
        What it belongs to, kept in the file's metadata.
    """
    import pyarrow as pa
    from pyarrow import parquet

    arrow, buffer = pa.Table.from_pandas(table, preserve_index=False), io.BytesIO()
    with parquet.ParquetWriter(buffer, arrow.schema) as writer:
        writer.write_table(arrow)
        zeros = _MARK.decode() + "0" * _LENGTH
        writer.add_key_value_metadata(
            {_ABOUT_KEY: json.dumps(dict(about or {})), _DIGEST_KEY: zeros}
        )
    content = buffer.getvalue()
    start = content.rfind(_MARK) + len(_MARK)
    digest = hashlib.sha256(content).hexdigest().encode()
    return content[:start] + digest + content[start + _LENGTH :]


def digest_in(content: bytes) -> str | None:
    """Return the checksum that a Parquet file carries, None of a file of another origin."""
    start = content.rfind(_MARK) + len(_MARK)
    if start < len(_MARK):
        return None
    return content[start : start + _LENGTH].decode("ascii", errors="replace")


def check_parquet(content: bytes, url: str, remedy: str) -> None:
    """Refuse anything that is not, byte for byte, what `to_parquet` made.

    Raises
    ------
    DamagedFileError
        If it is.
    """
    found = digest_in(content)
    if found is None:
        raise DamagedFileError(f"{url} is damaged, it has no checksum: {remedy}")
    start = content.rfind(_MARK) + len(_MARK)
    view = memoryview(content)
    digest = hashlib.sha256(view[:start])
    digest.update(b"0" * len(content[start : start + _LENGTH]))
    digest.update(view[start + _LENGTH :])
    if digest.hexdigest() != found:
        raise DamagedFileError(f"{url} is damaged, it does not match its checksum: {remedy}")


def from_parquet(content: bytes) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the table of a checked file, and what it belongs to."""
    from pyarrow import parquet

    file = parquet.ParquetFile(io.BytesIO(content))
    about = (file.metadata.metadata or {}).get(_ABOUT_KEY.encode(), b"{}")
    return file.read().to_pandas(), dict(json.loads(about))
