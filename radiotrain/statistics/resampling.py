"""Bootstrap and permutation of the AUC.

A resample is told by how often it drew each score, so that one cumulative sum along the
sorted scores gives the AUC of thousands of resamples in whole numbers. With one seed the same
patients are drawn whatever their scores, so that the resamples of two models are paired.

Up to `MOST_SIMULATED` patients everything is simulated as often as it was asked for. Above, time
would rise with patients times resamples, and nothing is gained by it:

- The rounding that resampling leaves in an interval's end is the interval's width over the root of
  the number of resamples. The width falls with the root of the patients, so that resamples may
  fall as patients rise: the rounding stays what it is at `MOST_SIMULATED` patients.
- A distribution over all permutations of labels, or over all swaps of two models, is a sum over
  patients. Its variance is known exactly, and where no patient weighs much in it, it is normal.

Axis legend: B resamples, K distinct scores in rising order, N patients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm, rankdata

from radiotrain.statistics.auc import Interval, auc, split_by_label

MOST_SIMULATED = 2_000
"""Patients up to which every resample that was asked for is drawn."""

_MOST_SPARED = 10
_FEWEST_THAT_WEIGH = 100
"""Patients that a sum has at least in effect where it is taken to be normal."""


def num_resamples_for(num_patients: int, num_asked: int) -> int:
    """Return how many resamples are drawn of these many patients; at least a tenth of those asked."""
    if num_patients <= MOST_SIMULATED:
        return num_asked
    fewest = math.ceil(num_asked / _MOST_SPARED)
    return max(fewest, num_asked * MOST_SIMULATED // num_patients)


def is_normal_sum(parts: NDArray[np.float64], share: float = 1.0) -> bool:
    """Tell whether a random sum of many patients' parts is normal to all that is printed of it.

    Noether's condition: no part weighs much. With parts of one size, `_FEWEST_THAT_WEIGH` of them
    are enough; a part of three times the others' size counts against it.

    Parameters
    ----------
    parts
        (N,) each patient's part, less its mean where the sum is of a subset.
    share
        Of the patients that the sum is over; of the smaller side, where it is a subset.
    """
    total, largest = float(np.square(parts).sum()), float(np.square(parts).max(initial=0.0))
    if len(parts) <= MOST_SIMULATED or not largest:
        return False
    return share * total / largest >= _FEWEST_THAT_WEIGH


def normal_interval(mean: float, variance: float, confidence: float = 0.95) -> Interval:
    """Return the middle of a normal distribution."""
    reach = float(norm.ppf(0.5 + confidence / 2)) * math.sqrt(variance)
    return mean - reach, mean + reach


_CELLS_AT_A_TIME = 2_000_000
# What a processor's cache holds; of fewer patients all resamples are made at once, and kept.
_CELLS_OF_LARGE = 200_000
_MOST_KEPT = 512

Counts = NDArray[np.int64]
Values = NDArray[np.float64]
Statistic = Callable[[Counts, Counts, Values], Values]
"""From how often each positive and each negative score was drawn, (B, K) each, and the scores
(K,), to the statistic of each resample (B,)."""


def auc_of(drawn_positive: Counts, drawn_negative: Counts, distinct: Values) -> Values:
    """Return the AUC of each resample."""
    # Twice the Mann-Whitney count: negatives below count 2, tied ones 1.
    below = 2 * np.cumsum(drawn_negative, axis=1) - drawn_negative
    pairs = drawn_positive[0].sum() * drawn_negative[0].sum()
    wins: Values = np.einsum("bk,bk->b", drawn_positive, below) / (2 * pairs)
    return wins


def bootstrap_values(
    labels: ArrayLike,
    scores: ArrayLike,
    statistic: Statistic = auc_of,
    *,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Values:
    """Return a statistic, the AUC unless told, of resamples drawn within each class.

    Of many patients fewer resamples are drawn; see `large_samples`. The last values are kept: every
    comparison of two runs needs those of both again.

    Returns
    -------
    (num_resamples,) float64, not to be written to; empty where there is only one class.
    """
    positive, negative = split_by_label(labels, scores)
    if not len(positive) or not len(negative):
        return np.empty(0)
    num = num_resamples_for(len(positive) + len(negative), num_resamples)
    return _kept_values(positive.tobytes(), negative.tobytes(), statistic, num, seed)


@lru_cache(maxsize=_MOST_KEPT)
def _kept_values(
    positives: bytes, negatives: bytes, statistic: Statistic, num_resamples: int, seed: int
) -> Values:
    positive, negative = np.frombuffer(positives), np.frombuffer(negatives)
    distinct = np.unique(np.concatenate([positive, negative]))
    drawn = _resamples(positive, negative, num_resamples, seed)
    values = np.concatenate([statistic(*counts, distinct) for counts in drawn])
    values.flags.writeable = False
    return values


def bootstrap_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    statistic: Statistic = auc_of,
    *,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
    seed: int = 0,
) -> Interval:
    """Return the percentile interval of a statistic; (NaN, NaN) where it has no meaning.

    It has no meaning with fewer than two patients of a class, or where every resample gives
    the same (the AUC of perfect separation, or of scores that are all tied).

    References
    ----------
    Efron, Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
    """
    positive, negative = split_by_label(labels, scores)
    if len(positive) < 2 or len(negative) < 2:
        return math.nan, math.nan
    values = bootstrap_values(labels, scores, statistic, num_resamples=num_resamples, seed=seed)
    return percentile_interval(values, confidence)


def percentile_interval(values: Values, confidence: float = 0.95) -> Interval:
    """Return the middle of a distribution; (NaN, NaN) where its values are all one, or none."""
    if not len(values) or values.min() == values.max():
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def roc_band(
    labels: ArrayLike,
    scores: ArrayLike,
    false_positive_rates: NDArray[np.float64],
    *,
    confidence: float = 0.95,
    num_resamples: int = 1_000,
    seed: int = 0,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pointwise band of sensitivity at given false positive rates.

    Parameters
    ----------
    labels, scores
        Of both classes, at least one patient each.
    false_positive_rates
        (G,) in rising order.
    confidence
        Between 0 and 1.
    num_resamples
        Bootstrap resamples, drawn within each class.
    seed
        Seed of the resamples.

    Returns
    -------
    Lower and upper sensitivity, (G,) each.
    """
    positive, negative = split_by_label(labels, scores)
    num_resamples = num_resamples_for(len(positive) + len(negative), num_resamples)
    curves = []
    for drawn_positive, drawn_negative in _resamples(positive, negative, num_resamples, seed):
        hits = _called_positive(drawn_positive) / len(positive)
        alarms = _called_positive(drawn_negative) / len(negative)
        for x, y in zip(alarms, hits, strict=True):
            curves.append(np.interp(false_positive_rates, x, y))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.array(curves), [tail, 1 - tail], axis=0)
    return low, high


