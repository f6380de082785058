"""A configuration as a file to go on from: every setting with its doc, defaults there to be changed.

A line of words begins with ``# ``. A setting that is left at its default is a line that begins with
``#`` and no blank: without that character it says the same, and may be changed.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from radiotrain.config import flatten
from radiotrain.config_docs import FieldDoc, as_yaml, fields_of

_WIDTH = 100
_INDENT = "  "


def commented_yaml(
    model: type[BaseModel],
    values: Mapping[str, Any],
    *,
    header: Sequence[str] = (),
    notes: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Return a file that the model reads as `values`.

    Parameters
    ----------
    values
        What is set, nested.
    header
        Sentences at the top.
    notes
        More sentences on a field, by its dotted key, after its own doc.
    """
    lines = [line for sentence in header for line in _words(sentence, 0)]
    chosen = flatten(values)
    for field in fields_of(model):
        lines += _field_lines(field, chosen, (notes or {}).get(field.key, ()))
    return "\n".join(lines) + "\n"


def _field_lines(field: FieldDoc, chosen: Mapping[str, Any], notes: Sequence[str]) -> Iterator[str]:
    indent = _INDENT * field.depth
    if field.depth == 0:
        yield ""
    for sentence in (field.doc, *notes):
        yield from _words(sentence, field.depth)
    if field.section is not None:
        yield f"{indent}{field.name}:"
    elif field.key in chosen:
        yield f"{indent}{field.name}: {as_yaml(chosen[field.key])}"
    else:
        yield f"{indent}#{field.name}: {as_yaml(field.default)}"


def _words(sentence: str, depth: int) -> list[str]:
    begin = f"{_INDENT * depth}# "
    return textwrap.wrap(
        sentence,
        _WIDTH,
        initial_indent=begin,
        subsequent_indent=begin,
        break_long_words=False,
        break_on_hyphens=False,
    )
