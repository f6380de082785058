"""What words of a column of labels mean, and which columns are asked about instead of guessed."""

from __future__ import annotations

import re

import pytest

from preprocessing.cohort.labels import parse_told, read_label_column
from preprocessing.common.errors import InputError


def labels(cells: list[str], target: str = "ER", told: dict[str, int] | None = None) -> list[int]:
    return list(read_label_column(cells, target, "table t", told=told).labels)


@pytest.mark.parametrize("word", ["1", "1.0", "1,0", " 1 ", "01", "pos", "Positive", "POSITIV", "pos.", "+",
                                  "yes", "ja", "TRUE", "present", "＋"])  # fmt: skip
@pytest.mark.parametrize("target", ["ER", "HER2", "HR"])
def test_positive(word: str, target: str) -> None:
    assert labels([word, "0"], target) == [1, 0]


@pytest.mark.parametrize(
    "word", ["0", "0.0", "neg", "Negative", "negativ", "no", "nein", "FALSE", "absent"]
)
@pytest.mark.parametrize("target", ["ER", "HER2", "HR"])
def test_negative(word: str, target: str) -> None:
    assert labels([word, "pos"], target) == [0, 1]


@pytest.mark.parametrize("word", ["", "NA", "n/a", "N.A.", "nan", "None", "null", "-1", "?", ".", "unknown",
                                  "unbekannt", "not done", "Not  Available", "pending"])  # fmt: skip
def test_missing_without_a_finding(word: str) -> None:
    found = read_label_column([word, "0"], "ER", "t")
    assert found.labels == (-1, 0)
    assert found.findings == (None, None)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("target", "cell", "label"),
    [
        ("HER2", "3+", 1),
        ("HER2", "+++", 1),
        ("HER2", "IHC 3+", 1),
        ("HER2", "(3+)", 1),
        ("HER2", "1+", 0),
        ("HER2", "+1", 0),
        ("HER2", "0+", 0),
        ("ER", "3+", 1),
        ("ER", "++", 1),
        ("ER", "ER+", 1),
        ("ER", "ER-", 0),
        ("ER", "ER −", 0),
        ("HER2", "HER2-positive", 1),
        ("HER2", "her2 neg", 0),
    ],
)
def test_scores_and_words_with_the_targets_name(target: str, cell: str, label: int) -> None:
    assert labels([cell, "neg", "pos"], target) == [label, 0, 1]


@pytest.mark.parametrize(
    ("target", "cell"),
    [
        ("HER2", "2+"), ("HER2", "++"), ("HER2", "equivocal"), ("HER2", "borderline"),
        ("ER", "1+"), ("ER", "80%"), ("ER", "<1%"), ("ER", "weak"), ("ER", "Meyer"), ("ER", "#N/A"),
        ("ER", "9"), ("ER", "99"), ("ER", "2021-03-01 00:00:00"), ("ER", "-"),
    ],
)  # fmt: skip
def test_what_is_neither_is_missing_and_said(target: str, cell: str) -> None:
    found = read_label_column([cell, "pos", "neg", cell], target, "t", numbers=[2, 3, 4, 5])
    assert found.labels == (-1, 1, 0, -1)
    assert [f.code if f else None for f in found.findings] == [
        "label-unknown", None, None, "label-unknown",
    ]  # fmt: skip
    assert not any(f.excludes for f in found.findings if f)
    (note,) = found.notes
    assert note.startswith(f"{target}: 2 cells neither positive nor negative")
    assert f"--label {target}:WORD=0" in note
    assert "Meyer" not in note + str(found.findings)


def test_unknown_words_are_listed_once_with_counts_and_where() -> None:
    cells = ["maybe so", "pos", "weak", "maybe so", "weak", "weak"]
    found = read_label_column(cells, "ER", "t", numbers=[2, 3, 4, 5, 6, 7])
    (note,) = found.notes
    assert "5 cells" in note
    assert "'weak' (3 cells), a text of 8 characters (2 cells, first in line 2)" in note


@pytest.mark.parametrize(
    ("target", "cells", "word"),
    [
        ("HER2", ["0", "1", "2+", "3+"], "1"),
        ("HER2", ["0", "1", "2", "3"], "1"),
        ("HER2", ["+", "++", "+++", "0"], "+"),
        ("HER2", ["1", "+++"], "1"),
        ("ER", ["1", "2", "1", "2"], "1"),
        ("ER", ["0", "1", "80", "100"], "1"),
        ("ER", ["0", "1", "0.8"], "1"),
        ("ER", ["0", "1", "<10%"], "1"),
        ("ER", ["1,0", "80 %"], "1"),
        ("ER", ["1", "1-10%", "0"], "1"),
        ("grade", ["1", "2", "3"], "1"),
    ],
)
def test_one_that_may_be_a_score_is_asked_for(target: str, cells: list[str], word: str) -> None:
    with pytest.raises(
        InputError, match=rf"column {target} of table t has {re.escape(word)} .* may be positive"
    ) as error:
        labels(cells, target)
    assert f"--label {target}:{word}=0" in str(error.value)
    told = labels(cells, target, {word: 0})
    assert told[[c.replace(",0", "") for c in cells].index(word)] == 0


def test_zero_beside_scores_is_negative_either_way() -> None:
    assert labels(["0", "2+", "3+"], "HER2") == [0, -1, 1]
    assert labels(["0", "2", "3"], "HER2") == [0, -1, -1]


def test_codes_for_missing_do_not_make_one_a_score() -> None:
    assert labels(["0", "1", "9", "99", "-9", "999"]) == [0, 1, -1, -1, -1, -1]


def test_a_dash_is_negative_beside_a_plus_alone_and_said() -> None:
    found = read_label_column(["+", "-", "–", ""], "ER", "t")
    assert found.labels == (1, 0, 0, -1)
    assert found.notes == ("ER: - is taken as negative, as it stands beside + (2 cells)",)
    assert labels(["+", "-", "neg"]) == [1, -1, 0]
    assert labels(["pos", "-"]) == [1, -1]


def test_minus_one_for_negative_is_suspected_where_none_is() -> None:
    found = read_label_column(["1", "-1", "-1"], "ER", "t")
    assert found.labels == (1, -1, -1)
    assert "if it means negative, replace it with 0" in found.notes[0]
    assert read_label_column(["1", "-1", "0"], "ER", "t").notes == ()


def test_what_the_user_says_wins_and_what_has_no_effect_is_said() -> None:
    told = {"2+": 0, "POS": 0, "n/a": 1, "weak": -1, "gone": 1}
    found = read_label_column(["2+", "pos", "NA", "weak", "3+"], "HER2", "t", told=told)
    assert found.labels == (0, 0, 1, -1, 1)
    assert [f for f in found.findings if f] == []
    assert found.notes == ("HER2: --label HER2:gone has no effect: no cell is that",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("HER2:2+=0", ("HER2", "2+", 0)),
        ("ER: weak = missing", ("ER", "weak", -1)),
        ("ER:a=b:c=1", ("ER", "a=b:c", 1)),
        ("ER:=missing", ("ER", "", -1)),
    ],
)
def test_the_option(text: str, expected: tuple[str, str, int]) -> None:
    assert parse_told(text) == expected


@pytest.mark.parametrize("text", ["HER2", "HER2:2+", "HER2=0", "HER2:2+=2", ":2+=0", ""])
def test_another_form_of_the_option_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="expected TARGET:WORD=0"):
        parse_told(text)
