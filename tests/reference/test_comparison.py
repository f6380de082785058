"""Oracles: DeLong's covariance written out, SAS on DeLong's own data, coins and fractions.

The covariance of the placements of two models is computed here patient by patient and pair by
pair (DeLong, DeLong, Clarke-Pearson 1988, equations 4 to 6), and the difference's variance from
the three variances; the code under test takes the placements' differences in one pass.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2, norm, ttest_ind
from scipy.stats import t as student_t

from preprocessing.common.errors import InputError
from radiotrain.statistics.auc import auc, delong_interval, delong_variance
from radiotrain.statistics.auc_comparison import (
    bootstrap_difference_interval,
    holm_adjusted,
    paired_difference,
    unpaired_difference,
)
from radiotrain.statistics.degrees_of_freedom import Part, combined
from radiotrain.statistics.resampling import bootstrap_values

_SCORE = st.sampled_from([0.0, 0.25, 0.5, math.nextafter(0.5, 1), 0.75, 1.0])
_PATIENT = st.tuples(st.integers(0, 1), _SCORE, _SCORE)

# Albumin, total protein, K-G score and outcome of 43 patients with ovarian cancer: the data of
# DeLong, DeLong, Clarke-Pearson (1988), as printed in the SAS/STAT User's Guide, The LOGISTIC
# Procedure, example "Comparing Receiver Operating Characteristic Curves".
_OVARIAN = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0
1.6 5.6 5 1  3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1
4.3 7.0 4 1  3.6 6.7 4 0  2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1
3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1  3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1
3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0  3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1
3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1  3.3 5.7 6 1  3.7 6.9 5 1
3.6 6.6 5 1
"""


def _wins(positive: float, negative: float) -> float:
    return float(positive > negative) + 0.5 * (positive == negative)


def _naive_covariance(
    labels: Sequence[int], first: Sequence[float], second: Sequence[float]
) -> float:
    """The covariance of two AUCs of the same patients."""
    ones = [i for i, y in enumerate(labels) if y == 1]
    zeros = [i for i, y in enumerate(labels) if y == 0]
    m, n = len(ones), len(zeros)
    v10 = [[sum(_wins(s[i], s[j]) for j in zeros) / n for i in ones] for s in (first, second)]
    v01 = [[sum(_wins(s[i], s[j]) for i in ones) / m for j in zeros] for s in (first, second)]
    areas = [sum(v) / m for v in v10]
    s10 = sum((v10[0][k] - areas[0]) * (v10[1][k] - areas[1]) for k in range(m)) / (m - 1)
    s01 = sum((v01[0][k] - areas[0]) * (v01[1][k] - areas[1]) for k in range(n)) / (n - 1)
    return s10 / m + s01 / n


def _two_models(
    seed: int, num_positive: int = 30, num_negative: int = 50
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [num_positive, num_negative])
    common = rng.normal(size=len(labels)) + 0.6 * labels
    first = common + 0.7 * rng.normal(size=len(labels))
    second = common + 0.7 * rng.normal(size=len(labels)) + 0.2 * labels
    return labels, first.round(1), second.round(1)


@settings(deadline=None)
@given(st.lists(_PATIENT, min_size=4, max_size=20))
def test_paired_difference_has_delongs_variance(patients: list[tuple[int, float, float]]) -> None:
    labels, first, second = (list(column) for column in zip(*patients, strict=True))
    assume(2 <= sum(labels) <= len(labels) - 2)
    found = paired_difference(labels, first, second)
    variances = [_naive_covariance(labels, s, s) for s in (first, second)]
    covariance = _naive_covariance(labels, first, second)
    expected = sum(variances) - 2 * covariance
    assert found.value == pytest.approx(auc(labels, first) - auc(labels, second), abs=1e-14)
    assert found.standard_error**2 == pytest.approx(expected, abs=1e-14)
    if found.standard_error > 0:
        freedom = _naive_freedom(labels, first, second)
        assert found.degrees_of_freedom == pytest.approx(freedom, rel=1e-6)
        tail = student_t(freedom).sf(abs(found.value) / math.sqrt(expected))
        assert found.p_value == pytest.approx(2 * tail, abs=1e-8)
        assert found.p_value <= 0.05 or found.interval[0] <= 0 <= found.interval[1]
    if min(variances) > 0 and found.standard_error > 0:
        expected_correlation = covariance / math.sqrt(variances[0] * variances[1])
        assert found.correlation == pytest.approx(expected_correlation, abs=1e-9)


