"""How tables write numbers and nothing, and what in them identifies people."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

_NOTHING = {"", "nc", "np", "na", "n/a", "nan", "none", "null", "-1"}
# What a spreadsheet shows where a formula fails; a lookup that finds nothing gives the first.
ERRORS = {"#n/a", "#ref!", "#value!", "#div/0!", "#name?", "#num!", "#null!"}
_PLAIN = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?", re.ASCII)
# Three digits after the only sign may be thousands; fewer, more, or after a 0 they are decimals.
_DECIMALS = r"[-+]?(?:\d+{0}(?:\d\d?|\d{{4,}})|0{0}\d+|\d{{4,}}{0}\d+)"
_COMMA = re.compile(_DECIMALS.format(","), re.ASCII)
_POINT = re.compile(_DECIMALS.format(r"\."), re.ASCII)
_THOUSANDS_COMMA = re.compile(r"[-+]?\d{1,3}(?:(?:,\d{3})+\.\d+|(?:,\d{3}){2,})", re.ASCII)
_THOUSANDS_POINT = re.compile(r"[-+]?\d{1,3}(?:(?:\.\d{3})+,\d+|(?:\.\d{3}){2,})", re.ASCII)
_ONE_COMMA = re.compile(r"[-+]?\d{1,3},\d{3}", re.ASCII)
_ONE_POINT = re.compile(r"[-+]?\d{1,3}\.\d{3}", re.ASCII)
_SPACED = re.compile(r"[-+]?\d{1,3}(?:[ '\u00a0\u202f\u2009\u2019]\d{3})+(?:[.,]\d+)?", re.ASCII)
# Names, days and record numbers identify people, and tell nothing about tumours.
_IDENTIFYING = re.compile(
    r"name|date|^birth$|birth.?(?:day|year|place)|\bdob\b|address|postcode|zip.?code|phone"
    r"|\be.?mail|\bssn\b|\bmrn\b|insurance|accession|medical.?record|patient.?id\b"
    r"|hospital.?(?:id|no|number)\b|physician|radiologist|operator"
    r"|(?<![glq])uid",
    re.IGNORECASE,
)
# A name of one of these is none of a person.
_TECHNICAL = re.compile(r"scanner|model|site|manufacturer|protocol|sequence|coil", re.IGNORECASE)
_DAY = re.compile(
    r"\d+[-/]\d+[-/]\d+|\d\d?\.\d\d?\.(?:19|20)\d\d\b"
    # As DICOM writes days, and as a spreadsheet's number of that.
    r"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])(?:\.0)?$"
)


def is_missing(value: Any) -> bool:
    """Tell whether a cell says that a value is not known."""
    return value is None or str(value).strip().lower() in _NOTHING


def decimal_sign(cells: Iterable[str]) -> str:
    """Return the sign before decimals, ``,`` or ``.``, where one is used and the other is not."""
    comma = point = False
    for cell in cells:
        comma = comma or bool(_COMMA.fullmatch(cell) or _THOUSANDS_POINT.fullmatch(cell))
        point = point or bool(_POINT.fullmatch(cell) or _THOUSANDS_COMMA.fullmatch(cell))
    return {(True, False): ",", (False, True): "."}.get((comma, point), "")


def parse_number(value: Any, decimal: str = "") -> float | None:
    """Return a cell as a finite number, None where it is missing or no number.

    Parameters
    ----------
    decimal
        The table's sign before decimals, for what may be thousands as well, as ``1,234``; without
        it that is no number, and ``1.234`` has decimals.
    """
    if is_missing(value):
        return None
    text = str(value).strip()
    if _SPACED.fullmatch(text):
        text = re.sub(r"[^\d.,+-]", "", text)
        text = text.replace(",", ".")
    elif _COMMA.fullmatch(text) or (decimal == "," and _ONE_COMMA.fullmatch(text)):
        text = text.replace(",", ".")
    elif _THOUSANDS_COMMA.fullmatch(text) or (decimal == "." and _ONE_COMMA.fullmatch(text)):
        text = text.replace(",", "")
    elif _THOUSANDS_POINT.fullmatch(text) or (decimal == "," and _ONE_POINT.fullmatch(text)):
        text = text.replace(".", "").replace(",", ".")
    if not _PLAIN.fullmatch(text):
        return None
    number = float(text)
    return number if abs(number) < float("inf") else None


def is_ambiguous_number(value: Any, decimal: str) -> bool:
    """Tell whether a cell is 1.234 or 1,234, and nothing in its table tells which."""
    return not decimal and bool(_ONE_COMMA.fullmatch(str(value).strip()))


def identifies(name: str, value: Any = "") -> bool:
    """Tell whether a column's name, or a value in it, is one that identifies a person."""
    words = name.replace("_", " ")
    named = _IDENTIFYING.search(name) or _IDENTIFYING.search(words)
    return bool(named and not _TECHNICAL.search(name)) or bool(_DAY.match(str(value).strip()))


def parse_covariate(value: Any, decimal: str = "") -> str | float | None:
    """Return a cell as a number, a text, or None where it is missing or a spreadsheet's error."""
    text = str(value).strip()
    if is_missing(value) or text.lower() in ERRORS:
        return None
    share = parse_number(text[:-1].rstrip(), decimal) if text.endswith("%") else None
    if share is not None:
        return round(share / 100, 12)
    number = parse_number(value, decimal)
    return number if number is not None else text
