"""Which series of an examination are the phases, and in which order: decided from all evidence.

`decide_phases` is a pure function of what headers say. Kinds of images come first (a subtraction, a
projection or a fat image is no phase), then the examination, then the group of series that lie on one
another, then their order. The order of two series is taken from everything that tells it: names,
acquisition date and time, temporal position, trigger time and contrast agent; where none of these
does, from content time, numbers of acquisition and series, and instance numbers, if two of them
agree. Evidence that disagrees makes the order ambiguous, and the patient is excluded: a table of
phases (`preprocessing.phase_table`) then decides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key
from itertools import combinations, pairwise
from typing import Literal

from preprocessing.cohort import Finding
from preprocessing.series_words import Kind, is_dynamic, is_static, kind_of, phase_of
from preprocessing.shown_names import shown_series

Images = Literal["acquired", "motion-corrected", "subtraction"]

# Volumes take seconds; times closer together are one time, rounded or written slice by slice.
_SAME_TIME_S = 1.0
# Series of one name that begin closer together than this may be one series sent twice.
_MAYBE_COPY_S = 60.0
# Series of two examinations closer together than this may be one examination.
_ONE_VISIT_S = 2 * 3600.0
# Of the other series' slices: a series with fewer was broken off.
_BROKEN_OFF = 0.7
_SAME_SPACING = 0.02
_SAME_PLACE = 0.5


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
        Equal for series of the same voxels.
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
    time_s, content_time_s
        When its first slice was acquired, and made; only differences mean anything.
    is_split
        Whether its series was taken apart in time.
    instances
        Its lowest and highest InstanceNumber.
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


@dataclass(frozen=True)
class PhaseDecision:
    """Phases in order, pre-contrast first, and why.

    Parameters
    ----------
    phases
        Keys of the series that are phases; empty where a finding excludes the patient.
    evidence
        What the order was taken from, e.g. ``("names", "acquisition time")``.
    reasons
        For each series' key, why it is a phase or why not.
    is_told
        Whether a series that is not there would be missed: names, positions or a table count.
    """

    phases: tuple[str, ...]
    findings: tuple[Finding, ...]
    evidence: tuple[str, ...] = ()
    reasons: Mapping[str, str] = field(default_factory=dict)
    is_told: bool = False


class _UndecidedError(Exception):
    """Evidence that leaves no or two readings, with the finding that says so."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.finding = Finding(code, message)


SamePixels = Callable[[str, str], bool]


def decide_phases(
    series: Sequence[SeriesEvidence],
    num_wanted: int,
    same_pixels: SamePixels = lambda one, other: False,
    images: Images = "acquired",
) -> PhaseDecision:
    """Decide which series are the phases.

    Parameters
    ----------
    series
        All series (or parts of series) of a patient's folder.
    num_wanted
        Phases that are needed.
    same_pixels
        Whether two series, given by key, hold the same pixels; asked only where two could be one
        series sent twice.
    images
        Which images are wanted: those that were acquired, their motion-corrected copies, or
        subtractions (after the acquired pre-contrast).
    """
    reasons = {s.key: _reason(s) for s in series}
    notes: list[Finding] = []
    try:
        ordered, evidence, is_told = _decide(
            series, num_wanted, same_pixels, images, notes, reasons
        )
    except _UndecidedError as error:
        return PhaseDecision((), (*notes, error.finding), reasons=reasons)
    for number, found in enumerate(ordered):
        reasons[found.key] = f"phase {number}, by {' and '.join(evidence)}"
    return PhaseDecision(tuple(s.key for s in ordered), tuple(notes), evidence, reasons, is_told)


def _decide(
    series: Sequence[SeriesEvidence],
    num_wanted: int,
    same_pixels: SamePixels,
    images: Images,
    notes: list[Finding],
    reasons: dict[str, str],
) -> tuple[list[SeriesEvidence], tuple[str, ...], bool]:
    if any(s.known_phase is not None for s in series):
        return _by_table(series, same_pixels, notes, reasons)
    candidates = _candidates(series, images, notes)
    candidates = _one_examination(candidates, notes, reasons)
    candidates = _without_broken_off(candidates, notes, reasons)
    candidates = _without_copies(candidates, same_pixels, notes, reasons)
    candidates = _one_group(candidates, num_wanted, notes, reasons)
    if not candidates:
        return [], (), False
    _check_rivals(candidates, series)
    ordered, evidence = _in_order(candidates, num_wanted, notes)
    is_told = _check_missing(ordered, evidence, num_wanted)
    return ordered, evidence, is_told


