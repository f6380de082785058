"""Quirks of geometry that are decided before the first voxel: orientation, field of view, order."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from math import radians

from preprocessing.phantom.geometry import SliceStack
from preprocessing.phantom.patient import PhantomPatient
from preprocessing.phantom.quirks.names import change_series
from preprocessing.phantom.truth import tumour_truth

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


REDRAW: Mapping[str, Callable[[PhantomPatient], PhantomPatient]] = {
    "mirrored": _mirrored,
    "oblique": _oblique,
    "numbers-reversed": _numbers_reversed,
    "thickness-not-spacing": _thickness,
    "too-few-phases": _too_few_phases,
    "box-at-edge": _tumour_at_slice_edge,
    "box-beyond-edge": _tumour_at_last_row,
}