@settings(deadline=None)
@given(st.lists(_PATIENT, min_size=2, max_size=15))
def test_turning_two_models_round_turns_the_sign_round(
    patients: list[tuple[int, float, float]],
) -> None:
    labels, first, second = (list(column) for column in zip(*patients, strict=True))
    one, other = paired_difference(labels, first, second), paired_difference(labels, second, first)
    assert one.value == pytest.approx(-other.value, nan_ok=True)
    assert one.standard_error == pytest.approx(other.standard_error, nan_ok=True)
    assert one.p_value == pytest.approx(other.p_value, nan_ok=True)
    low, high = other.interval
    assert one.interval == pytest.approx((-high, -low), nan_ok=True)


def test_delongs_own_data_give_what_sas_prints() -> None:
    """SAS/STAT User's Guide, example above, ROC association and contrast estimation results.

    Areas with standard errors 0.7366 (0.0927) of albumin, 0.7258 (0.1028) of the K-G score and
    0.6478 (0.1000) of total protein; against the K-G score total protein -0.0780, error 0.1046,
    -0.2830 to 0.1271, chi-square 0.5554, p 0.4561, and albumin 0.0108, error 0.0953, -0.1761 to
    0.1976, chi-square 0.0127, p 0.9102. The data were seen there, these results only quoted. SAS's
    interval and p are the normal distribution's, which is too short for 12 and 37 patients.
    """
    albumin, protein, kg_score, labels = np.array(_OVARIAN.split(), float).reshape(-1, 4).T
    low_is_good = -kg_score
    areas = [
        (round(auc(labels, s), 4), round(math.sqrt(delong_variance(labels, s)), 4))
        for s in (albumin, low_is_good, protein)
    ]
    assert areas == [(0.7366, 0.0927), (0.7258, 0.1028), (0.6478, 0.1000)]
    for scores, printed in (
        (protein, (-0.0780, 0.1046, -0.2830, 0.1271, 0.5554, 0.4561)),
        (albumin, (0.0108, 0.0953, -0.1761, 0.1976, 0.0127, 0.9102)),
    ):
        found = paired_difference(labels, scores, low_is_good)
        chi_square = (found.value / found.standard_error) ** 2
        ends = norm.interval(0.95, found.value, found.standard_error)
        values = (found.value, found.standard_error, *ends, chi_square, chi2.sf(chi_square, 1))
        assert tuple(round(v, 4) for v in values) == printed
        assert found.interval[0] < ends[0] < ends[1] < found.interval[1]
        assert 11 <= found.degrees_of_freedom <= 47


def test_models_that_rank_alike_differ_by_zero_with_p_one() -> None:
    labels, scores, _ = _two_models(1)
    for other in (scores, np.exp(scores)):
        found = paired_difference(labels, scores, other)
        assert (found.value, found.standard_error, found.p_value) == (0.0, 0.0, 1.0)
        assert all(math.isnan(end) for end in found.interval)
    interval = bootstrap_difference_interval(labels, scores, scores, num_resamples=200)
    assert all(math.isnan(end) for end in interval)


@pytest.mark.parametrize("labels", [[], [0, 0, 0], [1, 1, 1]])
def test_one_class_has_no_difference(labels: list[int]) -> None:
    first, second = [0.1, 0.5, 0.9][: len(labels)], [0.2, 0.1, 0.4][: len(labels)]
    found = paired_difference(labels, first, second)
    assert all(map(math.isnan, (found.value, found.standard_error, found.p_value)))
    unpaired = unpaired_difference(labels, first, labels, second)
    assert all(map(math.isnan, (unpaired.value, unpaired.standard_error, unpaired.p_value)))
    assert all(map(math.isnan, bootstrap_difference_interval(labels, first, second)))


@pytest.mark.parametrize("labels", [[1, 0, 0, 0], [0, 1, 1, 1]])
def test_one_patient_of_a_class_gives_a_difference_without_error(labels: list[int]) -> None:
    found = paired_difference(labels, [0.5, 0.1, 0.2, 0.3], [0.1, 0.5, 0.2, 0.0])
    assert abs(found.value) == pytest.approx(2 / 3)
    assert all(map(math.isnan, (found.standard_error, found.p_value, *found.interval)))
    same = paired_difference(labels, [0.5, 0.1, 0.2, 0.3], [0.5, 0.1, 0.2, 0.3])
    assert (same.value, same.p_value) == (0.0, 1.0)


def test_two_separating_models_are_alike_and_a_turned_one_shows_no_spread() -> None:
    labels, right, turned = [1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1], [0.1, 0.2, 0.8, 0.9]
    alike = paired_difference(labels, right, [0.7, 0.9, 0.3, 0.1])
    assert (alike.value, alike.p_value) == (0.0, 1.0)
    opposite = paired_difference(labels, right, turned)
    assert (opposite.value, opposite.standard_error) == (1.0, 0.0)
    assert all(map(math.isnan, (opposite.p_value, opposite.correlation, *opposite.interval)))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="expected a finite number"):
        paired_difference([0, 1], [0.1, 0.2], [0.1, bad])