# Which series are candidates


def _reason(series: SeriesEvidence) -> str:
    if not series.kind.is_phase:
        return f"no phase: {series.kind.value}"
    if is_static(series.description):
        return "no phase: not dynamic by its name"
    return "no phase: not taken"


def _candidates(
    series: Sequence[SeriesEvidence], images: Images, notes: list[Finding]
) -> list[SeriesEvidence]:
    """Return the series whose kind and name, or whose structure in time, make them phases."""
    acquired = _dynamic([s for s in series if s.kind in (Kind.ACQUIRED, Kind.WATER)], notes)
    if images == "motion-corrected":
        moved = _dynamic([s for s in series if s.kind is Kind.MOTION_CORRECTED], notes)
        return _with_pre_contrast(moved, acquired) if moved else []
    if images == "subtraction":
        subtracted = _dynamic([s for s in series if s.kind is Kind.SUBTRACTION], notes)
        return _with_pre_contrast(subtracted, acquired) if subtracted else []
    if acquired:
        return acquired
    derived = _dynamic([s for s in series if s.kind is Kind.DERIVED], notes)
    if derived:
        message = (
            f"its {len(derived)} dynamic series are marked as derived (ImageType), and no original"
            " is there: used as they are"
        )
        notes.append(Finding("phases-derived", message, excludes=False))
    return derived


def _with_pre_contrast(
    others: list[SeriesEvidence], acquired: Sequence[SeriesEvidence]
) -> list[SeriesEvidence]:
    """Add the acquired pre-contrast to copies that were made of posts only."""
    if any(phase_of(s.description).number == 0 for s in others):
        return others
    named = [s for s in acquired if phase_of(s.description).number == 0]
    times = [s.time_s for s in acquired if s.time_s is not None]
    first = named or [s for s in acquired if times and s.time_s == min(times)]
    start = _start(others)
    is_before = (
        len(first) == 1
        and start is not None
        and first[0].time_s is not None
        and first[0].time_s <= start - _SAME_TIME_S
    )
    return [first[0], *others] if is_before or len(named) == 1 else others


def _dynamic(series: list[SeriesEvidence], notes: list[Finding]) -> list[SeriesEvidence]:
    """Choose dynamic series: by name, else by structure in time, else as the largest group alike."""
    if not series:
        return []
    candidates = [s for s in series if not is_static(s.description)]
    named = [s for s in candidates if is_dynamic(s.description)]
    if named:
        return named
    told = [s for s in candidates if s.is_split or (s.num_temporal_positions or 1) > 1]
    if len(told) > 1:
        return told
    counted = [s for s in candidates if (p := phase_of(s.description)).is_post or p.number == 0]
    if len(counted) > 1 and any(phase_of(s.description).number == 0 for s in counted):
        return counted
    groups: dict[tuple[object, ...], list[SeriesEvidence]] = defaultdict(list)
    for found in candidates:
        geometry = found.place.geometry if found.place else ()
        groups[geometry, found.sequence, found.echo_time_ms, found.study].append(found)
    most = max((len(g) for g in groups.values()), default=0)
    if most < 2:
        return []
    largest = [g for g in groups.values() if len(g) == most]
    if len({found.study for g in largest for found in g}) < len(largest):
        names = "; ".join(_shown(g) for g in largest)
        raise _UndecidedError(
            "phases-ambiguous",
            f"no series is named as a dynamic phase, and {len(largest)} groups of {most} series are"
            f" equally likely ({names}): {_SAY_WHICH}",
        )
    chosen = min(largest, key=lambda g: min((s.time_s or 0.0) for s in g))
    message = (
        f"no series is named as a dynamic phase: the {most} of one geometry were taken,"
        " in order of time"
    )
    notes.append(Finding("phases-by-geometry", message, excludes=False))
    return chosen


_SAY_WHICH = "say which in a table of phases (radiotrain cohort check … --phases phases.csv)"


# Which examination


