"""Oracles: the likelihood written out and climbed by scipy, scikit-learn, plain loops, statsmodels.

Numbers named statsmodels were printed by `statsmodels.api.GLM`, binomial family, version 0.15.0.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import binomtest
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss
from sklearn.metrics import log_loss as sklearn_log_loss

from preprocessing.common.errors import InputError
from radiotrain.statistics.calibration import (
    CLIP,
    brier_score,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    log_loss,
    logits,
    reliability_bins,
    why_no_calibration_error,
)

Floats = NDArray[np.float64]

_PROBABILITY = st.sampled_from([0.0, 0.1, 0.3, 0.5, math.nextafter(0.5, 1), 0.8, 1.0]) | st.floats(
    0, 1
)
_PATIENTS = st.lists(st.tuples(st.integers(0, 1), _PROBABILITY), min_size=1, max_size=25)


def _cohort(
    seed: int, num: int = 120, slope: float = 0.7, shift: float = -0.4
) -> tuple[NDArray[np.int64], Floats]:
    """Labels of logits, and probabilities of shift + slope times them."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=num) * 1.2
    labels = (rng.random(num) < 1 / (1 + np.exp(-truth))).astype(int)
    return labels, 1 / (1 + np.exp(-(truth / slope + shift)))


def _naive_loss(beta: Floats, labels: NDArray[np.int64], x: Floats, slope: float | None) -> float:
    total = 0.0
    for y, value in zip(labels, x, strict=True):
        at = beta[0] + (beta[1] if slope is None else slope) * value
        total += math.log1p(math.exp(-at)) if y == 1 else math.log1p(math.exp(at))
    return total


def _curvature(function: Callable[[Floats], float], at: Floats, step: float = 1e-4) -> Floats:
    """Second derivatives by central differences."""
    num = len(at)
    found = np.empty((num, num))
    for i in range(num):
        for j in range(num):
            corners = [
                function(at + a * step * np.eye(num)[i] + b * step * np.eye(num)[j]) * a * b
                for a in (-1, 1)
                for b in (-1, 1)
            ]
            found[i, j] = sum(corners) / (4 * step**2)
    return found


@pytest.mark.parametrize("seed", range(4))
def test_slope_is_where_the_likelihood_is_largest_and_error_its_curvature(seed: int) -> None:
    labels, p = _cohort(seed)
    x = np.log(p / (1 - p))
    best = minimize(
        _naive_loss,
        np.zeros(2),
        (labels, x, None),
        "Nelder-Mead",
        options={"xatol": 1e-10, "fatol": 1e-12, "maxiter": 4_000},
    )
    found = calibration_slope(labels, p)
    assert found.value == pytest.approx(best.x[1], abs=1e-5)
    curvature = _curvature(lambda beta: _naive_loss(beta, labels, x, None), best.x)
    error = math.sqrt(np.linalg.inv(curvature)[1, 1])
    low, high = found.interval
    assert (high - low) / 2 == pytest.approx(1.959963984540054 * error, rel=1e-3)
    assert (high + low) / 2 == pytest.approx(found.value)


@pytest.mark.parametrize("seed", range(4))
def test_intercept_makes_expected_and_found_positives_equal(seed: int) -> None:
    labels, p = _cohort(seed)
    found = calibration_intercept(labels, p)
    moved = 1 / (1 + np.exp(-(np.log(p / (1 - p)) + found.value)))
    assert moved.sum() == pytest.approx(labels.sum(), rel=1e-9)
    x = np.log(p / (1 - p))
    curvature = _curvature(lambda beta: _naive_loss(beta, labels, x, 1.0), np.array([found.value]))
    reach = 1.959963984540054 / math.sqrt(curvature[0, 0])
    assert found.interval == pytest.approx((found.value - reach, found.value + reach), rel=1e-4)


def test_slope_is_scikit_learns_without_penalty() -> None:
    labels, p = _cohort(9, num=300)
    model = LogisticRegression(C=math.inf, tol=1e-10, max_iter=1_000).fit(
        logits(p)[:, None], labels
    )
    assert calibration_slope(labels, p).value == pytest.approx(model.coef_[0, 0], rel=1e-5)


