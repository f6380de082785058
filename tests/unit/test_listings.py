"""A package that lists its files in its docstring lists them all, and no others."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# docs/architecture.md tells the folders of the first level; jobs and commands are one file each.
_UNLISTED = {
    "cluster", "cluster/jobs", "preprocessing", "radiotrain", "radiotrain/cli",
}  # fmt: skip


def packages() -> list[str]:
    tops = ("benchmarks", "cluster", "preprocessing", "radiotrain", "website")
    found = (p for top in tops for p in (ROOT / top).rglob("__init__.py"))
    return sorted(p.parent.relative_to(ROOT).as_posix() for p in found)


@pytest.mark.parametrize("package", [p for p in packages() if p not in _UNLISTED])
def test_a_package_lists_its_files(package: str) -> None:
    folder = ROOT / package
    doc = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    files = {p.name for p in folder.glob("*.py")} - {"__init__.py"}
    assert set(re.findall(r"(?<![\w/])\w+\.py\b", doc)) == files


def test_every_package_without_a_listing_is_there() -> None:
    assert set(packages()) >= _UNLISTED
