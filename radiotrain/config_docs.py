"""What a configuration model says of its fields: the one source of file comments and of the docs."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false", Any: "anything"}
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
