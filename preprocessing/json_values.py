"""Values as JSON has them: the one text of equal values, and where two differ."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def dump_json(values: Any) -> str:
    """Return JSON text whose bytes depend on the values alone."""
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"


def first_difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Say which dotted key differs first, or None when none does; a missing key counts as None."""
    for key in sorted({*found, *wanted}):
        a, b = found.get(key), wanted.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            inner = first_difference(a, b)
            if inner:
                return f"{key}.{inner}"
        elif a != b:
            return f"{key} is {a!r} there and {b!r} now"
    return None
