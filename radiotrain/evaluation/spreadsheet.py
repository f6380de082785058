"""Texts from the data in tables that people open in a spreadsheet.

References
----------
OWASP, CSV Injection: the signs at which spreadsheets take a cell for a formula.
"""

from __future__ import annotations

_FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_text(value: str) -> str:
    """Return a text that no spreadsheet takes for a formula: one that might be gets a ``'``."""
    return f"'{value}" if value.startswith(_FORMULA_SIGNS) else value
