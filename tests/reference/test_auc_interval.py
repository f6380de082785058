"""The score interval of an AUC: its equation as a polynomial, Newcombe's variance, limits."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import norm

from radiotrain.statistics.auc import (
    auc,
    auc_interval,
    delong_interval,
    delong_variance,
    newcombe_variance,
)
from radiotrain.statistics.power import hanley_mcneil_variance

_CLASS = st.lists(st.integers(0, 9), min_size=2, max_size=12)


def _roots(area: float, m: int, n: int, ratio: float) -> list[float]:
    """Where (a - t)^2 = z^2 V(t), multiplied by (2 - t)(1 + t): a polynomial of degree 4."""
    z, mean = float(norm.ppf(0.975)), (m + n) / 2 - 1
    t = np.poly1d([1.0, 0.0])
    bracket = (2 - t) * (1 + t) + mean * (1 - t) * (1 + t) + mean * t * (2 - t)
    left = (area - t) * (area - t) * (2 - t) * (1 + t)
    found = (left - ratio * z**2 / (m * n) * t * (1 - t) * bracket).roots
    return sorted(r.real for r in found if abs(r.imag) < 1e-7 and -1e-9 <= r.real <= 1 + 1e-9)


@settings(deadline=None)
@given(_CLASS, _CLASS)
def test_the_ends_are_the_roots_of_the_polynomial(positive: list[int], negative: list[int]) -> None:
    assume(len({*positive, *negative}) > 1)
    m, n = len(positive), len(negative)
    labels, scores = np.repeat([1, 0], [m, n]), np.array([*positive, *negative], float)
    area, seen = auc(labels, scores), delong_variance(labels, scores)
    weight = (min(m, n) - 1) / (min(m, n) + 9)
    ratio = 1.0
    if seen > 0:
        ratio = 1 - weight + weight * seen / newcombe_variance(area, m, n)
    low, high = auc_interval(labels, scores)
    roots = _roots(area, m, n, ratio)
    assert 0 <= low < area or low == area == 0
    assert area < high <= 1 or high == area == 1
    if area > 0:
        assert low == pytest.approx(max(r for r in roots if r < area - 1e-6), abs=1e-6)
    if area < 1:
        assert high == pytest.approx(min(r for r in roots if r > area + 1e-6), abs=1e-6)


@pytest.mark.parametrize(("m", "area"), [(2, 0.5), (10, 0.7), (40, 0.95), (7, 0.1)])
def test_of_equal_classes_the_variance_is_hanley_and_mcneils(m: int, area: float) -> None:
    assert newcombe_variance(area, m, m) == pytest.approx(hanley_mcneil_variance(area, m, m))


def test_classes_apart_have_a_bound_that_the_naive_search_finds() -> None:
    """The least AUC at which 1 is within 1.96 errors, on a grid; and turned round, 0."""
    for m, n in ((2, 2), (5, 20), (30, 30), (3, 300)):
        labels, scores = np.repeat([1, 0], [m, n]), np.repeat([1.0, 0.0], [m, n])
        grid = np.linspace(0.001, 0.9999, 20_000)
        near = [1 - g <= 1.96 * math.sqrt(newcombe_variance(g, m, n)) for g in grid]
        low, high = auc_interval(labels, scores)
        assert high == 1.0
        assert low == pytest.approx(grid[near.index(True)], abs=2e-4)
        assert auc_interval(labels, -scores) == pytest.approx((0.0, 1 - low))


def test_turning_scores_round_turns_the_interval_round() -> None:
    rng = np.random.default_rng(3)
    labels = np.repeat([1, 0], [12, 30])
    scores = rng.normal(size=42) + labels
    low, high = auc_interval(labels, scores)
    assert auc_interval(labels, -scores) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    assert auc_interval(1 - labels, scores) == pytest.approx((1 - high, 1 - low), abs=1e-9)
    assert auc_interval(labels, np.exp(scores)) == (low, high)
    narrow, wide = (auc_interval(labels, scores, c) for c in (0.8, 0.99))
    assert wide[0] < low < narrow[0] < narrow[1] < high < wide[1]


def test_of_many_patients_it_is_delongs_whatever_the_shape() -> None:
    """Positives of which half are found by all and half are like negatives: not exponential."""
    rng = np.random.default_rng(4)
    labels = np.repeat([1, 0], [5_000, 35_000])
    scores = rng.normal(size=40_000)
    scores[:2_500] += 20
    area, seen = auc(labels, scores), math.sqrt(delong_variance(labels, scores))
    assert seen > 1.05 * math.sqrt(newcombe_variance(area, 5_000, 35_000))
    reach = 1.96 * seen / (area * (1 - area))
    expected = expit(logit(area) - reach), expit(logit(area) + reach)
    assert auc_interval(labels, scores) == pytest.approx(expected, abs=1e-4)
    assert auc_interval(labels, scores) == pytest.approx(delong_interval(labels, scores), abs=3e-4)


@pytest.mark.slow
def test_it_covers_where_delongs_does_not() -> None:
    """2,000 test sets of 40 patients, 10 of them positive, AUC 0.9: four errors of 95 % are 1.9."""
    rng = np.random.default_rng(5)
    labels = np.repeat([1, 0], [10, 30])
    shift = math.sqrt(2) * norm.ppf(0.9)
    held, plain = 0, 0
    for _ in range(2_000):
        scores = rng.normal(size=40) + shift * labels
        low, high = auc_interval(labels, scores)
        held += low <= 0.9 <= high
        low, high = delong_interval(labels, scores)
        plain += low <= 0.9 <= high
    assert 0.93 <= held / 2_000 <= 0.975
    assert plain / 2_000 < 0.88
