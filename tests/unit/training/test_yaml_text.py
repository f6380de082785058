"""YAML of configurations: plain values, one reading each, bounded."""

from __future__ import annotations

import time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from radiotrain.config.yaml_text import dump_yaml, load_yaml

# From chapter 10.3.2 of the YAML 1.2.2 specification, and what 1.1 reads otherwise.
_READINGS: list[tuple[str, Any]] = [
    ("[1e-4, 1E5, -2e+3, 1.5e-4, .5, 0., +12.3]", [1e-4, 1e5, -2000.0, 1.5e-4, 0.5, 0.0, 12.3]),
    ("[0, 010, 0o7, 0x3A, -19, +1]", [0, 10, 7, 58, -19, 1]),
    ("[12:30, 1_000, 2024-01-01, 1e, e5, '1e-4']", ["12:30", "1_000", "2024-01-01", "1e", "e5", "1e-4"]),
    ("[true, FALSE, yes, no, on, off]", [True, False, "yes", "no", "on", "off"]),
    ("[~, null, '', ]", [None, None, ""]),
    ("a:", {"a": None}),
    ("1: x\ntrue: y\n~: z", {"1": "x", "true": "y", "~": "z"}),
    ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
    ("", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), _READINGS)
def test_scalars_are_those_of_the_core_schema(text: str, value: Any) -> None:
    found = load_yaml(text)
    assert found == value
    assert repr(found) == repr(value)


_PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**90), 10**90)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=("Cs", "Cc"))),
    lambda inner: st.lists(inner) | st.dictionaries(st.from_regex(r"\A[ -~]{1,8}\Z"), inner),
    max_leaves=10,
)


@given(_PLAIN)
def test_what_is_dumped_is_read_back(value: Any) -> None:
    if not (isinstance(value, dict) and "<<" in value):
        assert load_yaml(dump_yaml(value)) == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "key 'a' is there twice"),
        ("a:\n  b: 1\n  b: 1", "key 'b' is there twice"),
        ("a: " + "9" * 100_000, "a number of 100000 digits"),
        ("a: 0x" + "f" * 100_000, "a number of 100002 digits"),
        ("a: .inf", "is not finite"),
        ("a: .nan", "is not finite"),
        ("a: 1e999", "is not finite"),
        ("a: !!binary aGk=", "is not supported"),
        ("a: !!python/object/apply:os.system ['true']", "is not supported"),
        ("a: !!set {x}", "is not supported"),
        ("a: !!timestamp 2024-01-01", "is not supported"),
        ("a: !!int x", "is no whole number"),
        ("a: !!float [1]", "expected a single value"),
        ("? [a, b]\n: 1", "a key is a list or a mapping"),
        ("a: &x {b: 1}\nc:\n  <<: *x", "'<<' merges mappings"),
        ("a: &x [*x]", "an alias stands inside what it names"),
        ("[" * 5_000 + "]" * 5_000, "nested too deeply"),
        ("a: '" + "x" * 1_000_001 + "'", "expected at most 1000000"),
        ("--- 1\n--- 2", "but found another document"),
        ("a: *unknown", "found undefined alias"),
    ],
)
def test_what_no_configuration_has_is_refused(text: str, problem: str) -> None:
    with pytest.raises(yaml.YAMLError) as caught:
        load_yaml(text)
    assert problem in str(getattr(caught.value, "problem", caught.value))


def test_aliases_that_multiply_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    began = time.perf_counter()
    with pytest.raises(yaml.YAMLError, match="values with its aliases"):
        load_yaml("\n".join(lines))
    assert time.perf_counter() - began < 5
