"""The page of the public Python interface, made from docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import radiotrain

_SECTION = re.compile(r"^(\w[\w ]*)\n-{3,}$", re.MULTILINE)
_LISTS = ("Parameters", "Attributes", "Raises")


def python_page() -> str:
    """Return the page as Markdown."""
    names = [name for name in radiotrain.__all__ if name != "__version__"]
    lines = [
        "# Python",
        "",
        "`import radiotrain` gives these names, which keep their meaning between releases.",
        "Everything else may change without notice.",
        "",
    ]
    for name in names:
        lines += [*_entry(name, getattr(radiotrain, name)), ""]
    return "\n".join(lines)


def _entry(name: str, value: object) -> Iterator[str]:
    parts = _SECTION.split(inspect.getdoc(value) or "")
    yield f"## {name}"
    yield ""
    if not inspect.isclass(value):
        yield f"```python\n{name}{inspect.signature(value)}\n```"  # type: ignore[arg-type]
        yield ""
    yield _prose(parts[0])
    for title, text in zip(parts[1::2], parts[2::2], strict=True):
        yield f"\n**{title}**\n"
        yield from _items(text) if title in _LISTS else [_prose(text)]


def _items(text: str) -> Iterator[str]:
    for item in re.split(r"\n(?=\S)", text.strip("\n")):
        names, _, meaning = item.partition("\n")
        yield f"- `{names}`: {' '.join(meaning.split())}"


def _prose(text: str) -> str:
    return text.strip().replace("``", "`")
