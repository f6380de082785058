"""What is measured of each patient, so that one who is unlike the others can be named."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from preprocessing.qc.planes import Box, Shape
from preprocessing.store import PatientRecord, StoreSpec

Measures = Mapping[str, float]


@dataclass(frozen=True)
class Measure:
    """One number of a patient.

    Parameters
    ----------
    label
        What goes before the value in a sentence.
    unremarkable
        A difference from the usual that nobody would look at twice; the least that is taken for
        the spread. In the measure's unit, or as a fraction where `ratio` is set.
    digits
        Behind the decimal point.
    ratio
        Whether patients differ by factors, so that logarithms are compared.
    high_only
        Whether only more than usual is odd.
    yes_no
        Whether 1 means yes and 0 no.
    unknown
        What is said instead of a value.
    """

    key: str
    label: str
    unit: str
    unremarkable: float
    digits: int = 0
    ratio: bool = False
    high_only: bool = False
    yes_no: bool = False
    unknown: str = "not known"

    def compared(self, value: float) -> float:
        """Return the value on the scale on which patients are compared; NaN if it has none."""
        if not self.ratio:
            return value
        return math.log(value) if value > 0 else math.nan

    def text(self, value: float) -> str:
        """Return the value for a person."""
        if math.isnan(value):
            return self.unknown
        return f"{self.number(value)} {self.unit}".strip()

    def number(self, value: float) -> str:
        """Return the value without its unit."""
        if self.yes_no:
            return "yes" if value else "no"
        return f"{value:.{self.digits}f}"


def measures_of(num_phases: int) -> tuple[Measure, ...]:
    """Return what is measured of patients with so many phases."""
    times = tuple(
        Measure(f"time_{p}", f"phase {p} at", "s", unremarkable=10.0, unknown="an unknown time")
        for p in range(1, num_phases)
    )
    peak = Measure("peak", "tumour's peak enhancement", "%", unremarkable=10.0)
    return (
        Measure("in_plane", "pixel spacing", "mm", 0.05, digits=2, ratio=True),
        Measure("between_slices", "slice spacing", "mm", 0.05, digits=2, ratio=True),
        *times,
        Measure("tissue", "pre-contrast tissue median", "", 0.1, digits=1, ratio=True),
        *((peak,) if num_phases > 1 else ()),
        Measure("field", "bias field's range", "%", unremarkable=5.0),
        Measure("box", "box's longest side", "mm", 0.2, ratio=True),
        Measure("padding", "padding", "%", unremarkable=2.0, digits=1, high_only=True),
        # Two findings more than usual are odd, and so is one box at the edge.
        Measure("findings", "findings", "", unremarkable=0.5, high_only=True),
        Measure("edge", "box at the crop's edge", "", 0.25, high_only=True, yes_no=True),
    )


def from_record(record: PatientRecord, spec: StoreSpec) -> dict[str, float]:
    """Return what is known without looking at voxels; NaN for what ought to be known."""
    row, column, between = record.spacing_mm or (math.nan, math.nan, math.nan)
    found = {
        "in_plane": math.sqrt(row * column),
        "between_slices": between,
        "findings": float(len(record.findings)),
    }
    for p in range(1, spec.num_phases):
        time = record.phase_times_s[p] if p < len(record.phase_times_s) else None
        found[f"time_{p}"] = math.nan if time is None else time
    box = box_of(record)
    found["box"] = math.nan if box is None else longest_side(box, record.spacing_mm)
    found["edge"] = 0.0 if box is None else float(touches_edge(box, spec.crop_shape))
    return found


def box_of(record: PatientRecord) -> Box | None:
    """Return the tumour box in the crop, or None where there is none or it is empty."""
    box = record.box_in_crop
    if box is None or any(b <= a for a, b in zip(*box, strict=True)):
        return None
    return box


def longest_side(box: Box, spacing_mm: tuple[float, float, float] | None) -> float:
    """Return the box's longest side in mm; NaN where the spacing is not known."""
    if spacing_mm is None:
        return math.nan
    return max((b - a) * mm for a, b, mm in zip(*box, spacing_mm, strict=True))


def touches_edge(box: Box, shape: Shape) -> bool:
    """Tell whether the box reaches an edge of the crop, so that some of it may be beyond."""
    return any(a <= 0 or b >= n for a, b, n in zip(*box, shape, strict=True))
