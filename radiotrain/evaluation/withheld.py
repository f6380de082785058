"""Counts that are withheld so that none reveals a patient."""

from __future__ import annotations

from collections.abc import Sequence

from radiotrain.evaluation.subgroups.subgroup_results import FEWEST_SHOWN


def withheld(counts: Sequence[int]) -> frozenset[int]:
    """Return the places of the counts that are not shown.

    Those below `FEWEST_SHOWN`, and beside a single one the next larger: the total would give it away.

    Examples
    --------
    >>> sorted(withheld([40, 3, 7])), sorted(withheld([40, 3, 4])), sorted(withheld([40, 0]))
    ([1, 2], [1, 2], [])
    """
    hidden = {k for k, num in enumerate(counts) if 0 < num < FEWEST_SHOWN}
    if len(hidden) == 1:
        others = [k for k, num in enumerate(counts) if num >= FEWEST_SHOWN]
        hidden |= set(sorted(others, key=lambda k: counts[k])[:1])
    return frozenset(hidden)


def withheld_text(num: int) -> str:
    """Return what is shown in the place of a count."""
    return f"<{FEWEST_SHOWN}" if num < FEWEST_SHOWN else f"≥{FEWEST_SHOWN}"
