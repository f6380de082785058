"""Thresholds chosen on validation, and what they do on the test set."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import binomtest

from preprocessing.common.errors import InputError
from radiotrain.evaluation.statistics.auc import Interval, split_by_label


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

    @property
    def ppv(self) -> float:
        """Share of positives among those called positive; NaN where nobody is."""
        return self.tp / (self.tp + self.fp) if self.tp + self.fp else math.nan

    @property
    def npv(self) -> float:
        """Share of negatives among those called negative; NaN where nobody is."""
        return self.tn / (self.tn + self.fn) if self.tn + self.fn else math.nan


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold does on the test patients.

    A value that is not defined is None, and `reasons` says why under the value's name.

    Parameters
    ----------
    rule
        How the threshold was chosen: ``Youden``, ``sensitivity 0.90``.
    source
        On which patients, in words.
    ppv, npv
        Shares of those called positive, negative who are; at this test set's share of positives.
    thresholds
        (number of the outer part, its threshold) of a cross-validated test, where `threshold` is None.
    """

    rule: str
    threshold: float | None = None
    source: str | None = None
    sensitivity: float | None = None
    sensitivity_ci95: Interval | None = None
    specificity: float | None = None
    specificity_ci95: Interval | None = None
    ppv: float | None = None
    ppv_ci95: Interval | None = None
    npv: float | None = None
    npv_ci95: Interval | None = None
    confusion: Confusion | None = None
    thresholds: tuple[tuple[int, float], ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)


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


def sensitivity_threshold(labels: ArrayLike, scores: ArrayLike, sensitivity: float) -> float:
    """Return the highest score that, as threshold, finds at least this share of the positives.

    NaN where there is only one class: without negatives there is nothing to give up for it.
    """
    if not 0 < sensitivity <= 1:
        raise InputError(f"sensitivity is {sensitivity}, expected above 0 and at most 1")
    positive, negative = split_by_label(labels, scores)
    if not len(positive) or not len(negative):
        return math.nan
    # 0.9 * 30 may come out a rounding error above 27, which is no 28th patient.
    needed = max(1, math.ceil(sensitivity * len(positive) - 1e-9))
    return float(np.sort(positive)[-needed])


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
    # The interval is the same for any p; for its own share, scipy need not search for the p-value.
    test = binomtest(num_hits, num, p=num_hits / num)
    found = test.proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)
