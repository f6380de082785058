"""Measures of each patient, on planes through the tumour, of the bias field and the uptake."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from preprocessing.store import BIAS_STEP, PatientRecord, StoreSpec

# The three planes through a point of a crop, as a radiologist looks at them.
#
# Axis legend: R rows (to the back), C columns (to the patient's left), S slices (to the head) of
# the crop; a picture is (height, width), its first row at the top.

Shape = tuple[int, int, int]
Box = tuple[Shape, Shape]

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True)
class Rectangle:
    """A part of a picture, in pixels; pixel i covers i to i + 1."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class Plane:
    """How a plane is cut out of a crop.

    Parameters
    ----------
    normal, down, across
        The crop's axis that the plane lies across, and those along the picture's sides.
    upwards
        Whether the crop's axis `down` increases towards the top of the picture.
    letters
        The patient's side at the top, right, bottom and left of the picture.
    """

    name: str
    normal: int
    down: int
    across: int
    upwards: bool
    letters: tuple[str, str, str, str]

    def cut(self, volume: NDArray[_Scalar], centre: Shape) -> NDArray[_Scalar]:
        """Return the picture (height, width) of a volume (R, C, S)."""
        picture: NDArray[_Scalar] = np.take(volume, centre[self.normal], axis=self.normal)
        if self.down > self.across:
            picture = picture.T
        return picture[::-1] if self.upwards else picture

    def rectangle(self, box: Box, shape: Shape) -> Rectangle:
        """Return where a half-open box of a crop of `shape` lies in the picture."""
        (x0, y0), (x1, y1) = ((corner[self.across], corner[self.down]) for corner in box)
        if self.upwards:
            y0, y1 = shape[self.down] - y1, shape[self.down] - y0
        return Rectangle(x0, y0, x1 - x0, y1 - y0)


AXIAL = Plane("axial", 2, 0, 1, upwards=False, letters=("A", "L", "P", "R"))
CORONAL = Plane("coronal", 0, 2, 1, upwards=True, letters=("H", "L", "F", "R"))
SAGITTAL = Plane("sagittal", 1, 2, 0, upwards=True, letters=("H", "P", "F", "A"))
PLANES = (AXIAL, CORONAL, SAGITTAL)


def rectangles_of(mask: NDArray[np.bool_]) -> tuple[Rectangle, ...]:
    """Return rectangles that together cover a picture's marked pixels and no others."""
    open_since: dict[tuple[int, int], int] = {}
    found = []
    for y in range(mask.shape[0] + 1):
        runs = set(_runs(mask[y])) if y < mask.shape[0] else set()
        for run in [run for run in open_since if run not in runs]:
            start = open_since.pop(run)
            found.append(Rectangle(run[0], start, run[1] - run[0], y - start))
        for run in runs:
            open_since.setdefault(run, y)
    return tuple(sorted(found, key=lambda r: (r.y, r.x)))