def _one_examination(
    candidates: list[SeriesEvidence], notes: list[Finding], reasons: dict[str, str]
) -> list[SeriesEvidence]:
    """Keep one examination's series: the one with most of them, the earliest of several."""
    studies: dict[str, list[SeriesEvidence]] = defaultdict(list)
    names = _joined_studies(candidates, notes)
    for found in candidates:
        studies[names[found.study]].append(found)
    if len(studies) < 2:
        return candidates
    most = max(map(len, studies.values()))
    largest = [group for group in studies.values() if len(group) == most]
    starts = [_start(group) for group in largest]
    if len(largest) > 1 and (None in starts or len(set(starts)) < len(starts)):
        raise _UndecidedError(
            "phases-ambiguous",
            f"{len(largest)} examinations have {most} dynamic series each and no dates that tell the"
            f" earlier one: {_SAY_WHICH}",
        )
    chosen = min(largest, key=lambda group: _start(group) or 0.0)
    for group in studies.values():
        if group is not chosen and _near(chosen, group):
            raise _UndecidedError(
                "phases-ambiguous",
                f"dynamic series of {len(studies)} examinations lie within two hours"
                f" ({_shown(chosen)}; {_shown(group)}), perhaps one examination in parts: {_SAY_WHICH}",
            )
        if group is not chosen:
            reasons.update({s.key: "no phase: of another examination" for s in group})
    message = (
        f"{len(studies)} examinations have dynamic series: the one with most of them, else the"
        f" earliest, was used ({len(chosen)} series)"
    )
    notes.append(Finding("several-studies", message, excludes=False))
    return chosen


def _joined_studies(candidates: Sequence[SeriesEvidence], notes: list[Finding]) -> dict[str, str]:
    """Return, for each study, the study that it is a part of: one coordinate system is one visit."""
    names = {s.study: s.study for s in candidates}
    frames: dict[str, str] = {}
    for found in candidates:
        if not found.frame_of_reference:
            continue
        first = frames.setdefault(found.frame_of_reference, found.study)
        if names[first] != names[found.study]:
            old, new = names[found.study], names[first]
            names = {k: new if v == old else v for k, v in names.items()}
    if len(set(names.values())) < len(names):
        message = (
            "its dynamic series are spread over several studies of one coordinate system: taken as one"
            " examination"
        )
        notes.append(Finding("studies-joined", message, excludes=False))
    return names


def _start(group: Sequence[SeriesEvidence]) -> float | None:
    return min((s.time_s for s in group if s.time_s is not None), default=None)


def _near(one: Sequence[SeriesEvidence], other: Sequence[SeriesEvidence]) -> bool:
    a, b = _start(one), _start(other)
    return a is None or b is None or abs(a - b) < _ONE_VISIT_S


# What was sent twice, or broken off


def _without_broken_off(
    candidates: list[SeriesEvidence], notes: list[Finding], reasons: dict[str, str]
) -> list[SeriesEvidence]:
    """Leave out series that hold part of the slices of another one of the same name and kind."""
    kept = []
    for found in candidates:
        fuller = [
            other
            for other in candidates
            if other.description == found.description
            and phase_of(found.description).number is not None
            and _same_time_evidence(other, found)
            and found.num_slices < _BROKEN_OFF * other.num_slices
        ]
        if fuller:
            message = (
                f"series {found.shown} has {found.num_slices} slices, another one of its name"
                f" {fuller[0].num_slices}: broken off, not used"
            )
            notes.append(Finding("series-incomplete", message, excludes=False))
            reasons[found.key] = "no phase: broken off"
        else:
            kept.append(found)
    return kept


def _same_time_evidence(one: SeriesEvidence, other: SeriesEvidence) -> bool:
    """Tell whether temporal positions do not tell two series apart."""
    positions = {one.temporal_position, other.temporal_position}
    return len(positions) == 1 or None in positions


def _without_copies(
    candidates: list[SeriesEvidence],
    same_pixels: SamePixels,
    notes: list[Finding],
    reasons: dict[str, str],
) -> list[SeriesEvidence]:
    """Leave out series whose pixels are those of another one; headers alone never make a copy."""
    kept: list[SeriesEvidence] = []
    for found in sorted(candidates, key=_stable):
        twin = next(
            (k for k in kept if _may_be_copy(k, found) and same_pixels(k.key, found.key)), None
        )
        if twin is None:
            kept.append(found)
            continue
        message = f"series {found.shown} holds the same pixels as {twin.shown}: used once"
        notes.append(Finding("series-repeated", message, excludes=False))
        reasons[found.key] = "no phase: a copy"
    return kept


