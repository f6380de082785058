"""Whether two models on the same patients differ in sensitivity or specificity, exactly.

At thresholds that were chosen for each model, what is compared is model *and* threshold: two equally
good models with different thresholds do differ in sensitivity and specificity. At a common operating
point, where both call equally many patients positive, the models themselves are compared.

Axis legend: N patients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import binomtest, fisher_exact

from radiotrain.evaluation.statistics.auc import split_by_label

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
