"""Oracles: Newcombe's published intervals, scipy, and every threshold tried one by one."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm

from preprocessing.common.errors import InputError
from radiotrain.statistics.operating_point import (
    Confusion,
    confusion,
    sensitivity_threshold,
    wilson_interval,
    youden_threshold,
)

_SCORES = st.one_of(
    st.sampled_from([0.0, 0.2, 0.4, math.nextafter(0.4, 1), 0.6, 0.8, 1.0]),
    st.floats(0, 1),
)
_COHORTS = st.lists(st.tuples(st.integers(0, 1), _SCORES), min_size=2, max_size=25).filter(
    lambda rows: {label for label, _ in rows} == {0, 1}
)


@pytest.mark.parametrize(
    ("num_hits", "num", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_intervals(num_hits: int, num: int, low: float, high: float) -> None:
    """Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3."""
    ours = wilson_interval(num_hits, num)
    assert tuple(round(end, 4) for end in ours) == (low, high)


@settings(deadline=None)
@given(
    st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))),
    st.sampled_from([0.8, 0.95, 0.99]),
)
def test_interval_is_wilsons_formula_and_scipys(counts: tuple[int, int], confidence: float) -> None:
    num_hits, num = counts
    ours = wilson_interval(num_hits, num, confidence)
    z = float(norm.ppf(0.5 + confidence / 2))
    share = num_hits / num
    centre = (share + z**2 / (2 * num)) / (1 + z**2 / num)
    reach = z * math.sqrt(share * (1 - share) / num + z**2 / (4 * num**2)) / (1 + z**2 / num)
    assert ours == pytest.approx((centre - reach, centre + reach), abs=1e-12)
    theirs = binomtest(num_hits, num).proportion_ci(confidence, method="wilson")
    assert ours == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0.0 <= ours[0] <= share <= ours[1] <= 1.0


def test_none_of_none_has_no_interval() -> None:
    assert all(math.isnan(end) for end in wilson_interval(0, 0))


def _rates(rows: list[tuple[int, float]], threshold: float) -> tuple[Fraction, Fraction]:
    """Return sensitivity and specificity as fractions, counted one patient at a time."""
    positive = [score for label, score in rows if label == 1]
    negative = [score for label, score in rows if label == 0]
    found = sum(1 for score in positive if score >= threshold)
    cleared = sum(1 for score in negative if score < threshold)
    return Fraction(found, len(positive)), Fraction(cleared, len(negative))


@settings(deadline=None)
@given(_COHORTS)
def test_no_threshold_has_a_larger_youden_index(rows: list[tuple[int, float]]) -> None:
    labels, scores = [r[0] for r in rows], [r[1] for r in rows]
    chosen = youden_threshold(labels, scores)
    # Thresholds between two scores, or beyond all, call the same patients as one of these.
    every = [*scores, 2.0]
    best = max(sum(_rates(rows, t)) for t in every)
    assert sum(_rates(rows, chosen)) == best


@settings(deadline=None)
@given(_COHORTS)
def test_of_equal_thresholds_the_most_even_then_the_highest_is_taken(
    rows: list[tuple[int, float]],
) -> None:
    labels, scores = [r[0] for r in rows], [r[1] for r in rows]

    def rank(threshold: float) -> tuple[Fraction, Fraction, float]:
        sensitivity, specificity = _rates(rows, threshold)
        return sensitivity + specificity, -abs(sensitivity - specificity), threshold

    assert youden_threshold(labels, scores) == max(scores, key=rank)


@settings(deadline=None)
@given(_COHORTS, _SCORES)
def test_a_score_at_the_threshold_is_called_positive(
    rows: list[tuple[int, float]], threshold: float
) -> None:
    labels, scores = [r[0] for r in rows], [r[1] for r in rows]
    found = confusion(labels, scores, threshold)
    called = [(label, score >= threshold) for label, score in rows]
    expected = Confusion(
        tp=called.count((1, True)),
        fp=called.count((0, True)),
        tn=called.count((0, False)),
        fn=called.count((1, False)),
    )
    assert found == expected
    sensitivity, specificity = _rates(rows, threshold)
    assert (found.sensitivity, found.specificity) == (float(sensitivity), float(specificity))


# Each by itself: a hundred drawn examples leave out one or two of these.
@pytest.mark.parametrize("sensitivity", [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 1.0])
@settings(deadline=None)
@given(rows=_COHORTS)
def test_no_higher_threshold_keeps_the_sensitivity(
    rows: list[tuple[int, float]], sensitivity: float
) -> None:
    labels, scores = [r[0] for r in rows], [r[1] for r in rows]
    chosen = sensitivity_threshold(labels, scores, sensitivity)
    asked = Fraction(str(sensitivity))
    enough = [t for t in [*scores, 2.0] if _rates(rows, t)[0] >= asked]
    assert chosen == max(enough)


@pytest.mark.parametrize("num", [10, 20, 30, 60, 70, 130, 1_000])
def test_nine_in_ten_are_nine_in_ten_whatever_the_rounding(num: int) -> None:
    labels, scores = [1] * num + [0], [*range(num), 0]
    chosen = sensitivity_threshold(labels, scores, 0.9)
    assert confusion(labels, scores, chosen).tp == num * 9 // 10


@pytest.mark.parametrize("sensitivity", [0.0, -0.1, 1.01, math.nan])
def test_a_sensitivity_that_is_none_is_refused(sensitivity: float) -> None:
    with pytest.raises(InputError, match="expected above 0 and at most 1"):
        sensitivity_threshold([0, 1], [0.2, 0.8], sensitivity)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_no_threshold(label: int) -> None:
    for labels, scores in (([label, label], [0.2, 0.8]), ([], [])):
        assert math.isnan(youden_threshold(labels, scores))
        assert math.isnan(sensitivity_threshold(labels, scores, 0.9))


def test_one_positive_is_the_threshold_of_any_sensitivity() -> None:
    assert sensitivity_threshold([0, 1, 0], [0.9, 0.5, 0.1], 0.9) == 0.5
    assert youden_threshold([0, 1, 0], [0.4, 0.5, 0.1]) == 0.5


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_thresholds_of_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    for choose in (youden_threshold, lambda y, x: sensitivity_threshold(y, x, 0.9)):
        with pytest.raises(InputError, match="expected a finite number"):
            choose([0, 1], [0.5, bad])


def test_predictive_values_are_shares_of_those_called() -> None:
    counts = Confusion(tp=6, fp=2, tn=9, fn=3)
    assert (counts.ppv, counts.npv) == (6 / 8, 9 / 12)
    assert math.isnan(Confusion(tp=0, fp=0, tn=3, fn=2).ppv)
    assert math.isnan(Confusion(tp=2, fp=1, tn=0, fn=0).npv)


def test_as_many_right_as_wrong_calls_are_half() -> None:
    counts = Confusion(tp=2, fp=2, tn=3, fn=3)
    assert (counts.ppv, counts.npv) == (0.5, 0.5)


def test_rates_without_patients_of_the_class_are_undefined() -> None:
    assert math.isnan(Confusion(tp=0, fp=2, tn=3, fn=0).sensitivity)
    assert math.isnan(Confusion(tp=2, fp=0, tn=0, fn=1).specificity)


def test_cut_points_of_ct_ratings_are_what_stata_prints() -> None:
    """109 CT images rated 1 to 5, Hanley and McNeil, Radiology 143 (1982) 29-36, table I.

    ``roctab disease rating, detail`` (Stata Base Reference Manual, entry roctab) prints sensitivity
    and specificity in per cent at each cut point; 86.27 + 77.59 is the largest of the sums.
    """
    ratings = [1, 2, 3, 4, 5]
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    scores = [*np.repeat(ratings, normal), *np.repeat(ratings, abnormal)]
    labels = np.repeat([0, 1], [58, 51])
    printed = {1: (100.0, 0.0), 2: (94.12, 56.90), 3: (90.20, 67.24), 4: (86.27, 77.59)}
    printed |= {5: (64.71, 96.55), 6: (0.0, 100.0)}
    for cut, rates in printed.items():
        found = confusion(labels, scores, cut)
        ours = round(100 * found.sensitivity, 2), round(100 * found.specificity, 2)
        assert ours == rates
    assert youden_threshold(labels, scores) == 4
    assert sensitivity_threshold(labels, scores, 0.9) == 3
