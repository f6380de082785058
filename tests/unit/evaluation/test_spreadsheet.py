"""No text of the data becomes a formula where tables are opened."""

import pytest

from radiotrain.evaluation.tables import as_text


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_what_could_be_a_formula_becomes_text(sign: str) -> None:
    assert as_text(f"{sign}1+1") == f"'{sign}1+1"


@pytest.mark.parametrize("value", ["", "P001", "1=1", "'=1", "ER-positive"])
def test_the_rest_stays_as_it_is(value: str) -> None:
    assert as_text(value) == value
