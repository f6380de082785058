"""Oracles: pair counting, DeLong's placement values written out, scikit-learn, Stata's roctab.

By hand, positives {3, 5} and negatives {1, 3, 4}:

=========  =========  =========  =========  ==========
positive   against 1  against 3  against 4  placement
=========  =========  =========  =========  ==========
3          1          1/2        0          1.5/3 = 1/2
5          1          1          1          3/3 = 1
=========  =========  =========  =========  ==========

The AUC is 4.5/6 = 3/4. The negatives' placements are the columns' means 1, 3/4 and 1/2.
The positives' {1/2, 1} have variance 1/8 and the negatives' {1, 3/4, 1/2} have 1/16, both with
n - 1 below, so that DeLong's variance is (1/8)/2 + (1/16)/3 = 1/12.
"""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from preprocessing.common.errors import InputError
from radiotrain.statistics.auc import (
    auc,
    delong_interval,
    delong_variance,
    placement_counts,
    split_by_label,
)

_TIED = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
_NEARLY_TIED = st.integers(0, 4).map(lambda steps: 0.5 + steps * math.ulp(0.5))
_SPREAD = st.floats(-1e6, 1e6)
_SCORES = st.one_of(_TIED, _NEARLY_TIED, _SPREAD)


def _cohorts(least: int) -> st.SearchStrategy[tuple[list[float], list[float]]]:
    """Draw scores of positives and negatives that are all of one kind, or mixed."""
    kinds = st.sampled_from([_TIED, _NEARLY_TIED, _SPREAD, _SCORES])
    return kinds.flatmap(
        lambda kind: st.tuples(
            st.lists(kind, min_size=least, max_size=12), st.lists(kind, min_size=least, max_size=12)
        )
    )


def _table(positive: list[float], negative: list[float]) -> tuple[list[int], list[float]]:
    return [1] * len(positive) + [0] * len(negative), [*positive, *negative]


def _wins(positive: float, negative: float) -> float:
    if positive > negative:
        return 1.0
    return 0.5 if positive == negative else 0.0


def _naive_auc(positive: list[float], negative: list[float]) -> float:
    total = 0.0
    for p in positive:
        for n in negative:
            total += _wins(p, n)
    return total / (len(positive) * len(negative))


def _naive_delong_variance(positive: list[float], negative: list[float]) -> float:
    """DeLong, DeLong, Clarke-Pearson 1988, equations 4 to 6, for one curve."""
    m, n = len(positive), len(negative)
    theta = _naive_auc(positive, negative)
    v10 = [sum(_wins(p, q) for q in negative) / n for p in positive]
    v01 = [sum(_wins(p, q) for p in positive) / m for q in negative]
    s10 = sum((v - theta) ** 2 for v in v10) / (m - 1)
    s01 = sum((v - theta) ** 2 for v in v01) / (n - 1)
    return s10 / m + s01 / n


@settings(deadline=None)
@given(_cohorts(least=1))
def test_auc_is_the_share_of_pairs_in_order(cohort: tuple[list[float], list[float]]) -> None:
    assert auc(*_table(*cohort)) == pytest.approx(_naive_auc(*cohort), abs=1e-14)


@settings(deadline=None)
@given(_cohorts(least=1))
def test_auc_is_scikit_learns(cohort: tuple[list[float], list[float]]) -> None:
    labels, scores = _table(*cohort)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@settings(deadline=None)
@given(_cohorts(least=2))
def test_variance_is_that_of_the_placement_values(cohort: tuple[list[float], list[float]]) -> None:
    expected = _naive_delong_variance(*cohort)
    assert delong_variance(*_table(*cohort)) == pytest.approx(expected, rel=1e-9, abs=1e-15)


@settings(deadline=None)
@given(_cohorts(least=2))
def test_turning_scores_round_mirrors_auc_and_interval(
    cohort: tuple[list[float], list[float]],
) -> None:
    labels, scores = _table(*cohort)
    turned = [-s for s in scores]
    assert auc(labels, turned) == pytest.approx(1 - auc(labels, scores), abs=1e-14)
    low, high = delong_interval(labels, scores)
    mirrored = delong_interval(labels, turned)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=1e-9, nan_ok=True)


@settings(deadline=None)
@given(_cohorts(least=2), st.randoms())
def test_order_of_patients_does_not_matter(
    cohort: tuple[list[float], list[float]], shuffler: random.Random
) -> None:
    labels, scores = _table(*cohort)
    pairs = list(zip(labels, scores, strict=True))
    shuffler.shuffle(pairs)
    shuffled = [p[0] for p in pairs], [p[1] for p in pairs]
    assert auc(*shuffled) == pytest.approx(auc(labels, scores), abs=1e-14)
    expected = delong_variance(labels, scores)
    assert delong_variance(*shuffled) == pytest.approx(expected, rel=1e-9, abs=1e-15)


