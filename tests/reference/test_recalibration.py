"""Oracles: scipy's bounded minimiser, scikit-learn, pool-adjacent-violators; published fits.

A temperature is a logistic regression on the logits without an intercept, whose slope is 1/T.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit
from sklearn.calibration import _TemperatureScaling

from radiotrain.statistics.auc import auc
from radiotrain.statistics.calibration import brier_score, expected_calibration_error, log_loss
from radiotrain.statistics.recalibration import (
    apply_temperature,
    fit_temperature,
    isotonic,
    recalibrations,
)

_PATIENTS = st.lists(
    st.tuples(
        st.integers(0, 1), st.sampled_from([0.0, 0.2, 0.45, 0.5, 0.6, 1.0]) | st.floats(0, 1)
    ),
    min_size=1,
    max_size=20,
)


def _overconfident(
    seed: int, num: int, temperature: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Probabilities whose logits are `temperature` times too large."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=num) * 1.3
    labels = (rng.random(num) < 1 / (1 + np.exp(-truth))).astype(int)
    return labels, 1 / (1 + np.exp(-truth * temperature))


@pytest.mark.parametrize("seed", range(5))
def test_temperature_is_where_a_plain_minimiser_finds_the_least_loss(seed: int) -> None:
    labels, p = _overconfident(seed, 60, 2.5)

    def loss(log_temperature: float) -> float:
        q = 1 / (1 + np.exp(-np.log(p / (1 - p)) / math.exp(log_temperature)))
        return -float(np.mean(np.where(labels == 1, np.log(q), np.log(1 - q))))

    best = minimize_scalar(loss, bounds=(-4, 6), method="bounded", options={"xatol": 1e-9})
    temperature, why = fit_temperature(labels, p)
    assert why == ""
    assert math.log(temperature) == pytest.approx(best.x, abs=1e-4)


@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_known_temperature_is_found(true: float) -> None:
    labels, p = _overconfident(1, 50_000, true)
    assert fit_temperature(labels, p)[0] == pytest.approx(true, rel=0.03)


def test_temperature_of_one_level_is_its_share_of_positives() -> None:
    """3 of 4 are right at 0.9: the temperature makes 0.9 to 0.75."""
    temperature, _ = fit_temperature([1, 1, 1, 0], [0.9] * 4)
    assert temperature == pytest.approx(math.log(9) / math.log(3))
    np.testing.assert_allclose(apply_temperature([0.9, 0.1, 0.5], temperature), [0.75, 0.25, 0.5])


@pytest.mark.parametrize("seed", range(5))
def test_temperature_is_scikit_learns(seed: int) -> None:
    """scikit-learn 1.9 makes the logits (-x, x) of x, which are 2x apart: half as steep."""
    labels, p = _overconfident(seed, 80, 2.5)
    theirs = _TemperatureScaling().fit(np.log(p / (1 - p)), labels)
    assert fit_temperature(labels, p)[0] == pytest.approx(1 / (2 * theirs.beta_), rel=1e-6)


def test_temperature_of_matched_pairs_is_the_published_odds_ratio() -> None:
    """Oestrogens and cancer of the endometrium, 63 women each with one control: Breslow, Day 1980.

    The conditional likelihood of a pair is the logistic one, without an intercept, of case less
    control (Breslow 1982, as the SAS/STAT User's Guide says in its example of these women): the
    log odds ratio is 1/T. R's `clogit` finds 9.667 and a log likelihood of -31.444 (quoted from
    notes on GitHub, "Statistical Methods in Epidemiology, lab 7", data set bdendo11); 29 pairs in
    which the case alone took them, 3 in which the control alone did, have that ratio. To have
    patients of both labels, every other pair is taken as control less case, which is as likely.
    """
    case_less_control = np.repeat([1.0, -1.0, 0.0], [29, 3, 31])
    labels = np.arange(63) % 2
    p = expit(np.where(labels == 1, case_less_control, -case_less_control))
    temperature, _ = fit_temperature(labels, p)
    assert round(math.exp(1 / temperature), 3) == 9.667
    log_likelihood = -63 * log_loss(labels, apply_temperature(p, temperature))
    assert round(log_likelihood, 3) == -31.444


@pytest.mark.parametrize("steeper", [0.5, 1.0, 3.0])
def test_temperature_of_a_published_fit_is_by_how_much_it_was_made_steeper(steeper: float) -> None:
    """The shuttle's O-rings (Dalal, Fowlkes, Hoadley 1989): logit = 15.0429 - 0.2322 degrees.

    The coefficients are quoted from a page on GitHub that draws them over these 23 flights. Where the likelihood of both coefficients is largest, making both steeper does not help, so
    that the fitted probabilities have T = 1. Published ones are rounded: T = 1 is between the
    temperatures of the numbers that round to them.
    """
    flights = "66 70 69 68 67 72 73 70 57 63 70 78 67 53 67 75 70 81 76 79 75 76 58"
    distress = "0 1 0 0 0 0 0 0 1 1 1 0 0 1 0 0 0 0 0 0 1 0 1"
    degrees, labels = (np.array(words.split(), dtype=float) for words in (flights, distress))
    temperatures = [
        fit_temperature(labels, expit(steeper * (intercept - slope * degrees)))[0] / steeper
        for intercept in (15.04285, 15.04295)
        for slope in (0.23215, 0.23225)
    ]
    assert min(temperatures) < 1 < max(temperatures)
    assert max(temperatures) - min(temperatures) < 0.01


@pytest.mark.parametrize(
    ("labels", "p", "why"),
    [
        ([], [], "only one class"),
        ([1, 1], [0.2, 0.9], "only one class"),
        ([0, 1], [0.9, 0.2], "no temperature makes"),
        ([0, 1, 0, 1], [0.5, 0.5, 0.5, 0.5], "no temperature makes"),
        # Equal among both classes, but for what rounding leaves.
        ([0, 0, 0, 1, 1, 1], [0.0, 0.0, 0.75, 0.0, 0.0, 0.75], "no temperature makes"),
        ([0, 1], [0.1, 0.9], "all validation patients are on the right side"),
        ([0, 1], [0.5, 0.9], "all validation patients are on the right side"),
    ],
)
def test_temperature_is_undefined_with_a_reason(
    labels: list[int], p: list[float], why: str
) -> None:
    temperature, reason = fit_temperature(labels, p)
    assert math.isnan(temperature)
    assert reason.startswith(why)


@settings(deadline=None)
@given(_PATIENTS)
def test_temperature_never_makes_the_loss_it_is_fitted_to_worse(
    patients: list[tuple[int, float]],
) -> None:
    labels, p = (np.array(column) for column in zip(*patients, strict=True))
    temperature, why = fit_temperature(labels, p)
    assert math.isnan(temperature) == bool(why)
    if why:
        return
    assert temperature > 0
    after = log_loss(labels, apply_temperature(p, temperature))
    assert after <= log_loss(labels, p) + 1e-9
    assert after <= math.log(2) + 1e-9


@settings(deadline=None)
@given(_PATIENTS)
def test_isotonic_is_pool_adjacent_violators(patients: list[tuple[int, float]]) -> None:
    labels, p = (np.array(column) for column in zip(*patients, strict=True))
    p = np.round(p, 2)
    blocks: list[list[float]] = []  # [sum of labels, patients], pooled while the order is wrong
    for value in np.unique(p):
        blocks.append([float(labels[p == value].sum()), float((p == value).sum()), 1])
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            hits, num, width = blocks.pop()
            blocks[-1] = [blocks[-1][0] + hits, blocks[-1][1] + num, blocks[-1][2] + width]
    expected = np.concatenate([np.repeat(b[0] / b[1], int(b[2])) for b in blocks])
    found, why = isotonic(labels, p, np.unique(p))
    if len(set(labels)) == 1:
        assert found is None
        assert why == "only one class among the validation patients"
        return
    if len(set(p)) == 1:
        assert found is None
        assert why == "all validation probabilities are equal"
        return
    assert found is not None
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_isotonic_is_what_fawcett_prints() -> None:
    """Blocks of 15 patients: 1, 3/4, 2/3, 1/2, 1/3 and 0, from 0.9, 0.7, 0.45, 0.3, 0.2, 0.02 down.

    From the manual of AI::Calibrate (Perl; seen on metacpan.org and, version 1.5, on GitHub) by Tom
    Fawcett, author of "PAV and the ROC convex hull", Machine Learning 68 (2007) 97-106.
    """
    scores = [0.9, 0.8, 0.7, 0.6, 0.55, 0.5, 0.45, 0.4, 0.35, 0.3, 0.27, 0.2, 0.18, 0.1, 0.02]
    labels = [1, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 0, 0, 1, 0]
    printed = [1] * 2 + [3 / 4] * 4 + [2 / 3] * 3 + [1 / 2] * 2 + [1 / 3] * 3 + [0]
    found, _ = isotonic(labels, scores, scores)
    assert found == pytest.approx(printed)


def test_isotonic_is_constant_beyond_what_it_was_fitted_to() -> None:
    found, _ = isotonic([0, 1, 0, 1], [0.3, 0.4, 0.5, 0.6], [0.0, 0.3, 0.45, 0.55, 0.6, 1.0])
    assert found is not None
    np.testing.assert_allclose(found, [0, 0, 0.5, 0.75, 1, 1])
    nothing, why = isotonic([0, 1], [0.3, 0.4], [])
    assert (nothing is not None, why) == (True, "")


def test_test_labels_have_no_part_in_what_is_fitted() -> None:
    labels, p = _overconfident(2, 200, 3.0)
    validation = _overconfident(3, 200, 3.0)
    found = recalibrations(labels, p, *validation)
    turned = recalibrations(1 - labels, p, *validation)
    assert [r.method for r in found] == ["none", "temperature", "isotonic"]
    assert found[1].temperature == turned[1].temperature == fit_temperature(*validation)[0]
    cooled = apply_temperature(p, fit_temperature(*validation)[0])
    assert auc(labels, cooled) == auc(labels, p)
    for result, q in zip(found, (p, cooled, isotonic(*validation, p)[0]), strict=True):
        assert result.brier == pytest.approx(brier_score(labels, q))
        assert result.ece == pytest.approx(expected_calibration_error(labels, q))
        assert result.log_loss == pytest.approx(log_loss(labels, q))
        assert set(result.reasons) == ({"temperature"} if result.temperature is None else set())
    assert found[1].log_loss < found[0].log_loss
    assert found[1].brier < found[0].brier


@pytest.mark.parametrize("validation", [([], []), ([1, 1], [0.3, 0.4])])
def test_without_validation_only_the_prediction_itself_is_measured(
    validation: tuple[list[int], list[float]],
) -> None:
    found = recalibrations([0, 1], [0.2, 0.6], *validation)
    assert found[0].brier is not None
    for result in found[1:]:
        assert result.brier is result.ece is result.log_loss is result.temperature is None
        assert set(result.reasons) == {"brier", "ece", "log_loss", "temperature"}
        assert all(result.reasons.values())


def test_without_test_patients_nothing_is_measured() -> None:
    found = recalibrations([], [], [0, 1, 0, 1], [0.2, 0.6, 0.6, 0.4])
    for result in found:
        assert result.brier is result.ece is result.log_loss is None
        assert result.reasons["brier"] == "no test patient with a known label"


def test_no_temperature_or_step_is_fitted_over_rounding() -> None:
    p = 0.5 + 1e-13 * np.array([3, 1, 2, -1, -2, -3, 4, -1])
    labels = [1, 0, 1, 0, 0, 1, 1, 0]
    assert math.isnan(fit_temperature(labels, p)[0])
    found, why = isotonic(labels, p, p)
    assert (found, why) == (None, "all validation probabilities are nearly equal")
