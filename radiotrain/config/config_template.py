"""YAML templates and docs of a configuration's fields.

In a template a line of words begins with ``# ``. A setting at its default is a line that begins with ``#``
and no blank: without that character it says the same, and may be changed.
"""

from __future__ import annotations

import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from radiotrain.config.run_config import flatten

_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything"}
_WIDTH = 100
_INDENT = "  "
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


@dataclass(frozen=True)
class FieldDoc:
    """One field, or the head of a section.

    Parameters
    ----------
    key
        Dotted, from the top of the file.
    section
        The model of the fields under it; None of a field that holds a value.
    kind
        What is expected, in words.
    default
        As plain values; None where there is none, see `is_required`.
    doc
        One line or several sentences, as the model says it.
    """

    key: str
    section: type[BaseModel] | None
    kind: str
    is_required: bool
    default: Any
    doc: str

    @property
    def name(self) -> str:
        """Last part of the key."""
        return self.key.rpartition(".")[2]

    @property
    def depth(self) -> int:
        """Sections above it."""
        return self.key.count(".")


def fields_of(model: type[BaseModel], prefix: str = "") -> Iterator[FieldDoc]:
    """Yield all fields of a model in their order, each section before what is in it."""
    for name, info in model.model_fields.items():
        key, section = f"{prefix}{name}", _section(info.annotation)
        doc = info.description or (inspect.getdoc(section) if section else "") or ""
        default = (
            None if info.is_required() else _plain(info.get_default(call_default_factory=True))
        )
        kind = "section" if section else _kind(info)
        yield FieldDoc(key, section, kind, info.is_required(), default, _one_line(doc))
        if section is not None:
            yield from fields_of(section, f"{key}.")


def as_yaml(value: Any) -> str:
    """Return a plain value as YAML on one line."""
    text = yaml.safe_dump({"k": value}, default_flow_style=True, allow_unicode=True, width=10**6)
    return text.strip().removeprefix("{k: ").removesuffix("}")


def _section(annotation: Any) -> type[BaseModel] | None:
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(v) for v in value]
    return value


def _kind(info: FieldInfo) -> str:
    bounds = _bounds(info.metadata)
    return f"{_in_words(info.annotation)}{f', {bounds}' if bounds else ''}"


def _bounds(metadata: Sequence[Any]) -> str:
    found = [
        f"{sign} {getattr(one, name):g}"
        for one in metadata
        for name, sign in _BOUNDS.items()
        if getattr(one, name, None) is not None
    ]
    return " and ".join(found)


def _in_words(annotation: Any) -> str:
    if annotation in _NAMES:
        return _NAMES[annotation]
    if annotation is type(None):
        return "null"
    if (section := _section(annotation)) is not None:
        return f"one of {', '.join(section.model_fields)}"
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_in_words, inner)))
    if hasattr(annotation, "__metadata__"):
        flat = [
            m for meta in annotation.__metadata__ for m in (meta, *getattr(meta, "metadata", ()))
        ]
        bounds = _bounds(flat)
        return f"{_in_words(inner[0])}{f' {bounds}' if bounds else ''}"
    if origin is tuple:
        if inner[-1] is Ellipsis:
            return f"list of {_in_words(inner[0])}"
        return f"{len(inner)} × {_in_words(inner[0])}"
    if origin is dict:
        return f"mapping of {_in_words(inner[0])} to {_in_words(inner[1])}"
    return str(getattr(annotation, "__name__", annotation))


def _one_line(doc: str) -> str:
    return " ".join(doc.replace("``", "`").split())


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