def _called_positive(drawn: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how many are called positive at each threshold, from none to all: (B, K + 1)."""
    return np.pad(np.cumsum(drawn[:, ::-1], axis=1), ((0, 0), (1, 0)))


def _resamples(
    positive: NDArray[np.float64], negative: NDArray[np.float64], num_resamples: int, seed: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Yield, in batches, how often each score was drawn in each class: two (B, K) arrays."""
    distinct = np.unique(np.concatenate([positive, negative]))
    columns = [np.searchsorted(distinct, values) for values in (positive, negative)]
    # By patients, not by distinct scores: the draws must not depend on the scores.
    num_patients = len(positive) + len(negative)
    is_large = num_patients > MOST_SIMULATED
    batch = max(1, (_CELLS_OF_LARGE if is_large else _CELLS_AT_A_TIME) // num_patients)
    if num_resamples <= batch:
        chosen = _kept_draws(len(positive), len(negative), num_resamples, seed)
        drawn = [_count(c, rows, len(distinct)) for c, rows in zip(columns, chosen, strict=True)]
        yield drawn[0], drawn[1]
        return
    rng = np.random.default_rng(seed)
    for start in range(0, num_resamples, batch):
        num = min(batch, num_resamples - start)
        drawn = [_count(c, _draw(rng, num, len(c)), len(distinct)) for c in columns]
        yield drawn[0], drawn[1]


@lru_cache(maxsize=1)
def _kept_draws(
    num_positive: int, num_negative: int, num_resamples: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the patients drawn of each class; all runs of a target share those of its test set."""
    rng = np.random.default_rng(seed)
    return _draw(rng, num_resamples, num_positive), _draw(rng, num_resamples, num_negative)


def _draw(rng: np.random.Generator, num_resamples: int, num: int) -> NDArray[np.int32]:
    return rng.integers(0, num, size=(num_resamples, num)).astype(np.int32)


def _count(columns: NDArray[np.int64], drawn: NDArray[np.int32], width: int) -> NDArray[np.int64]:
    num = len(drawn)
    cells = columns[drawn] + width * np.arange(num)[:, None]
    return np.bincount(cells.ravel(), minlength=num * width).reshape(num, width)


_PERMUTED_CELLS_AT_A_TIME = 2_000_000


@dataclass(frozen=True)
class ChanceTest:
    """An AUC beside those of permuted labels; NaN where there is only one class.

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
    """Return AUCs (B,) of permuted labels; empty where there is only one class.

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
    batch = max(1, _PERMUTED_CELLS_AT_A_TIME // len(ranks))
    sums = []
    for start in range(0, num_permutations, batch):
        keys = rng.random((min(batch, num_permutations - start), len(ranks)))
        # Those with the m smallest of N random keys are a random draw of m.
        sums.append(ranks[np.argpartition(keys, m - 1, axis=1)[:, :m]].sum(axis=1))
    return np.concatenate(sums)