def test_unpaired_variances_add_up() -> None:
    labels, first, second = _two_models(3)
    found = unpaired_difference(labels, first, labels, second)
    variance = delong_variance(labels, first) + delong_variance(labels, second)
    assert found.value == auc(labels, first) - auc(labels, second)
    assert found.standard_error == pytest.approx(math.sqrt(variance), rel=1e-14)
    assert found.correlation == 0
    paired = paired_difference(labels, first, second)
    assert paired.correlation > 0.3
    assert paired.standard_error < found.standard_error


def test_unpaired_difference_of_two_published_areas() -> None:
    """The CT ratings of Hanley and McNeil against albumin in DeLong's ovarian cancers.

    Stata prints 0.8932 (0.0307) for the one, SAS 0.7366 (0.0927) for the other; what two test sets
    differ by has the root of the summed squares as its error (Hanley and McNeil 1983, equation 1).
    """
    ratings = [1, 2, 3, 4, 5]
    ct = np.concatenate(
        [np.repeat(ratings, [33, 6, 6, 11, 2]), np.repeat(ratings, [3, 2, 2, 11, 33])]
    )
    albumin, _, _, labels = np.array(_OVARIAN.split(), float).reshape(-1, 4).T
    found = unpaired_difference(np.repeat([0, 1], [58, 51]), ct, labels, albumin)
    error = math.hypot(0.0307, 0.0927)
    assert found.value == pytest.approx(0.8932 - 0.7366, abs=1e-4)
    assert found.standard_error == pytest.approx(error, abs=1e-4)
    # Nearly all of the variance is that of 12 ovarian cancers and 37 others, so near 11 to 60.
    assert 11 < found.degrees_of_freedom < 60
    tail = student_t(found.degrees_of_freedom).sf(0.1566 / error)
    assert found.p_value == pytest.approx(2 * tail, abs=1e-3)


def test_a_coin_beside_a_model_has_the_models_own_error() -> None:
    """All scores tied are an AUC of 0.5 without variance, so nothing is added."""
    labels, scores, _ = _two_models(4)
    found = paired_difference(labels, scores, np.zeros(len(labels)))
    low, high = delong_interval(labels, scores)
    longer = student_t(found.degrees_of_freedom).ppf(0.975) / norm.ppf(0.975)
    reach = (high - low) / 2 * longer
    assert found.interval == pytest.approx((found.value - reach, found.value + reach), abs=1e-12)
    assert math.isnan(found.correlation)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=2, max_size=9, unique=True),
       st.lists(st.floats(0, 5), min_size=2, max_size=9, unique=True))  # fmt: skip
def test_degrees_of_freedom_of_two_parts_are_welchs(
    first: list[float], second: list[float]
) -> None:
    """As scipy's t test of two samples with unequal variances has them."""
    assume(np.ptp(first) > 1e-3 and np.ptp(second) > 1e-3)
    parts = [Part(float(np.var(v, ddof=1)) / len(v), len(v) - 1) for v in (first, second)]
    variance, freedom = combined(parts)
    expected = ttest_ind(first, second, equal_var=False)
    assert freedom == pytest.approx(expected.df, rel=1e-9)
    error = abs(np.mean(first) - np.mean(second)) / math.sqrt(variance)
    assert error == pytest.approx(abs(expected.statistic), rel=1e-9, abs=1e-12)


def test_degrees_of_freedom_of_nothing_are_none() -> None:
    assert math.isnan(combined([Part(0.0, 3), Part(0.0, 4)])[1])
    assert combined([Part(0.0, 3), Part(2.0, 4)]) == (2.0, 4.0)


def _naive_freedom(labels: list[int], first: list[float], second: list[float]) -> float:
    """Pair by pair: what each patient adds to the difference, then Satterthwaite's formula."""
    kernel = {
        (i, j): _won(first[i], first[j]) - _won(second[i], second[j])
        for i, y in enumerate(labels)
        for j, other in enumerate(labels)
        if y == 1 and other == 0
    }
    positive, negative = ([i for i, y in enumerate(labels) if y == label] for label in (1, 0))
    means = (
        [np.mean([kernel[i, j] for j in negative]) for i in positive],
        [np.mean([kernel[i, j] for i in positive]) for j in negative],
    )
    a, b = (np.var(values, ddof=1) / len(values) for values in means)
    return float((a + b) ** 2 / (a**2 / (len(positive) - 1) + b**2 / (len(negative) - 1)))


def _won(score: float, other: float) -> float:
    return 1.0 if score > other else 0.5 if score == other else 0.0


