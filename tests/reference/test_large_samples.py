"""What replaces simulation for many patients: against the simulation, scipy's test and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from radiotrain.statistics.auc import auc
from radiotrain.statistics.auc_comparison import null_range, swap_parts, swapped_differences
from radiotrain.statistics.resampling import (
    MOST_SIMULATED,
    bootstrap_values,
    is_normal_sum,
    num_resamples_for,
    percentile_interval,
    permutation_test,
    permuted_aucs,
)


def _cohort(
    num: int, digits: int, shift: float = 0.05
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(7)
    labels = (rng.random(num) < 0.3).astype(np.int64)
    common = rng.normal(size=num) + shift * labels
    first, second = (common + rng.normal(size=num) for _ in range(2))
    return labels, first.round(digits), second.round(digits)


@pytest.mark.parametrize("digits", [12, 0])
@pytest.mark.parametrize("shift", [0.0, 0.03, 0.2])
def test_the_permutation_test_of_many_is_that_of_mann_and_whitney(
    digits: int, shift: float
) -> None:
    labels, scores, _ = _cohort(5_000, digits, shift)
    found = permutation_test(labels, scores, num_permutations=100)
    expected = mannwhitneyu(
        scores[labels == 1], scores[labels == 0], method="asymptotic", use_continuity=False
    )
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)


@pytest.mark.parametrize("digits", [12, 0])
def test_its_range_is_that_of_permuted_labels(digits: int) -> None:
    labels, scores, _ = _cohort(2_001, digits)
    found = permutation_test(labels, scores).interval
    drawn = percentile_interval(permuted_aucs(labels, scores, num_permutations=2_000, seed=3))
    half_width = (found[1] - found[0]) / 2
    assert found == pytest.approx(drawn, abs=0.08 * half_width)


def test_the_range_of_swaps_is_that_of_drawn_swaps() -> None:
    labels, first, second = _cohort(2_001, 12)
    found = null_range(labels, first, second, num_permutations=100, seed=0)
    drawn = swapped_differences(labels, first, second, num_permutations=4_000, seed=5)
    assert found == pytest.approx(percentile_interval(drawn), abs=0.05 * found[1])


def test_parts_of_swaps_are_those_of_all_pairs_one_by_one() -> None:
    """The matrix of all pairs, which took 3 GB for 20,000 patients; with ties."""
    labels, first, second = _cohort(150, 1)
    ranked = [np.searchsorted(np.unique(x), x) for x in (first, second)]
    # Ranks of tied patients are equal between the models only as midranks.
    mid = [np.array([(np.sum(r < v) + np.sum(r <= v)) / 2 for v in r]) for r in ranked]
    (p1, n1), (p2, n2) = ((r[labels == 1], r[labels == 0]) for r in mid)

    def wins(p: NDArray[np.float64], n: NDArray[np.float64]) -> NDArray[np.float64]:
        return (np.sign(p[:, None] - n[None, :]) + 1) / 2

    straight, crossed = wins(p1, n1) - wins(p2, n2), wins(p1, n2) - wins(p2, n1)
    above = (straight + crossed).sum(axis=1) / (2 * straight.size)
    below = (straight - crossed).sum(axis=0) / (2 * straight.size)
    parts = swap_parts(labels, first, second)
    np.testing.assert_array_equal(parts, np.concatenate([above, below]))
    assert parts.sum() == pytest.approx(auc(labels, first) - auc(labels, second))


def test_a_sum_in_which_few_patients_weigh_is_simulated() -> None:
    """3 of 3,000 patients have another score: the permuted AUCs are 4 values and no normal curve."""
    labels = np.arange(3_000) % 2
    scores = np.zeros(3_000)
    scores[[0, 1, 3]] = 1.0
    found = permutation_test(labels, scores, num_permutations=400)
    # All three of one class by chance in a quarter of the draws, else two of one: every draw is as far.
    assert found.p_value == 1.0
    assert len(np.unique(permuted_aucs(labels, scores, num_permutations=400))) <= 4
    assert not is_normal_sum(scores - scores.mean(), 0.5)


def test_one_positive_among_many_is_simulated() -> None:
    scores = np.arange(3_000.0)
    assert not is_normal_sum(scores - scores.mean(), 1 / 3_000)
    assert is_normal_sum(scores - scores.mean(), 0.5)


@pytest.mark.parametrize(
    ("num", "expected"),
    [(2, 10_000), (MOST_SIMULATED, 10_000), (4_000, 5_000), (20_000, 1_000), (10**6, 1_000)],
)
def test_resamples_fall_as_patients_rise(num: int, expected: int) -> None:
    assert num_resamples_for(num, 10_000) == expected


def test_resamples_of_many_patients_are_as_far_apart_as_delong_says() -> None:
    labels, scores, _ = _cohort(3_000, 12)
    values = bootstrap_values(labels, scores, num_resamples=1_500)
    assert len(values) == 1_000
    from radiotrain.statistics.auc import delong_variance

    assert values.std() == pytest.approx(delong_variance(labels, scores) ** 0.5, rel=0.08)


def test_kept_values_cannot_be_changed() -> None:
    labels, scores, _ = _cohort(50, 12)
    values = bootstrap_values(labels, scores, num_resamples=100)
    with pytest.raises(ValueError, match="read-only"):
        values[0] = 0.0
