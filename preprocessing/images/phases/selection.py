"""Which of the candidates belong together: one examination, one protocol, one place, each series once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

from preprocessing.cohort.cohort import Finding
from preprocessing.images.dicom.series_words import phase_of, words
from preprocessing.images.phases.evidence import (
    SAME_TIME_S,
    SAY_WHICH,
    SeriesEvidence,
    UndecidedError,
    lies_on,
    same_place,
    same_protocol,
    shown,
    stable_key,
    start_of,
)

# Series of one name that begin closer together than this may be one series sent twice.
_MAYBE_COPY_S = 60.0


# Series of two examinations closer together than this may be one examination.
_ONE_VISIT_S = 2 * 3600.0


# Of the other series' slices: a series with fewer was broken off.
_BROKEN_OFF = 0.7


# Slices of a test of the bolus, or of a projection, beside series of many slices.
_FEW_SLICES, _MANY_SLICES = 2, 8


SamePixels = Callable[[str, str], bool]


def one_examination(
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
    starts = [start_of(group) for group in largest]
    if len(largest) > 1 and (None in starts or len(set(starts)) < len(starts)):
        raise UndecidedError(
            "phases-ambiguous",
            f"{len(largest)} examinations have {most} dynamic series or more and no dates that tell the"
            f" earlier one: {SAY_WHICH}",
        )
    chosen = min(largest, key=lambda group: start_of(group) or 0.0)
    for group in studies.values():
        if group is not chosen and _near(chosen, group):
            raise UndecidedError(
                "phases-ambiguous",
                f"dynamic series of {len(studies)} examinations lie within two hours"
                f" ({shown(chosen)}; {shown(group)}), perhaps one examination in parts: {SAY_WHICH}",
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


def _near(one: Sequence[SeriesEvidence], other: Sequence[SeriesEvidence]) -> bool:
    a, b = start_of(one), start_of(other)
    return a is None or b is None or abs(a - b) < _ONE_VISIT_S


def without_broken_off(
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


def without_copies(
    candidates: list[SeriesEvidence],
    same_pixels: SamePixels,
    notes: list[Finding],
    reasons: dict[str, str],
) -> list[SeriesEvidence]:
    """Leave out series whose pixels are those of another one; headers alone never make a copy."""
    kept: list[SeriesEvidence] = []
    for found in sorted(candidates, key=stable_key):
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


def without_uncorrected(
    candidates: list[SeriesEvidence], notes: list[Finding], reasons: dict[str, str]
) -> list[SeriesEvidence]:
    """Leave out copies without distortion correction, where each phase is there with it, too."""
    plain = [s for s in candidates if "ND" in s.image_type or "nd" in words(s.description)]
    corrected = [s for s in candidates if s not in plain]
    if len(plain) < 2 or len(plain) != len(corrected):
        return candidates
    times = [sorted(s.time_s or 0.0 for s in group) for group in (plain, corrected)]
    if any(abs(a - b) >= SAME_TIME_S for a, b in zip(*times, strict=True)):
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


def one_group(
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
            names = "; ".join(shown(g) for g in complete)
            raise UndecidedError(
                "phases-ambiguous",
                f"{len(complete)} groups of series may be the phases ({names}), and the tumour's box"
                f" does not tell which: {SAY_WHICH}",
            )
        message = (
            f"{len(complete)} groups of series may be the phases: the one that the tumour lies in was"
            f" used ({shown(holding[0])})"
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
        near = [g for g in groups if any(lies_on(found, other) for other in g)]
        merged = [s for g in near for s in g] + [found]
        groups = [g for g in groups if g not in near] + [merged]
    return groups


def _refuse_other_protocols(
    chosen: Sequence[SeriesEvidence], others: Sequence[SeriesEvidence]
) -> None:
    """Refuse series of two protocols at one place: one of them is not the phases'."""
    for other in others:
        if any(same_place(other, s) and not same_protocol(other, s) for s in chosen):
            raise UndecidedError(
                "phases-ambiguous",
                f"series {other.shown} was acquired in another way (sequence, echo time, side) than"
                f" {shown(chosen)}: {SAY_WHICH}",
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
