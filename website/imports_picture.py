"""Who imports whom, as a picture: read from the code at every build.

Rows import columns. Each part of the house is a folder, or the files beside the folders; a number says
in how many modules of the row something of the column is imported.
"""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from html import escape
from pathlib import Path

_ROOT = Path(__file__).parents[1]
PACKAGES = ("cluster", "radiotrain", "preprocessing")
FILES = "files"
_COLOURS = {"cluster": "#7e57c2", "radiotrain": "#00897b", "preprocessing": "#ef6c00"}
_CELL, _LEFT, _TOP, _MARGIN = 30, 210, 170, 12
_STYLE = "font-family:system-ui,sans-serif;font-size:12px"


@cache
def module_imports() -> frozenset[tuple[str, str]]:
    """Return all pairs of modules of which the first imports the second, by their import statements."""
    paths = {
        _module(path): path for package in PACKAGES for path in (_ROOT / package).rglob("*.py")
    }
    found = {
        (module, name if name in paths else name.rpartition(".")[0])
        for module, path in paths.items()
        for name in _named(ast.parse(path.read_text()))
    }
    return frozenset((a, b) for a, b in found if b in paths and a != b)


def _module(path: Path) -> str:
    names = path.relative_to(_ROOT).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


def _named(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            # A module of this name, or something in the module that it is taken from.
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(module: str) -> str:
    """Return the part of the house that a module is in."""
    package, _, rest = module.partition(".")
    folder = rest.partition(".")[0]
    return f"{package}.{folder if (_ROOT / package / folder).is_dir() and folder else FILES}"


@cache
def part_imports() -> Mapping[tuple[str, str], int]:
    """Return the number of modules of the first part that import something of the second."""
    importing = {(module, part_of(imported)) for module, imported in module_imports()}
    return Counter((part_of(module), part) for module, part in importing)


def parts() -> tuple[str, ...]:
    """Return all parts: packages from the top to the bottom, in each those first that import most of it."""
    counts = part_imports()
    every = {part for pair in counts for part in pair}

    def height(part: str) -> int:
        package = part.split(".")[0]
        near = {
            pair: n for pair, n in counts.items() if all(p.startswith(f"{package}.") for p in pair)
        }
        out = sum(a == part != b for a, b in near)
        return sum(b == part != a for a, b in near) - out

    return tuple(sorted(every, key=lambda p: (PACKAGES.index(p.split(".")[0]), height(p), p)))


def draw_imports() -> str:
    """Return the picture as SVG."""
    names, counts = parts(), part_imports()
    size = _CELL * len(names)
    width, height = _LEFT + size + _MARGIN, _TOP + size + _MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" style="{_STYLE}">',
        "<title>Who imports whom: rows import columns</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for package in PACKAGES:
        rows = [i for i, name in enumerate(names) if name.startswith(f"{package}.")]
        begin, side = _CELL * rows[0], _CELL * len(rows)
        lines.append(
            f'<rect x="{_LEFT + begin}" y="{_TOP + begin}" width="{side}" height="{side}"'
            f' fill="{_COLOURS[package]}" fill-opacity="0.12"/>'
        )
    lines += [line for i, name in enumerate(names) for line in _labels(i, name)]
    lines += [
        f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="#cccccc" stroke-width="0.5"/>'
        for i in range(len(names) + 1)
        for x1, y1, x2, y2 in (
            (_LEFT, _TOP + _CELL * i, _LEFT + size, _TOP + _CELL * i),
            (_LEFT + _CELL * i, _TOP, _LEFT + _CELL * i, _TOP + size),
        )
    ]
    for (importer, imported), number in sorted(counts.items()):
        if importer != imported:
            lines += _number(
                names.index(importer), names.index(imported), importer, imported, number
            )
    return "\n".join([*lines, "</svg>"]) + "\n"


def _labels(i: int, name: str) -> list[str]:
    package = name.split(".")[0]
    shown, middle = escape(name.replace(".", " / ")), _CELL * (i + 0.5)
    colour = _COLOURS[package]
    return [
        f'<text x="{_LEFT - 8}" y="{_TOP + middle + 4}" text-anchor="end" fill="{colour}">{shown}</text>',
        (
            f'<text transform="translate({_LEFT + middle + 4},{_TOP - 8}) rotate(-90)"'
            f' fill="{colour}">{shown}</text>'
        ),
        (
            f'<rect x="{_LEFT + _CELL * i}" y="{_TOP + _CELL * i}" width="{_CELL}" height="{_CELL}"'
            f' fill="{colour}" fill-opacity="0.5"/>'
        ),
    ]


def _number(row: int, column: int, importer: str, imported: str, number: int) -> list[str]:
    x, y = _LEFT + _CELL * (column + 0.5), _TOP + _CELL * (row + 0.5)
    colour = _COLOURS[imported.split(".")[0]]
    return [
        (
            f'<g data-from="{importer}" data-to="{imported}">'
            f"<title>{number} of {importer} import {imported}</title>"
            f'<circle cx="{x}" cy="{y}" r="{min(13, 7 + number / 4):.1f}" fill="{colour}"'
            ' fill-opacity="0.25"/>'
            f'<text x="{x}" y="{y + 4}" text-anchor="middle" fill="#222222">{number}</text></g>'
        )
    ]
