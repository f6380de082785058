"""Which function writes which quirk, at each step of writing a patient."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from preprocessing.phantom.patient import PhantomPatient
from preprocessing.phantom.quirks import contents, geometry, names, series, slices, tables
from preprocessing.phantom.quirks.written import Written

NO_IMAGES = "no-images"
FLAT_WORKBOOK = "flat-workbook"
MAPPING_WORKBOOK = "mapping-workbook"

_REDRAW: Mapping[str, Callable[[PhantomPatient], PhantomPatient]] = {
    **names.REDRAW,
    **geometry.REDRAW,
}
_SPOIL: Mapping[str, Callable[[Written], None]] = {
    **series.SPOIL,
    **slices.SPOIL,
    **contents.SPOIL,
}


def redraw(patient: PhantomPatient, quirk: str | None) -> PhantomPatient:
    """Return the patient as the quirk has it, before any voxel is made."""
    change = _REDRAW.get(quirk) if quirk is not None else None
    return change(patient) if change else patient


def spoil(written: Written, quirk: str | None) -> None:
    """Change the patient's files as the quirk has it."""
    change = _SPOIL.get(quirk) if quirk is not None else None
    if change:
        change(written)


def box_row(
    box: Mapping[str, int], patient: PhantomPatient, quirk: str | None
) -> dict[str, int] | None:
    """Return what the workbook of boxes says of the patient; None where it has no row."""
    change = tables.BOX.get(quirk) if quirk is not None else None
    return change(dict(box), patient) if change else dict(box)
