"""What the code says of its own formats, put into pages: it is said once.

A line ``<!-- tables of MODULE -->`` becomes the tables of the module's docstring, a line
``<!-- fields of MODULE.CLASS -->`` a table of a dataclass's fields with their docs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module

_TABLES = re.compile(r"^<!-- tables of ([\w.]+) -->$", re.MULTILINE)
_FIELDS = re.compile(r"^<!-- fields of ([\w.]+)\.(\w+) -->$", re.MULTILINE)
_RULE = re.compile(r"=+(  +=+)+")


def insert_docstrings(markdown: str) -> str:
    """Put tables where a page asks for them."""
    with_tables = _TABLES.sub(lambda found: tables_of(found[1]), markdown)
    return _FIELDS.sub(lambda found: fields_of(found[1], found[2]), with_tables)


def tables_of(module: str) -> str:
    """Return the tables of a module's docstring, and what is said between them, as Markdown.

    Raises
    ------
    ValueError
        If it has none.
    """
    doc = import_module(module).__doc__ or ""
    if not _RULE.search(doc):
        raise ValueError(f"{module} has no table in its docstring")
    return "\n".join(_rows(doc)).replace("``", "`").strip()


def _rows(doc: str) -> Iterator[str]:
    inside = was_inside = False
    for line in doc.splitlines():
        if _RULE.fullmatch(line.strip()):
            inside, was_inside = not inside, True
            yield from ("", "| name | what |", "|---|---|") if inside else ()
        elif inside:
            name, _, meaning = line.strip().partition("  ")
            yield f"| {name.strip()} | {meaning.strip()} |"
        elif was_inside:
            yield line


def fields_of(module: str, name: str) -> str:
    """Return a table of a dataclass's fields: name, type, and what its docstring says of them."""
    described = dict(_parameters(getattr(import_module(module), name).__doc__ or ""))
    lines = ["| field | type | |", "|---|---|---|"]
    for field in fields(getattr(import_module(module), name)):
        kind = str(field.type).replace("|", "or")
        lines.append(f"| `{field.name}` | `{kind}` | {described.get(field.name, '')} |")
    return "\n".join(lines)


def _parameters(doc: str) -> Iterator[tuple[str, str]]:
    """Yield name and doc of each parameter of a NumPy docstring; several may share one doc."""
    lines = [line.strip() for line in doc.splitlines()]
    if "Parameters" not in lines:
        return
    names: list[str] = []
    words: list[str] = []
    for line in doc.splitlines()[lines.index("Parameters") + 2 :]:
        is_name = line.startswith("    ") and not line.startswith("     ")
        if is_name:
            yield from ((name, " ".join(words)) for name in names)
            names, words = [name.strip() for name in line.split(",")], []
        elif line.strip():
            words.append(line.strip().replace("``", "`"))
    yield from ((name, " ".join(words)) for name in names)
