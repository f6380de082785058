"""Decision curve: net benefit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import norm

from preprocessing.common.errors import InputError
from radiotrain.statistics.auc import Interval, split_by_label

Floats = NDArray[np.float64]

THRESHOLDS = tuple(percent / 100 for percent in range(5, 100, 5))
"""At which results keep the decision curve."""


@dataclass(frozen=True)
class NetBenefit:
    """One point of a decision curve; calling none positive is worth 0 everywhere.

    Parameters
    ----------
    model_ci95
        Of the model's net benefit over samples of patients; None with one patient.
    """

    threshold: float
    model: float
    all: float
    model_ci95: Interval | None = None


def net_benefit(labels: ArrayLike, probabilities: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Return true positives less false positives, weighed by the odds of the threshold, a patient.

    TP/N - FP/N · t/(1 - t), where a probability strictly above t is called positive: so it is
    the convention of decision curves, unlike `operating_point`, where one at the threshold is
    called positive too. NaN without patients.

    Parameters
    ----------
    thresholds
        (T,) from 0 to below 1: the probability from which on one would treat.

    Returns
    -------
    (T,); at most the share of positives.

    References
    ----------
    Vickers, Elkin, Medical Decision Making 26 (2006) 565-574.
    """
    positive, negative = split_by_label(labels, probabilities)
    t = _checked(thresholds)
    num = len(positive) + len(negative)
    if not num:
        return np.full(len(t), math.nan)
    hits = len(positive) - np.searchsorted(np.sort(positive), t, side="right")
    alarms = len(negative) - np.searchsorted(np.sort(negative), t, side="right")
    benefit: Floats = (hits - alarms * t / (1 - t)) / num
    return benefit


def net_benefit_interval(
    labels: ArrayLike, probabilities: ArrayLike, thresholds: ArrayLike
) -> tuple[Floats, Floats]:
    """Return the ends of the 95% interval of the net benefit over samples of patients, (T,) each.

    The net benefit is a mean over patients: of 1 for a true positive, -t/(1 - t) for a false one,
    0 for the others. Its interval is the normal one of a mean. NaN with fewer than two patients.

    References
    ----------
    Sande, Li, D'Agostino, Wong, Cheng, Statistics in Medicine 39 (2020) 2980-2993.
    """
    positive, negative = split_by_label(labels, probabilities)
    t = _checked(thresholds)
    num = len(positive) + len(negative)
    if num < 2:
        return np.full(len(t), math.nan), np.full(len(t), math.nan)
    mean = net_benefit(labels, probabilities, t)
    hits = len(positive) - np.searchsorted(np.sort(positive), t, side="right")
    alarms = len(negative) - np.searchsorted(np.sort(negative), t, side="right")
    squares = (hits + alarms * (t / (1 - t)) ** 2) / num
    variance = np.maximum(0, squares - mean**2) / (num - 1)
    reach = norm.ppf(0.975) * np.sqrt(variance)
    return mean - reach, mean + reach


def net_benefit_of_all(labels: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Return the net benefit of calling every patient positive, (T,); that of none is 0."""
    y, t = np.asarray(labels), _checked(thresholds)
    if not len(y):
        return np.full(len(t), math.nan)
    share = float(y.mean())
    benefit: Floats = share - (1 - share) * t / (1 - t)
    return benefit


def decision_curve(labels: ArrayLike, probabilities: ArrayLike) -> tuple[NetBenefit, ...]:
    """Return the decision curve at `THRESHOLDS`; nothing without patients."""
    if not len(np.asarray(labels)):
        return ()
    model = net_benefit(labels, probabilities, THRESHOLDS)
    everybody = net_benefit_of_all(labels, THRESHOLDS)
    low, high = net_benefit_interval(labels, probabilities, THRESHOLDS)
    return tuple(
        NetBenefit(
            t, float(m), float(a), None if math.isnan(start) else (float(start), float(stop))
        )
        for t, m, a, start, stop in zip(THRESHOLDS, model, everybody, low, high, strict=True)
    )


def _checked(thresholds: ArrayLike) -> Floats:
    t = np.asarray(thresholds, dtype=np.float64)
    if t.ndim != 1 or not ((t >= 0) & (t < 1)).all():
        raise InputError("thresholds of a decision curve go from 0 to below 1, one after the other")
    return t
