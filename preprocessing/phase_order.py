"""Which series of an examination are the phases, and in which order: decided from all evidence.

`decide_phases` is a pure function of what headers say. Kinds of images come first (a subtraction, a
projection or a fat image is no phase), then the examination, then the group of series that lie on one
another, then their order. The order of two series is taken from everything that tells it: names,
acquisition date and time, temporal position, trigger time and contrast agent; where none of these
does, from content time, numbers of acquisition and series, and instance numbers, if two of them
agree. Evidence that disagrees makes the order ambiguous, as does a series that was not chosen and lies
where a phase may: the patient is excluded, and a table of phases (`preprocessing.phase_table`) decides.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key
from itertools import combinations, pairwise
from typing import Literal

from preprocessing.cohort import Finding
from preprocessing.series_words import (
    Kind,
    bare_name,
    is_dynamic,
    is_static,
    kind_of,
    phase_of,
    side_of,
    words,
)
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
# Slices of a test of the bolus, or of a projection, beside series of many slices.
_FEW_SLICES, _MANY_SLICES = 2, 8
# Echo times closer together than this are one protocol's.
_SAME_ECHO = 0.2
# A series that began this many steps before the first phase may be the pre-contrast.
_NEAR_STEPS = 1.5
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
        undecided = f"not decided: {error.finding.code}"
        told = {k: undecided if reason == _NOT_TAKEN else reason for k, reason in reasons.items()}
        return PhaseDecision((), (*notes, error.finding), reasons=told)
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
    _refuse_several_persons(series)
    seen = [s for s in series if not s.is_glimpsed]
    candidates = _candidates(seen, num_wanted, images, notes)
    candidates = _one_examination(candidates, num_wanted, notes, reasons)
    candidates = _without_broken_off(candidates, notes, reasons)
    candidates = _without_copies(candidates, same_pixels, notes, reasons)
    candidates = _without_uncorrected(candidates, notes, reasons)
    candidates = _one_group(candidates, num_wanted, notes, reasons)
    if not candidates:
        return [], (), False
    ordered, evidence = _in_order(candidates, num_wanted, notes)
    is_told = _check_missing(ordered, evidence, num_wanted, notes)
    _refuse_holes(ordered, seen, num_wanted)
    if images == "acquired":
        _refuse_rivals(ordered, series, reasons, is_told=is_told)
    return ordered, evidence, is_told


def _refuse_several_persons(series: Sequence[SeriesEvidence]) -> None:
    persons = {person for s in series for person in s.patients}
    if len(persons) > 1:
        raise _UndecidedError(
            "several-patients",
            f"its images name {len(persons)} patients (PatientID): keep one patient's in the folder",
        )


# Which series are candidates


_NOT_TAKEN = "no phase: not taken"


def _reason(series: SeriesEvidence) -> str:
    if not series.kind.is_phase:
        return f"no phase: {series.kind.value}"
    if is_static(series.description):
        return "no phase: not dynamic by its name"
    return _NOT_TAKEN


def _candidates(
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
        start = _start(chosen)
        chosen += [
            s
            for s in candidates
            if s not in chosen
            and phase_of(s.description).number == 0
            and any(_lies_on(s, other) for other in chosen)
            and (start is None or s.time_s is None or s.time_s < start)
        ]
    return chosen


_SAY_WHICH = "say which in a table of phases (radiotrain cohort check … --phases phases.csv)"


# Which examination


def _one_examination(
    candidates: list[SeriesEvidence],
    num_wanted: int,
    notes: list[Finding],
    reasons: dict[str, str],
) -> list[SeriesEvidence]:
    """Keep one examination's series: the earliest that has enough, else the one with most of them."""
    studies: dict[str, list[SeriesEvidence]] = defaultdict(list)
    names = _joined_studies(candidates, notes)
    for found in candidates:
        studies[names[found.study]].append(found)
    if len(studies) < 2:
        return candidates
    most = min(max(map(len, studies.values())), num_wanted)
    largest = [group for group in studies.values() if len(group) >= most]
    starts = [_start(group) for group in largest]
    if len(largest) > 1 and (None in starts or len(set(starts)) < len(starts)):
        raise _UndecidedError(
            "phases-ambiguous",
            f"{len(largest)} examinations have {most} dynamic series or more and no dates that tell the"
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
        f"{len(studies)} examinations have dynamic series: the earliest that has enough, else the one"
        f" with most of them, was used ({len(chosen)} series)"
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
    times = [s.time_s if s.time_s is not None else s.content_time_s for s in group]
    return min((t for t in times if t is not None), default=None)


def _near(one: Sequence[SeriesEvidence], other: Sequence[SeriesEvidence]) -> bool:
    a, b = _start(one), _start(other)
    return a is None or b is None or abs(a - b) < _ONE_VISIT_S


# What was sent twice, or broken off


def _without_broken_off(
    candidates: list[SeriesEvidence], notes: list[Finding], reasons: dict[str, str]
) -> list[SeriesEvidence]:
    """Leave out series of a slice or two, and parts of another one of the same name and kind."""
    most = max((s.num_slices for s in candidates), default=0)
    kept = []
    for found in candidates:
        if most >= _MANY_SLICES and found.num_slices <= _FEW_SLICES:
            message = f"series {found.shown} has {found.num_slices} of {most} slices: not used"
            notes.append(Finding("series-incomplete", message, excludes=False))
            reasons[found.key] = "no phase: a slice or two"
            continue
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


def _without_uncorrected(
    candidates: list[SeriesEvidence], notes: list[Finding], reasons: dict[str, str]
) -> list[SeriesEvidence]:
    """Leave out copies without distortion correction, where each phase is there with it, too."""
    plain = [s for s in candidates if "ND" in s.image_type or "nd" in words(s.description)]
    corrected = [s for s in candidates if s not in plain]
    if len(plain) < 2 or len(plain) != len(corrected):
        return candidates
    times = [sorted(s.time_s or 0.0 for s in group) for group in (plain, corrected)]
    if any(abs(a - b) >= _SAME_TIME_S for a, b in zip(*times, strict=True)):
        return candidates
    message = (
        f"its {len(plain)} phases are there with and without distortion correction (ND): the corrected"
        " ones are used"
    )
    notes.append(Finding("phases-uncorrected", message, excludes=False))
    reasons.update({s.key: "no phase: a copy without distortion correction" for s in plain})
    return corrected


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
        holding = [g for g in complete if all(s.holds_tumour for s in g)]
        if len(holding) != 1 or not all(
            s.holds_tumour is False for g in complete if g is not holding[0] for s in g
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
    chosen = complete[0] if complete else max(groups, key=len)
    if len(complete) != 1:
        _refuse_other_protocols(chosen, [s for s in candidates if s not in chosen])
        return candidates
    rivals = [g for g in groups if g is not chosen and len(g) >= min(num_wanted, most)]
    others = [s for g in groups if g is not chosen and g not in rivals for s in g]
    is_short = len(chosen) < num_wanted and len(others) < 2
    if is_short or not all(_is_beside(s, chosen) for s in others):
        # One of them may be a phase: what does not lie on the others is then said of it.
        _refuse_other_protocols(chosen, others)
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
    return _same_protocol(one, other) and _same_place(one, other)


def _same_protocol(one: SeriesEvidence, other: SeriesEvidence) -> bool:
    """Tell whether nothing says that two series were acquired in different ways."""
    if one.kind is not other.kind and Kind.WATER in (one.kind, other.kind):
        return False
    if one.sequence and other.sequence and one.sequence != other.sequence:
        return False
    echoes = (one.echo_time_ms, other.echo_time_ms)
    if (
        echoes[0]
        and echoes[1]
        and abs(echoes[0] - echoes[1]) > _SAME_ECHO * max(echoes[0], echoes[1])
    ):
        return False
    sides = side_of(one.description), side_of(other.description)
    return not (sides[0] and sides[1]) or sides[0] == sides[1]


def _same_place(one: SeriesEvidence, other: SeriesEvidence) -> bool:
    if one.place is None or other.place is None:
        return True
    pairs = zip(one.place.spacing_mm, other.place.spacing_mm, strict=True)
    alike = all(abs(a - b) <= _SAME_SPACING * max(a, b) for a, b in pairs)
    return alike and one.place.overlap(other.place) >= _SAME_PLACE


def _refuse_other_protocols(
    chosen: Sequence[SeriesEvidence], others: Sequence[SeriesEvidence]
) -> None:
    """Refuse series of two protocols at one place: one of them is not the phases'."""
    for other in others:
        if any(_same_place(other, s) and not _same_protocol(other, s) for s in chosen):
            raise _UndecidedError(
                "phases-ambiguous",
                f"series {other.shown} was acquired in another way (sequence, echo time, side) than"
                f" {_shown(chosen)}: {_SAY_WHICH}",
            )


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
    ordered: Sequence[SeriesEvidence],
    evidence: tuple[str, ...],
    num_wanted: int,
    notes: list[Finding],
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
        _check_counts(ordered, [n.count for n in names], notes)
    return told or counted


def _check_counts(
    ordered: Sequence[SeriesEvidence], counts: Sequence[int | None], notes: list[Finding]
) -> None:
    """Take the first of a complete count as pre-contrast; refuse a count that may lack it."""
    if list(counts) == list(range(1, len(counts) + 1)):
        message = (
            f"its {len(counts)} series are counted from 1: the first is taken as pre-contrast, which"
            " nothing else tells"
        )
        notes.append(Finding("phases-counted", message, excludes=False))
        return
    raise _UndecidedError(
        "phases-ambiguous",
        f"its series are counted from {counts[0]} ({_shown(ordered)}), and whether the first"
        f" is the pre-contrast is not told: {_SAY_WHICH}",
    )


def _are_counted(ordered: Sequence[SeriesEvidence]) -> bool:
    """Tell whether temporal positions count the phases, so that a missing one leaves a gap."""
    positions = [s.temporal_position for s in ordered]
    known = [p for p in positions if p is not None]
    if len(ordered) < 2 or len(known) < len(positions) or len(set(known)) < len(known):
        return False
    if any(s.num_temporal_positions != len(ordered) for s in ordered):
        return True
    # As many as there should be: some scanners count in steps.
    return len({b - a for a, b in pairwise(known)}) > 1


def _first_lacks_contrast(ordered: Sequence[SeriesEvidence]) -> bool:
    return not ordered[0].has_contrast and all(s.has_contrast for s in ordered[1:])


def _refuse_gap(numbers: list[int], num_wanted: int, ordered: Sequence[SeriesEvidence]) -> None:
    known = set(numbers)
    missing = next((n for n in range(num_wanted) if n not in known), None)
    if missing is not None and missing < max(numbers):
        raise _missing(missing, ordered)


def _refuse_holes(
    ordered: Sequence[SeriesEvidence], series: Sequence[SeriesEvidence], num_wanted: int
) -> None:
    """Refuse volumes of one series between which a whole one is missing by its numbers."""
    if len({s.series for s in ordered}) > 1 or not all(s.is_split for s in ordered):
        return
    together = [s for s in series if s.series == ordered[0].series]
    ranges = sorted(s.instances for s in together if s.instances is not None)
    slices = min(s.num_slices for s in ordered)
    if len(ranges) == len(together) and all(a[1] < b[0] for a, b in pairwise(ranges)):
        begin = min(s.instances for s in ordered if s.instances is not None)
        if begin == ranges[0] and begin[0] > slices and (begin[0] - 1) % slices == 0:
            raise _missing(0, ordered)
        before = [a for a, b in pairwise(ranges) if b[0] - a[1] > slices]
        if before and ranges.index(before[0]) + 1 < num_wanted:
            raise _missing(ranges.index(before[0]) + 1, ordered)
    counts = [s.acquisition_number for s in ordered if s.acquisition_number is not None]
    steps = [b - a for a, b in pairwise(counts)]
    if len(counts) == len(ordered) and steps and min(steps) > 0 and len(set(steps)) > 1:
        missing = next(i for i, step in enumerate(steps) if step > min(steps)) + 1
        if missing < num_wanted:
            raise _missing(missing, ordered)


def _missing(number: int, ordered: Sequence[SeriesEvidence]) -> _UndecidedError:
    what = "pre-contrast" if number == 0 else f"post-contrast phase {number}"
    names = _shown_names(ordered)
    return _UndecidedError("phase-missing", f"the {what} is not among its dynamic series ({names})")


def _refuse_rivals(
    ordered: Sequence[SeriesEvidence],
    series: Sequence[SeriesEvidence],
    reasons: Mapping[str, str],
    *,
    is_told: bool,
) -> None:
    """Refuse phases beside a series that was not chosen and may be one of them.

    Such a series is acquired as they are and lies in their row: between them, just before the first
    where nothing tells that this is the pre-contrast, or named as a pre-contrast that they lack.
    """
    if is_told:
        return
    times = [s.time_s for s in ordered]
    known = [t for t in times if t is not None]
    steps = [b - a for a, b in pairwise(known)]
    step = sorted(steps)[len(steps) // 2] if steps and len(known) == len(times) else None
    first_told = phase_of(ordered[0].description).number == 0 or _first_lacks_contrast(ordered)
    chosen = {s.key for s in ordered}
    for other in series:
        if other.key in chosen or not _may_rival(other, ordered, reasons):
            continue
        is_static_name = is_static(other.description)
        is_pre = phase_of(other.description).number == 0 and not is_static_name
        if step is not None and other.time_s is not None:
            if any(abs(other.time_s - t) < _SAME_TIME_S for t in known):
                continue
            near = 0 < known[0] - other.time_s <= _NEAR_STEPS * step and not is_static_name
            between = known[0] < other.time_s < known[-1]
            is_rival = between or (
                (near or (is_pre and other.time_s < known[0])) and not first_told
            )
        else:
            is_rival = is_pre and not first_told
        if is_rival:
            raise _UndecidedError(
                "phases-ambiguous",
                f"series {other.shown} was acquired as the dynamic series {_shown(ordered)} were and may"
                f" be one of the phases: {_SAY_WHICH}",
            )


def _may_rival(
    other: SeriesEvidence, ordered: Sequence[SeriesEvidence], reasons: Mapping[str, str]
) -> bool:
    if not (other.kind.is_phase or other.kind is Kind.SECONDARY):
        return False
    if reasons[other.key] not in (_NOT_TAKEN, _reason(other)):
        return False  # a copy, broken off, of another examination or geometry
    if other.study not in {s.study for s in ordered} or not _same_protocol(other, ordered[0]):
        return False
    if other.place is None or ordered[0].place is None:
        return other.place is ordered[0].place
    return other.place.geometry[:2] == ordered[0].place.geometry[:2]


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
    missing = next((n for n in range(len(numbered)) if n not in numbered), None)
    if missing is not None:
        raise _missing(missing, ordered)
    return ordered, ("table",), True


def _shown(series: Sequence[SeriesEvidence]) -> str:
    return ", ".join(s.shown for s in series)


def _shown_names(series: Sequence[SeriesEvidence]) -> str:
    return ", ".join(sorted({shown_series(s.description) for s in series}))
