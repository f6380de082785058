"""The difference of two AUCs that swapping the two models within patients gives: no difference.

Axis legend: B permutations, m positives, n negatives.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import rankdata

from radiotrain.evaluation.statistics.auc import Interval, placement_counts, split_by_label
from radiotrain.evaluation.statistics.bootstrap import percentile_interval
from radiotrain.evaluation.statistics.large_samples import (
    is_normal_sum,
    normal_interval,
    num_resamples_for,
)

_CELLS_AT_A_TIME = 2_000_000
_MOST_KEPT_CELLS = 20_000_000

Signs = NDArray[np.int8]


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
    signs = _signs(num_permutations, len(parts), seed)
    return np.concatenate([batch.astype(np.float64) @ parts for batch in signs])


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
    # Counts of pairs, whole and half numbers: as they are, and with one patient's ranks swapped.
    own, other = placement_counts(p1, n1), placement_counts(p2, n2)
    swapped, swapped_other = placement_counts(p1, n2), placement_counts(p2, n1)
    pairs = 2 * len(p1) * len(n1)
    above = own[0] - other[0] + swapped[0] - swapped_other[0]
    below = own[1] - other[1] - swapped[1] + swapped_other[1]
    return np.concatenate([above, below]) / pairs


def null_range(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, *, num_permutations: int, seed: int
) -> Interval:
    """Return the middle 95 % of these differences; (NaN, NaN) where they are all one, or none.

    Of many patients, from the normal distribution with the exact variance, the sum of the squared
    parts; see `large_samples`.
    """
    parts = swap_parts(labels, first, second)
    if is_normal_sum(parts):
        return normal_interval(0.0, float(np.square(parts).sum()))
    num = num_resamples_for(len(parts), num_permutations)
    found = swapped_differences(labels, first, second, num_permutations=num, seed=seed)
    if not len(found) or math.isclose(found.min(), found.max(), abs_tol=1e-15):
        return math.nan, math.nan
    return percentile_interval(found)


def _signs(num_permutations: int, num_patients: int, seed: int) -> Iterator[Signs]:
    """Yield, in batches of permutations, -1 or 1 for each patient.

    They do not depend on the models: those of the last test set are kept for its next pair.
    """
    if num_permutations * num_patients > _MOST_KEPT_CELLS:
        return _draw_signs(num_permutations, num_patients, seed)
    return iter(_kept_signs(num_permutations, num_patients, seed))


@lru_cache(maxsize=1)
def _kept_signs(num_permutations: int, num_patients: int, seed: int) -> tuple[Signs, ...]:
    return tuple(_draw_signs(num_permutations, num_patients, seed))


def _draw_signs(num_permutations: int, num_patients: int, seed: int) -> Iterator[Signs]:
    rng = np.random.default_rng(seed)
    batch = max(1, _CELLS_AT_A_TIME // num_patients)
    for start in range(0, num_permutations, batch):
        shape = min(batch, num_permutations - start), num_patients
        yield (2 * rng.integers(0, 2, size=shape) - 1).astype(np.int8)
