"""Intervals of the difference of two shares against the tables that they were published with."""

from __future__ import annotations

import math

import numpy as np
import pytest

from radiotrain.evaluation.compare.compare_runs import (
    paired_share_interval,
    unpaired_share_interval,
)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        # Newcombe, Statistics in Medicine 17 (1998) 873-890, table II, method 10.
        ((56, 70, 48, 80), (0.0524, 0.3339)),
        ((9, 10, 3, 10), (0.1705, 0.8090)),
        ((10, 10, 0, 20), (0.6791, 1.0)),
        ((10, 10, 0, 10), (0.6075, 1.0)),
    ],
)
def test_of_different_patients(counts: tuple[int, ...], expected: tuple[float, float]) -> None:
    assert unpaired_share_interval(*counts) == pytest.approx(expected, abs=5.1e-5)


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        # Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10.
        ((36, 12, 2, 0), (0.0569, 0.3404)),
    ],
)
def test_of_the_same_patients(cells: tuple[int, ...], expected: tuple[float, float]) -> None:
    assert paired_share_interval(*cells) == pytest.approx(expected, abs=5.1e-5)


def test_turning_round_turns_the_interval() -> None:
    low, high = paired_share_interval(20, 9, 4, 7)
    assert paired_share_interval(20, 4, 9, 7) == pytest.approx((-high, -low))
    low, high = unpaired_share_interval(20, 29, 4, 11)
    assert unpaired_share_interval(4, 11, 20, 29) == pytest.approx((-high, -low))


def test_nobody_has_no_interval() -> None:
    assert all(math.isnan(v) for v in paired_share_interval(0, 0, 0, 0))
    assert all(math.isnan(v) for v in unpaired_share_interval(1, 2, 0, 0))


def test_the_interval_holds_the_truth_as_often_as_promised() -> None:
    """2,000 draws of 60 patients with correlated calls: 95 % is found within 93.5 and 97.5 %."""
    generator = np.random.default_rng(0)
    cells = np.array([0.55, 0.2, 0.1, 0.15])
    drawn = generator.multinomial(60, cells, 2000)
    truth = cells[1] - cells[2]
    held = [
        low <= truth <= high for low, high in (paired_share_interval(*map(int, d)) for d in drawn)
    ]
    assert 0.935 < np.mean(held) < 0.975
