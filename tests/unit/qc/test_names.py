from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocessing.qc.folder import file_names


def test_ordinary_ids_are_their_own_names() -> None:
    assert file_names(["Breast_MRI_001", "DUKE-7"]) == ("Breast_MRI_001", "DUKE-7")


@given(st.lists(st.text(min_size=1), unique=True))
def test_names_are_safe_and_differ(ids: list[str]) -> None:
    names = file_names(ids)
    assert len({n.casefold() for n in names}) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}", n) for n in names)


@pytest.mark.parametrize(
    "hostile", ["../x", "/etc/passwd", "a/b", "con", "", ".", "\ud800", "x" * 999]
)
def test_hostile_ids_get_a_made_name(hostile: str) -> None:
    (name,) = file_names([hostile])
    assert name != hostile
    assert re.fullmatch(r"[A-Za-z0-9-]+-[0-9a-f]{16}", name)


def test_ids_that_differ_by_case_only_get_files_of_their_own() -> None:
    one, other = file_names(["abc", "ABC"])
    assert one.casefold() != other.casefold()


def test_an_id_cannot_take_the_name_made_for_another() -> None:
    (made,) = file_names(["../x"])
    assert len(set(file_names(["../x", made]))) == 2