def test_estimates_and_intervals_are_statsmodels() -> None:
    labels = [0, 0, 1, 0, 0, 1, 0, 1, 1, 0, 1, 1]
    p = np.array([0.1, 0.2, 0.3, 0.35, 0.4, 0.5, 0.55, 0.6, 0.7, 0.8, 0.9, 0.95])
    slope = calibration_slope(labels, p)
    assert slope.value == pytest.approx(0.94685932, abs=1e-7)
    assert slope.interval == pytest.approx((-0.26886569, 2.16258433), abs=1e-7)
    odds = p / (1 - p) * math.exp(0.5)  # every logit half a unit higher
    intercept = calibration_intercept(labels, odds / (1 + odds))
    assert intercept.value == pytest.approx(-0.66127484, abs=1e-7)
    assert intercept.interval == pytest.approx((-1.9931032, 0.67055353), abs=1e-7)


def test_an_intercept_far_away_is_found_where_newtons_first_step_is_far_too_long() -> None:
    """One of four is positive among those who were told 1 in a million: the logits' difference."""
    found = calibration_intercept([0, 0, 0, 1], [1e-6] * 4)
    assert found.value == pytest.approx(math.log(1 / 3) + math.log(1e6 - 1), rel=1e-9)
    reach = 1.959963984540054 / math.sqrt(4 * 0.25 * 0.75)
    assert found.interval == pytest.approx((found.value - reach, found.value + reach))


def test_well_calibrated_probabilities_have_intercept_0_and_slope_1() -> None:
    labels, p = _cohort(3, num=200_000, slope=1.0, shift=0.0)
    intercept, slope = calibration_intercept(labels, p), calibration_slope(labels, p)
    assert intercept.interval[0] < 0 < intercept.interval[1]
    assert slope.interval[0] < 1 < slope.interval[1]
    assert slope.interval[1] - slope.interval[0] < 0.03


def test_known_distortion_is_found() -> None:
    """Logits were divided by 0.7 and moved by -0.4: the slope is 0.7, and more are positive."""
    labels, p = _cohort(5, num=100_000)
    assert calibration_slope(labels, p).value == pytest.approx(0.7, abs=0.02)
    assert calibration_intercept(labels, p).value > 0.2


def test_intervals_of_slope_and_intercept_cover() -> None:
    """300 cohorts of 150; 285 expected, four standard errors are 15."""
    covered = np.zeros(2)
    for seed in range(300):
        labels, p = _cohort(1_000 + seed, num=150, slope=0.7, shift=0.0)
        low, high = calibration_slope(labels, p).interval
        covered[0] += low <= 0.7 <= high
        labels, p = _cohort(1_000 + seed, num=150, slope=1.0, shift=-0.4)
        low, high = calibration_intercept(labels, p).interval
        covered[1] += low <= 0.4 <= high
    assert (np.abs(covered - 285) <= 15).all()


@pytest.mark.parametrize(
    ("labels", "p", "why"),
    [
        ([], [], "no patients"),
        ([1, 1], [0.2, 0.7], "only one class among 2 patients"),
        ([0, 1, 0], [0.3, 0.3, 0.3], "all probabilities are equal"),
        ([0, 0, 1, 1], [0.1, 0.2, 0.6, 0.7], "a threshold separates the classes"),
        ([1, 1, 0, 0], [0.1, 0.2, 0.6, 0.7], "a threshold separates the classes"),
        ([0, 0, 1, 1], [0.1, 0.5, 0.5, 0.7], "a threshold separates the classes"),
        ([0, 1], [0.0, 1.0], "a threshold separates the classes"),
    ],
)
def test_slope_is_undefined_with_a_reason(labels: list[int], p: list[float], why: str) -> None:
    found = calibration_slope(labels, p)
    assert math.isnan(found.value)
    assert all(math.isnan(end) for end in found.interval)
    assert found.reason.startswith(why)


