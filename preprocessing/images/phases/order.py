"""In which order series were acquired: for each two of them, what says which came first.

Sources that the scanner measured and that people typed are strong; where these are silent, two weak
ones have to agree. Sources that disagree leave the order undecided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cmp_to_key
from itertools import combinations, pairwise

from preprocessing.cohort.cohort import Finding
from preprocessing.images.dicom.series_words import phase_of
from preprocessing.images.phases.evidence import (
    SAME_TIME_S,
    SAY_WHICH,
    SeriesEvidence,
    UndecidedError,
    shown,
    shown_names,
)


def in_order(
    candidates: Sequence[SeriesEvidence], num_wanted: int, notes: list[Finding]
) -> tuple[list[SeriesEvidence], tuple[str, ...]]:
    """Put series in order of acquisition.

    Returns
    -------
    The series, and the sources that the order was taken from.

    Raises
    ------
    UndecidedError
        If sources disagree on two of them, or do not tell.
    """
    if len(candidates) == 1:
        return list(candidates), ("being the only one",)
    names = _by_name(candidates, num_wanted)
    sources = _strong_sources(candidates, names)
    weak = _weak_sources(candidates)
    used: set[str] = set()
    disbelieved: set[str] = set()

    def compare(one: SeriesEvidence, other: SeriesEvidence) -> int:
        before, after = _votes(sources, one, other)
        if before and after:
            winner = _outvote(before, after)
            if winner is None:
                raise _disagree(before, after, one, other)
            disbelieved.update(after if winner < 0 else before)
            used.update(before if winner < 0 else after)
            return winner
        if (before | after) == {"contrast agent"}:
            # What was typed of the agent alone does not stand against two numbers.
            least = _votes(weak, one, other)
            against = least[1] if before else least[0]
            if _num_kinds(against) >= _enough(one, other, against):
                raise _disagree(before | least[0], after | least[1], one, other)
        if not before and not after:
            before, after = _votes(weak, one, other)
            if (before and after) or _num_kinds(before | after) < _enough(
                one, other, before | after
            ):
                raise _untold(one, other, before | after)
        used.update(before | after)
        return -1 if before else 1

    for one, other in combinations(candidates, 2):
        compare(one, other)  # every pair, not only those that sorting asks about
    ordered = sorted(candidates, key=cmp_to_key(compare))
    for i, one in enumerate(ordered):
        if any(compare(one, other) > 0 for other in ordered[i + 1 :]):
            raise UndecidedError(
                "phases-ambiguous",
                f"the order of its series runs in a circle ({shown(ordered)}): {SAY_WHICH}",
            )
    if "names" in disbelieved or (names is None and _names_are_at_odds(candidates)):
        message = (
            f"the series' names ({shown_names(candidates)}) do not tell the"
            " phases apart: ordered by acquisition time"
        )
        notes.append(Finding("phases-by-time", message, excludes=False))
    return ordered, tuple(s for s in (*sources, *weak) if s in used and s not in disbelieved)


def _enough(one: SeriesEvidence, other: SeriesEvidence, told: set[str]) -> int:
    """Return how many weak sources have to agree: one, where it counts volumes of one series."""
    counts = {"instance numbers", "acquisition number"} & told
    return 1 if counts and one.series and one.series == other.series else 2


def _num_kinds(sources: set[str]) -> int:
    """Count sources; when an image was made tells its time and its series' number alike."""
    made = {"content time", "series number"}
    return len(sources - made) + bool(sources & made)


# How two series compare by one source: -1, the first comes before; 1, after; 0, not told.
_Comparison = Callable[[SeriesEvidence, SeriesEvidence], int]


def _strong_sources(
    candidates: Sequence[SeriesEvidence], names: _Comparison | None
) -> dict[str, _Comparison]:
    found = {"names": names} if names is not None else {}
    found["acquisition time"] = _by_value(lambda s: s.time_s, SAME_TIME_S)
    found["temporal position"] = _by_count(candidates, lambda s: s.temporal_position, 1)
    found["trigger time"] = _by_count(candidates, lambda s: s.trigger_time_ms, 1000 * SAME_TIME_S)
    found["contrast agent"] = _by_value(lambda s: float(s.has_contrast), 1)
    return found


def _weak_sources(candidates: Sequence[SeriesEvidence]) -> dict[str, _Comparison]:
    apart = _instances_apart(candidates)
    return {
        "content time": _by_value(lambda s: s.content_time_s, SAME_TIME_S),
        "acquisition number": _by_value(lambda s: s.acquisition_number, 1),
        "series number": _by_value(lambda s: s.series_number, 1),
        "instance numbers": _by_value(
            lambda s: s.instances[0] if apart and s.instances else None, 1
        ),
    }


