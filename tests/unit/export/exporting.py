"""Export as the command does."""

from __future__ import annotations

from pathlib import Path

from radiotrain.export.description import Format, ModelDescription
from radiotrain.export.write import Exporter


def export(url: str, form: Format, out: Path | str) -> ModelDescription:
    return Exporter(url, form, str(out)).write(lambda: None)


def file_names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
