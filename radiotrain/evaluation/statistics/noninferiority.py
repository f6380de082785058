"""Whether one AUC is lower than another by less than a margin."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.stats import t

from preprocessing.common.errors import InputError
from radiotrain.evaluation.statistics.comparison import Difference

ONE_SIDED_ALPHA = 0.025
"""Level of the one-sided test, half of that of a two-sided one."""

_WIDEST_MARGIN = 0.5


@dataclass(frozen=True)
class MarginTest:
    """One-sided test of a difference of AUCs against a margin. What is not defined is NaN.

    Parameters
    ----------
    lower_limit
        One-sided 97.5 % limit of the difference, which is the lower end of its 95 % interval.
    p_value
        One-sided, of the hypothesis that the first AUC is lower than the second by the margin or more.
    """

    lower_limit: float
    p_value: float


def check_margin(margin: float) -> float:
    """Return a margin that can be used.

    Raises
    ------
    InputError
        If it is not a number above 0 and below 0.5.
    """
    if not 0 < margin < _WIDEST_MARGIN:
        raise InputError(
            f"margin is {margin:g}, expected a difference of AUCs above 0 and below {_WIDEST_MARGIN},"
            " e.g. 0.05: from 0.5 on, chance would not be inferior to a perfect model"
        )
    return margin


def against_margin(difference: Difference, margin: float) -> MarginTest:
    """Test whether a first AUC is non-inferior to a second.

    Parameters
    ----------
    difference
        First less second, paired or unpaired, with its interval of 95 %.
    margin
        Largest loss that is accepted, above 0.

    References
    ----------
    Liu, Ma, Wu, Tai, Statistics in Medicine 25 (2006) 1219-1238: non-inferiority of AUCs, with
    DeLong's variance. Student's t with the difference's degrees of freedom takes the place of the
    normal distribution.
    """
    check_margin(margin)
    if math.isnan(difference.degrees_of_freedom):
        return MarginTest(math.nan, math.nan)
    statistic = (difference.value + margin) / difference.standard_error
    p_value = float(t.sf(statistic, difference.degrees_of_freedom))
    return MarginTest(difference.interval[0], p_value)
