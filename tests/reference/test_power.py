"""Oracles: Hanley and McNeil's published sample sizes, the formula in fractions, simulation."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from preprocessing.common.errors import InputError
from radiotrain.statistics.auc import auc
from radiotrain.statistics.auc_comparison import paired_difference
from radiotrain.statistics.power import (
    hanley_mcneil_variance,
    power_against_value,
    power_of_difference,
    smallest_area_above,
    smallest_difference,
)


@settings(deadline=None)
@given(st.integers(0, 50), st.integers(1, 80), st.integers(1, 80))
def test_variance_is_the_formula_in_fractions(fiftieths: int, m: int, n: int) -> None:
    area = Fraction(fiftieths, 50)
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)
    total = area * (1 - area) + (m - 1) * (q1 - area**2) + (n - 1) * (q2 - area**2)
    expected = float(total / (m * n))
    assert hanley_mcneil_variance(float(area), m, n) == pytest.approx(expected, abs=1e-15)


def test_variance_of_a_coin_is_the_rank_sums() -> None:
    """At 0.5 it is (m + n + 1) / (12 m n), exact whatever the scores' distribution."""
    assert hanley_mcneil_variance(0.5, 60, 124) == pytest.approx(185 / (12 * 60 * 124))


def test_variance_is_that_of_exponential_scores() -> None:
    """Scores of rates 1 and r: P(positive > negative) = r / (1 + r), the formula's own model."""
    rng = np.random.default_rng(0)
    m, n, area = 25, 40, 0.75
    labels = np.repeat([1, 0], [m, n])
    scale = np.where(labels == 1, area / (1 - area), 1.0)
    areas = [auc(labels, rng.exponential(scale)) for _ in range(4_000)]
    assert np.mean(areas) == pytest.approx(area, abs=0.005)
    assert np.var(areas) == pytest.approx(hanley_mcneil_variance(area, m, n), rel=0.1)


@pytest.mark.parametrize(("num", "power"), [(652, 0.80), (897, 0.90), (1131, 0.95)])
def test_published_sample_sizes(num: int, power: float) -> None:
    """Hanley, McNeil, Radiology 143 (1982) 29-36, table III: 0.70 against 0.75, one-sided 5 %.

    So many normals and as many abnormals are needed in each of two test sets. They rounded
    normal quantiles to two or three figures, which moves the power by less than 0.001.
    """
    assert power_of_difference(0.70, 0.75, num, num, alpha=0.10) == pytest.approx(power, abs=1e-3)


def test_power_against_a_coin_is_what_simulation_gives() -> None:
    """Binormal scores, AUC 0.65, 40 and 60 patients; the test at 5 % with the variance of 0.5."""
    rng = np.random.default_rng(2)
    m, n, area, num = 40, 60, 0.65, 3_000
    labels = np.repeat([1, 0], [m, n])
    shift = math.sqrt(2) * norm.ppf(area)
    reach = 1.959963984540054 * math.sqrt((m + n + 1) / (12 * m * n))
    found = sum(
        auc(labels, rng.normal(size=m + n) + shift * labels) > 0.5 + reach for _ in range(num)
    )
    assert power_against_value(area, 0.5, m, n) == pytest.approx(found / num, abs=0.03)


def test_power_of_a_paired_difference_is_what_simulation_gives() -> None:
    """Two correlated binormal models, AUC 0.65 and 0.75, compared by DeLong's paired test."""
    rng = np.random.default_rng(3)
    labels = np.repeat([1, 0], [60, 90])
    shifts = [math.sqrt(2) * norm.ppf(area) for area in (0.75, 0.65)]
    found, correlations = 0, []
    for _ in range(600):
        common = rng.normal(size=150) * math.sqrt(0.6)
        scores = [
            common + rng.normal(size=150) * math.sqrt(0.4) + shift * labels for shift in shifts
        ]
        difference = paired_difference(labels, *scores)
        correlations.append(difference.correlation)
        found += difference.p_value < 0.05
    power = power_of_difference(0.65, 0.75, 60, 90, float(np.mean(correlations)))
    # The formula takes exponential scores, and both AUCs' variance under the null to be the first's.
    assert power == pytest.approx(found / 600, abs=0.08)


@settings(deadline=None)
@given(st.floats(0.5, 0.9), st.integers(2, 300), st.integers(2, 300), st.floats(-0.5, 0.95))
def test_smallest_difference_has_the_power_asked_for(
    area: float, m: int, n: int, correlation: float
) -> None:
    least = smallest_difference(area, m, n, correlation)
    if math.isnan(least):
        assert power_of_difference(area, 1.0, m, n, correlation) < 0.8
        return
    assert power_of_difference(area, area + least, m, n, correlation) == pytest.approx(
        0.8, abs=1e-4
    )
    more = smallest_difference(area, 2 * m, 2 * n, correlation)
    assert more < least


@settings(deadline=None)
@given(st.integers(1, 300), st.integers(1, 300))
def test_smallest_area_above_a_coin_has_the_power_asked_for(m: int, n: int) -> None:
    least = smallest_area_above(0.5, m, n)
    if math.isnan(least):
        assert power_against_value(1.0, 0.5, m, n) < 0.8
    else:
        assert power_against_value(least, 0.5, m, n) == pytest.approx(0.8, abs=1e-4)
        assert 0.5 < least < 1


def test_models_of_the_same_patients_are_easier_to_tell_apart() -> None:
    gains = [smallest_difference(0.7, 60, 124, r) for r in (0.0, 0.5, 0.9)]
    assert gains[0] > gains[1] > gains[2] > 0
    assert gains[2] < 0.06


def test_no_difference_is_never_found_and_certainty_always() -> None:
    assert power_of_difference(0.7, 0.7, 50, 50) == pytest.approx(0.025)
    assert power_of_difference(0.7, 0.7, 50, 50, correlation=1.0) == 0.0
    assert power_of_difference(1.0, 1.0, 50, 50) == 0.0
    assert power_against_value(1.0, 0.5, 50, 50) == 1.0
    assert power_against_value(0.8, 0.5, 50, 50, alpha=0.05) > 0.99


@pytest.mark.parametrize(("m", "n"), [(0, 5), (5, 0), (0, 0)])
def test_one_class_has_no_power(m: int, n: int) -> None:
    assert math.isnan(hanley_mcneil_variance(0.7, m, n))
    assert math.isnan(power_against_value(0.7, 0.5, m, n))
    assert math.isnan(smallest_area_above(0.5, m, n))
    assert math.isnan(smallest_difference(0.7, m, n))


def test_one_patient_of_each_class_shows_nothing() -> None:
    assert math.isnan(smallest_area_above(0.5, 1, 1))


def test_numbers_that_mean_nothing_are_refused() -> None:
    with pytest.raises(InputError, match=r"AUC is 1\.2"):
        hanley_mcneil_variance(1.2, 5, 5)
    with pytest.raises(InputError, match="correlation is 2"):
        power_of_difference(0.6, 0.7, 5, 5, correlation=2)
