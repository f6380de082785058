"""The calibration curve, observed to expected events, and predictive values beside other roads."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from radiotrain.statistics.calibration import (
    calibration_curve,
    observed_to_expected,
    scaled_brier_score,
)
from radiotrain.statistics.decision_curve import net_benefit_interval
from radiotrain.statistics.operating_point import Confusion, predictive_values


def sample(num: int, seed: int, slope: float = 1.0, shift: float = 0.0) -> tuple[Any, Any]:
    """Return labels and probabilities whose true logit is `slope` times theirs plus `shift`."""
    rng = np.random.default_rng(seed)
    x = rng.normal(-0.5, 1, num)
    return (rng.random(num) < expit(slope * x + shift)).astype(int), expit(x)


def naive_spline(x: list[float], knots: list[float]) -> list[list[float]]:
    """Harrell's formula (2.25) for three knots, patient by patient."""
    t1, t2, t3 = knots

    def plus(v: float) -> float:
        return max(v, 0.0) ** 3

    return [
        [
            v,
            (plus(v - t1) - plus(v - t2) * (t3 - t1) / (t3 - t2) + plus(v - t3) * (t2 - t1) / (t3 - t2))
            / (t3 - t1) ** 2,
        ]
        for v in x
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_the_curve_is_that_of_scikit_learn(seed: int) -> None:
    y, p = sample(200, seed, slope=0.6, shift=0.3)
    x = [math.log(v / (1 - v)) for v in p]
    knots = [float(np.quantile(x, q)) for q in (0.1, 0.5, 0.9)]
    peer = LogisticRegression(C=1e12, tol=1e-12, max_iter=10_000)
    peer.fit(naive_spline(x, knots), y)
    fitted = peer.predict_proba(naive_spline(x, knots))[:, 1]
    found = calibration_curve(y, p)
    distances = sorted(abs(f - v) for f, v in zip(fitted, p, strict=True))
    assert found.ici == pytest.approx(sum(distances) / 200, rel=1e-4)
    assert found.e50 == pytest.approx((distances[99] + distances[100]) / 2, rel=1e-3)
    at = [math.log(v / (1 - v)) for v in found.predicted]
    expected = peer.predict_proba(naive_spline(at, knots))[:, 1]
    assert found.observed == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_the_band_holds_the_truth_in_95_of_100() -> None:
    inside = []
    for seed in range(400):
        y, p = sample(300, seed, slope=0.7, shift=0.4)
        found = calibration_curve(y, p)
        for k in (10, 25, 40):
            x = math.log(found.predicted[k] / (1 - found.predicted[k]))
            inside.append(found.low[k] <= expit(0.7 * x + 0.4) <= found.high[k])
    assert 0.93 <= np.mean(inside) <= 0.975


def test_a_curve_that_cannot_be_drawn_says_why() -> None:
    y, p = sample(200, 0)
    assert "equal" in calibration_curve(y, np.full(200, 0.3)).reason
    assert "equal" in calibration_curve(y, np.where(p > 0.5, 0.7, 0.3)).reason
    assert "smaller class" in calibration_curve(y[:12], p[:12]).reason
    assert "separates" in calibration_curve(y, np.where(y == 1, 0.5 + p / 3, p / 3)).reason
    assert calibration_curve(y, p).reason == ""
    extreme = np.where(np.arange(200) < 20, np.round(p), p)
    found = calibration_curve(y, extreme)
    assert found.reason or all(map(math.isfinite, (*found.observed, *found.low, *found.high)))


def test_observed_to_expected_by_hand_and_in_simulation() -> None:
    ratio, (low, high) = observed_to_expected([1, 1, 0, 0], [0.5, 0.3, 0.1, 0.1])
    reach = 1.959964 * math.sqrt((1 - 2 / 4) / 2)
    assert (ratio, low, high) == pytest.approx((2, 2 * math.exp(-reach), 2 * math.exp(reach)))
    held = []
    for seed in range(1000):
        y, p = sample(150, seed)
        low, high = observed_to_expected(y, p)[1]
        held.append(low <= 1 <= high)
    # Given their probabilities the events vary less than the formula allows for.
    assert np.mean(held) >= 0.94
    assert math.isnan(observed_to_expected([0, 0], [0.1, 0.2])[1][0])
    assert math.isnan(observed_to_expected([], [])[0])


def test_the_scaled_brier_score_is_0_for_the_prevalence_and_1_for_the_truth() -> None:
    y = [0, 0, 0, 1]
    assert scaled_brier_score(y, [0.25] * 4) == pytest.approx(0)
    assert scaled_brier_score(y, y) == 1
    assert scaled_brier_score(y, [0.5] * 4) == pytest.approx(1 - 0.25 / 0.1875)
    assert math.isnan(scaled_brier_score([1, 1], [0.1, 0.2]))


def test_predictive_values_are_those_of_so_many_patients() -> None:
    counts = Confusion(tp=45, fn=5, tn=140, fp=10)
    own = predictive_values(counts, 50 / 200)
    assert own.ppv == pytest.approx(45 / 55)
    assert own.npv == pytest.approx(140 / 145)
    rare = predictive_values(counts, 0.02)
    # Of 10,000 patients 200 are positive, 180 of them found, and 9,800 · 10/150 false positives.
    assert rare.ppv == pytest.approx(180 / (180 + 9800 / 15))
    assert rare.npv == pytest.approx(9800 * 14 / 15 / (9800 * 14 / 15 + 20))
    perfect = predictive_values(Confusion(tp=5, fn=0, tn=5, fp=0), 0.1)
    assert (perfect.ppv, perfect.ppv_ci95) == (1, None)
    none = predictive_values(Confusion(tp=0, fn=5, tn=5, fp=0), 0.1)
    assert none.ppv is None
    assert predictive_values(Confusion(tp=0, fn=0, tn=5, fp=0), 0.1).npv is None


def test_intervals_of_predictive_values_hold_the_truth_in_95_of_100() -> None:
    rng = np.random.default_rng(0)
    truth = 0.8 * 0.1 / (0.8 * 0.1 + 0.3 * 0.9)
    held = []
    for tp, fp in zip(rng.binomial(60, 0.8, 2000), rng.binomial(120, 0.3, 2000), strict=True):
        counts = Confusion(tp=int(tp), fn=int(60 - tp), tn=int(120 - fp), fp=int(fp))
        interval = predictive_values(counts, 0.1).ppv_ci95
        assert interval is not None
        held.append(interval[0] <= truth <= interval[1])
    assert 0.935 <= np.mean(held) <= 0.965


def test_the_interval_of_the_net_benefit_is_that_of_a_mean_over_patients() -> None:
    y, p = sample(80, 1)
    low, high = net_benefit_interval(y, p, [0.2, 0.5])
    for k, t in enumerate((0.2, 0.5)):
        worth = [
            (1.0 if label else -t / (1 - t)) if v > t else 0.0
            for label, v in zip(y, p, strict=True)
        ]
        mean = sum(worth) / 80
        sd = math.sqrt(sum((w - mean) ** 2 for w in worth) / 79)
        assert low[k] == pytest.approx(mean - 1.959964 * sd / math.sqrt(80))
        assert high[k] == pytest.approx(mean + 1.959964 * sd / math.sqrt(80))
