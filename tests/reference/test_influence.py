"""Intervals of Brier score and average precision: derivatives by weights, plain loops, coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import norm, ttest_1samp, ttest_ind
from sklearn.metrics import average_precision_score, brier_score_loss

from radiotrain.statistics.influence import (
    SAMPLINGS,
    Sampling,
    average_precision_influences,
    average_precision_interval,
    brier_interval,
)
from radiotrain.statistics.operating_point import wilson_interval

Floats = NDArray[np.float64]
_COHORT = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=3, max_size=14)


@settings(deadline=None)
@given(_COHORT)
def test_influences_are_what_a_little_more_weight_does(patients: list[tuple[int, int]]) -> None:
    """Of scikit-learn's average precision with one patient's weight raised a little."""
    labels, scores = (list(column) for column in zip(*patients, strict=True))
    assume(0 < sum(labels) < len(labels))
    value, influences = average_precision_influences(labels, scores)
    assert value == pytest.approx(average_precision_score(labels, scores))
    assert sum(influences) == pytest.approx(0, abs=1e-9)
    step = 1e-6
    for i, influence in enumerate(influences):
        weighed = [
            average_precision_score(
                labels, scores, sample_weight=1 + sign * step * _unit(i, labels)
            )
            for sign in (1, -1)
        ]
        slope = (weighed[0] - weighed[1]) / (2 * step)
        assert influence == pytest.approx(slope * len(labels), abs=1e-5)


def _unit(i: int, labels: list[int]) -> Floats:
    return np.asarray(np.arange(len(labels)) == i, float)


def test_brier_interval_is_students_on_the_logit() -> None:
    """Reaches taken from scipy's t tests: of one sample, and Welch's of the two classes."""
    rng = np.random.default_rng(1)
    labels = np.repeat([1, 0], [9, 30])
    probabilities = np.clip(rng.normal(0.3 + 0.2 * labels, 0.15), 0.01, 0.99)
    losses = (probabilities - labels) ** 2
    value = float(brier_score_loss(labels, probabilities))
    low, high = ttest_1samp(losses, 0.0).confidence_interval()
    _is_around(brier_interval(labels, probabilities, "population"), value, float(high - low) / 2)
    # The mean of all is a weighted sum of the classes' means: their difference, one turned round.
    parts = losses[:9] * 9 / 39, -losses[9:] * 30 / 39
    low, high = ttest_ind(*parts, equal_var=False).confidence_interval()
    _is_around(
        brier_interval(labels, probabilities, "within classes"), value, float(high - low) / 2
    )


def _is_around(interval: tuple[float, float], value: float, reach: float) -> None:
    on_logit = reach / (value * (1 - value))
    ends = expit(logit(value) + on_logit * np.array([-1, 1]))
    assert interval == pytest.approx(tuple(ends), rel=1e-9)


@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_errors_are_those_of_a_plain_resampling_loop(sampling: Sampling) -> None:
    """Width over 2 x 1.96 against the standard deviation of 1,500 resamples, within a tenth."""
    rng = np.random.default_rng(2)
    labels = (rng.random(500) < 0.3).astype(int)
    scores = np.round(norm.cdf(rng.normal(0.8 * labels - 0.6, 1)), 2)
    for interval, score in (
        (brier_interval, brier_score_loss),
        (average_precision_interval, average_precision_score),
    ):
        values = []
        for _ in range(1_500):
            if sampling == "population":
                drawn = rng.integers(0, 500, 500)
            else:
                classes = (np.flatnonzero(labels == y) for y in (0, 1))
                drawn = np.concatenate([rng.choice(c, len(c)) for c in classes])
            values.append(score(labels[drawn], scores[drawn]))
        low, high = interval(labels, scores, sampling)
        assert (high - low) / 3.92 == pytest.approx(np.std(values), rel=0.1)
        assert low < score(labels, scores) < high


def test_holding_the_classes_makes_intervals_narrower() -> None:
    """A model that says little: nearly all of the Brier score's spread is that of the prevalence."""
    rng = np.random.default_rng(3)
    labels = (rng.random(400) < 0.2).astype(int)
    probabilities = np.clip(0.2 + 0.02 * rng.normal(size=400), 0, 1)
    widths = [np.ptp(brier_interval(labels, probabilities, s)) for s in SAMPLINGS]
    assert widths[1] < widths[0] / 5
    widths = [np.ptp(average_precision_interval(labels, probabilities, s)) for s in SAMPLINGS]
    assert widths[1] < widths[0]


def test_precision_of_one_has_a_lower_bound() -> None:
    labels, scores = [1, 1, 1, 0, 0], [0.9, 0.8, 0.7, 0.2, 0.1]
    for sampling in SAMPLINGS:
        found = average_precision_interval(labels, scores, sampling)
        assert found == pytest.approx(wilson_interval(3, 3))
        assert found[0] == pytest.approx(3 / (3 + 1.959964**2), rel=1e-6)


def test_equal_losses_show_no_spread() -> None:
    labels, thirds = [1, 0, 0, 1, 0, 0, 0], [0.3] * 7
    assert all(map(math.isnan, brier_interval(labels, thirds, "within classes")))
    assert not any(map(math.isnan, brier_interval(labels, thirds, "population")))
    assert all(map(math.isnan, brier_interval(labels, [0.5] * 7, "population")))
    assert all(map(math.isnan, average_precision_interval(labels, thirds, "within classes")))
    # Average precision of a constant is the share of positives: that of a proportion, on the logit.
    found = average_precision_interval(labels, thirds, "population")
    assert np.mean(logit(found)) == pytest.approx(logit(2 / 7))


@pytest.mark.slow
@pytest.mark.parametrize("sampling", SAMPLINGS)
def test_intervals_cover_the_truth_of_their_question(sampling: Sampling) -> None:
    """1,500 test sets of 184 patients, a third positive; four errors of 95 % are 2.3 %.

    Probabilities are right, so that the truth is that of 400,000 patients of the same kind.
    """
    rng = np.random.default_rng(4)

    def cohort(num: int, num_positive: int) -> tuple[NDArray[np.int64], Floats]:
        labels = np.repeat([1, 0], [num_positive, num - num_positive])
        return labels, expit(rng.normal(1.2 * labels, 1) * 1.2 - 0.72 + logit(1 / 3))

    large = cohort(402_000, 134_000)
    truth = brier_score_loss(*large), average_precision_score(*large)
    held = np.zeros(2)
    for _ in range(1_500):
        num_positive = rng.binomial(183, 1 / 3) if sampling == "population" else 61
        table = cohort(183, num_positive)
        for i, interval in enumerate((brier_interval, average_precision_interval)):
            low, high = interval(*table, sampling)
            held[i] += low <= truth[i] <= high
    assert held / 1_500 == pytest.approx(0.95, abs=0.025), held / 1_500
