"""How tables write labels, numbers and nothing."""

from __future__ import annotations

import re
from typing import Any

from preprocessing.cohort import MISSING_LABEL, Finding
from preprocessing.shown_names import shown_cell

_NOTHING = {"", "nc", "np", "na", "n/a", "nan", "none", "-1"}
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


def parse_label(value: Any, target: str) -> tuple[int, Finding | None]:
    """Return a cell as 0, 1 or -1 (missing), with a finding where it is none of these."""
    if is_missing(value):
        return MISSING_LABEL, None
    number = parse_number(value)
    if number in (0.0, 1.0):
        return int(number), None
    message = f"{target} is {shown_cell(value)}, expected 0, 1 or empty: taken as missing"
    return MISSING_LABEL, Finding("label-unknown", message, excludes=False)


def parse_number(value: Any) -> float | None:
    """Return a cell as a finite number, None where it is missing or no number."""
    if is_missing(value):
        return None
    try:
        number = float(str(value).strip())
    except ValueError:
        return None
    return number if abs(number) < float("inf") else None


def identifies(name: str, value: Any = "") -> bool:
    """Tell whether a column's name, or a value in it, is one that identifies a person."""
    words = name.replace("_", " ")
    named = _IDENTIFYING.search(name) or _IDENTIFYING.search(words)
    return bool(named and not _TECHNICAL.search(name)) or bool(_DAY.match(str(value).strip()))


def parse_covariate(value: Any) -> str | float | None:
    """Return a cell as a number, a text, or None where it is missing."""
    if is_missing(value):
        return None
    number = parse_number(value)
    return number if number is not None else str(value).strip()
