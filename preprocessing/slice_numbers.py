"""Which slice of a series a table means by a number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def count_slices(known: Sequence[int], box: range) -> tuple[list[int], str | None]:
    """Return the number, from 1, by which a table of boxes means each slice of a series.

    Tables count as the files do, by InstanceNumber. Series that are not numbered 1, 2, … are
    counted from 1 where the box fits that only, and where it may be meant either way:

    - from 0: the n-th slice is n, unless the box itself begins with 0;
    - from a number beyond their length (they hold all phases one after the other): the n-th is n,
      unless the box has numbers of that size;
    - every k-th number (phases take turns): the n-th is n, unless the box begins beyond the last.

    Parameters
    ----------
    known
        InstanceNumber of each slice, all different.
    box
        The box's slices, counted from 0: a table's number less 1.

    Returns
    -------
    The numbers, and what was done in words; None where the files' own are used.
    """
    ordered = sorted(known)
    first, count = ordered[0], len(ordered)
    steps = set(np.diff(ordered).tolist())
    if len(steps) == 1 and steps != {1}:
        (step,) = steps
        if not count < box.start + 1 <= ordered[-1]:
            rank = {n: i for i, n in enumerate(ordered, start=1)}
            return [rank[n] for n in known], f"by {step}s from {first}"
        return list(known), None
    if (first <= 0 and box.start >= 0) or (first > count and box.stop < first):
        return [n - first + 1 for n in known], f"from {first}"
    return list(known), None
