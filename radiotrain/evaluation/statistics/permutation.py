"""The AUC that labels dealt out at random give: what chance looks like on these patients.

Axis legend: B permutations, N patients.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from radiotrain.evaluation.statistics.auc import Interval, auc, split_by_label
from radiotrain.evaluation.statistics.bootstrap import percentile_interval
from radiotrain.evaluation.statistics.large_samples import is_normal_sum, normal_interval

_CELLS_AT_A_TIME = 2_000_000


@dataclass(frozen=True)
class ChanceTest:
    """An AUC beside those of labels dealt out at random; NaN where there is only one class.

    Parameters
    ----------
    p_value
        Share of random labels whose AUC is as far from 0.5 as the one found, or further; the
        labels found count as one of them, so that it is never 0.
    interval
        The middle 95 % of the random AUCs. NaN where all scores are tied.
    """

    p_value: float
    interval: Interval


def permutation_test(
    labels: ArrayLike, scores: ArrayLike, *, num_permutations: int = 10_000, seed: int = 0
) -> ChanceTest:
    """Test whether labels go with scores at all.

    Of many patients, from the normal distribution with the exact variance; see `large_samples`.

    References
    ----------
    Lehmann, Nonparametrics: Statistical Methods Based on Ranks (1975): that variance, with ties.
    Phipson, Smyth, Statistical Applications in Genetics and Molecular Biology 9 (2010) article 39:
    the p value that counts the labels found.
    """
    positive, negative = split_by_label(labels, scores)
    ranks = rankdata(np.concatenate([positive, negative]))
    parts = ranks - ranks.mean() if len(ranks) else ranks
    smaller = min(len(positive), len(negative))
    if smaller and is_normal_sum(parts, smaller / len(ranks)):
        return _normal_test(parts, len(positive), auc(labels, scores))
    drawn = permuted_aucs(labels, scores, num_permutations=num_permutations, seed=seed)
    if not drawn.size:
        return ChanceTest(math.nan, (math.nan, math.nan))
    pairs = len(positive) * len(negative)
    # Half pairs are whole numbers: as such, ties are exact.
    distances = np.rint(2 * pairs * np.abs(np.append(drawn, auc(labels, scores)) - 0.5))
    as_far = int((distances[:-1] >= distances[-1]).sum())
    return ChanceTest((1 + as_far) / (1 + num_permutations), percentile_interval(drawn))


def _normal_test(parts: NDArray[np.float64], m: int, found: float) -> ChanceTest:
    """Test by the rank sum of m patients drawn without replacement: parts are ranks less their mean."""
    num = len(parts)
    variance = float(np.square(parts).sum()) / (m * (num - m) * num * (num - 1))
    p_value = float(2 * norm.sf(abs(found - 0.5) / math.sqrt(variance)))
    return ChanceTest(p_value, normal_interval(0.5, variance))


def permuted_aucs(
    labels: ArrayLike, scores: ArrayLike, *, num_permutations: int = 10_000, seed: int = 0
) -> NDArray[np.float64]:
    """Return AUCs (B,) of labels dealt out at random; empty where there is only one class.

    Over all ways to deal them out, their mean is exactly 0.5.
    """
    positive, negative = split_by_label(labels, scores)
    m, n = len(positive), len(negative)
    if not m or not n:
        return np.empty(0)
    # Twice the midranks of all, positives first: whole numbers.
    ranks = (2 * rankdata(np.concatenate([positive, negative]))).astype(np.int64)
    sums = _rank_sums(ranks, m, num_permutations, seed)
    return (sums - m * (m + 1)) / (2 * m * n)


def _rank_sums(
    ranks: NDArray[np.int64], m: int, num_permutations: int, seed: int
) -> NDArray[np.int64]:
    """Return the rank sum of m patients drawn without replacement, (B,)."""
    rng = np.random.default_rng(seed)
    batch = max(1, _CELLS_AT_A_TIME // len(ranks))
    sums = []
    for start in range(0, num_permutations, batch):
        keys = rng.random((min(batch, num_permutations - start), len(ranks)))
        # Those with the m smallest of N random keys are a random draw of m.
        sums.append(ranks[np.argpartition(keys, m - 1, axis=1)[:, :m]].sum(axis=1))
    return np.concatenate(sums)
