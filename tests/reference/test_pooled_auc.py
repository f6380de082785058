"""AUC over pairs within outer parts, against naive loops, single-part methods and simulations.

Influence curves: LeDell, Petersen, van der Laan, Electronic Journal of Statistics 9 (2015) 1583-1607.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.stats import norm, t

from radiotrain.statistics.auc import auc, auc_interval, delong_variance
from radiotrain.statistics.auc_comparison import null_range, paired_difference, unpaired_difference
from radiotrain.statistics.pooled_auc import (
    Part,
    dependence_factor,
    pooled_auc,
    pooled_difference,
    pooled_interval,
    pooled_null_range,
    pooled_permutation_test,
    pooled_permuted_aucs,
    pooled_roc,
    pooled_unpaired_difference,
    pooled_variance,
    variance_of_given_models,
)


def make(
    rng: np.random.Generator,
    sizes: Sequence[tuple[int, int]],
    shift: float = 0.8,
    *,
    ties: bool = False,
    names: str = "P",
) -> list[Part]:
    """Return parts of the given positives and negatives, whose scores differ much in level."""
    parts, number = [], itertools.count()
    for m, n in sizes:
        labels = rng.permutation(np.repeat([1, 0], [m, n]))
        scores = rng.normal(size=m + n) + shift * labels
        scores = np.round(scores) if ties else scores
        ids = tuple(f"{names}{next(number)}" for _ in labels)
        parts.append(Part(ids, labels, scores + rng.normal() * 5))
    return parts


def again(rng: np.random.Generator, part_of: Sequence[Part], noise: float) -> list[Part]:
    """Return the same parts, scored by another model."""
    return [
        Part(p.patient_ids, p.labels, p.scores + noise * rng.normal(size=len(p.labels)))
        for p in part_of
    ]


SIZES = ((7, 12), (5, 9), (8, 8), (1, 6), (4, 0), (3, 1))


@pytest.mark.parametrize("ties", [False, True])
def test_auc_counts_pairs_of_one_part(ties: bool) -> None:
    parts = make(np.random.default_rng(0), SIZES, ties=ties)
    wins = pairs = 0.0
    for part in parts:
        for (y, p), (z, q) in itertools.product(
            zip(part.labels, part.scores, strict=True), repeat=2
        ):
            if y == 1 and z == 0:
                wins += (p > q) + 0.5 * (p == q)
                pairs += 1
    assert pooled_auc(parts) == pytest.approx(wins / pairs, abs=1e-15)


def test_the_level_of_a_part_does_not_matter() -> None:
    parts = make(np.random.default_rng(1), SIZES)
    moved = [Part(p.patient_ids, p.labels, 3 * p.scores + 7 * k) for k, p in enumerate(parts)]
    assert pooled_auc(moved) == pooled_auc(parts)
    assert pooled_variance(moved) == pytest.approx(pooled_variance(parts))
    pooled = np.concatenate([p.scores for p in moved]), np.concatenate([p.labels for p in moved])
    assert auc(pooled[1], pooled[0]) != pytest.approx(pooled_auc(parts), abs=0.05)


@pytest.mark.parametrize("ties", [False, True])
def test_one_part_is_the_plain_auc(ties: bool) -> None:
    rng = np.random.default_rng(2)
    (part,) = make(rng, [(15, 25)], ties=ties)
    (other,) = again(rng, [part], 1.0)
    y, x, z = part.labels, part.scores, other.scores
    assert pooled_auc([part]) == pytest.approx(auc(y, x), abs=1e-15)
    assert pooled_variance([part]) == pytest.approx(delong_variance(y, x), rel=1e-12)
    assert pooled_interval([part]) == pytest.approx(auc_interval(y, x), rel=1e-9)
    expected, found = paired_difference(y, x, z), pooled_difference([part], [other])
    for name in (
        "value",
        "standard_error",
        "interval",
        "p_value",
        "correlation",
        "degrees_of_freedom",
    ):
        assert getattr(found, name) == pytest.approx(getattr(expected, name), rel=1e-9), name
    drawn = {"num_permutations": 400, "seed": 1}
    assert pooled_null_range([part], [other], **drawn) == pytest.approx(
        null_range(y, x, z, **drawn), abs=0.06
    )


def test_variance_of_separate_patients_is_delongs_by_the_squared_share_of_pairs() -> None:
    parts = make(np.random.default_rng(3), ((9, 14), (6, 11), (12, 5)))
    pairs = np.array([9 * 14, 6 * 11, 12 * 5])
    variances = [delong_variance(p.labels, p.scores) for p in parts]
    expected = float((pairs / pairs.sum()) ** 2 @ variances)
    assert variance_of_given_models(parts) == pytest.approx(expected, rel=1e-12)
    assert pooled_variance(parts) == pytest.approx(2.5 * expected, rel=1e-12)


@pytest.mark.parametrize(
    ("num_parts", "num_repeats", "factor"),
    [(1, 1, 1), (2, 1, 3), (5, 1, 2.25), (5, 3, 2.25), (10, 1, 1 + 10 / 9)],
)
def test_dependence_factor_is_nadeau_and_bengios(
    num_parts: int, num_repeats: int, factor: float
) -> None:
    """(1/J + n_test/n_train) s² of J = K folds in place of s²/J: 1 + K · n_test/n_train times as much."""
    parts = make(np.random.default_rng(0), ((3, 4),) * num_parts) * num_repeats
    assert dependence_factor(parts) == pytest.approx(factor)
    n_test, n_train = 7, 7 * (num_parts - 1)
    if n_train:
        assert factor == pytest.approx((1 / num_parts + n_test / n_train) * num_parts)


def test_a_repeat_of_the_same_division_adds_nothing() -> None:
    """The same patients with the same scores twice are not two test sets."""
    rng = np.random.default_rng(4)
    parts = make(rng, ((9, 14), (6, 11)))
    other = again(rng, parts, 0.7)
    assert pooled_auc([*parts, *parts]) == pytest.approx(pooled_auc(parts))
    assert pooled_variance([*parts, *parts]) == pytest.approx(pooled_variance(parts))
    once, twice = pooled_difference(parts, other), pooled_difference(parts * 2, other * 2)
    assert twice.standard_error == pytest.approx(once.standard_error)
    assert twice.correlation == pytest.approx(once.correlation)


def test_variance_of_repeats_sums_influences_by_patient() -> None:
    """A naive loop: each patient's part in each repeat, found by leaving no formula to the code."""
    rng = np.random.default_rng(5)
    first = make(rng, ((8, 10), (8, 10)))
    ids = [i for part in first for i in part.patient_ids]
    label = {i: y for p in first for i, y in zip(p.patient_ids, p.labels, strict=True)}
    yes = [i for i in ids if label[i] == 1]
    no = [i for i in ids if label[i] == 0]
    rng.shuffle(yes)
    rng.shuffle(no)
    second = []
    for k in range(2):
        mine = tuple(yes[k::2] + no[k::2])
        y = np.array([label[i] for i in mine])
        second.append(Part(mine, y, rng.normal(size=len(y)) + y))
    parts = [*first, *second]
    pairs = sum(int(p.labels.sum() * (1 - p.labels).sum()) for p in parts)
    influence = dict.fromkeys(ids, 0.0)
    for part in parts:
        area = auc(part.labels, part.scores)
        members = list(zip(part.patient_ids, part.labels, part.scores, strict=True))
        for one, y, x in members:
            others = [(x - q) * (1 if y else -1) for _, z, q in members if z != y]
            placement = np.mean([(d > 0) + 0.5 * (d == 0) for d in others])
            same = sum(z == y for _, z, _ in members)
            weight = same * len(others) / pairs
            influence[one] += weight * (placement - area) / same * math.sqrt(same / (same - 1))
    expected = sum(value**2 for value in influence.values())
    assert variance_of_given_models(parts) == pytest.approx(expected, rel=1e-12)


