"""Every statistic at every edge: a number, NaN because it has no meaning, or a refusal.

One table for all, so that a new statistic has to say what it does where others have gone wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from preprocessing.common.errors import InputError
from radiotrain.statistics.auc import auc, auc_interval, delong_interval, delong_variance
from radiotrain.statistics.auc_comparison import (
    bootstrap_difference_interval,
    null_range,
    paired_difference,
    unpaired_difference,
)
from radiotrain.statistics.calibration import (
    brier_score,
    calibration_intercept,
    calibration_slope,
    expected_calibration_error,
    log_loss,
    reliability_bins,
)
from radiotrain.statistics.decision_curve import decision_curve
from radiotrain.statistics.influence import average_precision_interval, brier_interval
from radiotrain.statistics.operating_point import (
    compare_at_equal_rate,
    confusion,
    sensitivity_threshold,
    youden_threshold,
)
from radiotrain.statistics.recalibration import fit_temperature, isotonic
from radiotrain.statistics.resampling import bootstrap_interval, permutation_test

Numbers = list[float]
Statistic = Callable[[list[int], Numbers], Numbers]

NEAR = math.nextafter(0.4, 1)

EDGES: dict[str, tuple[list[int], Numbers]] = {
    "nobody": ([], []),
    "one class": ([1, 1, 1], [0.2, 0.4, 0.9]),
    "one positive": ([1, 0, 0, 0], [0.4, 0.3, 0.6, 0.2]),
    "one negative": ([0, 1, 1, 1], [0.4, 0.3, 0.6, 0.2]),
    "all tied": ([1, 0, 1, 0], [0.4, 0.4, 0.4, 0.4]),
    "nearly tied": ([1, 0, 1, 0], [NEAR, 0.4, 0.4, NEAR]),
    "separated": ([1, 1, 0, 0], [0.9, 0.8, 0.2, 0.1]),
    "ends": ([1, 0, 1, 0], [1.0, 0.0, 0.0, 1.0]),
}


def _other(scores: Numbers) -> Numbers:
    """A second model of the same patients, which ranks them otherwise."""
    return [(0.3, 0.8, 0.6, 0.1, 0.7)[i % 5] for i in range(len(scores))]


def _against_other(labels: list[int], scores: Numbers) -> Numbers:
    found = paired_difference(labels, scores, _other(scores))
    return [found.standard_error, *found.interval, found.p_value]


def _unpaired(labels: list[int], scores: Numbers) -> Numbers:
    found = unpaired_difference(labels, scores, labels, _other(scores))
    return [found.standard_error, *found.interval, found.p_value]


def _at_equal_rate(labels: list[int], scores: Numbers) -> Numbers:
    found = compare_at_equal_rate(labels, scores, _other(scores))
    return [math.nan if found is None else found.p]


def _chance(labels: list[int], scores: Numbers) -> Numbers:
    found = permutation_test(labels, scores, num_permutations=200)
    return [found.p_value]


STATISTICS: dict[str, tuple[Statistic, set[str]]] = {
    # name: (statistic, edges at which it has no value)
    "AUC": (lambda y, x: [auc(y, x)], {"nobody", "one class"}),
    "DeLong's variance": (
        lambda y, x: [delong_variance(y, x)],
        {"nobody", "one class", "one positive", "one negative"},
    ),
    "DeLong's interval": (
        lambda y, x: [*delong_interval(y, x)],
        {"nobody", "one class", "one positive", "one negative", "all tied", "separated"},
    ),
    "bootstrap of the AUC": (
        lambda y, x: [*bootstrap_interval(y, x, num_resamples=200)],
        {"nobody", "one class", "one positive", "one negative", "all tied", "separated"},
    ),
    "score interval of the AUC": (
        lambda y, x: [*auc_interval(y, x)],
        {"nobody", "one class", "one positive", "one negative", "all tied"},
    ),
    "interval of the PR-AUC, population": (
        lambda y, x: [*average_precision_interval(y, x, "population")],
        {"nobody", "one class", "one positive", "one negative"},
    ),
    "interval of the PR-AUC, within classes": (
        lambda y, x: [*average_precision_interval(y, x, "within classes")],
        {"nobody", "one class", "one positive", "one negative", "all tied"},
    ),
    "interval of the Brier score, population": (
        lambda y, x: [*brier_interval(y, x, "population")],
        {"nobody", "one class", "one positive", "one negative"},
    ),
    "interval of the Brier score, within classes": (
        lambda y, x: [*brier_interval(y, x, "within classes")],
        {"nobody", "one class", "one positive", "one negative", "all tied"},
    ),
    "test at an equal positive rate": (_at_equal_rate, {"nobody", "one class", "all tied"}),
    "permutation test": (_chance, {"nobody", "one class"}),
    "paired difference": (
        _against_other,
        {"nobody", "one class", "one positive", "one negative"},
    ),
    "unpaired difference": (
        _unpaired,
        {"nobody", "one class", "one positive", "one negative"},
    ),
    "bootstrap of the difference": (
        lambda y, x: [*bootstrap_difference_interval(y, x, _other(x), num_resamples=200)],
        {"nobody", "one class", "one positive", "one negative"},
    ),
    "difference by chance": (
        lambda y, x: [*null_range(y, x, _other(x), num_permutations=200, seed=0)],
        {"nobody", "one class"},
    ),
    "Youden's threshold": (lambda y, x: [youden_threshold(y, x)], {"nobody", "one class"}),
    "threshold of a sensitivity": (
        lambda y, x: [sensitivity_threshold(y, x, 0.9)],
        {"nobody", "one class"},
    ),
    "sensitivity": (lambda y, x: [confusion(y, x, 0.4).sensitivity], {"nobody"}),
    "specificity": (lambda y, x: [confusion(y, x, 0.4).specificity], {"nobody", "one class"}),
    "Brier score": (lambda y, x: [brier_score(y, x)], {"nobody"}),
    "log loss": (lambda y, x: [log_loss(y, x)], {"nobody"}),
    "calibration error": (lambda y, x: [expected_calibration_error(y, x)], {"nobody"}),
    "reliability bins": (
        lambda y, x: [b.share_positive for b in reliability_bins(y, x)],
        {"nobody"},
    ),
    "calibration intercept": (
        lambda y, x: [calibration_intercept(y, x).value],
        {"nobody", "one class", "ends"},
    ),
    "calibration slope": (
        lambda y, x: [calibration_slope(y, x).value],
        {"nobody", "one class", "all tied", "nearly tied", "separated", "ends"},
    ),
    "temperature": (
        lambda y, x: [fit_temperature(y, x)[0]],
        # Also where none is best: all right at once, or no better than 0.5 for all on the whole.
        {"nobody", "one class", "separated", "ends", "one negative", "all tied", "nearly tied"},
    ),
    "isotonic step": (
        lambda y, x: [*(found if (found := isotonic(y, x, x)[0]) is not None else [])],
        {"nobody", "one class", "all tied", "nearly tied"},
    ),
    "decision curve": (lambda y, x: [p.model for p in decision_curve(y, x)], {"nobody"}),
}


def _is_undefined(values: Numbers) -> bool:
    return not len(values) or all(map(math.isnan, values))


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("name", STATISTICS)
def test_a_statistic_has_a_value_or_none_as_promised(name: str, edge: str) -> None:
    statistic, undefined = STATISTICS[name]
    values = statistic(*EDGES[edge])
    if edge in undefined:
        assert _is_undefined(values), values
    else:
        assert len(values)
        assert np.isfinite(values).all(), values


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", STATISTICS)
def test_no_statistic_takes_a_score_that_is_no_number(name: str, bad: float) -> None:
    statistic, _ = STATISTICS[name]
    with pytest.raises(InputError, match="expected a finite number"):
        statistic([1, 0, 1, 0], [0.9, 0.2, bad, 0.4])


@pytest.mark.parametrize("label", [-1, 2, 0.5])
@pytest.mark.parametrize("name", STATISTICS)
def test_no_statistic_takes_a_label_that_is_none(name: str, label: float) -> None:
    statistic, _ = STATISTICS[name]
    with pytest.raises(InputError, match="other values than 0 and 1"):
        statistic([1, 0, label, 0], [0.9, 0.2, 0.1, 0.4])  # type: ignore[list-item]


# What every patient twice makes narrower, or another number, by right.
_MORE_PATIENTS = {
    "DeLong's variance",
    "DeLong's interval",
    "bootstrap of the AUC",
    "score interval of the AUC",
    "interval of the PR-AUC, population",
    "interval of the PR-AUC, within classes",
    "interval of the Brier score, population",
    "interval of the Brier score, within classes",
    "test at an equal positive rate",
    "permutation test",
    "paired difference",
    "unpaired difference",
    "bootstrap of the difference",
    "difference by chance",
}


@pytest.mark.parametrize("name", sorted(set(STATISTICS) - _MORE_PATIENTS))
def test_every_patient_twice_changes_no_value(name: str) -> None:
    """So that a padded sampler, which counts some twice, is the table's concern and not hidden here."""
    statistic, _ = STATISTICS[name]
    labels, scores = [1, 0, 1, 0, 0, 1, 0, 1], [0.9, 0.2, 0.35, 0.4, 0.1, 0.6, 0.7, 0.3]
    once, twice = statistic(labels, scores), statistic(labels * 2, scores * 2)
    # Of an isotonic step there is a value for each patient.
    assert twice[: len(once)] == pytest.approx(once, rel=1e-6)


@pytest.mark.parametrize(
    "name", sorted(_MORE_PATIENTS - {"permutation test", "test at an equal positive rate"})
)
def test_every_patient_twice_makes_intervals_narrower(name: str) -> None:
    """Which is why the table refuses a prediction that is there twice."""
    statistic, _ = STATISTICS[name]
    rng = np.random.default_rng(0)
    labels = [1, 0] * 15
    scores = [float(v) for v in np.clip(rng.normal(0.45, 0.2, 30) + 0.1 * np.array(labels), 0, 1)]
    once, twice = statistic(labels, scores), statistic(labels * 2, scores * 2)
    if len(once) == 1:
        assert twice[0] < once[0]
    else:
        ends = slice(0, 2) if len(once) == 2 else slice(1, 3)
        assert np.ptp(twice[ends]) < np.ptp(once[ends])
