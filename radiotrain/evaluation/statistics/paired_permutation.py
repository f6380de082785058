"""The difference of two AUCs that swapping the two models within patients gives: no difference.

Axis legend: B permutations, m positives, n negatives.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from radiotrain.evaluation.statistics.auc import Interval, split_by_label
from radiotrain.evaluation.statistics.bootstrap import percentile_interval

_CELLS_AT_A_TIME = 2_000_000


def swapped_differences(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    *,
    num_permutations: int = 10_000,
    seed: int = 0,
) -> NDArray[np.float64]:
    """Return differences of AUC (B,) where each patient's two ranks are swapped by a coin.

    A pair's part in the difference changes its sign where both its patients are swapped, so that
    the difference is a sum over patients, each with the sign of its own coin: no AUC has to be
    computed again. Empty where there is only one class.

    Parameters
    ----------
    labels
        (m + n,) of 0 and 1.
    first, second
        (m + n,) scores of the same patients; only their ranks are compared.

    References
    ----------
    Venkatraman, Begg, Biometrika 83 (1996) 835-848: swapping ranks within patients.
    Bandos, Rockette, Gur, Statistics in Medicine 24 (2005) 2873-2893: the same for the area.
    """
    parts = swap_parts(labels, first, second)
    if not len(parts):
        return np.empty(0)
    rng = np.random.default_rng(seed)
    batch = max(1, _CELLS_AT_A_TIME // len(parts))
    found = []
    for start in range(0, num_permutations, batch):
        shape = min(batch, num_permutations - start), len(parts)
        found.append((2.0 * rng.integers(0, 2, size=shape) - 1) @ parts)
    return np.concatenate(found)


def swap_parts(labels: ArrayLike, first: ArrayLike, second: ArrayLike) -> NDArray[np.float64]:
    """Return each patient's part in the difference of AUC (m + n,), positives first.

    Their sum is the difference found.
    """
    for scores in (first, second):
        split_by_label(labels, scores)  # an infinite score has a rank, but is refused everywhere
    p1, n1 = split_by_label(labels, rankdata(np.asarray(first)))
    p2, n2 = split_by_label(labels, rankdata(np.asarray(second)))
    if not len(p1) or not len(n1):
        return np.empty(0)
    straight = _wins(p1, n1) - _wins(p2, n2)
    crossed = _wins(p1, n2) - _wins(p2, n1)
    pairs = 2 * straight.size
    above = (straight + crossed).sum(axis=1) / pairs
    below = (straight - crossed).sum(axis=0) / pairs
    return np.concatenate([above, below])


def null_range(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, *, num_permutations: int, seed: int
) -> Interval:
    """Return the middle 95 % of these differences; (NaN, NaN) where they are all one, or none."""
    found = swapped_differences(labels, first, second, num_permutations=num_permutations, seed=seed)
    if not len(found) or math.isclose(found.min(), found.max(), abs_tol=1e-15):
        return math.nan, math.nan
    return percentile_interval(found)


def _wins(positive: NDArray[np.float64], negative: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 where a positive ranks above a negative, a half where they tie: (m, n)."""
    return (np.sign(positive[:, None] - negative[None, :]) + 1) / 2
