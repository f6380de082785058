"""Export as the command does."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from radiotrain.export.description import Format, ModelDescription
from radiotrain.export.write import Exporter


def export(url: str, form: Format, out: Path | str) -> ModelDescription:
    return Exporter(url, form, str(out)).write(lambda: None)


def file_names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def as_schema_1(values: dict[str, Any]) -> dict[str, Any]:
    """Return a ``model.json`` as versions wrote it that did not know of new patients."""
    values = copy.deepcopy(values) | {"schema_version": 1}
    del values["cohort"]["images"]
    for member in values["members"]:
        del member["training"]
    return values
