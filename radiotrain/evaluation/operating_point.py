"""A threshold chosen on validation, and what it does on the test set."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from radiotrain.evaluation.auc import Interval, split_by_label


@dataclass(frozen=True)
class Confusion:
    """Patients counted by label and call; a score at or above the threshold is called positive."""

    tp: int
    fp: int
    tn: int
    fn: int

    @property
    def sensitivity(self) -> float:
        """Share of the positives called positive; NaN without positives."""
        return self.tp / (self.tp + self.fn) if self.tp + self.fn else math.nan

    @property
    def specificity(self) -> float:
        """Share of the negatives called negative; NaN without negatives."""
        return self.tn / (self.tn + self.fp) if self.tn + self.fp else math.nan


def youden_threshold(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the score that, as threshold, makes sensitivity + specificity - 1 largest.

    Of equally good scores the one with the most equal sensitivity and specificity is taken,
    then the highest. All is compared in whole numbers. NaN where there is only one class.

    References
    ----------
    Youden, Cancer 3 (1950) 32-35.
    """
    positive, negative = split_by_label(labels, scores)
    m, n = len(positive), len(negative)
    if not m or not n:
        return math.nan
    candidates = np.unique(np.concatenate([positive, negative]))
    hits = m - np.searchsorted(np.sort(positive), candidates, side="left")
    alarms = n - np.searchsorted(np.sort(negative), candidates, side="left")
    gain = hits * n - alarms * m
    imbalance = np.abs(hits * n - (n - alarms) * m)
    best = np.lexsort((candidates, -imbalance, gain))[-1]
    return float(candidates[best])


def confusion(labels: ArrayLike, scores: ArrayLike, threshold: float) -> Confusion:
    """Count the calls at a threshold."""
    positive, negative = split_by_label(labels, scores)
    hits, alarms = int((positive >= threshold).sum()), int((negative >= threshold).sum())
    return Confusion(tp=hits, fp=alarms, tn=len(negative) - alarms, fn=len(positive) - hits)


def wilson_interval(num_hits: int, num: int, confidence: float = 0.95) -> Interval:
    """Return Wilson's score interval of a proportion; (NaN, NaN) for none of none.

    References
    ----------
    Wilson, JASA 22 (1927) 209-212. Newcombe, Statistics in Medicine 17 (1998) 857-872, method 3.
    """
    if num == 0:
        return math.nan, math.nan
    found = binomtest(num_hits, num).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)
