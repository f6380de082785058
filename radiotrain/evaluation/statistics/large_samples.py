"""When a simulated distribution may be shortened or replaced: large test sets only.

Up to `MOST_SIMULATED` patients everything is simulated as often as it was asked for. Above, time
would rise with patients times resamples, and nothing is gained by it:

- The rounding that resampling leaves in an interval's end is the interval's width over the root of
  the number of resamples. The width falls with the root of the patients, so that resamples may
  fall as patients rise: the rounding stays what it is at `MOST_SIMULATED` patients.
- A distribution over all permutations of labels, or over all swaps of two models, is a sum over
  patients. Its variance is known exactly, and where no patient weighs much in it, it is normal.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from radiotrain.evaluation.statistics.auc import Interval

MOST_SIMULATED = 2_000
"""Patients up to which every resample that was asked for is drawn."""

_MOST_SPARED = 10
_FEWEST_THAT_WEIGH = 100
"""Patients that a sum has at least in effect where it is taken to be normal."""


def num_resamples_for(num_patients: int, num_asked: int) -> int:
    """Return how many resamples are drawn of these many patients; at least a tenth of those asked."""
    if num_patients <= MOST_SIMULATED:
        return num_asked
    fewest = math.ceil(num_asked / _MOST_SPARED)
    return max(fewest, num_asked * MOST_SIMULATED // num_patients)


def is_normal_sum(parts: NDArray[np.float64], share: float = 1.0) -> bool:
    """Tell whether a random sum of many patients' parts is normal to all that is printed of it.

    Noether's condition: no part weighs much. With parts of one size, `_FEWEST_THAT_WEIGH` of them
    are enough; a part of three times the others' size counts against it.

    Parameters
    ----------
    parts
        (N,) each patient's part, less its mean where the sum is of a subset.
    share
        Of the patients that the sum is over; of the smaller side, where it is a subset.
    """
    total, largest = float(np.square(parts).sum()), float(np.square(parts).max(initial=0.0))
    if len(parts) <= MOST_SIMULATED or not largest:
        return False
    return share * total / largest >= _FEWEST_THAT_WEIGH


def normal_interval(mean: float, variance: float, confidence: float = 0.95) -> Interval:
    """Return the middle of a normal distribution."""
    reach = float(norm.ppf(0.5 + confidence / 2)) * math.sqrt(variance)
    return mean - reach, mean + reach