def test_bootstrap_draws_the_same_patients_for_both_models() -> None:
    """A plain loop over patients' indices, and scores with fewer distinct values than patients."""
    labels, first, second = _two_models(5, 12, 20)
    second = np.round(second)
    rng = np.random.default_rng(0)
    naive = []
    for _ in range(1_500):
        drawn = np.concatenate(
            [rng.choice(np.flatnonzero(labels == y), (labels == y).sum()) for y in (0, 1)]
        )
        naive.append(auc(labels[drawn], first[drawn]) - auc(labels[drawn], second[drawn]))
    ours = [bootstrap_values(labels, s, num_resamples=20_000, seed=2) for s in (first, second)]
    differences = ours[0] - ours[1]
    assert differences.std() == pytest.approx(np.std(naive), rel=4 / math.sqrt(3_000))
    assert differences.mean() == pytest.approx(np.mean(naive), abs=4 * np.std(naive) / 38)
    interval = bootstrap_difference_interval(labels, first, second, num_resamples=20_000, seed=2)
    assert interval == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])))
    reach = 1.96 * paired_difference(labels, first, second).standard_error
    assert interval[1] - interval[0] == pytest.approx(2 * reach, rel=0.15)


def test_draws_do_not_depend_on_how_many_scores_are_tied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("radiotrain.statistics.resampling._CELLS_AT_A_TIME", 300)
    labels, scores, _ = _two_models(6)
    order = np.argsort(np.argsort(scores, kind="stable"), kind="stable")
    untied = bootstrap_values(labels, order.astype(float), num_resamples=50, seed=1)
    whole = bootstrap_values(labels, order // 2 * 2.0, num_resamples=50, seed=1)
    # Tying neighbours moves an AUC by at most half of what the tied pairs count.
    assert np.abs(untied - whole).max() < 0.05
    assert np.corrcoef(untied, whole)[0, 1] > 0.98


def test_equal_models_are_found_different_as_often_as_they_should() -> None:
    """1,000 pairs of equally good models: 50 expected, four standard errors are 28."""
    rng = np.random.default_rng(7)
    labels = np.repeat([1, 0], [40, 60])
    num = 0
    for _ in range(1_000):
        common = rng.normal(size=100) + labels
        first, second = (common + 0.8 * rng.normal(size=100) for _ in range(2))
        num += paired_difference(labels, first, second).p_value < 0.05
    assert abs(num - 50) <= 28


@settings(deadline=None)
@given(st.lists(st.floats(0, 1) | st.just(math.nan), max_size=7))
def test_holm_rejects_what_its_steps_reject(p_values: list[float]) -> None:
    """Adjusted p is below a level if, and only if, the stepwise procedure rejects at it."""
    adjusted = holm_adjusted(p_values)
    known = sorted(p for p in p_values if not math.isnan(p))
    for level in (0.01, 0.05, 0.3, 0.9):
        num_rejected = next(
            (k for k, p in enumerate(known) if p * (len(known) - k) > level), len(known)
        )
        rejected = sorted(p for p, a in zip(p_values, adjusted, strict=True) if a <= level)
        assert rejected == known[:num_rejected]
    for p, a in zip(p_values, adjusted, strict=True):
        assert math.isnan(a) if math.isnan(p) else p <= a <= 1


def test_holm_of_holms_steps() -> None:
    """By hand: 3 x 0.01; 2 x 0.02; 1 x 0.03, but not below the one before."""
    assert holm_adjusted([0.03, 0.01, 0.02]) == pytest.approx((0.04, 0.03, 0.04))
    assert holm_adjusted([]) == ()
    with pytest.raises(InputError, match="from 0 to 1"):
        holm_adjusted([1.2])


def test_corrections_are_statsmodels() -> None:
    """Printed by statsmodels 0.15.0: `multipletests(method="holm")`."""
    adjusted = holm_adjusted([0.2, 0.011, 0.04, 0.011, 0.6])
    assert adjusted == pytest.approx((0.4, 0.055, 0.12, 0.055, 0.6))


def test_holm_on_the_p_values_of_benjamini_and_hochberg() -> None:
    """Benjamini, Hochberg, J R Stat Soc B 57 (1995) 289-300, section 4: 15 p values of one trial.

    There, control of the familywise error at 0.05 rejects the first three, and no more.
    """
    p_values = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459]
    p_values += [0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    adjusted = holm_adjusted(p_values)
    assert [a <= 0.05 for a in adjusted] == [True] * 3 + [False] * 12
    assert adjusted[:4] == pytest.approx((15 * 0.0001, 14 * 0.0004, 13 * 0.0019, 12 * 0.0095))


def test_holm_does_not_depend_on_the_order() -> None:
    p_values = [0.2, 0.011, 0.04, 0.011]
    expected = dict(zip(p_values, holm_adjusted(p_values), strict=True))
    for order in itertools.permutations(p_values):
        assert dict(zip(order, holm_adjusted(order), strict=True)) == expected
