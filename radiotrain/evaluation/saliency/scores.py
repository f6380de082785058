"""Scores of a saliency map.

Axis legend: P phases, R rows, C columns, S slices, F fractions.

References
----------
Petsiuk, Das, Saenko: RISE. BMVC 2018 (deletion). Zhang et al.: Top-down neural attention by
excitation backprop. IJCV 126 (2018) (pointing game).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor

from radiotrain.evaluation.saliency.attribution import Explained, replaced

FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5)
_RANDOM_DRAWS = 3
_MOST_AT_A_TIME = 4


def share_inside(
    saliency: NDArray[np.float32], tumour: NDArray[np.bool_], padding: NDArray[np.bool_]
) -> tuple[float, float]:
    """Return the share of a map that lies in the tumour, and the tumour's share of the voxels.

    Padding counts for nothing. NaN where the map is 0, or where there is no tumour or nothing else.

    Parameters
    ----------
    saliency
        (R, C, S), not negative.
    """
    valid = ~padding
    inside = tumour & valid
    chance = float(inside.sum() / max(1, valid.sum()))
    total = float(saliency[valid].sum(dtype=np.float64))
    if not total or not 0 < chance < 1:
        return math.nan, math.nan
    return float(saliency[inside].sum(dtype=np.float64)) / total, chance


def points_inside(
    saliency: NDArray[np.float32], tumour: NDArray[np.bool_], padding: NDArray[np.bool_]
) -> bool:
    """Tell whether the map's highest voxel lies in the tumour."""
    masked = np.where(padding, -1.0, saliency)
    return bool(tumour[np.unravel_index(int(masked.argmax()), masked.shape)])


def deletion_curve(
    explained: Explained,
    images: Tensor,
    saliency: NDArray[np.float32],
    padding: NDArray[np.bool_],
    seed: int,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return how much the logit moves when voxels are as the baseline has them: (F,) twice.

    First the most salient, then as many drawn at random (mean of some draws).

    Parameters
    ----------
    images
        float32 (P, R, C, S).
    """
    voxels = np.flatnonzero(~padding)
    order = voxels[np.argsort(-saliency.ravel()[voxels], kind="stable")]
    generator = np.random.default_rng(seed)
    orders = [order, *(generator.permutation(voxels) for _ in range(_RANDOM_DRAWS))]
    changed = [images]
    for chosen in orders:
        for fraction in FRACTIONS:
            mask = np.zeros(padding.size, dtype=np.bool_)
            mask[chosen[: round(fraction * len(voxels))]] = True
            changed.append(replaced(images, mask.reshape(padding.shape)))
    logits = explained.logits_without_gradient(changed, _MOST_AT_A_TIME).double().numpy()
    moved = np.abs(logits[1:] - logits[0]).reshape(len(orders), len(FRACTIONS))
    return moved[0], moved[1:].mean(axis=0)


def likeness(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Return Spearman's rank correlation; NaN where one of them is the same everywhere."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return math.nan
    return float(spearmanr(a.ravel(), b.ravel()).statistic)


def mean_interval(
    values: NDArray[np.float64], seed: int, num_resamples: int = 2000
) -> tuple[float, tuple[float, float] | None]:
    """Return the mean over patients and its percentile bootstrap interval; NaN are left out.

    None for an interval with fewer than three patients.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return math.nan, None
    if len(known) < 3:
        return float(known.mean()), None
    rows = np.random.default_rng(seed).integers(0, len(known), (num_resamples, len(known)))
    low, high = np.percentile(known[rows].mean(axis=1), [2.5, 97.5])
    return float(known.mean()), (float(low), float(high))
