"""Oracles: scikit-learn's own implementation of Platt's method, and LIBSVM's numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.calibration import _SigmoidCalibration

from radiotrain.statistics.recalibration import PlattCurve, fit_platt


def drawn(num: int, slope: float, intercept: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a network's logits are wrong by a slope and an intercept."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 1.5, num)
    labels = (generator.random(num) < expit(slope * logits + intercept)).astype(int)
    return labels, expit(logits)


@pytest.mark.parametrize("num", [12, 60, 900])
def test_the_curve_is_the_one_that_scikit_learn_fits(num: int) -> None:
    labels, probabilities = drawn(num, 0.6, 1.0, seed=num)
    found, why = fit_platt(labels, probabilities)
    assert found is not None, why
    theirs = _SigmoidCalibration().fit(logit(probabilities), labels)
    np.testing.assert_allclose(
        found.apply(probabilities), theirs.predict(logit(probabilities)), atol=2e-4
    )
    assert (found.num_patients, found.num_positive) == (num, labels.sum())


def test_three_patients_have_libsvms_curve() -> None:
    """A and B of 1 / (1 + exp(A f + B)) for f = 5, -4, 1, of which only the first is positive.

    Computed after LIBSVM's C++ code (Lin, Lin, Weng, Machine Learning 68 (2007) 267-276), quoted
    from `test_sigmoid_calibration` of scikit-learn's tests.
    """
    published = -0.20261354391187855, 0.65236314980010512
    found, _ = fit_platt([1, 0, 0], expit([5.0, -4.0, 1.0]))
    assert found is not None
    # LIBSVM stops where either slope of the loss is below 1e-5 (`eps` in its sigmoid_train), and
    # the loss is curved by 0.547 at least: neither number is further than this from the optimum.
    tolerance = 1e-5 * math.sqrt(2) / 0.547
    assert (-found.slope, -found.intercept) == pytest.approx(published, abs=tolerance)


def test_what_was_wrong_is_found_again() -> None:
    labels, probabilities = drawn(40_000, 0.5, -1.0, seed=1)
    found, _ = fit_platt(labels, probabilities)
    assert found is not None
    assert found.slope == pytest.approx(0.5, abs=0.03)
    assert found.intercept == pytest.approx(-1.0, abs=0.05)


def test_separated_classes_have_a_curve_that_promises_nothing_certain() -> None:
    found, _ = fit_platt([0, 0, 0, 1, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9])
    assert found is not None
    calibrated = found.apply([0.1, 0.9])
    assert 0.05 < calibrated[0] < 0.5 < calibrated[1] < 0.95


def test_order_and_shape_are_kept() -> None:
    found = PlattCurve(0.4, 1.0, 10, 5)
    values = np.linspace(0, 1, 12).reshape(3, 4)
    calibrated = found.apply(values)
    assert calibrated.shape == (3, 4)
    assert (np.diff(calibrated.ravel()) >= 0).all()


@pytest.mark.parametrize(
    ("labels", "probabilities", "reason"),
    [
        ([], [], "no validation patient"),
        ([1, 1], [0.2, 0.8], "only one class among 2"),
        ([0, 1], [0.5, 0.5], "the same probability"),
        ([0, 0, 1, 1], [0.9, 0.8, 0.2, 0.1], "did not go with more positive"),
    ],
)
def test_what_cannot_be_fitted_says_why(
    labels: list[int], probabilities: list[float], reason: str
) -> None:
    found, why = fit_platt(labels, probabilities)
    assert found is None
    assert reason in why