def test_differences_of_equal_and_of_opposite_models() -> None:
    rng = np.random.default_rng(6)
    parts = make(rng, ((9, 14), (6, 11)))
    scaled = [Part(p.patient_ids, p.labels, 2 * p.scores - 3) for p in parts]
    same = pooled_difference(parts, scaled)
    assert (same.value, same.standard_error, same.p_value) == (0.0, 0.0, 1.0)
    assert all(map(math.isnan, same.interval))
    other = again(rng, parts, 1.0)
    one, reverse = pooled_difference(parts, other), pooled_difference(other, parts)
    assert one.value == -reverse.value
    assert one.p_value == pytest.approx(reverse.p_value)
    z = abs(one.value) / one.standard_error
    assert one.p_value == pytest.approx(2 * t.sf(z, one.degrees_of_freedom))
    assert 14 < one.degrees_of_freedom < 9 + 14 + 6 + 11


def test_different_patients_add_their_variances() -> None:
    rng = np.random.default_rng(7)
    (one,), (other,) = make(rng, [(9, 14)]), make(rng, [(12, 8)], names="Q")
    expected = unpaired_difference(one.labels, one.scores, other.labels, other.scores)
    found = pooled_unpaired_difference([one], [other])
    assert found.value == pytest.approx(expected.value)
    assert found.standard_error == pytest.approx(expected.standard_error)
    assert found.p_value == pytest.approx(expected.p_value)


