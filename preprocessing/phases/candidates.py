"""Which series may be phases: by the kind of image, by name, by structure in time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from preprocessing.cohort import Finding
from preprocessing.phases.evidence import (
    NOT_TAKEN,
    SAME_TIME_S,
    SAY_WHICH,
    SeriesEvidence,
    UndecidedError,
    lies_on,
    shown,
    start_of,
)
from preprocessing.phases.words import (
    Kind,
    bare_name,
    is_dynamic,
    is_static,
    phase_of,
)

Images = Literal["acquired", "motion-corrected", "subtraction"]


def reason_of(series: SeriesEvidence) -> str:
    """Return why a series is no phase, as far as it alone tells."""
    if not series.kind.is_phase:
        return f"no phase: {series.kind.value}"
    if is_static(series.description):
        return "no phase: not dynamic by its name"
    return NOT_TAKEN


def choose_candidates(
    series: Sequence[SeriesEvidence], num_wanted: int, images: Images, notes: list[Finding]
) -> list[SeriesEvidence]:
    """Return the series whose kind and name, or whose structure in time, make them phases."""
    pool = [s for s in series if s.kind in (Kind.ACQUIRED, Kind.WATER)]
    acquired = _dynamic(pool, notes)
    if images == "motion-corrected":
        moved = _dynamic([s for s in series if s.kind is Kind.MOTION_CORRECTED], notes)
        return _with_pre_contrast(moved, acquired) if moved else []
    if images == "subtraction":
        subtracted = _dynamic([s for s in series if s.kind is Kind.SUBTRACTION], notes)
        return _with_pre_contrast(subtracted, acquired) if subtracted else []
    derived = [s for s in series if s.kind is Kind.DERIVED]
    if len(acquired) >= num_wanted or not derived:
        return acquired
    both = _dynamic([*pool, *derived], [])
    num_derived = sum(s.kind is Kind.DERIVED for s in both)
    if not num_derived or len(both) <= len(acquired):
        return acquired
    message = (
        f"{num_derived} of its {len(both)} dynamic series are marked as derived (ImageType), and no"
        " originals are there in their place: used as they are"
    )
    notes.append(Finding("phases-derived", message, excludes=False))
    return both


def _with_pre_contrast(
    others: list[SeriesEvidence], acquired: Sequence[SeriesEvidence]
) -> list[SeriesEvidence]:
    """Add the acquired pre-contrast to copies that were made of posts only."""
    if any(phase_of(s.description).number == 0 for s in others):
        return others
    named = [s for s in acquired if phase_of(s.description).number == 0]
    times = [s.time_s for s in acquired if s.time_s is not None]
    first = named or [s for s in acquired if times and s.time_s == min(times)]
    start = start_of(others)
    is_before = (
        len(first) == 1
        and start is not None
        and first[0].time_s is not None
        and first[0].time_s <= start - SAME_TIME_S
    )
    return [first[0], *others] if is_before or len(named) == 1 else others


def _dynamic(series: list[SeriesEvidence], notes: list[Finding]) -> list[SeriesEvidence]:
    """Choose dynamic series: by name, else by structure in time, else as the largest group alike."""
    if not series:
        return []
    candidates = [s for s in series if not is_static(s.description)]
    bare = {bare_name(s.description) for s in candidates} - {None}
    named = [s for s in candidates if is_dynamic(s.description) or _as_bare(s) in bare]
    told = [s for s in candidates if s.is_split or (s.num_temporal_positions or 1) > 1]
    counted = [s for s in candidates if (p := phase_of(s.description)).is_post or p.number == 0]
    for base in (named, told if len(told) > 1 else [], counted if len(counted) > 1 else []):
        if base:
            return _with_namesakes(base, candidates)
    groups: dict[tuple[object, ...], list[SeriesEvidence]] = defaultdict(list)
    for found in candidates:
        geometry = found.place.geometry if found.place else ()
        groups[geometry, found.sequence, found.echo_time_ms, found.study].append(found)
    most = max((len(g) for g in groups.values()), default=0)
    if most < 2:
        return []
    largest = [g for g in groups.values() if len(g) == most]
    if len({found.study for g in largest for found in g}) < len(largest):
        names = "; ".join(shown(g) for g in largest)
        raise UndecidedError(
            "phases-ambiguous",
            f"no series is named as a dynamic phase, and {len(largest)} groups of {most} series are"
            f" equally likely ({names}): {SAY_WHICH}",
        )
    chosen = min(largest, key=lambda g: min((s.time_s or 0.0) for s in g))
    message = (
        f"no series is named as a dynamic phase: the {most} of one geometry were taken,"
        " in order of time"
    )
    notes.append(Finding("phases-by-geometry", message, excludes=False))
    return chosen


def _as_bare(series: SeriesEvidence) -> str:
    return series.description.strip().casefold()


def _with_namesakes(
    base: Sequence[SeriesEvidence], candidates: Sequence[SeriesEvidence]
) -> list[SeriesEvidence]:
    """Add series that are called as the dynamic ones are, and a pre-contrast to series named post."""
    names = {s.description for s in base}
    chosen = [s for s in candidates if s in base or s.description in names]
    told = [phase_of(s.description) for s in chosen]
    if any(p.is_post for p in told) and not any(p.number == 0 for p in told):
        start = start_of(chosen)
        chosen += [
            s
            for s in candidates
            if s not in chosen
            and phase_of(s.description).number == 0
            and any(lies_on(s, other) for other in chosen)
            and (start is None or s.time_s is None or s.time_s < start)
        ]
    return chosen