def test_intercept_needs_two_classes_only() -> None:
    assert calibration_intercept([0, 0], [0.1, 0.4]).reason == "only one class among 2 patients"
    assert calibration_intercept([0, 1], [0.5, 0.5]).value == pytest.approx(0, abs=1e-12)
    # 3 of 4 positive where 0.5 is promised: log(3).
    found = calibration_intercept([1, 1, 1, 0], [0.5] * 4)
    assert found.value == pytest.approx(math.log(3))
    # The information of four patients at 3/4 is 4 * 3/16.
    assert found.interval[1] == pytest.approx(math.log(3) + 1.959963984540054 / math.sqrt(0.75))


@settings(deadline=None)
@given(_PATIENTS)
def test_what_is_defined_is_finite_and_what_is_not_has_a_reason(
    patients: list[tuple[int, float]],
) -> None:
    labels, p = zip(*patients, strict=True)
    for found in (calibration_intercept(labels, p), calibration_slope(labels, p)):
        assert math.isfinite(found.value) != bool(found.reason)
        assert np.isfinite(found.interval).all() != bool(found.reason)


@settings(deadline=None)
@given(_PATIENTS)
def test_turning_labels_and_probabilities_round_keeps_the_slope(
    patients: list[tuple[int, float]],
) -> None:
    labels, p = (np.array(column) for column in zip(*patients, strict=True))
    p = np.round(p, 3)
    found, turned = calibration_slope(labels, p), calibration_slope(1 - labels, 1 - p)
    assert turned.value == pytest.approx(found.value, rel=1e-5, nan_ok=True)


@settings(deadline=None)
@given(_PATIENTS)
def test_brier_score_is_scikit_learns(patients: list[tuple[int, float]]) -> None:
    labels, p = zip(*patients, strict=True)
    expected = brier_score_loss(labels, p, pos_label=1, labels=[0, 1])
    assert brier_score(labels, p) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(_PATIENTS)
def test_log_loss_is_scikit_learns_of_clipped_probabilities(
    patients: list[tuple[int, float]],
) -> None:
    labels, p = zip(*patients, strict=True)
    expected = sklearn_log_loss(labels, np.clip(p, CLIP, 1 - CLIP), labels=[0, 1])
    assert log_loss(labels, p) == pytest.approx(expected, rel=1e-6, abs=1e-12)


def test_certain_and_wrong_costs_as_much_as_the_clip() -> None:
    assert log_loss([1], [0.0]) == pytest.approx(-math.log(CLIP))
    assert log_loss([1], [1.0]) == pytest.approx(CLIP, rel=1e-5)
    np.testing.assert_allclose(logits([0, 1]), [math.log(CLIP), -math.log(CLIP)], rtol=1e-5)


def test_bins_of_equally_many_are_scikit_learns() -> None:
    labels, p = _cohort(2, num=200)
    bins = reliability_bins(labels, p, num_bins=10)
    shares, means = calibration_curve(labels, p, n_bins=10, strategy="quantile")
    assert [b.num_patients for b in bins] == [20] * 10
    assert [b.share_positive for b in bins] == pytest.approx(shares)
    assert [b.mean_probability for b in bins] == pytest.approx(means)


@settings(deadline=None)
@given(_PATIENTS, st.integers(1, 12))
def test_ece_is_that_of_a_plain_loop_over_the_bins(
    patients: list[tuple[int, float]], num_bins: int
) -> None:
    labels, p = (np.array(column) for column in zip(*patients, strict=True))
    bins = reliability_bins(labels, p, num_bins)
    start, total = 0, 0.0
    order = np.argsort(p, kind="stable")
    last = -1.0
    for b in bins:  # bins follow one another, and never part equal probabilities
        inside = order[start : start + b.num_patients]
        assert p[inside].min() > last
        last = p[inside].max()
        mean_y, mean_p = sum(labels[inside]) / len(inside), sum(p[inside]) / len(inside)
        assert b.share_positive == pytest.approx(mean_y)
        assert b.mean_probability == pytest.approx(mean_p)
        total += len(inside) / len(p) * abs(mean_y - mean_p)
        start += len(inside)
    assert start == len(p)
    assert len(bins) <= num_bins
    assert expected_calibration_error(labels, p, num_bins) == pytest.approx(total, abs=1e-12)


