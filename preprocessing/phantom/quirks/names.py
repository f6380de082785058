"""Quirks of names, numbers and times: which series is which phase."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from preprocessing.phantom.patient import PhantomPatient
from preprocessing.phantom.scanner import (
    SIEMENS_NAME,
    Series,
    misspelt,
    ordinal_names,
    pass_names,
    vibrant_names,
)

_DYNAMIC_NAME = "ax dyn"


def change_series(
    patient: PhantomPatient, change: Callable[[Series], Series], *, dynamic_only: bool = True
) -> PhantomPatient:
    """Return the patient with each (dynamic) series changed."""
    series = tuple(
        s if dynamic_only and s.phase is None else change(s) for s in patient.protocol.series
    )
    return replace(patient, protocol=replace(patient.protocol, series=series))


def _named(patient: PhantomPatient, names: Sequence[str]) -> PhantomPatient:
    return change_series(patient, lambda s: replace(s, name=names[s.phase or 0]))


def _num_posts(patient: PhantomPatient) -> int:
    return len(patient.protocol.phases) - 1


def _without_temporal_position(patient: PhantomPatient) -> PhantomPatient:
    scanner = replace(patient.protocol.scanner, tells_temporal_position=False)
    return replace(patient, protocol=replace(patient.protocol, scanner=scanner))


def _numbered_backwards(patient: PhantomPatient) -> PhantomPatient:
    numbers = [s.number for s in patient.protocol.phases][::-1]
    return change_series(patient, lambda s: replace(s, number=numbers[s.phase or 0]))


def _passes(patient: PhantomPatient) -> PhantomPatient:
    return _named(patient, pass_names(_num_posts(patient)))


def _typo(patient: PhantomPatient) -> PhantomPatient:
    return _named(patient, misspelt(pass_names(_num_posts(patient))))


def _vibrant(patient: PhantomPatient) -> PhantomPatient:
    return _named(patient, vibrant_names(_num_posts(patient)))


def _ordinal(patient: PhantomPatient) -> PhantomPatient:
    return _named(patient, ordinal_names(_num_posts(patient)))


def _same(patient: PhantomPatient) -> PhantomPatient:
    named = change_series(patient, lambda s: replace(s, name=SIEMENS_NAME))
    return _numbered_backwards(_without_temporal_position(named))


def _all_pre(patient: PhantomPatient) -> PhantomPatient:
    named = change_series(patient, lambda s: replace(s, name=pass_names(0)[0]))
    return _without_temporal_position(named)


def _dynamic(patient: PhantomPatient) -> PhantomPatient:
    return change_series(patient, lambda s: replace(s, name=_DYNAMIC_NAME))


def _unknown(patient: PhantomPatient) -> PhantomPatient:
    named = change_series(patient, lambda s: replace(s, name=f"SER {s.number}"), dynamic_only=False)
    return _without_temporal_position(named)


def _told_by_workbook(patient: PhantomPatient) -> PhantomPatient:
    start = patient.protocol.phases[0].time_s
    silent = change_series(_unknown(patient), lambda s: replace(s, time_s=start))
    return _unknown(_numbered_backwards(silent))


REDRAW: Mapping[str, Callable[[PhantomPatient], PhantomPatient]] = {
    "typo-first-pass": _typo,
    "vibrant-names": _vibrant,
    "ordinal-names": _ordinal,
    "same-names": _same,
    "posts-named-pre": _all_pre,
    "series-repeated": _passes,
    "one-folder": _dynamic,
    "one-folder-by-time": _dynamic,
    "unknown-names": _unknown,
    "mapping-workbook": _told_by_workbook,
    "first-pass-missing": _passes,
    "first-pass-unreadable": _same,
}
