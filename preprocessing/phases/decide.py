"""Which series of an examination are the phases, and in which order: decided from all evidence.

`decide_phases` is a pure function of what headers say. Kinds of images come first (a subtraction, a
projection or a fat image is no phase), then the examination, then the group of series that lie on one
another, then their order. Evidence that disagrees makes the order ambiguous, as does a series that was
not chosen and lies where a phase may: the patient is excluded, and a table of phases
(`preprocessing.phases.table`) decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from preprocessing.cohort import Finding
from preprocessing.phases.candidates import Images, choose_candidates, reason_of
from preprocessing.phases.evidence import (
    NOT_TAKEN,
    SeriesEvidence,
    UndecidedError,
    phase_missing,
    stable_key,
)
from preprocessing.phases.missing import check_missing, note_gap, refuse_holes, refuse_rivals
from preprocessing.phases.order import in_order
from preprocessing.phases.selection import (
    SamePixels,
    one_examination,
    one_group,
    without_broken_off,
    without_copies,
    without_uncorrected,
)


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