@pytest.mark.parametrize(("num", "bins"), [(7, 1), (19, 1), (27, 2), (99, 9), (184, 10)])
def test_bins_hold_ten_patients_or_more(num: int, bins: int) -> None:
    rng = np.random.default_rng(num)
    labels, p = rng.integers(0, 2, num), rng.random(num)
    found = reliability_bins(labels, p)
    assert len(found) == bins
    assert min(b.num_patients for b in found) >= min(num, 10)
    apart = [b.num_patients * abs(b.share_positive - b.mean_probability) for b in found]
    assert expected_calibration_error(labels, p) == pytest.approx(sum(apart) / num)


def test_the_share_of_a_bin_has_scipys_wilson_interval() -> None:
    (found,) = reliability_bins([1] * 3 + [0] * 7, np.linspace(0.1, 0.6, 10))
    expected = binomtest(3, 10).proportion_ci(method="wilson")
    assert found.share_positive_ci95 == pytest.approx((expected.low, expected.high))


def test_a_cut_between_neighbouring_numbers_parts_them() -> None:
    """No number lies between them, and the mean of the two is rounded to the lower one."""
    found = reliability_bins([0, 1, 0, 1], [0.2, 0.5, math.nextafter(0.5, 1), 0.8], num_bins=2)
    assert [b.num_patients for b in found] == [2, 2]


def test_ece_uses_the_mean_of_a_bin_not_its_edge() -> None:
    """Ten patients at 0.41, four of them positive: 0.01 off, whatever the bin's upper end is."""
    labels = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    assert expected_calibration_error(labels, [0.41] * 10) == pytest.approx(0.01)


def test_ece_does_not_depend_on_the_order_of_tied_patients() -> None:
    labels, p = [0, 1, 0, 1, 1, 0], [0.2, 0.2, 0.2, 0.2, 0.9, 0.9]
    turned = labels[3::-1] + labels[:3:-1]
    assert expected_calibration_error(labels, p, 3) == expected_calibration_error(turned, p, 3)


def test_nothing_is_said_about_no_patients() -> None:
    assert reliability_bins([], []) == ()
    for measure in (expected_calibration_error, brier_score, log_loss):
        assert math.isnan(measure([], []))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1.5])
def test_probabilities_that_are_none_are_refused(bad: float) -> None:
    for function in (calibration_slope, calibration_intercept, log_loss):
        with pytest.raises(InputError, match=r"expected a finite number|expected 0 to 1"):
            function([0, 1], [0.5, bad])


# Temperature (degrees F) and thermal distress of an O-ring on 23 flights of the space shuttle
# before Challenger: Dalal, Fowlkes, Hoadley, JASA 84 (1989) 945-957; Agresti, Categorical Data
# Analysis, table 5.10.
_FLIGHTS = (
    "66 70 69 68 67 72 73 70 57 63 70 78 67 53 67 75 70 81 76 79 75 76 58",
    "0 1 0 0 0 0 0 0 1 1 1 0 0 1 0 0 0 0 0 0 1 0 1",
)


def test_slope_of_the_shuttle_flights_is_the_published_one() -> None:
    """Agresti: logit = 15.043 - 0.232 temperature, standard error 0.108; here in tens of degrees."""
    temperatures, labels = (np.array(words.split(), dtype=float) for words in _FLIGHTS)
    found = calibration_slope(labels, 1 / (1 + np.exp((temperatures - 70) / 10)))
    assert found.value == pytest.approx(10 * 0.2322, abs=5e-4)
    low, high = found.interval
    assert (high - low) / 2 / 1.959964 == pytest.approx(10 * 0.1082, abs=5e-4)


def test_intercept_is_a_conditional_logit_of_statas() -> None:
    """Three matched sets with one binary exposure, quoted from statsmodels' tests: 0.9272407.

    `test1d` of its `test_conditional.py` has it "from Stata", standard error 1.295155. With b the
    log odds ratio the sets' conditional likelihoods are e^b / (2 + e^b), 2 / (2 + e^b) and
    3 e^b / (1 + 3 e^b): sigmoid(b - log 2), 1 - sigmoid(b - log 2), sigmoid(b + log 3), which is
    the likelihood of an intercept beside the probabilities 1/3, 1/3 and 3/4.
    """
    found = calibration_intercept([1, 0, 1], [1 / 3, 1 / 3, 3 / 4])
    assert found.value == pytest.approx(0.9272407, abs=5.1e-8)
    low, high = found.interval
    assert (high - low) / 2 / 1.959963984540054 == pytest.approx(1.295155, abs=5.1e-7)


