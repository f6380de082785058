"""Oracles: the interval that just reaches the margin, the textbook formula, and simulated error rates."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from preprocessing.common.errors import InputError
from radiotrain.statistics.auc_comparison import (
    against_margin,
    check_margin,
    paired_difference,
    unpaired_difference,
)


def _table(
    rng: np.random.Generator, num: int, first: float, second: float, correlation: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and two scores whose AUCs in the population are `first` and `second`."""
    labels = np.repeat([1, 0], [num // 3, num - num // 3])
    noise = rng.multivariate_normal([0, 0], [[1, correlation], [correlation, 1]], num)
    shifts = math.sqrt(2) * norm.ppf([first, second])
    scores = noise + labels[:, None] * shifts
    return labels, scores[:, 0], scores[:, 1]


def _naive_error(labels: np.ndarray, first: np.ndarray, second: np.ndarray) -> float:
    """Standard error of the difference by the contributions of single patients, in plain loops."""
    total = 0.0
    ones, zeros = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)

    def wins(scores: np.ndarray, i: int, j: int) -> float:
        return float(scores[i] > scores[j]) + 0.5 * float(scores[i] == scores[j])

    for mine, others, is_ones in ((ones, zeros, True), (zeros, ones, False)):
        gains = []
        for i in mine:
            pairs = [(i, j) if is_ones else (j, i) for j in others]
            gains.append(np.mean([wins(first, *p) - wins(second, *p) for p in pairs]))
        total += float(np.var(gains, ddof=1)) / len(gains)
    return math.sqrt(total)


@pytest.mark.parametrize("seed", range(5))
def test_limit_and_p_are_those_of_a_plain_computation(seed: int) -> None:
    """With so many degrees of freedom, Student's t is the normal distribution to three digits."""
    labels, a, b = _table(np.random.default_rng(seed), 400, 0.74, 0.75, 0.5)
    found = against_margin(paired_difference(labels, a, b), 0.05)
    difference = roc_auc_score(labels, a) - roc_auc_score(labels, b)
    error = _naive_error(labels, a, b)
    assert found.lower_limit == pytest.approx(difference - norm.ppf(0.975) * error, abs=1e-3)
    assert found.p_value == pytest.approx(norm.sf((difference + 0.05) / error), abs=2e-3)


@pytest.mark.parametrize("is_paired", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_p_is_the_level_whose_limit_is_the_margin(is_paired: bool, seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, a, b = _table(rng, 60, 0.75, 0.7, 0.5)

    def low(confidence: float) -> float:
        if is_paired:
            return paired_difference(labels, a, b, confidence).interval[0]
        return unpaired_difference(labels, a, labels, b, confidence).interval[0]

    margin = 0.1
    reached = brentq(lambda confidence: low(confidence) + margin, 0.001, 0.9999999)
    full = (
        paired_difference(labels, a, b) if is_paired else unpaired_difference(labels, a, labels, b)
    )
    found = against_margin(full, margin)
    assert found.p_value == pytest.approx((1 - reached) / 2, abs=1e-6)
    assert (found.p_value < 0.025) == (found.lower_limit > -margin)


def test_of_models_that_are_worse_by_the_margin_one_in_forty_passes() -> None:
    """At the margin the error rate is its level; equally good models pass much more often."""
    rng = np.random.default_rng(7)
    passed = {0.65: 0, 0.75: 0}
    for first in passed:
        for _ in range(800):
            labels, a, b = _table(rng, 150, first, 0.75, 0.5)
            passed[first] += against_margin(paired_difference(labels, a, b), 0.1).p_value < 0.025
    # 800 draws at 2.5 % lie below 4.2 % in all but one of a thousand seeds.
    assert 0.01 < passed[0.65] / 800 < 0.042
    assert passed[0.75] / 800 > 0.5


def test_models_without_spread_show_nothing() -> None:
    labels = [0, 0, 1, 1]
    alike = paired_difference(labels, [1, 2, 3, 4], [1, 2, 3, 4])
    perfect = unpaired_difference(labels, [1, 2, 3, 4], labels, [5, 6, 7, 8])
    one = paired_difference([0, 0, 1], [1, 2, 3], [1, 3, 2])
    for difference in (alike, perfect, one):
        found = against_margin(difference, 0.05)
        assert math.isnan(found.p_value)
        assert math.isnan(found.lower_limit)


@pytest.mark.parametrize("margin", [0.0, -0.05, 0.5, 1.0, 5.0, math.nan, math.inf])
def test_margins_that_are_none_are_refused(margin: float) -> None:
    with pytest.raises(InputError, match="expected a difference of AUCs above 0 and below"):
        check_margin(margin)
