"""Oracles: every resample written out, a plain resampling loop, intervals that cover, pROC."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import norm
from sklearn.metrics import roc_curve

from preprocessing.common.errors import InputError
from radiotrain.statistics import resampling
from radiotrain.statistics.auc import auc, delong_interval, delong_variance
from radiotrain.statistics.resampling import bootstrap_interval, bootstrap_values, roc_band

Floats = NDArray[np.float64]

_SCORES = st.sampled_from([0.1, 0.3, 0.5, math.nextafter(0.5, 1), 0.7, 0.9])
_CLASS = st.lists(_SCORES, min_size=1, max_size=8)


def _binormal(
    rng: np.random.Generator, num_positive: int, num_negative: int, shift: float
) -> tuple[NDArray[np.int64], Floats]:
    labels = np.repeat([1, 0], [num_positive, num_negative])
    return labels, rng.normal(size=len(labels)) + shift * labels


def _true_auc(shift: float) -> float:
    """P(positive > negative) of two normals of unit variance, `shift` apart."""
    return float(norm.cdf(shift / math.sqrt(2)))


def _naive_resample(
    rng: np.random.Generator, labels: NDArray[np.int64], scores: Floats
) -> tuple[list[int], list[float]]:
    drawn: list[int] = []
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        drawn += [int(rng.choice(members)) for _ in members]
    return [int(labels[i]) for i in drawn], [float(scores[i]) for i in drawn]


def _pair_auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    wins = sum((p > n) + 0.5 * (p == n) for p in positive for n in negative)
    return wins / (len(positive) * len(negative))


def _naive_auc(labels: list[int], scores: list[float]) -> float:
    rows = list(zip(labels, scores, strict=True))
    return _pair_auc([s for y, s in rows if y == 1], [s for y, s in rows if y == 0])


@pytest.mark.parametrize("cells_at_a_time", [7, 2_000_000])
@pytest.mark.parametrize(
    ("positive", "negative"),
    [((0.4, 0.8), (0.2, 0.6)), ((0.5, 0.8), (0.2, 0.5)), ((0.4, 0.7, 0.7), (0.1, 0.5))],
)
def test_each_possible_resample_comes_as_often_as_it_should(
    positive: tuple[float, ...],
    negative: tuple[float, ...],
    cells_at_a_time: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resampling, "_CELLS_AT_A_TIME", cells_at_a_time)
    all_resamples = [
        round(_pair_auc(p, n), 9)
        for p in itertools.product(positive, repeat=len(positive))
        for n in itertools.product(negative, repeat=len(negative))
    ]
    expected = Counter(all_resamples)
    num = 4_000
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    found = bootstrap_values(labels, [*positive, *negative], num_resamples=num, seed=5)
    counts = Counter(round(float(v), 9) for v in found)
    assert len(found) == num
    assert counts.keys() == expected.keys()
    for value, ways in expected.items():
        share = ways / len(all_resamples)
        assert counts[value] / num == pytest.approx(
            share, abs=5 * math.sqrt(share * (1 - share) / num)
        )


def test_distribution_is_that_of_a_plain_resampling_loop() -> None:
    rng = np.random.default_rng(11)
    labels, scores = _binormal(rng, 18, 32, shift=0.8)
    scores = np.round(scores, 1)  # some ties
    num = 1_500
    naive = np.array([_naive_auc(*_naive_resample(rng, labels, scores)) for _ in range(num)])
    ours = bootstrap_values(labels, scores, num_resamples=20_000, seed=4)
    error = naive.std() / math.sqrt(num)
    assert ours.mean() == pytest.approx(naive.mean(), abs=4 * error)
    assert ours.mean() == pytest.approx(auc(labels, scores), abs=4 * ours.std() / math.sqrt(20_000))
    assert ours.std() == pytest.approx(naive.std(), rel=4 / math.sqrt(2 * num))
    for level in (0.025, 0.25, 0.5, 0.75, 0.975):
        # A sample quantile's standard error is sqrt(p(1-p)/n) over the density, here a normal's.
        density = norm.pdf(norm.ppf(level)) / naive.std()
        tolerance = 4 * math.sqrt(level * (1 - level) / num) / density
        assert np.quantile(ours, level) == pytest.approx(np.quantile(naive, level), abs=tolerance)


@settings(max_examples=60, deadline=None)
@given(_CLASS, _CLASS)
def test_each_resample_keeps_the_number_of_positives_and_negatives(
    positive: list[float], negative: list[float]
) -> None:
    """With m positives and n negatives an AUC is a whole number of halves of 1/(m n)."""
    labels = np.repeat([1, 0], [len(positive), len(negative)])
    values = bootstrap_values(labels, [*positive, *negative], num_resamples=200, seed=1)
    halves = values * 2 * len(positive) * len(negative)
    assert values.shape == (200,)
    np.testing.assert_allclose(halves, np.round(halves), atol=1e-9)
    assert values.min() >= 0.0
    assert values.max() <= 1.0


def test_a_single_positive_is_in_every_resample() -> None:
    labels, scores = np.repeat([1, 0], [1, 9]), np.arange(10.0)[::-1]
    assert (bootstrap_values(labels, scores, num_resamples=300) == 1.0).all()


def test_one_class_has_no_resamples() -> None:
    assert bootstrap_values([1, 1], [0.2, 0.4]).shape == (0,)
    assert bootstrap_values([], []).shape == (0,)


def test_same_seed_same_numbers_and_another_seed_others() -> None:
    labels, scores = _binormal(np.random.default_rng(0), 20, 30, shift=1.0)
    first = bootstrap_values(labels, scores, num_resamples=500, seed=7)
    again = bootstrap_values(labels, scores, num_resamples=500, seed=7)
    other = bootstrap_values(labels, scores, num_resamples=500, seed=8)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    interval = bootstrap_interval(labels, scores, num_resamples=500, seed=7)
    assert interval == pytest.approx(tuple(np.quantile(first, [0.025, 0.975])), abs=1e-15)


def test_higher_confidence_gives_a_wider_interval() -> None:
    labels, scores = _binormal(np.random.default_rng(2), 25, 25, shift=0.7)
    low80, high80 = bootstrap_interval(labels, scores, confidence=0.8, num_resamples=2_000)
    low99, high99 = bootstrap_interval(labels, scores, confidence=0.99, num_resamples=2_000)
    assert low99 < low80 < auc(labels, scores) < high80 < high99


@pytest.mark.parametrize(
    ("labels", "scores"),
    [
        ([1, 1, 1], [0.1, 0.2, 0.3]),
        ([1, 0, 0, 0], [0.3, 0.1, 0.5, 0.2]),
        ([0, 1, 1, 1], [0.3, 0.1, 0.5, 0.2]),
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]),
        ([0, 0, 1, 1], [0.4, 0.4, 0.4, 0.4]),
    ],
    ids=["one class", "one positive", "one negative", "separated", "all tied"],
)
def test_no_interval_where_nothing_varies(labels: list[int], scores: list[float]) -> None:
    assert all(math.isnan(end) for end in bootstrap_interval(labels, scores, num_resamples=200))


@pytest.mark.parametrize(("num_positive", "num_negative"), [(30, 30), (15, 45)])
def test_intervals_cover_the_true_auc(num_positive: int, num_negative: int) -> None:
    """Of 200 cohorts of 60 about 190 should; four standard errors are 12 cohorts (6 %)."""
    shift, num_cohorts = 0.7, 200
    truth = _true_auc(shift)
    covered = {"delong": 0, "bootstrap": 0}
    rng = np.random.default_rng(2025)
    for cohort in range(num_cohorts):
        labels, scores = _binormal(rng, num_positive, num_negative, shift)
        delong = delong_interval(labels, scores)
        percentile = bootstrap_interval(labels, scores, num_resamples=600, seed=cohort)
        covered["delong"] += delong[0] <= truth <= delong[1]
        covered["bootstrap"] += percentile[0] <= truth <= percentile[1]
    for kind, num in covered.items():
        assert 0.90 <= num / num_cohorts <= 0.99, kind


def test_delongs_variance_is_the_spread_of_auc_over_cohorts() -> None:
    rng = np.random.default_rng(3)
    cohorts = [_binormal(rng, 20, 40, shift=0.9) for _ in range(1_000)]
    spread = np.var([auc(*c) for c in cohorts], ddof=1)
    assert np.mean([delong_variance(*c) for c in cohorts]) == pytest.approx(spread, rel=0.15)


def test_interval_of_the_neurosurgeons_grades_is_procs() -> None:
    """The WFNS grade, 1 to 5, of 113 patients with an aneurysm that bled: pROC's data set aSAH.

    pROC finds 0.741362 to 0.893805 around 0.825373, the median, with 2,000 resamples within each
    class, and 0.748535 to 0.898823 after DeLong. Quoted from its repository (xrobin/pROC on GitHub,
    tests/testthat/r_ci.auc.R of commit 48c760c); the patients were counted from sensitivities and
    specificities in its tests/testthat/helper-roc-expected.R.
    """
    grades = np.arange(1, 6)
    good, poor = [37, 20, 3, 8, 4], [2, 12, 1, 8, 18]
    scores = np.concatenate([np.repeat(grades, good), np.repeat(grades, poor)]).astype(float)
    labels = np.repeat([0, 1], [72, 41])
    published = {0.025: 0.741361788617886, 0.5: 0.825372628726287, 0.975: 0.893805047425474}
    values = bootstrap_values(labels, scores, num_resamples=10_000, seed=0)
    ends = bootstrap_interval(labels, scores, num_resamples=10_000, seed=0)
    ours = {0.025: ends[0], 0.5: float(np.median(values)), 0.975: ends[1]}
    for level, theirs in published.items():
        # Two samples' quantiles, each with the error of `test_distribution_is_that_of_...` above.
        density = norm.pdf(norm.ppf(level)) / values.std()
        error = math.sqrt(level * (1 - level) * (1 / 2_000 + 1 / 10_000)) / density
        assert ours[level] == pytest.approx(theirs, abs=4 * error)
    delong = 0.748534887819453, 0.898822835757783
    assert delong_interval(labels, scores) == pytest.approx(delong, abs=1e-13)


def test_roc_band_is_that_of_a_plain_resampling_loop() -> None:
    rng = np.random.default_rng(21)
    labels, scores = _binormal(rng, 50, 50, shift=1.0)
    rates = np.linspace(0.05, 0.95, 10)
    curves = []
    for _ in range(800):
        alarms, hits, _ = roc_curve(*_naive_resample(rng, labels, scores), drop_intermediate=False)
        curves.append(np.interp(rates, alarms, hits))
    low, high = roc_band(labels, scores, rates, num_resamples=3_000, seed=6)
    naive_low, naive_high = np.quantile(curves, [0.025, 0.975], axis=0)
    # One positive is a step of 0.02; a quantile may fall on the next step.
    np.testing.assert_allclose(low, naive_low, atol=0.045)
    np.testing.assert_allclose(high, naive_high, atol=0.045)
    assert np.mean(np.abs(low - naive_low)) < 0.015
    assert np.mean(np.abs(high - naive_high)) < 0.015


def test_roc_band_of_separated_classes_is_the_corner() -> None:
    rates = np.linspace(0, 1, 5)
    low, high = roc_band([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], rates, num_resamples=100)
    np.testing.assert_array_equal(low, np.ones(5))
    np.testing.assert_array_equal(high, np.ones(5))


def test_variance_over_all_resamples_is_the_closed_form() -> None:
    """Of the ideal bootstrap, no resample drawn: a two-sample U statistic with the found shares.

    With the share of won pairs A, and Q the share of pairs of pairs with one patient in common that
    are both won, m n Var = E[win^2] - A^2 + (n - 1)(Q of a positive - A^2) + (m - 1)(Q of a
    negative - A^2), patients drawn with replacement.
    """
    rng = np.random.default_rng(12)
    labels, scores = _binormal(rng, 20, 35, shift=0.8)
    scores = np.round(scores, 1)
    positive, negative = scores[labels == 1], scores[labels == 0]
    wins = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    m, n = wins.shape
    area = wins.mean()
    expected = (wins**2).mean() - area**2
    expected += (n - 1) * ((wins.mean(axis=1) ** 2).mean() - area**2)
    expected += (m - 1) * ((wins.mean(axis=0) ** 2).mean() - area**2)
    expected /= m * n
    ours = bootstrap_values(labels, scores, num_resamples=40_000, seed=4)
    # A variance of 40,000 nearly normal values is known to sqrt(2 / 40,000), 0.7 %.
    assert ours.var() == pytest.approx(expected, rel=0.03)
    assert ours.mean() == pytest.approx(area, abs=4 * math.sqrt(expected / 40_000))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="expected a finite number"):
        bootstrap_values([0, 1], [0.1, bad], num_resamples=100)