def test_slope_between_two_levels_is_the_closed_form() -> None:
    """Probabilities 0.3 and 0.6, of which 2 of 8 and 7 of 10 are positive.

    Two levels are fitted exactly: the found log odds' difference over the promised one's. Its
    variance is that of the log odds ratio, the four counts' reciprocals summed (Woolf 1955).
    """
    labels = [1] * 2 + [0] * 6 + [1] * 7 + [0] * 3
    promised = math.log(0.6 / 0.4) - math.log(0.3 / 0.7)
    expected = (math.log(7 / 3) - math.log(2 / 6)) / promised
    reach = 1.959963984540054 * math.sqrt(1 / 2 + 1 / 6 + 1 / 7 + 1 / 3) / promised
    found = calibration_slope(labels, [0.3] * 8 + [0.6] * 10)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.interval == pytest.approx((expected - reach, expected + reach), rel=1e-8)


def test_scores_are_those_that_scikit_learns_guide_prints() -> None:
    """scikit-learn 1.9, docs of `brier_score_loss` (0.0375) and `log_loss` (0.21616)."""
    assert brier_score([0, 1, 1, 0], [0.1, 0.9, 0.8, 0.3]) == pytest.approx(0.0375)
    assert round(log_loss([1, 0, 0, 1], [0.9, 0.1, 0.2, 0.65]), 5) == 0.21616


def test_ece_is_what_torchmetrics_prints() -> None:
    """torchmetrics 1.9, docs of `BinaryCalibrationError`: 0.29 with two bins.

    Its bins are equally wide and ours equally full; these patients fall into the same ones.
    """
    found = expected_calibration_error([0, 0, 1, 1, 1], [0.25, 0.25, 0.55, 0.75, 0.75], 2)
    assert found == pytest.approx(0.29)


_LABELS = [0, 1] * 20


@pytest.mark.parametrize("level", [1e-6, 0.1, 0.5, 0.999])
def test_no_slope_is_fitted_over_rounding(level: float) -> None:
    """A spread of 1e-12 made a slope of 1e12, with an interval as if it were a number."""
    p = level + 1e-13 * level * np.arange(40)
    found = calibration_slope(_LABELS, p)
    assert math.isnan(found.value)
    assert found.reason == "all probabilities are nearly equal"
    assert why_no_calibration_error(_LABELS, p) == "all probabilities are nearly equal"


def test_a_slope_is_fitted_over_little_that_is_no_rounding() -> None:
    """The slope of logits shrunk to a thousandth is a thousand times theirs."""
    labels, p = _cohort(3, num=400)
    wide = calibration_slope(labels, p)
    narrow = calibration_slope(labels, 1 / (1 + np.exp(-logits(p) / 1000)))
    assert narrow.value == pytest.approx(1000 * wide.value, rel=1e-6)


def test_classes_that_overlap_by_rounding_are_separated() -> None:
    labels, p = [0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.5, 0.5 + 1e-12, 0.7, 0.8]
    assert calibration_slope(labels, p).reason.startswith("a threshold separates the classes")


def test_certain_probabilities_have_no_logits() -> None:
    for found in (calibration_slope, calibration_intercept):
        assert found([0, 1, 0, 1], [0.0, 0.0, 1.0, 1.0]).reason.startswith(
            "all probabilities are 0"
        )


@pytest.mark.parametrize(
    ("p", "why"),
    [
        ([0.5] * 40, "all probabilities are equal"),
        ([0.2] * 39 + [0.9], "so many probabilities are tied that all fall into one bin"),
        ([0.1, 0.9] * 9, "18 patients make one bin, and two are needed (of 10 each)"),
        ([0.1, 0.9] * 20, ""),
        ([], "no patients"),
    ],
)
def test_a_calibration_error_needs_two_bins(p: list[float], why: str) -> None:
    assert why_no_calibration_error([0, 1] * (len(p) // 2), p) == why
