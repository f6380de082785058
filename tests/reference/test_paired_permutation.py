"""Oracles: every way to swap with AUCs counted anew, and Fisher's count for Darwin's maize."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import rankdata

from radiotrain.statistics.auc import auc
from radiotrain.statistics.auc_comparison import null_range, swap_parts, swapped_differences

# Crossed less self-fertilised plants in eighths of an inch: Darwin (1876), as in Fisher, The Design
# of Experiments (1935).
_MAIZE = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def _on_a_ladder(
    differences: list[int], label: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return labels and two models' scores of patients whom the models put so many rungs apart.

    A rung is 31 tied patients of the other class, at the same place in both models. The 15 patients
    move the rank that a rung's have in common by 15 at most; a patient's own rank lies 16 or more
    from those of the rungs that it stands between, so that swapping a rung's ranks changes no order.
    """
    apart = np.array(differences)
    rungs = np.repeat(np.arange(1.0, np.abs(apart).max() + 1), 31)
    labels = np.repeat([label, 1 - label], [len(apart), len(rungs)])
    first, second = np.maximum(apart, 0) + 0.5, np.maximum(-apart, 0) + 0.5
    return labels, np.concatenate([first, rungs]), np.concatenate([second, rungs])


@pytest.mark.parametrize("label", [0, 1])
def test_as_many_swaps_reach_the_difference_as_fisher_counted_for_darwins_maize(label: int) -> None:
    """Of 2^15 ways to sign 15 differences 863 have their sum or more: p = 0.05267, two-sided.

    Fisher (1935), section 21, and Ernst, Statistical Science 19 (2004) 676-685; quoted from the
    tests of a Go package on GitHub. Where the other class is a ladder that both models climb alike,
    the difference of two AUCs is the sum of how many rungs each patient moves, over the pairs, and
    swapping a patient's ranks signs its move: the two tests are one.
    """
    labels, first, second = _on_a_ladder(_MAIZE, label)
    parts = swap_parts(labels, first, second)
    difference = auc(labels, first) - auc(labels, second)
    assert parts.sum() == pytest.approx(difference, abs=1e-12)
    moves = parts[parts != 0]
    assert len(moves) == 15
    signs = np.array(list(itertools.product([-1, 1], repeat=15)))
    sums = signs @ moves
    assert (sums >= abs(difference) - 1e-12).sum() == 863
    drawn = swapped_differences(labels, first, second, num_permutations=20_000, seed=1)
    share = np.mean(np.abs(drawn) >= abs(difference) - 1e-12)
    published = 2 * 863 / 2**15
    error = math.sqrt(published * (1 - published) / 20_000)
    assert share == pytest.approx(published, abs=4 * error)


def test_parts_add_up_to_the_difference_and_swaps_to_recomputed_aucs() -> None:
    """All 2^7 ways to swap, each with two AUCs counted anew from swapped ranks."""
    y = np.array([1, 0, 1, 0, 0, 1, 0])
    first = np.array([0.9, 0.2, 0.5, 0.5, 0.1, 0.4, 0.8])
    second = np.array([0.3, 0.3, 0.7, 0.2, 0.6, 0.6, 0.1])
    parts = swap_parts(y, first, second)
    assert parts.sum() == pytest.approx(auc(y, first) - auc(y, second))
    a, b = rankdata(first), rankdata(second)
    order = np.concatenate([np.flatnonzero(y == 1), np.flatnonzero(y == 0)])
    for signs in itertools.product([-1, 1], repeat=7):
        swap = np.empty(7, dtype=bool)
        swap[order] = np.array(signs) < 0
        naive = auc(y, np.where(swap, b, a)) - auc(y, np.where(swap, a, b))
        assert float(parts @ signs) == pytest.approx(naive, abs=1e-12)


def test_null_range_is_that_of_the_exact_distribution() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(12) % 2
    first, second = rng.normal(size=12) + y, rng.normal(size=12)
    parts = swap_parts(y, first, second)
    exact = [float(parts @ signs) for signs in itertools.product([-1, 1], repeat=12)]
    drawn = swapped_differences(y, first, second, num_permutations=20_000)
    assert drawn.std() == pytest.approx(np.std(exact), rel=0.02)
    found = null_range(y, first, second, num_permutations=20_000, seed=1)
    assert found == pytest.approx(tuple(np.quantile(exact, [0.025, 0.975])), abs=0.03)


def test_null_range_without_spread_or_a_class_is_undefined() -> None:
    y = [0, 1, 1, 0]
    same = [0.1, 0.4, 0.3, 0.2]
    for labels, other in ((y, same), ([1] * 4, [0.2, 0.3, 0.1, 0.5])):
        found = null_range(labels, same, other, num_permutations=100, seed=0)
        assert all(math.isnan(end) for end in found)
