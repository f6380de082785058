"""Quirks of the table of tumour boxes."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from preprocessing.phantom.patient import PhantomPatient

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
