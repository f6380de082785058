"""Which series are the dynamic phases of an examination, and in which order.

Names decide where they tell; acquisition times where names do not; geometry where no name says
"dynamic" at all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from preprocessing.cohort import Finding
from preprocessing.shown_names import shown_series

# Phases are acquired in a minute or more; series of one name closer together are one series twice.
_SHORTEST_PHASE_S = 20.0


@dataclass(frozen=True)
class SeriesSummary:
    """What is known of a series, or of the part of a series that is one phase.

    Parameters
    ----------
    key
        Identifies the series' files to the caller.
    study
        Identifies the examination that the series belongs to.
    known_phase
        Where a table says which phase it is: 0 pre-contrast, 1 … post-contrast, -1 none.
    geometry
        Equal for series that show the same voxels.
    """

    key: str
    description: str
    series_number: int | None
    time_s: float | None
    num_files: int
    study: str = ""
    known_phase: int | None = None
    geometry: tuple[object, ...] = ()


@dataclass(frozen=True)
class PhaseOrder:
    """Dynamic series in order, pre-contrast first, and what was odd about them.

    Parameters
    ----------
    is_told
        Whether names or a table say of each series which phase it is, so that a series that is
        not there would be missed.
    """

    series: tuple[SeriesSummary, ...]
    findings: tuple[Finding, ...]
    is_told: bool = False


# Localisers, T2, diffusion, subtractions, reformats; T1 without fat suppression is no phase.
_STATIC = re.compile(
    r"\bt2|\bdwi\b|diff|\badc\b|loc\b|localizer|scout|\bstir\b|non.?fs|\bsub\b|subtract|\bmip\b|calib"
)
_PLAIN_T1 = re.compile(r"^(ax|axial|sag|cor)?\s*(3d\s+)?t1\b(?!.*dyn)")
_DYNAMIC = re.compile(r"\bdyn|vibrant|multi\s?phase|\bdynamic|t1_fl3d.*dyn|\bpass?\b|\bph\d")
_PREFIXED = re.compile(r"^ph\s*(\d)\s*/")
_ORDINAL = re.compile(r"\b(\d)\s*(?:st|nd|rd|th)\b")
_PRE = re.compile(r"\bpre\b|_pre\b|\bpre_")


def phase_number(description: str) -> int | None:
    """Return 0 for pre-contrast, 1 … for a post-contrast phase, None where the name doesn't tell."""
    name = description.strip().lower()
    if match := _PREFIXED.match(name):
        return int(match.group(1))
    if _PRE.search(name):
        return 0
    if match := _ORDINAL.search(name):
        return int(match.group(1))
    return None


def is_dynamic(description: str) -> bool:
    """Tell whether a series' name is one of a dynamic phase."""
    name = description.strip().lower()
    if _PREFIXED.match(name):
        return True
    if _STATIC.search(name) or _PLAIN_T1.match(name):
        return False
    return bool(_DYNAMIC.search(name))


def choose_dynamic(series: Sequence[SeriesSummary]) -> PhaseOrder:
    """Choose the dynamic series: by a table, by name, or as the largest group of one geometry."""
    if any(s.known_phase is not None for s in series):
        told = (s for s in series if s.known_phase is not None and s.known_phase >= 0)
        return PhaseOrder(tuple(told), ())
    named = tuple(s for s in series if is_dynamic(s.description))
    if named:
        return PhaseOrder(named, ())
    candidates = [s for s in series if not _STATIC.search(s.description.lower())]
    counts = Counter(s.geometry for s in candidates)
    if not counts or max(counts.values()) < 2:
        return PhaseOrder((), ())
    sizes = {s.geometry: s.num_files for s in candidates}
    largest = max(counts, key=lambda g: (counts[g], sizes[g]))
    chosen = tuple(s for s in candidates if s.geometry == largest)
    message = (
        f"no series is named as a dynamic phase: the {len(chosen)} of one geometry were taken,"
        " in order of time"
    )
    return PhaseOrder(chosen, (Finding("phases-by-geometry", message, excludes=False),))


def choose_study(series: Sequence[SeriesSummary]) -> PhaseOrder:
    """Keep one examination's series: the one with most of them, the earliest of several."""
    studies = {s.study for s in series}
    if len(studies) < 2:
        return PhaseOrder(tuple(series), ())
    counts = Counter(s.study for s in series)

    def rank(study: str) -> tuple[float, float, str]:
        times = [s.time_s for s in series if s.study == study and s.time_s is not None]
        return -counts[study], min(times, default=float("inf")), study

    chosen = min(studies, key=rank)
    kept = tuple(s for s in series if s.study == chosen)
    message = (
        f"{len(studies)} examinations have dynamic series: the one with most of them, else the"
        f" earliest, was used ({len(kept)} series)"
    )
    return PhaseOrder(kept, (Finding("several-studies", message, excludes=False),))


