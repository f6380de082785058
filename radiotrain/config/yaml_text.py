"""Strict YAML: plain values, one reading of each text.

PyYAML reads YAML 1.1, where ``1e-4`` is a text, ``010`` is 8, ``12:30`` is 750, and the second of two equal
keys wins. Here scalars are those of YAML 1.2's core schema (chapter 10.3 of its specification), and what no
configuration has is refused: repeated keys, other tags, aliases that multiply, numbers without end.
"""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

# No configuration comes near these.
_MAX_CHARACTERS = 1_000_000
_MAX_VALUES = 100_000
_MAX_DIGITS = 100

_SCALARS = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    "float": (
        r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        list("-+0123456789."),
    ),
}


class _Loader(yaml.SafeLoader):
    """Reads plain values."""

    yaml_constructors: ClassVar[dict[str | None, Any]] = {}
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - declared so by PyYAML


class _Dumper(yaml.SafeDumper):
    """Writes plain values so that `_Loader` reads the same."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - declared so by PyYAML


for _name, (_pattern, _first) in _SCALARS.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first)  # fmt: skip


def load_yaml(text: str) -> Any:
    """Return the value that YAML text holds: mappings with texts as keys, lists, and scalars.

    Raises
    ------
    yaml.YAMLError
        If it is no YAML, or holds what no configuration has; ``problem`` and ``problem_mark`` say what and
        where.
    """
    if len(text) > _MAX_CHARACTERS:
        raise _refused(f"{len(text)} characters, expected at most {_MAX_CHARACTERS}")
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _check_size(node)
        return loader.construct_document(node)
    except RecursionError:
        raise _refused("it is nested too deeply") from None
    finally:
        loader.dispose()


def dump_yaml(values: Any) -> str:
    """Return YAML text, keys in their order, that `load_yaml` reads back to the same plain values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True)


def _check_size(root: Node) -> None:
    """Refuse what would be large, or endless, once its aliases are written out."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: Node) -> int:
        if id(node) in open_nodes:
            raise _refused("an alias stands inside what it names", node)
        if id(node) not in sizes:
            open_nodes.add(id(node))
            sizes[id(node)] = 1 + sum(size(child) for child in _children(node))
            open_nodes.remove(id(node))
        if sizes[id(node)] > _MAX_VALUES:
            raise _refused(f"more than {_MAX_VALUES} values with its aliases", node)
        return sizes[id(node)]

    size(root)


def _children(node: Node) -> list[Node]:
    if isinstance(node, MappingNode):
        return [child for pair in node.value for child in pair]
    return list(node.value) if isinstance(node, SequenceNode) else []


def _refused(problem: str, node: Node | None = None) -> ConstructorError:
    return ConstructorError(None, None, problem, None if node is None else node.start_mark)


def _construct_map(loader: _Loader, node: Node) -> dict[str, Any]:
    if not isinstance(node, MappingNode):
        raise _refused("expected 'key: value' lines", node)
    found: dict[str, Any] = {}
    for key, value in node.value:
        if not isinstance(key, ScalarNode):
            raise _refused("a key is a list or a mapping, expected a text", key)
        if key.value in found:
            raise _refused(f"key {key.value!r} is there twice", key)
        if key.value == "<<" and key.style is None:
            raise _refused("'<<' merges mappings, which is not supported: write the keys out", key)
        found[key.value] = loader.construct_object(value, deep=True)
    return found


def _construct_list(loader: _Loader, node: Node) -> list[Any]:
    if not isinstance(node, SequenceNode):
        raise _refused("expected a list", node)
    return [loader.construct_object(child, deep=True) for child in node.value]


def _construct_int(loader: _Loader, node: Node) -> int:
    text = _scalar(node)
    if len(text) > _MAX_DIGITS:
        raise _refused(f"a number of {len(text)} digits", node)
    try:
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text, 10)
    except ValueError:
        raise _refused(f"{text!r} is no whole number", node) from None


def _construct_float(loader: _Loader, node: Node) -> float:
    text = _scalar(node)
    if len(text) > _MAX_DIGITS:
        raise _refused(f"a number of {len(text)} digits", node)
    try:
        value = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        raise _refused(f"{text!r} is no number", node) from None
    if not math.isfinite(value):
        raise _refused(f"{text} is not finite", node)
    return value


def _construct_bool(loader: _Loader, node: Node) -> bool:
    text = _scalar(node).lower()
    if text not in ("true", "false"):
        raise _refused(f"{text!r} is neither true nor false", node)
    return text == "true"


def _construct_text(loader: _Loader, node: Node) -> str:
    return _scalar(node)


def _construct_null(loader: _Loader, node: Node) -> None:
    _scalar(node)


def _construct_other(loader: _Loader, node: Node) -> None:
    raise _refused(f"tag {node.tag!r} is not supported, expected plain values", node)


def _scalar(node: Node) -> str:
    if not isinstance(node, ScalarNode):
        raise _refused("expected a single value", node)
    return str(node.value)


for _tag, _construct in {
    "map": _construct_map,
    "seq": _construct_list,
    "int": _construct_int,
    "float": _construct_float,
    "bool": _construct_bool,
    "str": _construct_text,
    "null": _construct_null,
}.items():
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _construct)
_Loader.add_constructor(None, _construct_other)
