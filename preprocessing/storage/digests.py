"""Checksums inside the files that decide: a changed, cut or exchanged file is refused when read.

Each file carries its own, so that no crash can leave a file and its checksum out of step.

=================  ================================================================
JSON               a member ``sha256`` over all other members
lines of JSON      the same in each line, and the line before counts: a chain
text, such as YAML a last line, a comment, over all lines above
zip, such as .pt   the archive's comment, over all bytes before it
=================  ================================================================

A checksum shows accidents. It is no signature: a file that is changed on purpose can be given a new
one.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from preprocessing.common.errors import DamagedFileError
from preprocessing.common.json_values import dump_json

DIGEST_KEY = "sha256"

# Before the first line of a chain.
NO_LINE = ""

_LENGTH = 64
# The end of a zip archive whose comment is as long as a digest, without the comment.
_ZIP_END = re.compile(rb"PK\x05\x06.{16}\x40\x00\Z", re.DOTALL)


def digest_of(values: Any) -> str:
    """Return the SHA-256 of JSON values as 64 hexadecimal digits: equal values, equal digests."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def dump_with_digest(values: Mapping[str, Any], *, in_order: bool = False) -> str:
    """Return JSON text of an object that carries its own checksum.

    Parameters
    ----------
    values
        Plain JSON values, or what `json` makes such of.
    in_order
        Whether keys stay in their order, and letters what they are: for files that people read.
    """
    plain = json.loads(json.dumps(values, allow_nan=False))
    whole = {**plain, DIGEST_KEY: digest_of(plain)}
    if in_order:
        return json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return dump_json(whole)


def load_with_digest(text: str | bytes, url: str, remedy: str) -> dict[str, Any]:
    """Return what `dump_with_digest` was given.

    Parameters
    ----------
    url
        Of the file, for the message.
    remedy
        What to do about a damaged one, for the message.

    Raises
    ------
    DamagedFileError
        If the text is anything but what `dump_with_digest` made.
    """
    values = _parse_object(text)
    if values is None:
        _refuse(url, "is not the JSON that was written", remedy)
    found = values.pop(DIGEST_KEY, None)
    if found is None:
        _refuse(url, "has no checksum", remedy)
    if found != digest_of(values):
        _refuse(url, "does not match its checksum", remedy)
    return values


@dataclass(frozen=True)
class Lines:
    """What a chain of lines holds.

    Parameters
    ----------
    values
        Of each whole line.
    digest
        Of the last whole line; `NO_LINE` where there is none.
    torn
        What stands after the last line's end: a line that was being written, or was cut short. Empty
        where the text ends with a whole line.
    """

    values: tuple[dict[str, Any], ...]
    digest: str = NO_LINE
    torn: str = ""


def line_with_digest(values: Mapping[str, Any], previous: str) -> str:
    """Return a line of JSON, its end included, whose checksum covers the line before.

    Parameters
    ----------
    previous
        The digest of the line before; `NO_LINE` for the first.
    """
    plain = json.loads(json.dumps(values, allow_nan=False))
    digest = _line_digest(plain, previous)
    return json.dumps({**plain, DIGEST_KEY: digest}, allow_nan=False) + "\n"


def line_digest(line: str) -> str:
    """Return the digest that a line of `line_with_digest` carries."""
    return str(json.loads(line)[DIGEST_KEY])


def read_lines(text: str | bytes, url: str, remedy: str) -> Lines:
    """Return the lines of a chain.

    Raises
    ------
    DamagedFileError
        If a line that has an end is changed, missing or out of its place. Lines missing at the end
        cannot be seen: compare `Lines.digest` with what is known from elsewhere.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    whole, end, torn = text.rpartition("\n")
    found: list[dict[str, Any]] = []
    previous = NO_LINE
    for number, line in enumerate(whole.split("\n") if end else (), start=1):
        values = _parse_object(line)
        digest = None if values is None else values.pop(DIGEST_KEY, None)
        if values is None or digest != _line_digest(values, previous):
            what = f"line {number} does not match its checksum, or the line before is missing"
            _refuse(url, what, remedy)
        previous = str(digest)
        found.append(values)
    return Lines(tuple(found), previous, torn)


def text_with_digest(text: str, comment: str = "#") -> str:
    """Return text with a last line, a comment, that holds the checksum of the lines above."""
    text = text if not text or text.endswith("\n") else text + "\n"
    return f"{text}{_text_line(text, comment)}"


def has_text_digest(text: str) -> bool:
    """Tell whether text ends with a checksum, right or wrong."""
    return text.rstrip("\n").rpartition("\n")[2].startswith(f"# {DIGEST_KEY}: ")


def check_text(text: str | bytes, url: str, remedy: str, comment: str = "#") -> str:
    """Return the text that `text_with_digest` was given.

    Raises
    ------
    DamagedFileError
        If it is anything else.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    above, end, last = text.removesuffix("\n").rpartition("\n")
    body = above + end
    if not last.startswith(f"{comment} {DIGEST_KEY}: "):
        _refuse(url, "has no checksum in its last line", remedy)
    if f"{last}\n" != _text_line(body, comment) or not text.endswith("\n"):
        _refuse(url, "does not match its checksum", remedy)
    return body


def zip_with_digest(content: bytes) -> bytes:
    """Return a zip archive, which has no comment, with its SHA-256 as its comment.

    Whatever reads zip archives, `torch.load` included, reads it as before.
    """
    if not content[-22:].startswith(b"PK\x05\x06") or content[-2:] != b"\x00\x00":
        raise ValueError("not a zip archive without a comment")
    return content[:-2] + b"\x40\x00" + hashlib.sha256(content).hexdigest().encode()


def check_zip(content: bytes, url: str, remedy: str) -> None:
    """Refuse a zip archive that is not, byte for byte, what `zip_with_digest` made.

    Raises
    ------
    DamagedFileError
        If it is.
    """
    body, found = content[:-_LENGTH], content[-_LENGTH:]
    if not _ZIP_END.search(body[-22:]):
        _refuse(url, "has no checksum, or is cut short", remedy)
    digest = hashlib.sha256(memoryview(body)[:-2])
    digest.update(b"\x00\x00")
    if found != digest.hexdigest().encode():
        _refuse(url, "does not match its checksum", remedy)


def _line_digest(values: Mapping[str, Any], previous: str) -> str:
    return digest_of([previous, values])


def _text_line(body: str, comment: str) -> str:
    return f"{comment} {DIGEST_KEY}: {hashlib.sha256(body.encode()).hexdigest()}\n"


def _parse_object(text: str | bytes) -> dict[str, Any] | None:
    """Return the object that JSON text holds, None where it holds anything else."""
    try:
        values = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_unique,
        )
        # What is nested too deeply to be written can be no file of ours.
        json.dumps(values)
    # Deeply nested brackets end in the second.
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is out of range")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is repeated")
    return values


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _refuse(url: str, what: str, remedy: str) -> NoReturn:
    raise DamagedFileError(f"{url} is damaged, it {what}: {remedy}", what)
