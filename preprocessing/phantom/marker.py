"""``phantom.json``: marks a folder as a phantom of certain settings, from the first moment on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from preprocessing import files
from preprocessing.errors import InputError
from preprocessing.json_values import dump_json
from preprocessing.lock_holder import is_lock
from preprocessing.phantom.settings import PhantomSettings

_MARKER = "phantom.json"
_FORMAT = 1


def claim(out: Path, settings: PhantomSettings) -> None:
    """Mark `out` as a phantom of these settings.

    Raises
    ------
    InputError
        If `out` holds anything else, or a phantom of other settings.
    """
    marker = {"format": _FORMAT, "settings": settings.to_json()}
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file, expected a folder: name a new folder")
    names = [
        name
        for name in files.list_names(str(out))
        if not (is_lock(name) or name.endswith(files.PARTIAL))
    ]
    if _MARKER in names:
        _check_same(out, _read(out), marker)
    elif names:
        raise InputError(
            f"{out} is not empty and holds no phantom (found {names[0]!r}), expected a new or"
            " empty folder: name another one"
        )
    else:
        files.write_text(str(out / _MARKER), dump_json(marker))


def _read(out: Path) -> dict[str, Any]:
    try:
        marker = json.loads((out / _MARKER).read_text("utf-8"))
    except ValueError:
        marker = None
    if not isinstance(marker, dict) or not isinstance(marker.get("settings"), dict):
        raise InputError(
            f"{out / _MARKER} is not what a phantom is marked with, expected its settings as JSON:"
            " name a new or empty folder"
        )
    return marker


def _check_same(out: Path, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    # Settings that a phantom was made without, such as quirks, are not in its marker.
    old, new = ({"quirks": [], "shortcut": {}, **marker["settings"]} for marker in (found, wanted))
    differing = [k for k in new if old.get(k) != new[k]]
    if found.get("format") != _FORMAT or differing:
        name = differing[0] if differing else "format"
        raise InputError(
            f"{out} holds a phantom with {name} {old.get(name, found.get(name))!r}, got"
            f" {new.get(name, _FORMAT)!r}: use the same settings to resume, or name a new folder"
        )
