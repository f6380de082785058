"""An error is one line that a terminal can print, whatever names and contents it quotes."""

from __future__ import annotations

import pytest

from preprocessing.common.errors import (
    DamagedFileError,
    InputError,
    MissingPathError,
    RadiotrainError,
)


@pytest.mark.parametrize("kind", [InputError, MissingPathError, DamagedFileError])
@pytest.mark.parametrize(
    ("quoted", "shown"),
    [
        ("a;b\nP0;44\r\n", r"a;b\nP0;44\r\n"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("\u202ecba", r"\u202ecba"),
        ("a\u2028b\x85c", r"a\u2028b\x85c"),
        ("\ud800", r"\ud800"),
        ("Größe – 5 µm², 乳房", "Größe – 5 µm², 乳房"),
    ],
)
def test_what_cannot_be_printed_is_escaped(
    kind: type[RadiotrainError], quoted: str, shown: str
) -> None:
    assert str(kind(f"no column: got {quoted}")) == f"no column: got {shown}"
    str(kind(quoted)).encode()
