"""Oracles: every way to deal labels out, scipy's permutation test, the rank sum's variance."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import permutation_test as scipy_permutation_test

from radiotrain.statistics import resampling
from radiotrain.statistics.auc import auc
from radiotrain.statistics.resampling import permutation_test, permuted_aucs

Floats = NDArray[np.float64]

_SCORE = st.sampled_from([0.1, 0.3, 0.5, math.nextafter(0.5, 1), 0.9])


def _every_auc(labels: list[int], scores: list[float]) -> list[float]:
    found = []
    for chosen in itertools.combinations(range(len(labels)), sum(labels)):
        found.append(auc([int(i in chosen) for i in range(len(labels))], scores))
    return found


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 1), _SCORE), min_size=2, max_size=8))
def test_mean_over_all_ways_is_a_half_and_p_is_theirs(patients: list[tuple[int, float]]) -> None:
    labels, scores = [y for y, _ in patients], [s for _, s in patients]
    found = permutation_test(labels, scores, num_permutations=2_000, seed=3)
    if sum(labels) in (0, len(labels)):
        assert math.isnan(found.p_value)
        assert permuted_aucs(labels, scores).shape == (0,)
        return
    every = np.array(_every_auc(labels, scores))
    assert every.mean() == pytest.approx(0.5, abs=1e-12)
    observed = auc(labels, scores)
    share = float(np.mean(np.abs(every - 0.5) >= abs(observed - 0.5) - 1e-9))
    tolerance = 5 * math.sqrt(share * (1 - share) / 2_000) + 1 / 2_001
    assert found.p_value == pytest.approx(share, abs=tolerance)
    drawn = permuted_aucs(labels, scores, num_permutations=2_000, seed=3)
    assert {round(v, 9) for v in drawn} <= {round(v, 9) for v in every}
    assert drawn.mean() == pytest.approx(0.5, abs=5 * every.std() / math.sqrt(2_000) + 1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_p_is_scipys(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [15, 25])
    scores = np.round(rng.normal(size=40) + 0.6 * labels, 1)

    def distance(one: Floats, other: Floats, axis: int = -1) -> Floats:
        wins = (one[..., :, None] > other[..., None, :]) + 0.5 * (
            one[..., :, None] == other[..., None, :]
        )
        return np.abs(wins.mean(axis=(-2, -1)) - 0.5)

    theirs = scipy_permutation_test(
        (scores[:15], scores[15:]),
        distance,
        n_resamples=4_000,
        alternative="greater",
        vectorized=True,
        rng=np.random.default_rng(1),
        batch=500,
    )
    ours = permutation_test(labels, scores, num_permutations=40_000, seed=seed)
    assert ours.p_value == pytest.approx(theirs.pvalue, abs=4 * math.sqrt(0.25 / 4_000))


def test_p_is_the_published_one_of_the_rank_sum() -> None:
    """Permeability of the human chorioamnion, Hollander and Wolfe (1973) 69f.

    R's example of `wilcox.test` prints W = 35 and p = 0.1272, one-sided and exact (seen in notes on
    GitHub that ran it). Without ties the distribution is symmetric: two-sided it is twice that.
    """
    at_term = [0.80, 0.83, 1.89, 1.04, 1.45, 1.38, 1.91, 1.64, 0.73, 1.46]
    early = [1.15, 0.88, 0.90, 0.74, 1.21]
    labels = [1] * 10 + [0] * 5
    assert auc(labels, at_term + early) == 35 / 50
    found = permutation_test(labels, at_term + early, num_permutations=40_000, seed=1)
    error = math.sqrt(0.2544 * 0.7456 / 40_000)
    assert found.p_value == pytest.approx(2 * 0.1272, abs=4 * error + 1e-4)


def test_spread_is_that_of_the_rank_sum() -> None:
    """Without ties the AUC's variance under chance is (m + n + 1) / (12 m n), Mann-Whitney 1947."""
    labels = np.repeat([1, 0], [60, 124])
    drawn = permuted_aucs(labels, np.arange(184.0), num_permutations=40_000)
    assert drawn.var() == pytest.approx(185 / (12 * 60 * 124), rel=0.04)
    low, high = permutation_test(labels, np.arange(184.0)).interval
    reach = 1.96 * math.sqrt(185 / (12 * 60 * 124))
    assert (low, high) == pytest.approx((0.5 - reach, 0.5 + reach), abs=0.006)


def test_p_is_never_zero_and_one_where_all_are_tied() -> None:
    labels = [0] * 10 + [1] * 10
    separated = permutation_test(labels, np.arange(20.0), num_permutations=500)
    assert separated.p_value == pytest.approx(1 / 501)
    tied = permutation_test(labels, [0.5] * 20, num_permutations=500)
    assert tied.p_value == 1.0
    assert all(math.isnan(end) for end in tied.interval)


def test_one_positive_is_tested_too() -> None:
    """The highest of five: dealt out at random it is the highest or the lowest twice in five."""
    found = permutation_test([0, 0, 0, 0, 1], [0.1, 0.2, 0.3, 0.4, 0.5], num_permutations=20_000)
    assert found.p_value == pytest.approx(0.4, abs=0.02)


def test_p_is_uniform_under_chance() -> None:
    """400 cohorts without a signal: 40 below 0.1 expected, four standard errors are 24."""
    rng = np.random.default_rng(5)
    labels = np.repeat([1, 0], [20, 30])
    num = sum(
        permutation_test(labels, rng.normal(size=50), num_permutations=300, seed=i).p_value <= 0.1
        for i in range(400)
    )
    assert abs(num - 40) <= 24


def test_batches_and_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    labels, scores = np.repeat([1, 0], [8, 12]), np.arange(20.0)
    first = permuted_aucs(labels, scores, num_permutations=100, seed=1)
    np.testing.assert_array_equal(
        first, permuted_aucs(labels, scores, num_permutations=100, seed=1)
    )
    assert not np.array_equal(first, permuted_aucs(labels, scores, num_permutations=100, seed=2))
    monkeypatch.setattr(resampling, "_CELLS_AT_A_TIME", 60)
    np.testing.assert_array_equal(
        first, permuted_aucs(labels, scores, num_permutations=100, seed=1)
    )
