"""What headers say of a series, and which series may be phases."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from preprocessing.cohort.cohort import Finding
from preprocessing.common.redaction import shown_series
from preprocessing.images.dicom.series_words import (
    Kind,
    bare_name,
    is_dynamic,
    is_static,
    kind_of,
    phase_of,
    side_of,
)

# Volumes take seconds; times closer together are one time, rounded or written slice by slice.
SAME_TIME_S = 1.0


# Echo times closer together than this are one protocol's.
_SAME_ECHO = 0.2


_SAME_SPACING = 0.02


_SAME_PLACE = 0.5


SAY_WHICH = "say which in a table of phases (radiotrain cohort check … --phases phases.csv)"


NOT_TAKEN = "no phase: not taken"


@dataclass(frozen=True)
class Place:
    """Where a series lies.

    Parameters
    ----------
    spacing_mm
        The three distances between voxels, in ascending order: equal for turned volumes.
    low_mm, high_mm
        Corners of the smallest box along the patient's axes that holds all voxels, LPS.
    geometry
        Matrix; spacings and directions; number of slices: equal for series of the same voxels.
    """

    spacing_mm: tuple[float, float, float]
    low_mm: tuple[float, float, float]
    high_mm: tuple[float, float, float]
    geometry: tuple[object, ...] = ()

    def overlap(self, other: Place) -> float:
        """Return the share of the smaller box that lies in the other one."""
        shared, own, theirs = 1.0, 1.0, 1.0
        for a, b, c, d in zip(self.low_mm, self.high_mm, other.low_mm, other.high_mm, strict=True):
            shared *= max(0.0, min(b, d) - max(a, c))
            own, theirs = own * (b - a), theirs * (d - c)
        smaller = min(own, theirs)
        return shared / smaller if smaller > 0 else 0.0


@dataclass(frozen=True)
class SeriesEvidence:
    """What headers say of a series, or of the part of a series that may be one phase.

    Parameters
    ----------
    key
        Identifies its files to the caller.
    series, study, frame_of_reference
        Equal for parts of one series, one examination, one coordinate system.
    patients
        Digests of the persons that it names.
    time_s, content_time_s
        When its first slice was acquired, and made; only differences mean anything.
    is_split
        Whether its series was taken apart in time.
    instances
        Its lowest and highest InstanceNumber.
    is_glimpsed
        Whether only its first file was read: it is no phase, but may be a rival of one.
    holds_tumour
        Whether the tumour's box can lie in it; None where that is not known.
    known_phase
        What a table says: 0 pre-contrast, 1 … post-contrast, -1 none.
    """

    key: str
    description: str
    series_number: int | None = None
    time_s: float | None = None
    num_slices: int = 1
    study: str = ""
    series: str = ""
    frame_of_reference: str = ""
    image_type: tuple[str, ...] = ()
    content_time_s: float | None = None
    temporal_position: int | None = None
    num_temporal_positions: int | None = None
    trigger_time_ms: float | None = None
    acquisition_number: int | None = None
    instances: tuple[int, int] | None = None
    has_contrast: bool = False
    sequence: str = ""
    echo_time_ms: float | None = None
    is_split: bool = False
    is_glimpsed: bool = False
    patients: frozenset[str] = frozenset()
    place: Place | None = None
    holds_tumour: bool | None = None
    known_phase: int | None = None

    @property
    def kind(self) -> Kind:
        """What kind of image it is."""
        return kind_of(self.description, self.image_type)

    @property
    def shown(self) -> str:
        """Its name and number, as messages say them."""
        number = "" if self.series_number is None else f" (series {self.series_number})"
        position = self.temporal_position if self.is_split else None
        part = "" if position is None else f", position {position}"
        return f"{shown_series(self.description)!r}{number}{part}"


class UndecidedError(Exception):
    """Evidence that leaves no or two readings, with the finding that says so."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(code, message)


def phase_missing(number: int, ordered: Sequence[SeriesEvidence]) -> UndecidedError:
    """Return the error for a phase that is not there."""
    what = "pre-contrast" if number == 0 else f"post-contrast phase {number}"
    names = shown_names(ordered)
    return UndecidedError(
        "phase-missing", f"the {what} is not among its dynamic series of one geometry ({names})"
    )


def first_lacks_contrast(ordered: Sequence[SeriesEvidence]) -> bool:
    """Tell whether a contrast agent is named for all series but the first."""
    return not ordered[0].has_contrast and all(s.has_contrast for s in ordered[1:])


def start_of(group: Sequence[SeriesEvidence]) -> float | None:
    """Return when the first of some series began; None where none says so."""
    times = [s.time_s if s.time_s is not None else s.content_time_s for s in group]
    return min((t for t in times if t is not None), default=None)


def lies_on(one: SeriesEvidence, other: SeriesEvidence) -> bool:
    """Tell whether two series may be phases of one examination: one protocol, one place."""
    return same_protocol(one, other) and same_place(one, other)


def same_protocol(one: SeriesEvidence, other: SeriesEvidence) -> bool:
    """Tell whether nothing says that two series were acquired in different ways."""
    if one.kind is not other.kind and Kind.WATER in (one.kind, other.kind):
        return False
    if one.sequence != other.sequence:
        return False
    echoes = (one.echo_time_ms, other.echo_time_ms)
    if (echoes[0] is None) is not (echoes[1] is None):
        return False
    if (
        echoes[0]
        and echoes[1]
        and abs(echoes[0] - echoes[1]) > _SAME_ECHO * max(echoes[0], echoes[1])
    ):
        return False
    sides = side_of(one.description), side_of(other.description)
    return not (sides[0] and sides[1]) or sides[0] == sides[1]


def same_place(one: SeriesEvidence, other: SeriesEvidence) -> bool:
    """Tell whether two series have voxels of one size and show the same part of the patient."""
    if one.place is None or other.place is None:
        return True
    pairs = zip(one.place.spacing_mm, other.place.spacing_mm, strict=True)
    alike = all(abs(a - b) <= _SAME_SPACING * max(a, b) for a, b in pairs)
    return alike and one.place.overlap(other.place) >= _SAME_PLACE


def stable_key(series: SeriesEvidence) -> tuple[float, float, str]:
    """Return a key that orders series by number and time."""
    late = float("inf")
    number = series.series_number if series.series_number is not None else late
    return number, series.time_s if series.time_s is not None else late, series.key


def shown(series: Sequence[SeriesEvidence]) -> str:
    """Return series as messages say them."""
    return ", ".join(s.shown for s in series)


def shown_names(series: Sequence[SeriesEvidence]) -> str:
    """Return the names of series as messages say them, each once."""
    return ", ".join(sorted({shown_series(s.description) for s in series}))


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
