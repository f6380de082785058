"""Which series of an examination are the phases, and in which order: decided from all evidence.

`decide_phases` is a pure function of what headers say. Kinds of images come first (a subtraction, a
projection or a fat image is no phase), then the examination, then the group of series that lie on one
another, then their order. Evidence that disagrees makes the order ambiguous, as does a series that was
not chosen and lies where a phase may: the patient is excluded, and a table of phases
(`preprocessing.images.phases.table`) decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from preprocessing.cohort.cohort import Finding
from preprocessing.images.dicom.series_words import Kind, is_static, phase_of, words
from preprocessing.images.phases.evidence import (
    NOT_TAKEN,
    SAME_TIME_S,
    SAY_WHICH,
    Images,
    SeriesEvidence,
    UndecidedError,
    choose_candidates,
    first_lacks_contrast,
    phase_missing,
    reason_of,
    same_protocol,
    shown,
    shown_names,
    stable_key,
)
from preprocessing.images.phases.order import in_order
from preprocessing.images.phases.selection import (
    SamePixels,
    one_examination,
    one_group,
    without_broken_off,
    without_copies,
    without_uncorrected,
)

# A series that began this many steps before the first phase may be the pre-contrast.
_NEAR_STEPS = 1.5


# Or this long, where its name is a part of theirs: the agent is given in between.
_NEAR_S = 10 * 60.0


# Later phases follow each other in steps; the agent is given after the first.
_WIDE_STEPS = 4.0


def check_missing(
    ordered: Sequence[SeriesEvidence],
    evidence: tuple[str, ...],
    num_wanted: int,
    notes: list[Finding],
) -> bool:
    """Refuse phases of which an earlier one is missing; return whether a missing one would be seen."""
    names = [phase_of(s.description) for s in ordered]
    numbers = [n.number for n in names]
    if numbers[0] is None and names[0].is_post:
        raise phase_missing(0, ordered)
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
    elif by_name and not told and names[0].count and not first_lacks_contrast(ordered):
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
    raise UndecidedError(
        "phases-ambiguous",
        f"its series are counted from {counts[0]} ({shown(ordered)}), and whether the first"
        f" is the pre-contrast is not told: {SAY_WHICH}",
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


def _refuse_gap(numbers: list[int], num_wanted: int, ordered: Sequence[SeriesEvidence]) -> None:
    known = set(numbers)
    absent = next((n for n in range(num_wanted) if n not in known), None)
    if absent is not None and absent < max(numbers):
        raise phase_missing(absent, ordered)


def refuse_holes(
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
            raise _hole(0, ordered, "InstanceNumber")
        before = [a for a, b in pairwise(ranges) if b[0] - a[1] > slices]
        if before and ranges.index(before[0]) + 1 < num_wanted:
            raise _hole(ranges.index(before[0]) + 1, ordered, "InstanceNumber")
    counts = [s.acquisition_number for s in ordered if s.acquisition_number is not None]
    steps = [b - a for a, b in pairwise(counts)]
    if len(counts) == len(ordered) and steps and min(steps) > 0 and len(set(steps)) > 1:
        absent = next(i for i, step in enumerate(steps) if step > min(steps)) + 1
        if absent < num_wanted:
            raise _hole(absent, ordered, "AcquisitionNumber")


def _hole(number: int, ordered: Sequence[SeriesEvidence], what: str) -> UndecidedError:
    name = shown_names(ordered)
    return UndecidedError(
        "phase-missing",
        f"{what} leaves out a volume after {number} of those in series {name}: a phase is missing, lacks"
        " slices, or lies otherwise",
    )


def refuse_rivals(
    ordered: Sequence[SeriesEvidence],
    series: Sequence[SeriesEvidence],
    reasons: Mapping[str, str],
    *,
    is_counted: bool,
) -> None:
    """Refuse phases beside a series that was not chosen and may be one of them.

    Such a series is acquired as they are and lies in their row: between them, just before the first
    where nothing tells that this is the pre-contrast, or named as a pre-contrast that they lack.

    Parameters
    ----------
    is_counted
        Whether names or temporal positions count the phases, so that none is between them.
    """
    times = [s.time_s for s in ordered]
    known = [t for t in times if t is not None]
    steps = [b - a for a, b in pairwise(known)]
    step = sorted(steps)[len(steps) // 2] if steps and len(known) == len(times) else None
    first_told = phase_of(ordered[0].description).number == 0 or first_lacks_contrast(ordered)
    chosen = {s.key for s in ordered}
    for other in series:
        if other.key in chosen or not _may_rival(other, ordered, reasons):
            continue
        is_static_name = is_static(other.description)
        is_pre = phase_of(other.description).number == 0 and not is_static_name
        if step is not None and other.time_s is not None:
            if any(abs(other.time_s - t) < SAME_TIME_S for t in known):
                continue
            reach = max(_NEAR_STEPS * step, _NEAR_S if _is_akin(other, ordered[0]) else 0.0)
            near = 0 < known[0] - other.time_s <= reach and not is_static_name
            between = known[0] < other.time_s < known[-1] and not is_counted
            is_rival = between or (
                (near or (is_pre and other.time_s < known[0])) and not first_told
            )
        else:
            is_rival = is_pre and not first_told
        if is_rival:
            raise UndecidedError(
                "phases-ambiguous",
                f"series {other.shown} was acquired as the dynamic series {shown(ordered)} were and may"
                f" be one of the phases: {SAY_WHICH}",
            )


def note_gap(ordered: Sequence[SeriesEvidence], notes: list[Finding]) -> None:
    """Note a first phase far before the others, which nothing but its time tells to be one of them."""
    times = [s.time_s for s in ordered if s.time_s is not None]
    steps = sorted(b - a for a, b in pairwise(times[1:]))
    told = phase_of(ordered[0].description).number == 0 or first_lacks_contrast(ordered)
    if told or len(times) < len(ordered) or not steps or steps[0] <= 0:
        return
    gap = times[1] - times[0]
    if gap > _WIDE_STEPS * steps[len(steps) // 2]:
        message = (
            f"its first phase was acquired {gap / 60:.0f} minutes before the second, the others"
            f" {steps[len(steps) // 2] / 60:.1f} minutes apart: perhaps it was broken off and begun again"
        )
        notes.append(Finding("phases-gap", message, excludes=False))


def _is_akin(other: SeriesEvidence, series: SeriesEvidence) -> bool:
    """Tell whether a name has no word that the other one lacks."""
    own = set(words(other.description))
    return bool(own) and own <= set(words(series.description))


def _may_rival(
    other: SeriesEvidence, ordered: Sequence[SeriesEvidence], reasons: Mapping[str, str]
) -> bool:
    if not (other.kind.is_phase or other.kind is Kind.SECONDARY):
        return False
    if reasons[other.key] not in (NOT_TAKEN, reason_of(other)):
        return False  # a copy, broken off, of another examination or geometry
    if other.study not in {s.study for s in ordered} or not same_protocol(other, ordered[0]):
        return False
    if other.place is None or ordered[0].place is None:
        return other.place is ordered[0].place
    return other.place.geometry[:2] == ordered[0].place.geometry[:2]


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
    reasons = {s.key: reason_of(s) for s in series}
    notes: list[Finding] = []
    try:
        ordered, evidence, is_told = _decide(
            series, num_wanted, same_pixels, images, notes, reasons
        )
    except UndecidedError as error:
        undecided = f"not decided: {error.finding.code}"
        told = {k: undecided if reason == NOT_TAKEN else reason for k, reason in reasons.items()}
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
    candidates = choose_candidates(seen, num_wanted, images, notes)
    candidates = one_examination(candidates, num_wanted, notes, reasons)
    candidates = without_broken_off(candidates, notes, reasons)
    candidates = without_copies(candidates, same_pixels, notes, reasons)
    candidates = without_uncorrected(candidates, notes, reasons)
    candidates = one_group(candidates, num_wanted, notes, reasons)
    if not candidates:
        return [], (), False
    ordered, evidence = in_order(candidates, num_wanted, notes)
    is_told = check_missing(ordered, evidence, num_wanted, notes)
    refuse_holes(ordered, seen, num_wanted)
    if images == "acquired":
        refuse_rivals(ordered, series, reasons, is_counted=is_told)
        note_gap(ordered, notes)
    return ordered, evidence, is_told


def _refuse_several_persons(series: Sequence[SeriesEvidence]) -> None:
    persons = {person for s in series for person in s.patients}
    if len(persons) > 1:
        raise UndecidedError(
            "several-patients",
            f"its images name {len(persons)} patients (PatientID): keep one patient's in the folder",
        )


def _by_table(
    series: Sequence[SeriesEvidence],
    same_pixels: SamePixels,
    notes: list[Finding],
    reasons: dict[str, str],
) -> tuple[list[SeriesEvidence], tuple[str, ...], bool]:
    numbered: dict[int, SeriesEvidence] = {}
    for found in sorted(series, key=lambda s: (-s.num_slices, *stable_key(s))):
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
            raise UndecidedError(
                "phases-ambiguous",
                f"the table says phase {phase} of {numbered[phase].shown} and of {found.shown}, which"
                " hold different pixels: correct one",
            )
    ordered = [numbered[n] for n in sorted(numbered)]
    absent = next((n for n in range(len(numbered)) if n not in numbered), None)
    if absent is not None:
        raise phase_missing(absent, ordered)
    return ordered, ("table",), True
