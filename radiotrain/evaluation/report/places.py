"""Remove paths of the machine from a report.

Of a path its last name stays. Fingerprints beside it say which store, split or run it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import PurePath
from typing import Any, TypeVar

import pandas as pd

T = TypeVar("T")

# Settings whose whole value is a place: it may hold blanks, and lie anywhere.
_PLACES = frozenset({"store", "split", "out", "sweep", "initial_weights", "pretrained", "weights"})
_ABSOLUTE = re.compile(
    r"""(?<![\w./:\\~<])
    (?!https?://)
    (?:[a-z][a-z0-9+.-]*://|~[\w.-]*/|[A-Za-z]:[\\/]|\\\\|/)
    (?:[^\s'",;:()<>|`{}\[\]]|:(?=\S))*[^\s'",;:()<>|`{}\[\].]/?""",
    re.VERBOSE,
)
_QUOTED = re.compile(
    r"""(?P<quote>['"])(?P<path>(?:[a-z][a-z0-9+.-]*://|~|/)[^'"\n]*/[^'"\n]*)(?P=quote)"""
)


def short_names(first: str, second: str) -> tuple[str, str]:
    """Return the ends of two paths that tell them apart, not more: the rest names machines and users."""
    parts = [[p for p in path.split("/") if p] for path in (first, second)]
    ends = [
        ("/".join(parts[0][-num:]), "/".join(parts[1][-num:]))
        for num in range(1, max(map(len, parts)) + 1)
    ]
    return next((end for end in ends if end[0] != end[1]), ends[0] if ends else (first, second))


def last_name(place: str) -> str:
    """Return the last name of a path or URL.

    Examples
    --------
    >>> last_name("/home/ada/study 2/store.zarr/"), last_name("s3://bucket/duke.zarr")
    ('store.zarr', 'duke.zarr')
    """
    parts = [part for part in re.split(r"[\\/]+", place) if part]
    return parts[-1] if parts else place


def without_paths(value: T) -> T:
    """Return a value with all paths in its texts shortened to their last names.

    Parameters
    ----------
    value
        Texts, dataclasses, mappings and sequences of such; anything else is left alone.
    """
    return _without(value, "")  # type: ignore[no-any-return]


def _without(value: Any, name: str) -> Any:
    if isinstance(value, str):
        return _text(value, name)
    if isinstance(value, PurePath):
        return last_name(str(value))
    if isinstance(value, Mapping):
        return {_without(k, ""): _without(v, str(k)) for k, v in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        changed = {
            f.name: _without(getattr(value, f.name), f.name) for f in fields(value) if f.init
        }
        return replace(value, **changed)
    if isinstance(value, pd.DataFrame) or not isinstance(value, Sequence | frozenset | set):
        return value
    if isinstance(value, bytes):
        return value
    parts = [_without(one, name) for one in value]
    return parts if isinstance(value, list) else type(value)(parts)  # type: ignore[call-arg]


def _text(text: str, name: str) -> str:
    if text.startswith("data:"):
        return text
    # "STORE, fingerprint …" is no place as a whole.
    if name in _PLACES and "fingerprint " not in text:
        return last_name(text)
    text = _QUOTED.sub(lambda m: f"{m['quote']}{last_name(m['path'])}{m['quote']}", text)
    return _ABSOLUTE.sub(lambda m: last_name(m[0]), text)