@pytest.mark.parametrize(
    ("sizes", "defined"),
    [
        (((1, 1), (1, 1)), True),
        (((1, 5), (1, 5), (1, 5)), True),
        (((1, 5),), False),
        (((1, 5), (0, 6)), False),
        (((3, 0), (0, 3)), False),
        ((), False),
    ],
)
def test_small_parts(sizes: tuple[tuple[int, int], ...], defined: bool) -> None:
    """One positive a part shows no spread by itself; two parts of such do."""
    parts = make(np.random.default_rng(8), sizes)
    assert math.isnan(pooled_variance(parts)) != defined
    has_pairs = any(m and n for m, n in sizes)
    assert math.isnan(pooled_auc(parts)) != has_pairs
    assert math.isnan(pooled_permutation_test(parts, num_permutations=50).p_value) != has_pairs


def test_separated_classes_have_a_lower_bound_that_is_lower_in_parts() -> None:
    parts = make(np.random.default_rng(15), ((6, 8),) * 5, shift=50.0)
    low, high = pooled_interval(parts)
    ids = tuple(i for p in parts for i in p.patient_ids)
    labels = np.concatenate([p.labels for p in parts])
    single = pooled_interval([Part(ids, labels, labels.astype(float))])
    assert high == single[1] == 1.0
    assert 0.5 < low < single[0] < 1.0


@pytest.mark.parametrize("repeated", [False, True])
def test_permuted_labels_give_one_half_and_exact_p_values(repeated: bool) -> None:
    rng = np.random.default_rng(10)
    parts = make(rng, ((2, 3), (2, 2)), shift=2.0)
    if repeated:
        parts = [*parts, *again(rng, parts, 0.3)]
    drawn = pooled_permuted_aucs(parts, num_permutations=20_000, seed=2)
    assert drawn.mean() == pytest.approx(0.5, abs=0.01)
    if repeated:
        return
    # All 10 · 6 ways, each as likely.
    areas = []
    for chosen in itertools.product(
        itertools.combinations(range(5), 2), itertools.combinations(range(4), 2)
    ):
        changed = []
        for part, ones in zip(parts, chosen, strict=True):
            labels = np.zeros(len(part.labels), dtype=int)
            labels[list(ones)] = 1
            changed.append(Part(part.patient_ids, labels, part.scores))
        areas.append(pooled_auc(changed))
    stretched = np.minimum(0.5, math.sqrt(3) * np.abs(np.array(areas) - 0.5))
    far = stretched >= abs(pooled_auc(parts) - 0.5) - 1e-12
    found = pooled_permutation_test(parts, num_permutations=20_000, seed=2)
    assert found.p_value == pytest.approx(far.mean(), abs=0.01)


