"""How numbers are written for people."""

from __future__ import annotations

import pytest

from radiotrain.inference.operating_point import Rates
from radiotrain.inference.page import between, percent, points, rates_sentence, spread_sentence
from radiotrain.inference.probability import Spread


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0 %"), (0.004, "below 1 %"), (0.01, "1 %"), (0.625, "62 %"), (0.99, "99 %"),
        (0.9999, "above 99 %"), (1.0, "100 %"),
    ],
)  # fmt: skip
def test_shares_are_never_certain_by_rounding(value: float, text: str) -> None:
    assert percent(value) == text


def test_differences_are_percentage_points() -> None:
    assert [points(v) for v in (0.001, 0.01, 0.12)] == [
        "less than 1 percentage points", "1 percentage point", "12 percentage points",
    ]  # fmt: skip


def test_a_range_that_looks_like_one_value_is_written_as_one() -> None:
    assert between(0.61, 0.613) == "at 61 %"
    assert between(0.4, 0.9) == "between 40 % and 90 %"


def test_rates_are_told_in_patients() -> None:
    rates = Rates("test", 10, 0, 0.8, (0.49, 0.943), None, None)
    assert rates_sentence(rates, "ER") == (
        "8 of 10 ER-positive patients rightly (sensitivity 80 %, 95 % CI 49 to 94 %)"
    )


def test_a_spread_says_what_it_is_of() -> None:
    said = spread_sentence(Spread(3, 2, 0.05, 0.6, 0.8, 5))
    assert said.startswith(
        "6 predictions (3 networks, the image as it is and 1 changed view of it) lie between 60 %"
    )
    assert "5 of 6 are on this side" in said
    assert said.endswith("not a confidence interval.")
    assert "one prediction only" in spread_sentence(Spread(1, 1, None, None, None, 1))
