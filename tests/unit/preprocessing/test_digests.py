"""Checksums inside files: every changed bit is refused, or changes no value."""

from __future__ import annotations

import hashlib
import io
import json
import random
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.common.errors import DamagedFileError
from preprocessing.storage.digests import (
    NO_LINE,
    check_text,
    check_zip,
    dump_with_digest,
    line_digest,
    line_with_digest,
    load_with_digest,
    read_lines,
    text_with_digest,
    zip_with_digest,
)

_VALUES = {"name": "é \u2028", "numbers": [1, 2.5e-7, -0.0, None, True], "deep": {"a": {"b": "x"}}}
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)  # fmt: skip


def _flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _refused_or_same(content: bytes, read: Callable[[bytes], Any]) -> int:
    """Return how many of all single-bit changes are refused; the others must change nothing."""
    before, refused = read(content), 0
    for bit in range(8 * len(content)):
        try:
            assert read(_flipped(content, bit)) == before
        except DamagedFileError:
            refused += 1
    return refused


@given(st.dictionaries(st.text().filter(lambda key: key != "sha256"), _JSON))
def test_json_values_come_back(values: dict[str, Any]) -> None:
    assert load_with_digest(dump_with_digest(values), "x.json", "make it again") == values


def test_the_digest_of_json_is_that_of_its_compact_text() -> None:
    values = json.loads(dump_with_digest({"b": [1, "é"], "a": None}))
    text = r'{"a":null,"b":[1,"\u00e9"]}'
    assert values["sha256"] == hashlib.sha256(text.encode()).hexdigest()


def test_every_flipped_bit_of_json_is_refused_or_changes_no_value() -> None:
    content = dump_with_digest(_VALUES).encode()

    refused = _refused_or_same(content, lambda c: load_with_digest(c, "x.json", "make it again"))

    # The others turn a blank of the layout into another blank.
    assert refused > 0.98 * 8 * len(content)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "null", "{}", '{"a": 1}', '{"a": 1, "sha256": "0"}', "[" * 100_000, "\x00" * 64,
        '{"a": NaN, "sha256": ""}', '{"sha256": null}',
    ],
)  # fmt: skip
def test_other_json_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(DamagedFileError, match=r"^x\.json is damaged, it .*: make it again$"):
        load_with_digest(text, "x.json", "make it again")


def test_a_repeated_key_is_refused() -> None:
    text = dump_with_digest({"a": 1}).replace('"a": 1', '"a": 2, "a": 1')
    with pytest.raises(DamagedFileError):
        load_with_digest(text, "x.json", "make it again")


def _chain(num: int) -> list[str]:
    lines, previous = [], NO_LINE
    for number in range(num):
        lines.append(line_with_digest({"number": number, "text": "a\nb"}, previous))
        previous = line_digest(lines[-1])
    return lines


def test_lines_come_back_with_the_last_digest() -> None:
    lines = _chain(4)
    found = read_lines("".join(lines), "x.jsonl", "remove it")
    assert [values["number"] for values in found.values] == [0, 1, 2, 3]
    assert (found.digest, found.torn) == (line_digest(lines[-1]), "")
    assert read_lines("", "x.jsonl", "remove it").values == ()


def test_a_line_that_was_cut_short_is_told_apart() -> None:
    lines = _chain(3)
    found = read_lines("".join(lines)[:-5], "x.jsonl", "remove it")
    assert len(found.values) == 2
    assert found.torn == lines[-1][:-5]


@pytest.mark.parametrize(
    "order", [[1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 2, 1, 3], [0, 0, 1, 2, 3], [3]]
)
def test_missing_repeated_and_swapped_lines_are_refused(order: list[int]) -> None:
    lines = _chain(4)
    with pytest.raises(DamagedFileError, match="line"):
        read_lines("".join(lines[k] for k in order), "x.jsonl", "remove it")


def test_every_flipped_bit_of_lines_is_refused_or_changes_no_value_or_tears_the_end() -> None:
    content = "".join(_chain(2)).encode()
    whole = read_lines(content, "x.jsonl", "remove it")
    for bit in range(8 * len(content)):
        try:
            found = read_lines(_flipped(content, bit), "x.jsonl", "remove it")
        except DamagedFileError:
            continue
        assert found == whole or found.torn


def test_text_comes_back_and_is_still_yaml() -> None:
    text = "a: 1\nb: 'x # y'\n"
    written = text_with_digest(text)
    assert check_text(written, "x.yaml", "make it again") == text
    assert yaml.safe_load(written) == {"a": 1, "b": "x # y"}


def test_every_flipped_bit_of_text_is_refused() -> None:
    content = text_with_digest("a: 1\nb: [1e-4, é]\n").encode()
    read = lambda c: check_text(c, "x.yaml", "make it again")
    assert _refused_or_same(content, read) == 8 * len(content)


def test_a_checked_archive_is_read_by_torch_and_zipfile() -> None:
    buffer = io.BytesIO()
    torch.save({"weight": torch.arange(5.0)}, buffer)
    content = zip_with_digest(buffer.getvalue())

    check_zip(content, "x.pt", "train again")

    assert torch.load(io.BytesIO(content), weights_only=True)["weight"].tolist() == [0, 1, 2, 3, 4]
    assert (
        zipfile.ZipFile(io.BytesIO(content)).comment.decode()
        == hashlib.sha256(buffer.getvalue()).hexdigest()
    )


def test_every_flipped_bit_of_an_archive_is_refused() -> None:
    buffer = io.BytesIO()
    torch.save({"weight": torch.randn(300)}, buffer)
    content = zip_with_digest(buffer.getvalue())
    bits = random.Random(0).sample(range(8 * len(content)), 400)
    for bit in [*bits, *range(8 * (len(content) - 90), 8 * len(content))]:
        with pytest.raises(DamagedFileError):
            check_zip(_flipped(content, bit), "x.pt", "train again")


@pytest.mark.parametrize("keep", [0, 1, 21, 22, 63, 64, 86, -1, -64])
def test_a_cut_archive_is_refused(keep: int) -> None:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(3)}, buffer)
    with pytest.raises(DamagedFileError):
        check_zip(zip_with_digest(buffer.getvalue())[:keep], "x.pt", "train again")
    with pytest.raises(DamagedFileError):
        check_zip(buffer.getvalue(), "x.pt", "train again")