def _may_be_copy(one: SeriesEvidence, other: SeriesEvidence) -> bool:
    if one.num_slices != other.num_slices or one.has_contrast != other.has_contrast:
        return False
    a, b = phase_of(one.description), phase_of(other.description)
    if a.number != b.number or a.count != b.count:
        return False
    if (
        one.temporal_position != other.temporal_position
        or one.trigger_time_ms != other.trigger_time_ms
    ):
        return False
    apart = None if one.time_s is None or other.time_s is None else abs(one.time_s - other.time_s)
    return apart is None or apart <= _MAYBE_COPY_S


def _stable(series: SeriesEvidence) -> tuple[float, float, str]:
    late = float("inf")
    number = series.series_number if series.series_number is not None else late
    return number, series.time_s if series.time_s is not None else late, series.key


# Which group of series that lie on one another


def _one_group(
    candidates: list[SeriesEvidence],
    num_wanted: int,
    notes: list[Finding],
    reasons: dict[str, str],
) -> list[SeriesEvidence]:
    """Keep the series that lie on one another, where several such groups could be the phases."""
    groups = _groups(candidates)
    if len(groups) < 2:
        return candidates
    most = max(map(len, groups))
    complete = [g for g in groups if len(g) >= min(num_wanted, most) > 1]
    if len(complete) > 1:
        holding = [g for g in complete if any(s.holds_tumour for s in g)]
        if len(holding) != 1 or any(
            s.holds_tumour is None for g in complete if g is not holding[0] for s in g
        ):
            names = "; ".join(_shown(g) for g in complete)
            raise _UndecidedError(
                "phases-ambiguous",
                f"{len(complete)} groups of series may be the phases ({names}), and the tumour's box"
                f" does not tell which: {_SAY_WHICH}",
            )
        message = (
            f"{len(complete)} groups of series may be the phases: the one that the tumour lies in was"
            f" used ({_shown(holding[0])})"
        )
        notes.append(Finding("phases-by-box", message, excludes=False))
        complete = holding
    if not complete:
        return candidates
    chosen = complete[0]
    rivals = [g for g in groups if g is not chosen and len(g) >= min(num_wanted, most)]
    others = [s for g in groups if g is not chosen and g not in rivals for s in g]
    if len(chosen) < num_wanted and len(others) < 2:
        return candidates
    if not all(_is_beside(s, chosen) for s in others):
        # One of them may be a phase: what does not lie on the others is then said of it.
        return candidates
    left_out = (*others, *(s for g in rivals for s in g))
    reasons.update({s.key: "no phase: of another geometry" for s in left_out})
    return chosen


def _groups(candidates: Sequence[SeriesEvidence]) -> list[list[SeriesEvidence]]:
    groups: list[list[SeriesEvidence]] = []
    for found in candidates:
        near = [g for g in groups if any(_lies_on(found, other) for other in g)]
        merged = [s for g in near for s in g] + [found]
        groups = [g for g in groups if g not in near] + [merged]
    return groups


def _lies_on(one: SeriesEvidence, other: SeriesEvidence) -> bool:
    if one.kind is not other.kind and Kind.WATER in (one.kind, other.kind):
        return False
    if one.place is None or other.place is None:
        return True
    pairs = zip(one.place.spacing_mm, other.place.spacing_mm, strict=True)
    alike = all(abs(a - b) <= _SAME_SPACING * max(a, b) for a, b in pairs)
    return alike and one.place.overlap(other.place) >= _SAME_PLACE


def _is_beside(series: SeriesEvidence, chosen: Sequence[SeriesEvidence]) -> bool:
    """Tell whether a series cannot be one of the chosen ones' phases."""
    numbers = [phase_of(s.description).number for s in chosen]
    own = phase_of(series.description)
    if None not in numbers and sorted(n for n in numbers if n is not None) == list(
        range(len(numbers))
    ):
        return own.number is None or own.number in numbers
    times = [s.time_s for s in chosen]
    late = series.time_s is not None and all(t is not None and t < series.time_s for t in times)
    return late and own.number is None


# In which order


