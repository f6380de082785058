"""Cochran's Q against a published meta-analysis, and the AUC test against simulated data."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import chi2, norm

from radiotrain.evaluation.subgroups.subgroup_tests import (
    cochran_q,
    detectable_difference,
    equal_auc_test,
)
from radiotrain.statistics.auc import auc, delong_variance
from tests.unit.evaluation.patients_of import patients_of

# Colditz et al. 1994, thirteen trials of the BCG vaccine: cases and others, vaccinated and not.
BCG = np.array(
    [
        (4, 119, 11, 128),
        (6, 300, 29, 274),
        (3, 228, 11, 209),
        (62, 13536, 248, 12619),
        (33, 5036, 47, 5761),
        (180, 1361, 372, 1079),
        (8, 2537, 10, 619),
        (505, 87886, 499, 87892),
        (29, 7470, 45, 7232),
        (17, 1699, 65, 1600),
        (186, 50448, 141, 27197),
        (5, 2493, 3, 2338),
        (27, 16886, 29, 17825),
    ],
    dtype=float,
)


def test_q_is_the_published_one() -> None:
    """Viechtbauer, J Stat Softw 36(3) (2010): Q(12) = 152.2330; statsmodels 0.15 gives the same.

    Seen in metafor's output, "Q(df = 12) = 152.2330", on pages on GitHub.
    """
    a, b, c, d = BCG.T
    ratios = np.log(a / (a + b) / (c / (c + d)))
    variances = 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)
    found = cochran_q(ratios, variances)
    assert found.q == pytest.approx(152.2330, abs=5e-5)
    assert found.degrees_of_freedom == 12
    assert found.pooled == pytest.approx(-0.4302852, abs=1e-6)
    assert found.p_value == pytest.approx(chi2.sf(152.2330, 12), rel=1e-3)


def test_two_groups_are_a_z_test() -> None:
    found = cochran_q([0.3, 0.9], [0.04, 0.09])
    z = 0.6 / np.sqrt(0.13)
    assert found.q == pytest.approx(z**2)
    assert found.p_value == pytest.approx(2 * norm.sf(z))


def draw(generator, num_positive, num_negative, shift):
    labels = np.repeat([1, 0], [num_positive, num_negative])
    return labels, generator.normal(size=len(labels)) + shift * labels


def test_auc_test_is_q_of_log_odds() -> None:
    generator = np.random.default_rng(0)
    parts = [draw(generator, *size, 0.8) for size in ((12, 20), (30, 11), (40, 60))]
    areas = [auc(*part) for part in parts]
    variances = [
        delong_variance(*p) / (a * (1 - a)) ** 2 for p, a in zip(parts, areas, strict=True)
    ]
    expected = cochran_q(logit(areas), variances)
    assert equal_auc_test([patients_of(*part) for part in parts]) == expected


def test_groups_that_do_not_overlap_or_are_tied_have_a_test() -> None:
    labels = np.repeat([1, 0], 10)
    groups = labels.astype(float), np.full(20, 0.5)
    found = equal_auc_test([patients_of(labels, scores) for scores in groups])
    assert 0 < found.p_value < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [((10, 10),) * 3, ((10, 30), (40, 12), (10, 15), (25, 20))])
def test_equal_groups_are_told_apart_as_rarely_as_promised(sizes) -> None:
    """1,000 data sets, so that 5 % are found within 3.0 and 7.2 % (99.7 %)."""
    generator = np.random.default_rng(1)
    p_values = [
        equal_auc_test([patients_of(*draw(generator, *size, 0.75)) for size in sizes]).p_value
        for _ in range(1000)
    ]
    assert np.mean(np.array(p_values) < 0.05) < 0.072


def test_detectable_difference_of_two_groups_is_the_textbook_one() -> None:
    found = cochran_q([0.8, 1.1], [0.05, 0.2])
    shift = (norm.ppf(0.975) + norm.ppf(0.8)) * np.sqrt(0.25)
    expected = expit(found.pooled) - expit(found.pooled - shift)
    # The textbook leaves out the other tail of the two-sided test.
    assert detectable_difference(found) == pytest.approx(expected, abs=1e-4)
    assert detectable_difference(found, alpha=0.005) > expected


def test_detectable_difference_is_found_with_the_power_promised() -> None:
    variances = np.array([0.06, 0.1, 0.3])
    found = cochran_q([0.8, 0.8, 0.8], variances)
    lower = expit(0.8) - detectable_difference(found)
    values = np.array([logit(lower), 0.8, 0.8])
    generator = np.random.default_rng(2)
    drawn = generator.normal(values, np.sqrt(variances), (4000, 3))
    p_values = [cochran_q(y, variances).p_value for y in drawn]
    assert np.mean(np.array(p_values) < 0.05) == pytest.approx(0.8, abs=0.025)