def test_null_range_swaps_a_patient_in_all_parts() -> None:
    rng = np.random.default_rng(11)
    parts = make(rng, ((9, 14), (6, 11)))
    other = again(rng, parts, 1.0)
    once = pooled_null_range(parts, other, num_permutations=2000)
    twice = pooled_null_range(parts * 2, other * 2, num_permutations=2000)
    assert twice == pytest.approx(once, abs=1e-12)


def test_the_area_under_the_mean_curve_is_the_pooled_auc() -> None:
    parts = make(np.random.default_rng(12), ((9, 14), (6, 11), (12, 5)))
    rates = np.linspace(0, 1, 20_001)
    assert np.trapezoid(pooled_roc(parts, rates), rates) == pytest.approx(
        pooled_auc(parts), abs=1e-3
    )


@pytest.mark.slow
@pytest.mark.parametrize("num_repeats", [1, 3])
def test_the_variance_is_that_over_test_patients_where_models_are_given(num_repeats: int) -> None:
    """600 test sets of 130 patients, models given: 95 % within 93.2 and 96.8 (two standard errors)."""
    rng = np.random.default_rng(13)
    truth = float(norm.cdf(0.8 / math.sqrt(2)))
    hits = 0
    for _ in range(600):
        y = np.repeat([1, 0], [45, 85])
        shared = rng.normal(size=len(y))
        ids = np.array([f"P{i}" for i in range(len(y))])
        parts = []
        for _ in range(num_repeats):
            order = np.concatenate([rng.permutation(45), 45 + rng.permutation(85)])
            own = math.sqrt(0.7) * shared + math.sqrt(0.3) * rng.normal(size=len(y)) + 0.8 * y
            for k in range(5):
                rows = order[k::5]
                parts.append(Part(tuple(ids[rows]), y[rows], own[rows] + 3 * rng.normal()))
        reach = 1.96 * math.sqrt(variance_of_given_models(parts))
        hits += abs(pooled_auc(parts) - truth) <= reach
    assert 0.932 <= hits / 600 <= 0.968


def trained(rng: np.random.Generator, shift: float, num_features: int) -> tuple[list[Part], ...]:
    """Two linear discriminants, of half the features each, trained on four fifths of 134 patients in turn."""
    y = (np.arange(134) < 47).astype(int)
    x = rng.normal(size=(len(y), 2 * num_features))
    x[:, [0, num_features]] += shift * y[:, None]
    order = np.concatenate([rng.permutation(47), 47 + rng.permutation(87)])
    found: tuple[list[Part], ...] = ([], [])
    for k in range(5):
        test, train = order[k::5], np.setdiff1d(order, order[k::5])
        for half, parts in enumerate(found):
            mine = x[:, half * num_features : (half + 1) * num_features]
            means = [mine[train][y[train] == label].mean(axis=0) for label in (0, 1)]
            scores = mine[test] @ (means[1] - means[0])
            parts.append(Part(tuple(map(str, test)), y[test], scores))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("shift", "num_features"), [(0.0, 20), (0.0, 2), (0.8, 10)])
def test_false_positives_and_coverage_where_models_are_trained(
    shift: float, num_features: int
) -> None:
    """400 cohorts. Taken as given, models that learnt from noise seem to be something in 15 % and more."""
    rng = np.random.default_rng(14)
    cohorts = [trained(rng, shift, num_features) for _ in range(400)]
    areas = np.array([pooled_auc(parts) for parts, _ in cohorts])
    truth = 0.5 if shift == 0 else float(areas.mean())
    intervals = np.array([pooled_interval(parts) for parts, _ in cohorts])
    missed = np.mean((intervals[:, 0] > truth) | (intervals[:, 1] < truth))
    assert missed <= 0.072
    differences = [pooled_difference(*pair) for pair in cohorts]
    assert np.mean([d.p_value < 0.05 for d in differences]) <= 0.072
    if shift == 0:
        given = [math.sqrt(variance_of_given_models(parts)) for parts, _ in cohorts]
        assert np.mean(np.abs(areas - 0.5) > 1.96 * np.array(given)) > 0.1
        p_values = [
            pooled_permutation_test(parts, num_permutations=200).p_value for parts, _ in cohorts
        ]
        assert np.mean(np.array(p_values) < 0.05) <= 0.072