def _in_order(
    candidates: Sequence[SeriesEvidence], num_wanted: int, notes: list[Finding]
) -> tuple[list[SeriesEvidence], tuple[str, ...]]:
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
        if not before and not after:
            before, after = _votes(weak, one, other)
            if (before and after) or len(before | after) < _enough(one, other, before | after):
                raise _untold(one, other, before | after)
        used.update(before | after)
        return -1 if before else 1

    for one, other in combinations(candidates, 2):
        compare(one, other)  # every pair, not only those that sorting asks about
    ordered = sorted(candidates, key=cmp_to_key(compare))
    for i, one in enumerate(ordered):
        if any(compare(one, other) > 0 for other in ordered[i + 1 :]):
            raise _UndecidedError(
                "phases-ambiguous",
                f"the order of its series runs in a circle ({_shown(ordered)}): {_SAY_WHICH}",
            )
    if "names" in disbelieved or (names is None and _names_are_at_odds(candidates)):
        message = (
            f"the series' names ({_shown_names(candidates)}) do not tell the"
            " phases apart: ordered by acquisition time"
        )
        notes.append(Finding("phases-by-time", message, excludes=False))
    return ordered, tuple(s for s in (*sources, *weak) if s in used and s not in disbelieved)


def _enough(one: SeriesEvidence, other: SeriesEvidence, told: set[str]) -> int:
    """Return how many weak sources have to agree: one, where instance numbers of one series count on."""
    return 1 if one.series and one.series == other.series and "instance numbers" in told else 2


# How two series compare by one source: -1, the first comes before; 1, after; 0, not told.
_Comparison = Callable[[SeriesEvidence, SeriesEvidence], int]


def _strong_sources(
    candidates: Sequence[SeriesEvidence], names: _Comparison | None
) -> dict[str, _Comparison]:
    found = {"names": names} if names is not None else {}
    found["acquisition time"] = _by_value(lambda s: s.time_s, _SAME_TIME_S)
    found["temporal position"] = _by_count(candidates, lambda s: s.temporal_position, 1)
    found["trigger time"] = _by_count(candidates, lambda s: s.trigger_time_ms, 1000 * _SAME_TIME_S)
    found["contrast agent"] = _by_value(lambda s: float(s.has_contrast), 1)
    return found


def _weak_sources(candidates: Sequence[SeriesEvidence]) -> dict[str, _Comparison]:
    apart = _instances_apart(candidates)
    return {
        "content time": _by_value(lambda s: s.content_time_s, _SAME_TIME_S),
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
) -> _UndecidedError:
    return _UndecidedError(
        "phases-ambiguous",
        f"series {one.shown} comes before {other.shown} by {' and '.join(sorted(before))}, after it by"
        f" {' and '.join(sorted(after))}: {_SAY_WHICH}",
    )


def _untold(one: SeriesEvidence, other: SeriesEvidence, told: set[str]) -> _UndecidedError:
    what = f"only {', '.join(sorted(told))} differ" if told else "nothing in their headers differs"
    return _UndecidedError(
        "phases-ambiguous",
        f"which of the series {one.shown} and {other.shown} was acquired first is not told"
        f" ({what}): {_SAY_WHICH}",
    )


# What names say


