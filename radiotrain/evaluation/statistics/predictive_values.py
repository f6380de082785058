"""Predictive values where the prevalence is another one than among the test patients."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import expit, logit
from scipy.stats import norm

from radiotrain.evaluation.statistics.auc import Interval
from radiotrain.evaluation.statistics.operating_point import Confusion

PREVALENCES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""At which the report lists predictive values."""


@dataclass(frozen=True)
class PredictiveValues:
    """PPV and NPV at one prevalence; None where undefined."""

    prevalence: float
    ppv: float | None
    ppv_ci95: Interval | None
    npv: float | None
    npv_ci95: Interval | None


def predictive_values(counts: Confusion, prevalence: float) -> PredictiveValues:
    """Return the predictive values of a test at a prevalence, by Bayes' theorem.

    The intervals are those of the logit: a sensitivity or specificity of 0 or 1 gives the value
    without one.

    Parameters
    ----------
    counts
        At a threshold, of patients of both classes.
    prevalence
        Share of positives, between 0 and 1.

    References
    ----------
    Mercaldo, Lau, Zhou, Statistics in Medicine 26 (2007) 2170-2183.
    """
    num_positive, num_negative = counts.tp + counts.fn, counts.tn + counts.fp
    if not num_positive or not num_negative:
        return PredictiveValues(prevalence, None, None, None, None)
    found, spared = counts.tp / num_positive, counts.tn / num_negative
    ppv, ppv_ci95 = _value(found, 1 - spared, num_positive, num_negative, prevalence)
    npv, npv_ci95 = _value(spared, 1 - found, num_negative, num_positive, 1 - prevalence)
    return PredictiveValues(prevalence, ppv, ppv_ci95, npv, npv_ci95)


def _value(
    right: float, wrong: float, num: int, num_others: int, share: float
) -> tuple[float | None, Interval | None]:
    """Return the share of true results among all of one kind, and its interval.

    Parameters
    ----------
    right
        Share of the `num` patients of a class that have this result.
    wrong
        Share of the `num_others` patients of the other class that have it.
    share
        Of the class among all.
    """
    total = right * share + wrong * (1 - share)
    if not total:
        return None, None
    value = right * share / total
    if right in (0.0, 1.0) or wrong in (0.0, 1.0):
        return value, None
    variance = (1 - right) / (right * num) + (1 - wrong) / (wrong * num_others)
    reach = float(norm.ppf(0.975)) * math.sqrt(variance)
    centre = float(logit(value))
    return value, (float(expit(centre - reach)), float(expit(centre + reach)))
