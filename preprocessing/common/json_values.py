"""Values as JSON has them: the one text of equal values, where two differ, and dataclasses of them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from preprocessing.common.errors import DamagedFileError

_ValueT = TypeVar("_ValueT")


def dump_json(values: Any) -> str:
    """Return JSON text whose bytes depend on the values alone."""
    return json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"


@dataclass(frozen=True)
class Difference:
    """A dotted key and its two values, of which its text tells."""

    key: str
    found: Any
    wanted: Any

    def __str__(self) -> str:
        """Return it in words."""
        return f"{self.key} is {self.found!r} there and {self.wanted!r} now"


def first_difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Difference | None:
    """Return the first key that differs, or None when none does; a missing key counts as None."""
    for key in sorted({*found, *wanted}):
        a, b = found.get(key), wanted.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            inner = first_difference(a, b)
            if inner:
                return replace(inner, key=f"{key}.{inner.key}")
        elif a != b:
            return Difference(key, a, b)
    return None


def parse_values(kind: type[_ValueT], values: Any, place: str, remedy: str) -> _ValueT:
    """Return a dataclass made of JSON values, each of which its annotation allows.

    Parameters
    ----------
    place
        The file that they come from, for the message.
    remedy
        What to do about a damaged one, for the message.

    Raises
    ------
    DamagedFileError
        If the values are of anything else: the file was not written by this version of the package.
    """
    what = _misfit(kind, values)
    if what is None:
        try:
            value: _ValueT = _adapter(kind).validate_python(values)
            return value
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            dotted = ".".join(map(str, first["loc"]))
            what = f"has an unusable value at {dotted!r} ({first['msg']})"[:300]
    raise DamagedFileError(f"{place} is damaged, it {what}: {remedy}", what)


def _misfit(kind: type[Any], values: Any) -> str | None:
    if not isinstance(values, dict):
        return f"holds {type(values).__name__}, expected named values"
    unknown = sorted(map(str, values.keys() - {field.name for field in fields(kind)}))
    return f"has an unknown value {unknown[0][:100]!r}" if unknown else None


_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    """Return what checks a dataclass, made once."""
    if kind not in _ADAPTERS:
        _ADAPTERS[kind] = TypeAdapter(kind)
    return _ADAPTERS[kind]
