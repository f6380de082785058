"""The difference of two shares of patients, on the same patients or on different ones."""

from __future__ import annotations

import math

from radiotrain.evaluation.statistics.auc import Interval
from radiotrain.evaluation.statistics.operating_point import wilson_interval

_NONE = (math.nan, math.nan)


def unpaired_share_interval(hits: int, num: int, other_hits: int, other_num: int) -> Interval:
    """Return the 95 % interval of the first share less the second, of different patients.

    (NaN, NaN) without patients in either.

    References
    ----------
    Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10.
    """
    if not num or not other_num:
        return _NONE
    return _combined(hits / num, wilson_interval(hits, num),
                     other_hits / other_num, wilson_interval(other_hits, other_num), 0.0)  # fmt: skip


def paired_share_interval(both: int, only_first: int, only_second: int, neither: int) -> Interval:
    """Return the 95 % interval of the first share less the second, of the same patients.

    Parameters
    ----------
    both, only_first, only_second, neither
        Patients who are hits of which.

    Returns
    -------
    (NaN, NaN) without patients.

    References
    ----------
    Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10.
    """
    num = both + only_first + only_second + neither
    if not num:
        return _NONE
    hits, other = both + only_first, both + only_second
    product = both * neither - only_first * only_second
    # The correlation counts half a patient less where it is positive, down to none.
    covariance = max(product - num / 2, 0.0) if product > 0 else float(product)
    margins = hits * (num - hits) * other * (num - other)
    correlation = covariance / math.sqrt(margins) if margins else 0.0
    return _combined(hits / num, wilson_interval(hits, num),
                     other / num, wilson_interval(other, num), correlation)  # fmt: skip


def _combined(
    share: float, of_first: Interval, other: float, of_second: Interval, correlation: float
) -> Interval:
    """Square and add the ends' distances from the shares."""
    down = share - of_first[0], of_second[1] - other
    up = of_first[1] - share, other - of_second[0]
    low, high = (math.sqrt(max(0.0, a**2 - 2 * correlation * a * b + b**2)) for a, b in (down, up))
    return share - other - low, share - other + high