def _runs(row: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return the half-open runs of marked pixels in a row."""
    edges = np.flatnonzero(np.diff(row.astype(np.int8), prepend=0, append=0))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]


# The bias field that was divided out, at the voxels where it is looked at.
#
# Axis legend: R rows, C columns, S slices of the crop; the stored field has every `BIAS_STEP`-th.

# A log field of less is shown as next to nothing.
_LEAST_SPAN = 0.05

# From darker than it should be, over nothing, to brighter.
_STOPS = ((106, 176, 243), (38, 84, 148), (24, 28, 33), (153, 80, 28), (250, 170, 92))


def log_field_in_plane(
    field: NDArray[np.float32], shape: Shape, plane: Plane, centre: Shape
) -> NDArray[np.float64]:
    """Return the log field at a plane's pixels, linear between the stored samples.

    Parameters
    ----------
    field
        The stored log field, a sample each `BIAS_STEP` voxels of a crop of `shape`.
    """
    along = [np.arange(n, dtype=np.float64) for n in shape]
    along[plane.normal] = np.array([float(centre[plane.normal])])
    r, c, s = (_weights(p, n) for p, n in zip(along, field.shape, strict=True))
    values = np.einsum("ra,cb,sd,abd->rcs", r, c, s, field.astype(np.float64), optimize=True)
    return plane.cut(values, (0, 0, 0))


def _weights(positions: NDArray[np.float64], num_samples: int) -> NDArray[np.float64]:
    """Return (positions, samples) weights; beyond the last sample the last slope goes on."""
    weights = np.zeros((len(positions), num_samples))
    if num_samples == 1:
        weights[:] = 1.0
        return weights
    at = positions / BIAS_STEP
    left = np.minimum(at.astype(np.intp), num_samples - 2)
    rows = np.arange(len(positions))
    weights[rows, left] = 1 - (at - left)
    weights[rows, left + 1] = at - left
    return weights


def range_percent(
    field: NDArray[np.float32], tissue: NDArray[np.bool_]
) -> tuple[float, float] | None:
    """Return the lowest and highest of exp(field) − 1 over the tissue, in percent.

    Parameters
    ----------
    tissue
        bool (R, C, S).

    Returns
    -------
    None where nothing was corrected.
    """
    if not field.any():
        return None
    sampled = tissue[::BIAS_STEP, ::BIAS_STEP, ::BIAS_STEP]
    values = 100 * np.expm1(field[sampled] if sampled.any() else field.ravel())
    return float(values.min()), float(values.max())


def colour_span(percent: tuple[float, float]) -> float:
    """Return the log field that the bright end of the colour map stands for, the dark end its −.

    Logarithms, since a field multiplies: half as bright is as far from even as twice as bright.
    """
    return max(*(abs(math.log1p(p / 100)) for p in percent), _LEAST_SPAN)


def span_percent(span: float) -> tuple[float, float]:
    """Return the ends of a colour map of `colour_span` in percent."""
    return 100 * math.expm1(-span), 100 * math.expm1(span)


def palette() -> NDArray[np.uint8]:
    """Return the colour map, uint8 (256, 3)."""
    at = np.linspace(0, len(_STOPS) - 1, 256)
    stops = np.array(_STOPS, dtype=np.float64)
    channels = [np.interp(at, np.arange(len(_STOPS)), stops[:, k]) for k in range(3)]
    return np.rint(np.stack(channels, axis=1)).astype(np.uint8)


def css_gradient() -> str:
    """Return the colour map as a CSS gradient, lowest at the left."""
    return f"linear-gradient(90deg, {', '.join(f'rgb({r},{g},{b})' for r, g, b in _STOPS)})"


# How much a tissue takes up contrast: its mean signal in each phase against the pre-contrast.
#
# Axis legend: P phases, R rows, C columns, S slices.

_BINS = 256


def relative_enhancement(
    images: NDArray[np.int16], mask: NDArray[np.bool_]
) -> tuple[float, ...] | None:
    """Return mean(S) / mean(S_pre) − 1 over the marked voxels, for each phase.

    The ratio of means, not the mean of ratios: single voxels near 0 before the contrast would
    decide the latter.

    Parameters
    ----------
    images
        (P, R, C, S) in one unit.
    mask
        (R, C, S).

    Returns
    -------
    P numbers, the first 0; None where nothing is marked or there is no signal before contrast.
    """
    if not mask.any():
        return None
    means = [float(phase[mask].mean(dtype=np.float64)) for phase in images]
    if means[0] <= 0:
        return None
    return tuple(mean / means[0] - 1 for mean in means)


def tissue_mask(pre: NDArray[np.int16], padding: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the voxels of a pre-contrast image (R, C, S) above Otsu's threshold."""
    inside: NDArray[np.bool_] = ~padding
    values = pre[inside]
    if values.size == 0:
        return inside
    return inside & (pre > otsu_threshold(values))


def otsu_threshold(values: NDArray[np.int16]) -> float:
    """Return the value that parts the two classes of largest variance between them.

    References
    ----------
    Otsu 1979, A threshold selection method from gray-level histograms.
    """
    low, high = int(values.min()), int(values.max())
    if low == high:
        # One value only: tissue if there is signal at all.
        return 0.0
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1]
    sums = np.cumsum(counts * middles)
    above = values.size - below
    # The bins at both ends hold a value each, so no class is ever empty.
    apart = sums[:-1] / below - (sums[-1] - sums[:-1]) / above
    return float(edges[1:-1][np.argmax(below * above * apart**2)])


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