def _instances_apart(candidates: Sequence[SeriesEvidence]) -> bool:
    ranges = sorted(s.instances for s in candidates if s.instances is not None)
    return len(ranges) == len(candidates) and all(a[1] < b[0] for a, b in pairwise(ranges))


def _by_value(value: Callable[[SeriesEvidence], float | None], step: float) -> _Comparison:
    """Compare by a value; values that differ by less than `step` are equal."""

    def compare(one: SeriesEvidence, other: SeriesEvidence) -> int:
        a, b = value(one), value(other)
        if a is None or b is None or abs(a - b) < step:
            return 0
        return -1 if a < b else 1

    return compare


def _by_count(
    candidates: Sequence[SeriesEvidence],
    value: Callable[[SeriesEvidence], float | None],
    step: float,
) -> _Comparison:
    """Compare by a value that counts from the start of a series: of several only if all differ."""
    values = [value(s) for s in candidates]
    distinct = None not in values and len(set(values)) == len(values)
    inner = _by_value(value, step)

    def compare(one: SeriesEvidence, other: SeriesEvidence) -> int:
        return inner(one, other) if distinct or one.series == other.series else 0

    return compare


def _votes(
    sources: Mapping[str, _Comparison], one: SeriesEvidence, other: SeriesEvidence
) -> tuple[set[str], set[str]]:
    """Return the sources by which `one` comes before `other`, and those by which it comes after."""
    votes = {source: compare(one, other) for source, compare in sources.items()}
    return {s for s, v in votes.items() if v < 0}, {s for s, v in votes.items() if v > 0}


_MEASURED = {"acquisition time", "temporal position", "trigger time"}


def _outvote(before: set[str], after: set[str]) -> int | None:
    """Decide between sources that disagree: two that the scanner wrote outweigh what people typed."""
    if len(before & _MEASURED) >= 2 and not after & _MEASURED:
        return -1
    if len(after & _MEASURED) >= 2 and not before & _MEASURED:
        return 1
    return None


def _disagree(
    before: set[str], after: set[str], one: SeriesEvidence, other: SeriesEvidence
) -> UndecidedError:
    return UndecidedError(
        "phases-ambiguous",
        f"series {one.shown} comes before {other.shown} by {' and '.join(sorted(before))}, after it by"
        f" {' and '.join(sorted(after))}: {SAY_WHICH}",
    )


def _untold(one: SeriesEvidence, other: SeriesEvidence, told: set[str]) -> UndecidedError:
    what = f"only {', '.join(sorted(told))} differ" if told else "nothing in their headers differs"
    return UndecidedError(
        "phases-ambiguous",
        f"which of the series {one.shown} and {other.shown} was acquired first is not told"
        f" ({what}): {SAY_WHICH}",
    )


def _by_name(candidates: Sequence[SeriesEvidence], num_wanted: int) -> _Comparison | None:
    """Return how names compare; None where they do not tell.

    Raises
    ------
    UndecidedError
        Where some names tell enough phases for a reading of their own, beside series that repeat one.
    """
    found = {s.key: phase_of(s.description) for s in candidates}
    numbers = {key: name.number for key, name in found.items() if name.number is not None}
    distinct = set(numbers.values())
    if len(distinct) < len(numbers):
        if len(distinct) >= num_wanted:
            twice = Counter(numbers.values()).most_common(1)[0][0]
            names = shown([s for s in candidates if numbers.get(s.key) == twice])
            raise UndecidedError(
                "phases-ambiguous",
                f"several series are named as phase {twice} and hold different pixels ({names}):"
                f" {SAY_WHICH}",
            )
        return None
    counts = {k: n.count for k, n in found.items() if k not in numbers and n.count is not None}
    if len(set(counts.values())) < len(counts):
        counts = {}
    rest = [key for key in found if key not in numbers]
    if len(rest) == 1 and 0 not in distinct and numbers and not found[rest[0]].is_post:
        # The bare name beside Ph1/…, 1st …, is the pre-contrast.
        numbers[rest[0]] = 0
    if not numbers and not counts:
        return None

    def compare(one: SeriesEvidence, other: SeriesEvidence) -> int:
        a, b = numbers.get(one.key), numbers.get(other.key)
        if a is None and b is None:
            a, b = counts.get(one.key), counts.get(other.key)
        if a is not None and b is not None:
            return (a > b) - (a < b)
        # A series named as pre-contrast comes before all that are not.
        return -1 if a == 0 and one.key in numbers else 1 if b == 0 and other.key in numbers else 0

    return compare


def _names_are_at_odds(candidates: Sequence[SeriesEvidence]) -> bool:
    return any(phase_of(s.description).number is not None for s in candidates)
