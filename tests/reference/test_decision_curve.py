"""Oracles: patients counted one by one, and what is known at both ends of the curve."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocessing.common.errors import InputError
from radiotrain.statistics.decision_curve import (
    THRESHOLDS,
    decision_curve,
    net_benefit,
    net_benefit_of_all,
)

_PROBABILITY = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9, 1.0]) | st.floats(0, 1)
_PATIENTS = st.lists(st.tuples(st.integers(0, 1), _PROBABILITY), min_size=1, max_size=20)
_THRESHOLDS = st.lists(
    st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]) | st.floats(0, 0.99), min_size=1, max_size=5
)


def _naive(labels: list[int], p: list[float], t: float) -> float:
    hits = sum(1 for y, q in zip(labels, p, strict=True) if q > t and y == 1)
    alarms = sum(1 for y, q in zip(labels, p, strict=True) if q > t and y == 0)
    return hits / len(p) - alarms / len(p) * t / (1 - t)


@settings(deadline=None)
@given(_PATIENTS, _THRESHOLDS)
def test_net_benefit_is_counted_patient_by_patient(
    patients: list[tuple[int, float]], thresholds: list[float]
) -> None:
    labels, p = [y for y, _ in patients], [q for _, q in patients]
    found = net_benefit(labels, p, thresholds)
    assert found == pytest.approx([_naive(labels, p, t) for t in thresholds], abs=1e-12)
    everybody = net_benefit_of_all(labels, thresholds)
    sure = [math.nextafter(1, 2)] * len(p)
    assert everybody == pytest.approx([_naive(labels, sure, t) for t in thresholds], abs=1e-12)
    share = sum(labels) / len(labels)
    assert (found <= share + 1e-12).all()


def test_a_patient_at_the_threshold_is_not_called() -> None:
    assert net_benefit([1], [0.5], [0.5]) == [0.0]
    assert net_benefit([1], [math.nextafter(0.5, 1)], [0.5]) == [1.0]


def test_by_hand() -> None:
    """At 0.2: 2 found and 1 false alarm among 4, 2/4 - 1/4 * (0.2/0.8) = 0.4375."""
    labels, p = [1, 1, 0, 0], [0.9, 0.3, 0.5, 0.1]
    assert net_benefit(labels, p, [0.2])[0] == pytest.approx(0.4375)
    assert net_benefit_of_all(labels, [0.2])[0] == pytest.approx(0.5 - 0.5 * 0.25)


def test_model_equals_all_below_and_none_above_its_probabilities() -> None:
    labels, p = [1, 0, 0, 1, 0], [0.4, 0.3, 0.5, 0.6, 0.35]
    low, high = [0.0, 0.1, 0.29], [0.6, 0.8, 0.95]
    np.testing.assert_allclose(net_benefit(labels, p, low), net_benefit_of_all(labels, low))
    np.testing.assert_array_equal(net_benefit(labels, p, high), [0, 0, 0])


def test_calling_all_is_worth_nothing_at_the_share_of_positives() -> None:
    assert net_benefit_of_all([1, 0, 0, 0], [0.25])[0] == pytest.approx(0, abs=1e-15)


def test_a_perfect_model_is_worth_the_share_of_positives() -> None:
    found = net_benefit([1, 0, 0, 1], [1.0, 0.0, 0.0, 1.0], THRESHOLDS)
    np.testing.assert_allclose(found, 0.5)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_has_a_curve(label: int) -> None:
    assert net_benefit([label] * 2, [0.3, 0.7], [0.5])[0] == (0.5 if label else -0.5)


def test_no_patients_have_none() -> None:
    assert np.isnan(net_benefit([], [], [0.1, 0.5])).all()
    assert np.isnan(net_benefit_of_all([], [0.1])).all()
    assert decision_curve([], []) == ()


@pytest.mark.parametrize("thresholds", [[1.0], [-0.1], [math.nan], [[0.1]]])
def test_thresholds_at_which_there_are_no_odds_are_refused(thresholds: list[float]) -> None:
    with pytest.raises(InputError, match="from 0 to below 1"):
        net_benefit([0, 1], [0.2, 0.8], thresholds)


def test_what_is_kept_is_the_curve() -> None:
    labels, p = [1, 0, 0, 1, 0], [0.4, 0.3, 0.5, 0.6, 0.35]
    kept = decision_curve(labels, p)
    assert [k.threshold for k in kept] == list(THRESHOLDS)
    assert [k.model for k in kept] == list(net_benefit(labels, p, THRESHOLDS))
    assert [k.all for k in kept] == list(net_benefit_of_all(labels, THRESHOLDS))


def test_calling_all_is_worth_what_is_published() -> None:
    """Table 4 of PMC6993280, column "intervention to all": 0 at 0.3, so 30 % have the disease."""
    printed = {0.03: 0.278, 0.05: 0.263, 0.08: 0.239, 0.1: 0.222, 0.2: 0.125, 0.3: 0.0}
    printed |= {0.4: -0.167, 0.5: -0.4, 0.6: -0.75, 0.7: -1.333, 0.8: -2.5, 0.9: -6.0}
    labels = [1] * 30 + [0] * 70
    found = net_benefit_of_all(labels, list(printed))
    np.testing.assert_allclose(found, list(printed.values()), atol=5.1e-4)
    # A model that calls everybody is worth the same.
    np.testing.assert_allclose(net_benefit(labels, [0.95] * 100, list(printed)), found, atol=1e-12)


def test_net_benefit_is_the_closed_form_of_the_rates() -> None:
    """Sensitivity times prevalence, less false alarms times the odds (Vickers and Elkin 2006)."""
    rng = np.random.default_rng(3)
    labels, p = rng.integers(0, 2, 300), rng.random(300)
    for t in THRESHOLDS:
        called, share = p > t, labels.mean()
        expected = called[labels == 1].mean() * share
        expected -= called[labels == 0].mean() * (1 - share) * t / (1 - t)
        assert net_benefit(labels, p, [t])[0] == pytest.approx(expected, abs=1e-12)
