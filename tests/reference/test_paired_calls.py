"""Sensitivities and specificities of two models: every table counted, Fisher's tea, false alarms."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from radiotrain.statistics.auc_comparison import holm_adjusted
from radiotrain.statistics.operating_point import (
    Discordant,
    compare_at_equal_rate,
    discordant,
    mcnemar_p_value,
    sensitivity_threshold,
)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30))
def test_mcnemar_is_the_binomial_tail_in_fractions(first: int, second: int) -> None:
    num = first + second
    ways = [Fraction(math.comb(num, k), 2**num) for k in range(num + 1)]
    expected = sum(w for w in ways if w <= ways[first])
    assert mcnemar_p_value(first, second) == pytest.approx(float(expected), rel=1e-9)
    assert mcnemar_p_value(second, first) == pytest.approx(float(expected), rel=1e-9)


def test_mcnemar_without_discordant_patients_is_one() -> None:
    assert mcnemar_p_value(0, 0) == 1.0
    assert mcnemar_p_value(5, 5) == 1.0
    assert mcnemar_p_value(0, 6) == pytest.approx(2 / 64)
    # Printed by statsmodels 0.15.0, `mcnemar(exact=True)`.
    assert mcnemar_p_value(12, 5) == pytest.approx(0.143463134765625, rel=1e-12)


def test_mcnemar_of_published_pairs() -> None:
    """Bentur et al., as in Fagerland, Lydersen, Laake, BMC Med Res Methodol 13 (2013) 91, table 1.

    Airway hyper-responsiveness of 21 children: 1 only before, 7 only after transplantation. Their
    exact conditional p is twice the binomial tail, 2 (1 + 8) / 2^8 = 0.0703 (seen quoted in the
    documentation of a Go package on GitHub).
    """
    assert mcnemar_p_value(1, 7) == pytest.approx(18 / 256)


_COHORT = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, 6), st.integers(0, 6)), min_size=2, max_size=14
)


@settings(deadline=None)
@given(_COHORT)
def test_discordant_patients_are_those_counted_one_by_one(
    patients: list[tuple[int, int, int]],
) -> None:
    labels, first, second = (np.array(column) for column in zip(*patients, strict=True))
    positives, negatives = discordant(labels, first >= 3, second >= 4)
    counted = {1: [0, 0], 0: [0, 0]}
    for y, a, b in patients:
        right = (a >= 3) == (y == 1), (b >= 4) == (y == 1)
        counted[y][0] += right[0] and not right[1]
        counted[y][1] += right[1] and not right[0]
    assert (positives, negatives) == (Discordant(*counted[1]), Discordant(*counted[0]))


@settings(deadline=None)
@given(_COHORT)
def test_equal_rate_is_that_of_every_pair_of_thresholds_tried(
    patients: list[tuple[int, int, int]],
) -> None:
    """All thresholds of both; p as the share of ways to give labels to the discordant patients."""
    labels, first, second = (list(column) for column in zip(*patients, strict=True))
    found = compare_at_equal_rate(labels, first, second)
    num, num_positive = len(labels), sum(labels)
    called = [{sum(x >= t for x in s): t for t in s} for s in (first, second)]
    common = [k for k in called[0] if k in called[1] and k < num]
    if num_positive in (0, num) or not common:
        assert found is None
        return
    assert found is not None
    best = min(common, key=lambda k: (abs(k - num_positive), k))
    assert found.num_called == best
    assert found.thresholds == (called[0][best], called[1][best])
    picked = [[x >= t for x in s] for s, t in zip((first, second), found.thresholds, strict=True)]
    for k in (0, 1):
        hits = sum(y and c for y, c in zip(labels, picked[k], strict=True))
        clear = sum(not y and not c for y, c in zip(labels, picked[k], strict=True))
        assert found.sensitivity[k] == pytest.approx(hits / num_positive)
        assert found.specificity[k] == pytest.approx(clear / (num - num_positive))
    only = [[y for y, a, b in zip(labels, *pair, strict=True) if a and not b]
            for pair in (picked, picked[::-1])]  # fmt: skip
    assert len(only[0]) == len(only[1])
    assert found.p == pytest.approx(float(_fisher(len(only[0]), sum(only[0]), sum(only[1]))))
    # One more true positive is one false positive fewer.
    gain = (found.sensitivity[0] - found.sensitivity[1]) * num_positive
    other = (found.specificity[0] - found.specificity[1]) * (num - num_positive)
    assert gain == pytest.approx(other)


def _fisher(num: int, hits: int, others: int) -> Fraction:
    """Of `num` patients a side: how often labels dealt out differ as much, in fractions."""
    total = hits + others
    ways = {
        k: Fraction(math.comb(num, k) * math.comb(num, total - k), math.comb(2 * num, total))
        for k in range(max(0, total - num), min(num, total) + 1)
    }
    return sum((w for w in ways.values() if w <= ways[hits]), Fraction(0))


def test_equal_rate_of_fishers_tea() -> None:
    """Fisher 1935, chapter 2: of 8 cups 3 of 4 named rightly each way; two-sided p 34/70.

    The first model alone calls three positives and a negative, the second a positive and three.
    """
    labels = [1, 1, 1, 0, 1, 0, 0, 0]
    first = [8, 7, 6, 5, 4, 3, 2, 1]
    second = [1, 2, 3, 4, 5, 6, 7, 8]
    found = compare_at_equal_rate(labels, first, second)
    assert found is not None
    assert (found.num_called, found.positives, found.negatives) == (
        4, Discordant(3, 1), Discordant(3, 1),
    )  # fmt: skip
    assert found.p == pytest.approx(34 / 70)
    turned = compare_at_equal_rate(labels, second, first)
    assert turned is not None
    assert (turned.p, turned.positives) == (found.p, Discordant(1, 3))
    two = compare_at_equal_rate(labels, first, second, num_called=2)
    assert two is not None
    assert (two.num_called, two.thresholds) == (2, (7.0, 7.0))


def test_a_model_beside_itself_at_another_scale_differs_in_nothing() -> None:
    labels, scores = [1, 0, 1, 0, 0], [0.9, 0.2, 0.6, 0.7, 0.1]
    found = compare_at_equal_rate(labels, scores, [0.1 * s for s in scores])
    assert found is not None
    assert (found.p, found.positives, found.negatives) == (1.0, Discordant(0, 0), Discordant(0, 0))


@pytest.mark.slow
def test_three_equally_good_networks_are_found_different_in_at_most_5_percent() -> None:
    """800 reports of 184 patients, AUC 0.7, after Holm: 40 expected at most, four errors are 25.

    At thresholds of a sensitivity of 0.90 that each network takes from its own 184 validation
    patients, far more are: those tests compare thresholds, as their names say.
    """
    rng = np.random.default_rng(26)
    labels = np.repeat([1, 0], [60, 124])
    num_models, num_thresholds = 0, 0
    for _ in range(800):
        test, validation = (
            [0.74 * labels + c + 0.7 * rng.normal(size=184) for _ in range(3)]
            for c in 0.7 * rng.normal(size=(2, 184))
        )
        pairs = [(0, 1), (0, 2), (1, 2)]
        equal = [compare_at_equal_rate(labels, test[a], test[b]) for a, b in pairs]
        num_models += min(holm_adjusted([e.p for e in equal if e is not None])) < 0.05
        called = [
            t >= sensitivity_threshold(labels, v, 0.9)
            for t, v in zip(test, validation, strict=True)
        ]
        own = [d for a, b in pairs for d in discordant(labels, called[a], called[b])]
        p_values = [mcnemar_p_value(d.only_first, d.only_second) for d in own]
        num_thresholds += min(holm_adjusted(p_values)) < 0.05
    assert num_models <= 40 + 25
    assert num_thresholds > 4 * 40


@pytest.mark.slow
def test_a_better_network_is_found_at_an_equal_rate() -> None:
    """AUC 0.85 against 0.65 on 184 patients: in most of 100 test sets."""
    rng = np.random.default_rng(27)
    labels = np.repeat([1, 0], [60, 124])
    found = 0
    for _ in range(100):
        good, poor = (d * labels + rng.normal(size=184) for d in (1.466, 0.545))
        result = compare_at_equal_rate(labels, good, poor)
        assert result is not None
        found += result.p < 0.05 and result.sensitivity[0] > result.sensitivity[1]
    assert found > 75