def test_worked_example_by_hand() -> None:
    labels, scores = [1, 0, 0, 1, 0], [3, 1, 3, 5, 4]
    assert auc(labels, scores) == 3 / 4
    assert delong_variance(labels, scores) == pytest.approx(1 / 12, rel=1e-14)
    reach = 1.959963984540054 * math.sqrt(1 / 12)
    assert delong_interval(labels, scores) == pytest.approx((3 / 4 - reach, 1.0), rel=1e-12)


@settings(deadline=None)
@given(_cohorts(least=1))
def test_each_patient_counts_the_pairs_that_it_is_in(
    cohort: tuple[list[float], list[float]],
) -> None:
    positive, negative = cohort
    beaten, beaten_by = placement_counts(np.array(positive), np.array(negative))
    assert list(beaten) == [sum(_wins(p, n) for n in negative) for p in positive]
    assert list(beaten_by) == [sum(_wins(p, n) for p in positive) for n in negative]


def test_ct_ratings_of_hanley_and_mcneil_give_what_stata_prints() -> None:
    """109 CT images rated from 1 to 5, Hanley and McNeil, Radiology 143 (1982) 29-36, table I.

    ``roctab disease rating`` prints for them (Stata Base Reference Manual, entry roctab, data set
    ``hanley``, standard error after DeLong): area 0.8932, standard error 0.0307, 95 % interval
    0.83295 to 0.95339.
    """
    ratings = [1, 2, 3, 4, 5]
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    scores = np.concatenate([np.repeat(ratings, normal), np.repeat(ratings, abnormal)])
    labels = np.repeat([0, 1], [58, 51])
    assert round(auc(labels, scores), 4) == 0.8932
    assert round(math.sqrt(delong_variance(labels, scores)), 4) == 0.0307
    low, high = delong_interval(labels, scores)
    assert (round(low, 5), round(high, 5)) == (0.83295, 0.95339)


def test_scores_one_rounding_step_apart_are_not_tied() -> None:
    assert auc([0, 1], [0.3, math.nextafter(0.3, 1)]) == 1.0
    assert auc([0, 1], [math.nextafter(0.3, 1), 0.3]) == 0.0
    assert auc([0, 1], [0.3, 0.3]) == 0.5


def test_scores_of_any_precision_are_counted_in_double() -> None:
    scores = np.array([0.1, 0.9, 0.3], dtype=np.float32)
    positive, negative = split_by_label([0, 1, 1], scores)
    assert (positive.dtype, negative.dtype) == (np.float64, np.float64)
    assert (list(positive), list(negative)) == ([scores[1], scores[2]], [scores[0]])


@pytest.mark.parametrize("labels", [[], [0, 0], [1, 1]])
def test_auc_of_one_class_is_undefined(labels: list[int]) -> None:
    scores = [0.1, 0.9][: len(labels)]
    assert math.isnan(auc(labels, scores))
    assert math.isnan(delong_variance(labels, scores))
    assert all(math.isnan(end) for end in delong_interval(labels, scores))


@pytest.mark.parametrize(("labels", "area"), [([1, 0, 0, 0], 2 / 3), ([0, 1, 1, 1], 1 / 3)])
def test_one_patient_of_a_class_gives_an_auc_without_an_interval(
    labels: list[int], area: float
) -> None:
    scores = [0.4, 0.1, 0.5, 0.3]
    assert auc(labels, scores) == pytest.approx(area)
    assert math.isnan(delong_variance(labels, scores))
    assert all(math.isnan(end) for end in delong_interval(labels, scores))


@pytest.mark.parametrize("sizes", [(3, 7), (11, 13), (49, 101)])
@pytest.mark.parametrize(
    ("positive", "negative", "area"), [(0.9, 0.1, 1.0), (0.1, 0.9, 0.0), (0.3, 0.3, 0.5)]
)
def test_no_spread_is_exactly_zero_variance_and_no_interval(
    sizes: tuple[int, int], positive: float, negative: float, area: float
) -> None:
    labels, scores = np.repeat([1, 0], sizes), np.repeat([positive, negative], sizes)
    assert auc(labels, scores) == area
    assert delong_variance(labels, scores) == 0.0
    assert all(math.isnan(end) for end in delong_interval(labels, scores))


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 1], [0.5], r"labels have shape \(2,\) and scores \(1,\)"),
        ([[0, 1]], [[0.5, 0.6]], r"shape \(1, 2\)"),
        ([0, -1], [0.5, 0.6], "leave out missing labels"),
        ([0, 2], [0.5, 0.6], "other values than 0 and 1"),
        ([0, 1], [0.5, math.nan], "score 1 is nan, expected a finite number"),
        ([0, 1], [-math.inf, 0.5], "score 0 is -inf, expected a finite number"),
    ],
)
def test_scores_and_labels_that_mean_nothing_are_refused(
    labels: list[int], scores: list[float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        split_by_label(labels, scores)