def _by_name(candidates: Sequence[SeriesEvidence], num_wanted: int) -> _Comparison | None:
    """Return how names compare; None where they do not tell.

    Raises
    ------
    _UndecidedError
        Where some names tell enough phases for a reading of their own, beside series that repeat one.
    """
    found = {s.key: phase_of(s.description) for s in candidates}
    numbers = {key: name.number for key, name in found.items() if name.number is not None}
    distinct = set(numbers.values())
    if len(distinct) < len(numbers):
        if len(distinct) >= num_wanted:
            twice = Counter(numbers.values()).most_common(1)[0][0]
            names = _shown([s for s in candidates if numbers.get(s.key) == twice])
            raise _UndecidedError(
                "phases-ambiguous",
                f"several series are named as phase {twice} and hold different pixels ({names}):"
                f" {_SAY_WHICH}",
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


# What is missing


def _check_missing(
    ordered: Sequence[SeriesEvidence], evidence: tuple[str, ...], num_wanted: int
) -> bool:
    """Refuse phases of which an earlier one is missing; return whether a missing one would be seen."""
    names = [phase_of(s.description) for s in ordered]
    numbers = [n.number for n in names]
    if numbers[0] is None and names[0].is_post:
        raise _missing(0, ordered)
    by_name = "names" in evidence or len(ordered) == 1
    told = by_name and None not in numbers[1:] and (numbers[0] is not None or len(ordered) > 1)
    if told:
        _refuse_gap([n or 0 for n in numbers], num_wanted, ordered)
    counted = _are_counted(ordered)
    if counted:
        positions = [s.temporal_position or 0 for s in ordered]
        # From 0 or from 1; a series named as pre-contrast begins wherever it says.
        start = positions[0] if positions[0] == 0 or numbers[0] == 0 else 1
        _refuse_gap([p - start for p in positions], num_wanted, ordered)
    elif by_name and not told and names[0].count and not _first_lacks_contrast(ordered):
        # The first may be the pre-contrast, or that one may be missing.
        raise _UndecidedError(
            "phases-ambiguous",
            f"its series are counted from {names[0].count} ({_shown(ordered)}), and whether the first"
            f" is the pre-contrast is not told: {_SAY_WHICH}",
        )
    return told or counted


def _are_counted(ordered: Sequence[SeriesEvidence]) -> bool:
    """Tell whether temporal positions count the phases, so that a missing one leaves a gap."""
    positions = [s.temporal_position for s in ordered]
    if len(ordered) < 2 or None in positions or len(set(positions)) < len(positions):
        return False
    return any(s.num_temporal_positions != len(ordered) for s in ordered)


def _first_lacks_contrast(ordered: Sequence[SeriesEvidence]) -> bool:
    return not ordered[0].has_contrast and all(s.has_contrast for s in ordered[1:])


def _refuse_gap(numbers: list[int], num_wanted: int, ordered: Sequence[SeriesEvidence]) -> None:
    missing = sorted(set(range(max(numbers) + 1)) - set(numbers))
    if missing and missing[0] < num_wanted:
        raise _missing(missing[0], ordered)


def _missing(number: int, ordered: Sequence[SeriesEvidence]) -> _UndecidedError:
    what = "pre-contrast" if number == 0 else f"post-contrast phase {number}"
    names = _shown_names(ordered)
    return _UndecidedError("phase-missing", f"the {what} is not among its dynamic series ({names})")


def _check_rivals(candidates: Sequence[SeriesEvidence], series: Sequence[SeriesEvidence]) -> None:
    """Refuse phases without a pre-contrast of their own beside a series that is named as one."""
    if any(phase_of(s.description).number is not None for s in candidates):
        return
    start = _start(candidates)
    chosen = {s.key for s in candidates}
    for other in series:
        rival = (
            other.key not in chosen
            and other.kind.is_phase
            and other.study in {s.study for s in candidates}
            and phase_of(other.description).number == 0
            and not is_static(other.description)
            and any(_lies_on(other, s) for s in candidates)
            and (start is None or other.time_s is None or other.time_s <= start)
        )
        if rival:
            raise _UndecidedError(
                "phases-ambiguous",
                f"series {other.shown} is named as pre-contrast and lies on the dynamic series"
                f" ({_shown(candidates)}), whose names tell none: {_SAY_WHICH}",
            )


# What tables say


def _by_table(
    series: Sequence[SeriesEvidence],
    same_pixels: SamePixels,
    notes: list[Finding],
    reasons: dict[str, str],
) -> tuple[list[SeriesEvidence], tuple[str, ...], bool]:
    numbered: dict[int, SeriesEvidence] = {}
    for found in sorted(series, key=lambda s: (-s.num_slices, *_stable(s))):
        phase = found.known_phase
        if phase is None or phase < 0:
            reasons[found.key] = "no phase: by table"
            continue
        if phase not in numbered:
            numbered[phase] = found
        elif same_pixels(numbered[phase].key, found.key):
            message = (
                f"series {found.shown} holds the same pixels as {numbered[phase].shown}: used once"
            )
            notes.append(Finding("series-repeated", message, excludes=False))
            reasons[found.key] = "no phase: a copy"
        else:
            raise _UndecidedError(
                "phases-ambiguous",
                f"the table says phase {phase} of {numbered[phase].shown} and of {found.shown}, which"
                " hold different pixels: correct one",
            )
    ordered = [numbered[n] for n in sorted(numbered)]
    missing = sorted(set(range(max(numbered, default=-1) + 1)) - set(numbered))
    if missing:
        raise _missing(missing[0], ordered)
    return ordered, ("table",), True


def _shown(series: Sequence[SeriesEvidence]) -> str:
    return ", ".join(s.shown for s in series)


def _shown_names(series: Sequence[SeriesEvidence]) -> str:
    return ", ".join(sorted({shown_series(s.description) for s in series}))