def order_phases(dynamic: Sequence[SeriesSummary], num_wanted: int = 2) -> PhaseOrder:
    """Put dynamic series in order, pre-contrast first.

    Parameters
    ----------
    dynamic
        Series of one examination, all of them dynamic.
    num_wanted
        Phases that are needed; names that leave fewer than that and than times do are not
        believed.
    """
    numbers = _numbers_by_name(dynamic)
    known = [n for n in numbers if n is not None]
    in_time = sorted(dynamic, key=_time_order)
    if known and len(known) == len(dynamic) and (len(set(known)) > 1 or len(dynamic) == 1):
        missing = sorted(set(range(max(known) + 1)) - set(known))
        if missing and missing[0] < num_wanted and len(set(known)) == len(known):
            return PhaseOrder((), (_missing(missing[0], dynamic),))
        if not missing or missing[0] >= num_wanted:
            pairs = zip(known, dynamic, strict=True)
            by_name = _without_repeats(
                sorted(pairs, key=lambda p: (p[0], -p[1].num_files, *_time_order(p[1])))
            )
            if len(by_name.series) >= num_wanted or not _distinct_times(in_time):
                return by_name
    found = _without_copies(in_time)
    if not known:
        return found
    message = (
        f"the series' names ({_shown_names(dynamic)}) do not tell the"
        " phases apart: ordered by acquisition time"
    )
    note = Finding("phases-by-time", message, excludes=False)
    return PhaseOrder(found.series, (*found.findings, note))


def _numbers_by_name(dynamic: Sequence[SeriesSummary]) -> list[int | None]:
    if all(s.known_phase is not None for s in dynamic):
        return [s.known_phase for s in dynamic]
    numbers = [phase_number(s.description) for s in dynamic]
    if any(n for n in numbers) and sum(n is None for n in numbers) == 1 and 0 not in numbers:
        # The bare name beside Ph1/…, 1st …, is the pre-contrast.
        return [0 if n is None else n for n in numbers]
    return numbers


def _without_repeats(ordered: Sequence[tuple[int, SeriesSummary]]) -> PhaseOrder:
    kept: dict[int, SeriesSummary] = {}
    findings = []
    for number, series in ordered:
        if number in kept:
            findings.append(_repeated(series, f"phase {number}"))
        else:
            kept[number] = series
    return PhaseOrder(tuple(kept[n] for n in sorted(kept)), tuple(findings), is_told=True)


def _without_copies(in_time: Sequence[SeriesSummary]) -> PhaseOrder:
    """Leave out series of equal name, size and time: one phase cannot be acquired twice at once."""
    kept: list[SeriesSummary] = []
    findings = []
    for series in in_time:
        before = kept[-1] if kept else None
        if (
            before is not None
            and series.time_s is not None
            and series.time_s == before.time_s
            and (series.description, series.num_files) == (before.description, before.num_files)
        ):
            findings.append(_repeated(series, "the one before it"))
        else:
            kept.append(series)
    return PhaseOrder(tuple(kept), tuple(findings))


def _missing(number: int, dynamic: Sequence[SeriesSummary]) -> Finding:
    what = "pre-contrast" if number == 0 else f"post-contrast phase {number}"
    names = _shown_names(dynamic)
    return Finding("phase-missing", f"the {what} is not among its dynamic series ({names})")


def _shown_names(series: Sequence[SeriesSummary]) -> str:
    return ", ".join(sorted({shown_series(s.description) for s in series}))


def _repeated(series: SeriesSummary, what: str) -> Finding:
    message = (
        f"series {shown_series(series.description)!r} (number {series.series_number}) repeats {what}:"
        " the one with more files, else the earlier, is used"
    )
    return Finding("series-repeated", message, excludes=False)


def _distinct_times(in_time: Sequence[SeriesSummary]) -> bool:
    times = [s.time_s for s in in_time]
    return all(
        a is not None and b is not None and b - a >= _SHORTEST_PHASE_S for a, b in pairwise(times)
    )


def _time_order(series: SeriesSummary) -> tuple[float, float, str]:
    late = float("inf")
    return (
        series.time_s if series.time_s is not None else late,
        series.series_number if series.series_number is not None else late,
        series.key,
    )
