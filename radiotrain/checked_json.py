"""JSON files with a schema version and a checksum, read back whole or refused in one sentence."""

from __future__ import annotations

import json
from typing import Any

from preprocessing.common.errors import DamagedFileError, SchemaError
from preprocessing.storage import files
from preprocessing.storage.digests import DIGEST_KEY, load_with_digest


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
