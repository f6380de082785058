"""Which DICOM series of a Duke patient are the dynamic phases, and in which order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from preprocessing.cohort import Finding


@dataclass(frozen=True)
class SeriesSummary:
    """What is known of a series from one of its headers.

    Parameters
    ----------
    key
        Identifies the series' files to the caller.
    """

    key: str
    description: str
    series_number: int | None
    time_s: float | None
    num_files: int


@dataclass(frozen=True)
class PhaseOrder:
    """Dynamic series in order, pre-contrast first, and what was odd about them."""

    series: tuple[SeriesSummary, ...]
    findings: tuple[Finding, ...]


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


def order_phases(series: Sequence[SeriesSummary]) -> PhaseOrder:
    """Choose the dynamic series and put them in order: by name where names tell, else by time."""
    dynamic = [s for s in series if is_dynamic(s.description)]
    numbers = [phase_number(s.description) for s in dynamic]
    if any(_PREFIXED.match(s.description.strip().lower()) for s in dynamic):
        # The bare name beside Ph1/…, Ph2/… is the pre-contrast.
        numbers = [0 if n is None else n for n in numbers]
    known = [n for n in numbers if n is not None]
    if len(known) == len(dynamic) and sorted(set(known)) == list(range(len(set(known)))):
        ordered = sorted(
            zip(known, dynamic, strict=True), key=lambda p: (p[0], -p[1].num_files, p[1].key)
        )
        return _without_repeats(ordered)
    return PhaseOrder(tuple(sorted(dynamic, key=_time_order)), ())


def _without_repeats(ordered: Sequence[tuple[int, SeriesSummary]]) -> PhaseOrder:
    kept: dict[int, SeriesSummary] = {}
    findings = []
    for number, series in ordered:
        if number in kept:
            message = (
                f"series {series.description!r} (number {series.series_number}) repeats phase"
                f" {number}: the one with more files is used"
            )
            findings.append(Finding("series-repeated", message, excludes=False))
        else:
            kept[number] = series
    return PhaseOrder(tuple(kept[n] for n in sorted(kept)), tuple(findings))


def _time_order(series: SeriesSummary) -> tuple[float, float, str]:
    late = float("inf")
    return (
        series.time_s if series.time_s is not None else late,
        series.series_number if series.series_number is not None else late,
        series.key,
    )
