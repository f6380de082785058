"""JSON and Parquet files with checksums.

The SHA-256 stands in the file's key-value metadata, computed with zeros in its place. It is checked
before anything is parsed.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from preprocessing.common.errors import DamagedFileError, SchemaError
from preprocessing.storage import files
from preprocessing.storage.digests import DIGEST_KEY, load_with_digest

if TYPE_CHECKING:
    import pandas as pd


def read_json(url: str, schema_version: int, remedy: str) -> dict[str, Any]:
    """Return what `preprocessing.storage.digests.dump_with_digest` wrote into a file.

    Parameters
    ----------
    schema_version
        The one that can be read.
    remedy
        What to do about any other file, for the message.

    Raises
    ------
    FileNotFoundError
        If there is none.
    SchemaError
        If another version wrote it.
    DamagedFileError
        If its content is not what was written.
    """
    content = files.read_bytes(url)
    try:
        values = load_with_digest(content, url, remedy)
    except DamagedFileError:
        older = _schema_without_checksum(content)
        if older is None or older == schema_version:
            raise
        found: Any = older
    else:
        found = values.get("schema_version")
        if found == schema_version:
            return values
    if isinstance(found, int) and found > schema_version:
        remedy = "it was written by a newer radiotrain, use that one"
    raise SchemaError(
        f"{url} has schema {str(found)[:50]}, expected {schema_version}: {remedy}"
    ) from None


def _schema_without_checksum(content: bytes) -> int | None:
    """Return the schema of a file from before there were checksums, None of any other."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict) or DIGEST_KEY in values:
        return None
    found = values.get("schema_version")
    return found if isinstance(found, int) else None


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
