"""AUC from pairs within a stratum.

Scores of different folds come from different models, whose levels differ, so that comparing
across folds pushes an AUC down where there is little to learn. And where positives come from one
scanner and negatives from another, telling the scanners apart is enough for pairs across them:
pairs within a scanner are free of that.

Axis legend: n patients.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from radiotrain.statistics.auc import Interval, auc, delong_variance
from radiotrain.statistics.power import hanley_mcneil_variance

FEWEST_OF_A_CLASS = 5
"""With fewer positives or negatives, no AUC is given: a single patient would move it by 0.2."""


@dataclass(frozen=True)
class Area:
    """An AUC with its interval, or the reason why there is none.

    Parameters
    ----------
    num_patients, num_positive
        Of those that it is computed from; None where they are too few to be printed.
    """

    auc: float | None
    interval: Interval | None
    num_patients: int | None
    num_positive: int | None
    reason: str = ""


def stratified_area(
    labels: NDArray[np.int64], scores: NDArray[np.float64], strata: Sequence[Hashable]
) -> Area:
    """Return the AUC over pairs of one stratum, with a 95 % interval after DeLong.

    Strata count by their pairs; their variances are added up as those of independent patients.
    Where a stratum shows no spread (one patient of a class, or classes that do not overlap), its
    variance is that of Hanley and McNeil at the AUC of all strata, kept off 0 and 1 by half a
    patient of the rarer class.

    Parameters
    ----------
    labels
        (n,) of 0 and 1.
    scores
        (n,); higher means more likely 1.
    strata
        (n,).

    References
    ----------
    Hanley, McNeil, Radiology 143 (1982) 29-36.
    """
    num, num_positive = len(labels), int(np.sum(labels == 1))
    few = min(num_positive, num - num_positive)
    if few < FEWEST_OF_A_CLASS:
        reason = f"too small a group, {num_positive} positive and {num - num_positive} negative"
        return Area(None, None, num, num_positive, reason)
    parts = list(_informative(labels, strata))
    pairs = np.array([_num_pairs(labels[rows]) for rows in parts], dtype=np.float64)
    if not len(parts):
        return Area(None, None, num, num_positive, "no group holds both classes")
    weights = pairs / pairs.sum()
    value = float(weights @ [auc(labels[rows], scores[rows]) for rows in parts])
    off_ends = min(max(value, 0.5 / few), 1 - 0.5 / few)
    variances = [_variance(labels[rows], scores[rows], off_ends) for rows in parts]
    error = math.sqrt(float(weights**2 @ variances))
    reach = float(norm.ppf(0.975)) * error
    return Area(value, (max(0.0, value - reach), min(1.0, value + reach)), num, num_positive)


def without_small_counts(area: Area) -> Area:
    """Return what may be printed of a group: fewer than `FEWEST_OF_A_CLASS` would be single patients."""
    num, yes = area.num_patients or 0, area.num_positive or 0
    if min(yes, num - yes) >= FEWEST_OF_A_CLASS:
        return area
    shown = num if num >= FEWEST_OF_A_CLASS else None
    reason = f"fewer than {FEWEST_OF_A_CLASS} of a class: too few to say, counts are withheld"
    return Area(None, None, shown, None, reason)


def stratified_auc(
    labels: NDArray[np.int64], scores: NDArray[np.float64], strata: Sequence[Hashable]
) -> float:
    """Return the AUC over pairs of one stratum; NaN where there are none."""
    parts = list(_informative(labels, strata))
    if not parts:
        return math.nan
    pairs = [_num_pairs(labels[rows]) for rows in parts]
    return float(np.average([auc(labels[r], scores[r]) for r in parts], weights=pairs))


@dataclass(frozen=True)
class StratifiedPairs:
    """Pairs of one stratum, to ask for the AUC of many draws of the same patients.

    Who wins each pair is found once; a draw only says how often it counts. Counts are whole and half
    numbers, so that nothing is rounded before the last division.

    Parameters
    ----------
    positive
        bool (n,).
    wins, pairs
        float64 (positives, negatives): 1, or 0.5 for a tie, where the positive wins; 1 where both
        are of one stratum. 0 elsewhere.
    """

    positive: NDArray[np.bool_]
    wins: NDArray[np.float64]
    pairs: NDArray[np.float64]

    @classmethod
    def of(
        cls, labels: NDArray[np.int64], scores: NDArray[np.float64], strata: Sequence[Hashable]
    ) -> StratifiedPairs:
        """Compare all pairs of patients (n,)."""
        stratum = np.empty(len(labels), dtype=np.int64)
        for number, rows in enumerate(groups_of(strata).values()):
            stratum[rows] = number
        yes = labels == 1
        higher, lower = scores[yes][:, None], scores[~yes]
        pairs = (stratum[yes][:, None] == stratum[~yes]).astype(np.float64)
        return cls(yes, pairs * ((higher > lower) + 0.5 * (higher == lower)), pairs)

    def auc(self, drawn: NDArray[np.int64]) -> float:
        """Return the AUC where each patient (n,) was drawn so often; NaN without a pair."""
        positive, negative = drawn[self.positive], drawn[~self.positive]
        num_pairs = float(positive @ self.pairs @ negative)
        return float(positive @ self.wins @ negative) / num_pairs if num_pairs else math.nan


def groups_of(strata: Sequence[Hashable]) -> dict[Hashable, NDArray[np.int64]]:
    """Return the row numbers of each stratum, in the order in which strata first appear."""
    rows: dict[Hashable, list[int]] = {}
    for i, stratum in enumerate(strata):
        rows.setdefault(stratum, []).append(i)
    return {stratum: np.array(found, dtype=np.int64) for stratum, found in rows.items()}


def _variance(labels: NDArray[np.int64], scores: NDArray[np.float64], area: float) -> float:
    """Return DeLong's variance, or Hanley and McNeil's at `area` where that shows no spread."""
    seen = delong_variance(labels, scores)
    if seen > 0:
        return seen
    m = int(np.sum(labels == 1))
    return hanley_mcneil_variance(area, m, len(labels) - m)


def _informative(
    labels: NDArray[np.int64], strata: Sequence[Hashable]
) -> Iterator[NDArray[np.int64]]:
    """Yield the rows of each stratum that holds both classes."""
    for rows in groups_of(strata).values():
        if _num_pairs(labels[rows]):
            yield rows


def _num_pairs(labels: NDArray[np.int64]) -> int:
    num_positive = int(np.sum(labels == 1))
    return num_positive * (len(labels) - num_positive)
