"""Minimum detectable AUC and difference."""

from __future__ import annotations

import math
from collections.abc import Callable

from scipy.optimize import brentq
from scipy.stats import norm

from preprocessing.common.errors import InputError

POWER = 0.8
ALPHA = 0.05


def hanley_mcneil_variance(area: float, num_positive: int, num_negative: int) -> float:
    """Return the variance of an AUC from the AUC and the numbers of patients alone.

    Its term for two positives and one negative takes scores to be exponential; DeLong's variance
    needs no such assumption, but needs the scores. NaN without patients of a class.

    References
    ----------
    Hanley, McNeil, Radiology 143 (1982) 29-36.
    """
    if not 0 <= area <= 1:
        raise InputError(f"AUC is {area}, expected a number from 0 to 1")
    if num_positive < 1 or num_negative < 1:
        return math.nan
    two_positives = area / (2 - area)
    two_negatives = 2 * area**2 / (1 + area)
    total = area * (1 - area)
    total += (num_positive - 1) * (two_positives - area**2)
    total += (num_negative - 1) * (two_negatives - area**2)
    return max(0.0, total) / (num_positive * num_negative)


def power_against_value(
    area: float, value: float, num_positive: int, num_negative: int, alpha: float = ALPHA
) -> float:
    """Return the probability that a true AUC is told apart from a fixed value, two-sided.

    That it is told apart on the wrong side is left out. NaN without patients of a class.
    """
    null = hanley_mcneil_variance(value, num_positive, num_negative)
    alternative = hanley_mcneil_variance(area, num_positive, num_negative)
    return _power(abs(area - value), null, alternative, alpha)


def power_of_difference(
    area: float,
    other: float,
    num_positive: int,
    num_negative: int,
    correlation: float = 0.0,
    alpha: float = ALPHA,
) -> float:
    """Return the probability that two AUCs are told apart, two-sided.

    Parameters
    ----------
    area, other
        The true AUCs; under the null hypothesis both are `area`.
    num_positive, num_negative
        In the test set, or in each of two where they are different ones.
    correlation
        Of the two AUCs over test sets: above 0 for models of the same patients, 0 for others.

    References
    ----------
    Hanley, McNeil, Radiology 143 (1982) 29-36 and, for the correlation, 148 (1983) 839-843.
    """
    if not -1 <= correlation <= 1:
        raise InputError(f"correlation is {correlation}, expected a number from -1 to 1")
    first = hanley_mcneil_variance(area, num_positive, num_negative)
    second = hanley_mcneil_variance(other, num_positive, num_negative)
    null = 2 * first * (1 - correlation)
    alternative = first + second - 2 * correlation * math.sqrt(first * second)
    return _power(abs(area - other), null, alternative, alpha)


def smallest_area_above(
    value: float, num_positive: int, num_negative: int, power: float = POWER, alpha: float = ALPHA
) -> float:
    """Return the least AUC that is told apart from a lower value with this power; NaN if none is."""
    return _least(
        lambda area: power_against_value(area, value, num_positive, num_negative, alpha),
        value,
        power,
    )


def smallest_difference(
    area: float,
    num_positive: int,
    num_negative: int,
    correlation: float = 0.0,
    power: float = POWER,
    alpha: float = ALPHA,
) -> float:
    """Return by how much another AUC has to be higher to be told apart; NaN if no AUC is."""
    least = _least(
        lambda other: power_of_difference(
            area, other, num_positive, num_negative, correlation, alpha
        ),
        area,
        power,
    )
    return least - area


def _power(difference: float, null: float, alternative: float, alpha: float) -> float:
    if math.isnan(null) or math.isnan(alternative):
        return math.nan
    beyond = difference - float(norm.ppf(1 - alpha / 2)) * math.sqrt(max(0.0, null))
    if alternative <= 0:
        return 1.0 if beyond > 0 else 0.0
    return float(norm.cdf(beyond / math.sqrt(alternative)))


def _least(power_at: Callable[[float], float], low: float, power: float) -> float:
    """Return where power is reached between `low`, where there is none, and 1; NaN if nowhere."""
    if not power_at(1.0) >= power:
        return math.nan
    return float(brentq(lambda area: power_at(area) - power, low, 1.0, xtol=1e-10))
