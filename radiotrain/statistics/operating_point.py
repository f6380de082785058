"""Thresholds, sensitivity, specificity, paired tests of them.

At thresholds that were chosen for each model, what is compared is model *and* threshold: two equally
good models with different thresholds do differ in sensitivity and specificity. At a common operating
point, where both call equally many patients positive, the models themselves are compared.

Axis legend: N patients.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from scipy.stats import binomtest, fisher_exact, norm

from preprocessing.common.errors import InputError
from radiotrain.statistics.auc import Interval, split_by_label


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


Calls = NDArray[np.bool_]


@dataclass(frozen=True)
class Discordant:
    """Patients of one class that only one of two models classifies correctly."""

    only_first: int
    only_second: int


@dataclass(frozen=True)
class EqualRate:
    """Two models where both call equally many of the same patients positive.

    There the model with more true positives has as many false positives fewer, so that sensitivities
    and specificities differ together, and one test is of both.

    Parameters
    ----------
    num_called
        How many patients each calls positive.
    thresholds
        Of the first, of the second; a score at or above it is called positive.
    sensitivity, specificity
        Of the first and of the second.
    positives, negatives
        What the models classify differently.
    p
        Two-sided, exact, of the hypothesis that sensitivities, and so specificities, are equal.
    """

    num_called: int
    thresholds: tuple[float, float]
    sensitivity: tuple[float, float]
    specificity: tuple[float, float]
    positives: Discordant
    negatives: Discordant
    p: float


def mcnemar_p_value(num_only_first: int, num_only_second: int) -> float:
    """Return the exact two-sided p that two classifiers are correct equally often.

    Parameters
    ----------
    num_only_first, num_only_second
        Patients that only the first, only the second classifies correctly. Those of both or neither
        say nothing about it; without any others p is 1.

    References
    ----------
    McNemar, Psychometrika 12 (1947) 153-157, with the binomial distribution itself.
    """
    num = num_only_first + num_only_second
    return float(binomtest(num_only_first, num, 0.5).pvalue) if num else 1.0


def discordant(labels: ArrayLike, first: Calls, second: Calls) -> tuple[Discordant, Discordant]:
    """Count the positives, and the negatives, that only one of two classifiers gets right.

    Parameters
    ----------
    labels
        (N,) of 0 and 1.
    first, second
        (N,) whether each patient is called positive.
    """
    positive = np.asarray(labels) == 1
    only_first, only_second = first & ~second, second & ~first
    return (
        Discordant(int((only_first & positive).sum()), int((only_second & positive).sum())),
        Discordant(int((only_second & ~positive).sum()), int((only_first & ~positive).sum())),
    )


def compare_at_equal_rate(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, num_called: int | None = None
) -> EqualRate | None:
    """Compare two models at the thresholds where both call equally many patients positive.

    The thresholds follow from the scores alone, no label and no validation patient takes part: given
    the scores, the labels of the patients that one model alone calls positive are, under the null
    hypothesis, positive equally often whichever model that is (Fisher's exact test).

    Parameters
    ----------
    labels
        (N,) of 0 and 1.
    first, second
        (N,) scores of the same patients.
    num_called
        How many to call positive; by default as many as there are positives, where sensitivity and
        positive predictive value are equal. Where ties do not allow it, the next number that both
        models allow, the lower of two.

    Returns
    -------
    None with one class only, or where ties leave no number between 0 and N that both allow.

    References
    ----------
    Fisher, The Design of Experiments (1935), section 21.
    """
    positive, negative = split_by_label(labels, first)
    split_by_label(labels, second)
    if not len(positive) or not len(negative):
        return None
    wanted = len(positive) if num_called is None else num_called
    scores = np.asarray(first, float), np.asarray(second, float)
    possible = np.intersect1d(_possible_counts(scores[0]), _possible_counts(scores[1]))
    if not len(possible):
        return None
    num = int(possible[np.argmin(np.abs(possible - wanted))])
    thresholds = tuple(float(np.sort(s)[-num]) for s in scores)
    called = [s >= threshold for s, threshold in zip(scores, thresholds, strict=True)]
    y = np.asarray(labels) == 1
    positives, negatives = discordant(y, called[0], called[1])
    # Rows: called by the first alone, by the second alone. Columns: positive, negative.
    table = np.array(
        [
            [positives.only_first, negatives.only_second],
            [positives.only_second, negatives.only_first],
        ]
    )
    p = min(1.0, float(fisher_exact(table).pvalue)) if table.any() else 1.0
    sensitivity = tuple(float(c[y].mean()) for c in called)
    specificity = tuple(float((~c[~y]).mean()) for c in called)
    return EqualRate(
        num,
        (thresholds[0], thresholds[1]),
        (sensitivity[0], sensitivity[1]),
        (specificity[0], specificity[1]),
        positives,
        negatives,
        p,
    )


def _possible_counts(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return how many patients some threshold calls positive, neither none nor all, rising."""
    num_each = np.unique(scores, return_counts=True)[1]
    return np.cumsum(num_each[::-1])[:-1]


PREVALENCES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""At which the report lists predictive values."""


@dataclass(frozen=True)
class PredictiveValues:
    """PPV and NPV at one prevalence; None where undefined."""

    prevalence: float
    ppv: float | None
    ppv_ci95: Interval | None
    npv: float | None
    npv_ci95: Interval | None


def predictive_values(counts: Confusion, prevalence: float) -> PredictiveValues:
    """Return the predictive values of a test at a prevalence, by Bayes' theorem.

    The intervals are those of the logit: a sensitivity or specificity of 0 or 1 gives the value
    without one.

    Parameters
    ----------
    counts
        At a threshold, of patients of both classes.
    prevalence
        Share of positives, between 0 and 1.

    References
    ----------
    Mercaldo, Lau, Zhou, Statistics in Medicine 26 (2007) 2170-2183.
    """
    num_positive, num_negative = counts.tp + counts.fn, counts.tn + counts.fp
    if not num_positive or not num_negative:
        return PredictiveValues(prevalence, None, None, None, None)
    found, spared = counts.tp / num_positive, counts.tn / num_negative
    ppv, ppv_ci95 = _value(found, 1 - spared, num_positive, num_negative, prevalence)
    npv, npv_ci95 = _value(spared, 1 - found, num_negative, num_positive, 1 - prevalence)
    return PredictiveValues(prevalence, ppv, ppv_ci95, npv, npv_ci95)


def _value(
    right: float, wrong: float, num: int, num_others: int, share: float
) -> tuple[float | None, Interval | None]:
    """Return the share of true results among all of one kind, and its interval.

    Parameters
    ----------
    right
        Share of the `num` patients of a class that have this result.
    wrong
        Share of the `num_others` patients of the other class that have it.
    share
        Of the class among all.
    """
    total = right * share + wrong * (1 - share)
    if not total:
        return None, None
    value = right * share / total
    if right in (0.0, 1.0) or wrong in (0.0, 1.0):
        return value, None
    variance = (1 - right) / (right * num) + (1 - wrong) / (wrong * num_others)
    reach = float(norm.ppf(0.975)) * math.sqrt(variance)
    centre = float(logit(value))
    return value, (float(expit(centre - reach)), float(expit(centre + reach)))
