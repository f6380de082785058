"""Which columns tell what is to be predicted, by their values on patients with known labels.

A column is compared with each target: its numbers as they are, in either direction; its values as
categories, each scored by the other patients that have it (leave-one-out, so that categories of one
patient say nothing); and whether it is missing. It tells the target where the AUC of one of these is
0.9 or more and so large by chance in less than one of 1,000 columns (Mann-Whitney); or where patients
that share a value always share the label, which is as unlikely by chance.

Axis legend: N patients.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

TELLING_AUC = 0.9
"""From this AUC on a single column is thought to be the target under another name."""

FEWEST_OF_A_CLASS = 5
"""With fewer patients of a class nothing is said."""

_CHANCE = 0.001
# Numbers of more values than this are no codes: they are cut into as many groups of equal size.
_MOST_CODES, _NUM_GROUPS = 20, 10
# What a category's own patients are weighed against: one patient of the mean.
_PRIOR = 1.0


def reason_by_values(
    values: Sequence[str | float | None], labels: Mapping[str, NDArray[np.integer]]
) -> str | None:
    """Say of which target a column tells the label, and how; None where it tells none.

    Parameters
    ----------
    values
        Of N patients; None, NaN or an empty text is missing.
    labels
        By target, (N,) of 0, 1 or -1 where it is not known.
    """
    texts = [_as_text(value) for value in values]
    numbers = np.array([math.nan if text is None else _as_number(text) for text in texts])
    is_missing = np.array([text is None for text in texts])
    is_numeric = not np.isnan(numbers[~is_missing]).any()
    for target, known in labels.items():
        y = np.asarray(known)
        found = _missing_tells(is_missing, y)
        if found is None and is_numeric:
            found = _numbers_tell(numbers, y)
        if found is None:
            levels = _levels(texts, numbers if is_numeric else None)
            found = _categories_tell(levels, y)
        if found is not None:
            return f"{found} {target} of {int((y >= 0).sum())} patients"
    return None


def _missing_tells(is_missing: NDArray[np.bool_], y: NDArray[np.integer]) -> str | None:
    area = _telling_auc(is_missing[y >= 0].astype(float), y[y >= 0], either=True)
    return None if area is None else f"whether it is missing alone reaches AUC {area:.2f} for"


def _numbers_tell(numbers: NDArray[np.float64], y: NDArray[np.integer]) -> str | None:
    use = (y >= 0) & ~np.isnan(numbers)
    area = _telling_auc(numbers[use], y[use], either=True)
    return None if area is None else f"it alone reaches AUC {area:.2f} for"


def _categories_tell(levels: Sequence[str | None], y: NDArray[np.integer]) -> str | None:
    use = [i for i, level in enumerate(levels) if level is not None and y[i] >= 0]
    names, kinds = [levels[i] for i in use], y[use]
    num, positive = Counter(names), Counter(n for n, k in zip(names, kinds, strict=True) if k == 1)
    if not use:
        return None
    mean = float(kinds.mean())
    scores = [
        (positive[n] - int(k) + _PRIOR * mean) / (num[n] - 1 + _PRIOR)
        for n, k in zip(names, kinds, strict=True)
    ]
    # In one direction: of categories of few patients, leaving one out makes a score that is too low.
    area = _telling_auc(np.array(scores), kinds, either=False)
    if area is not None:
        return f"its values alone, each by its other patients, reach AUC {area:.2f} for"
    return "each of its values has one label only for" if _determines(num, positive, mean) else None


def _determines(
    num: Mapping[str | None, int], positive: Mapping[str | None, int], mean: float
) -> bool:
    """Tell whether patients that share a value always share the label, and not by chance."""
    shared = {name: n for name, n in num.items() if n > 1}
    found = {positive.get(name, 0) / n for name, n in shared.items()}
    if found != {0.0, 1.0}:
        return False
    of_each = [
        sum(n for k, n in shared.items() if (positive.get(k, 0) > 0) is is_one)
        for is_one in (False, True)
    ]
    if min(of_each) < FEWEST_OF_A_CLASS:
        return False
    by_chance = sum(math.log(mean**n + (1 - mean) ** n) for n in shared.values())
    return by_chance < math.log(_CHANCE)


def _telling_auc(
    scores: NDArray[np.float64], y: NDArray[np.integer], *, either: bool
) -> float | None:
    """Return an AUC that is too large for a covariate; None where it is not, or patients are few."""
    ones, zeros = scores[y == 1], scores[y == 0]
    if min(len(ones), len(zeros)) < FEWEST_OF_A_CLASS:
        return None
    result = mannwhitneyu(ones, zeros, alternative="two-sided" if either else "greater")
    area = float(result.statistic) / (len(ones) * len(zeros))
    area = max(area, 1 - area) if either else area
    return area if area >= TELLING_AUC and float(result.pvalue) < _CHANCE else None


def _levels(texts: Sequence[str | None], numbers: NDArray[np.float64] | None) -> list[str | None]:
    """Return categories: texts, codes, or groups of numbers of equal size."""
    if numbers is None or len(set(texts)) <= _MOST_CODES:
        return list(texts)
    known = numbers[~np.isnan(numbers)]
    edges = np.quantile(known, np.linspace(0, 1, _NUM_GROUPS + 1)[1:-1])
    groups = np.searchsorted(edges, numbers, side="right")
    return [
        None if text is None else str(g) for text, g in zip(texts, groups.tolist(), strict=True)
    ]


def _as_number(text: str | float) -> float:
    try:
        number = float(text)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _as_text(value: str | float | None) -> str | None:
    """Return a category's text: 1, 1.0 and "1" are the same one; None where it is missing."""
    if value is None:
        return None
    number = _as_number(value)
    if not math.isnan(number):
        return repr(number)
    return (value.strip().lower() or None) if isinstance(value, str) else None
