"""Errors of real downloads, made in a patient before its files are written; all by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import radians

from preprocessing.phantom.patient import PhantomPatient
from preprocessing.phantom.quirk_files import SPOIL, Written
from preprocessing.phantom.scanner import (
    SIEMENS_NAME,
    Series,
    misspelt,
    ordinal_names,
    pass_names,
    vibrant_names,
)
from preprocessing.phantom.truth import tumour_truth
from preprocessing.phantom.voxels import SliceStack

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


_REDRAW_NAMES: Mapping[str, Callable[[PhantomPatient], PhantomPatient]] = {
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


_TILT_DEG = 4.0


def _mirrored(patient: PhantomPatient) -> PhantomPatient:
    # Whatever way the scanner ran, columns then run to the right and rows to the back.
    backwards = patient.protocol.phases[0].stack.row_sign < 0
    flips = (False, True, False) if backwards else (False, False, True)
    return change_series(patient, lambda s: replace(s, flips=flips), dynamic_only=False)


def _numbers_reversed(patient: PhantomPatient) -> PhantomPatient:
    flips = (True, False, False)
    return change_series(patient, lambda s: replace(s, flips=flips), dynamic_only=False)


def _oblique(patient: PhantomPatient) -> PhantomPatient:
    return _change_stacks(patient, lambda stack: replace(stack, tilt_rad=radians(_TILT_DEG)))


def _thickness(patient: PhantomPatient) -> PhantomPatient:
    spacing = patient.protocol.phases[0].stack.spacing_mm
    scanner = replace(
        patient.protocol.scanner,
        slice_thickness_mm=round(2 * spacing, 2),
        tells_slice_spacing=False,
    )
    return replace(patient, protocol=replace(patient.protocol, scanner=scanner))


def _too_few_phases(patient: PhantomPatient) -> PhantomPatient:
    kept = tuple(s for s in patient.protocol.series if (s.phase or 0) <= 1)
    return replace(patient, protocol=replace(patient.protocol, series=kept))


def _tumour_at_slice_edge(patient: PhantomPatient) -> PhantomPatient:
    tumour, stack = tumour_truth(patient), patient.protocol.phases[0].stack
    after = stack.slices - tumour.stop[0]
    steps = -after if after < tumour.start[0] else tumour.start[0]
    step_mm = tuple(stack.instance_sign * stack.spacing_mm * n for n in stack.normal)
    return _move_view(patient, steps, step_mm)


def _tumour_at_last_row(patient: PhantomPatient) -> PhantomPatient:
    tumour, stack = tumour_truth(patient), patient.protocol.phases[0].stack
    step_mm = tuple(stack.pixel_mm * n for n in stack.orientation[3:])
    return _move_view(patient, tumour.stop[1] - stack.rows, step_mm)


def _move_view(patient: PhantomPatient, steps: int, step_mm: tuple[float, ...]) -> PhantomPatient:
    """Move the field of view by whole voxels, so that the patient's stay where they were."""

    def move(stack: SliceStack) -> SliceStack:
        x, y, z = (c + steps * d for c, d in zip(stack.centre_mm, step_mm, strict=True))
        return replace(stack, centre_mm=(x, y, z))

    return _change_stacks(patient, move)


def _change_stacks(
    patient: PhantomPatient, change: Callable[[SliceStack], SliceStack]
) -> PhantomPatient:
    return change_series(patient, lambda s: replace(s, stack=change(s.stack)), dynamic_only=False)


_REDRAW_GEOMETRY: Mapping[str, Callable[[PhantomPatient], PhantomPatient]] = {
    "mirrored": _mirrored,
    "oblique": _oblique,
    "numbers-reversed": _numbers_reversed,
    "thickness-not-spacing": _thickness,
    "too-few-phases": _too_few_phases,
    "box-at-edge": _tumour_at_slice_edge,
    "box-beyond-edge": _tumour_at_last_row,
}


Box = dict[str, int]

_AXES = ("Row", "Column", "Slice")
_ROWS_BELOW = 3


def _grown(box: Box, patient: PhantomPatient) -> Box:
    """Grow the box about its middle until it meets the image's edge."""
    stack = patient.protocol.phases[0].stored
    sizes = dict(zip(_AXES, (stack.rows, stack.columns, stack.slices), strict=True))
    grown = {}
    for axis, size in sizes.items():
        start, end = box[f"Start {axis}"], box[f"End {axis}"]
        room = min(start - 1, size - end)
        grown[f"Start {axis}"], grown[f"End {axis}"] = start - room, end + room
    return grown


def _beyond_edge(box: Box, patient: PhantomPatient) -> Box:
    return {**box, "End Row": box["End Row"] + _ROWS_BELOW}


def _outside(box: Box, patient: PhantomPatient) -> Box:
    slices = patient.protocol.phases[0].stack.slices
    return {**box, **{f"{end} Slice": box[f"{end} Slice"] + slices for end in ("Start", "End")}}


def _no_box(box: Box, patient: PhantomPatient) -> None:
    return None


BOX: Mapping[str, Callable[[Box, PhantomPatient], Box | None]] = {
    "box-larger-than-crop": _grown,
    "box-beyond-edge": _beyond_edge,
    "box-outside": _outside,
    "no-box": _no_box,
}


NO_IMAGES = "no-images"
FLAT_WORKBOOK = "flat-workbook"
MAPPING_WORKBOOK = "mapping-workbook"

_REDRAW: Mapping[str, Callable[[PhantomPatient], PhantomPatient]] = {
    **_REDRAW_NAMES,
    **_REDRAW_GEOMETRY,
}


def redraw(patient: PhantomPatient, quirk: str | None) -> PhantomPatient:
    """Return the patient as the quirk has it, before any voxel is made."""
    change = _REDRAW.get(quirk) if quirk is not None else None
    return change(patient) if change else patient


def spoil(written: Written, quirk: str | None) -> None:
    """Change the patient's files as the quirk has it."""
    change = SPOIL.get(quirk) if quirk is not None else None
    if change:
        change(written)


def box_row(
    box: Mapping[str, int], patient: PhantomPatient, quirk: str | None
) -> dict[str, int] | None:
    """Return what the workbook of boxes says of the patient; None where it has no row."""
    change = BOX.get(quirk) if quirk is not None else None
    return change(dict(box), patient) if change else dict(box)
