"""A patient's page: panels, labels and enhancement curves."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from typing import Any

import jinja2

from preprocessing.common.page import make_environment
from preprocessing.qc.measures import (
    Rectangle,
    colour_span,
    css_gradient,
    measures_of,
    span_percent,
)
from preprocessing.qc.outliers import Entry, Yardstick
from preprocessing.qc.pictures import Pictures, Sheet, View
from preprocessing.store import PatientRecord

_LABELS = {0: "negative", 1: "positive"}
_SIGNS = {0: "−", 1: "+"}


def render(template: str, **values: Any) -> str:
    """Return a template of this package with its values filled in."""
    page = _environment().get_template(template).render(**values)
    # Ids may hold what UTF-8 cannot, such as the halves of a badly decoded letter.
    return page.encode("utf-8", "replace").decode("utf-8")


@cache
def _environment() -> jinja2.Environment:
    filters = {
        "label": lambda value: _LABELS.get(value, "missing"),
        "sign": lambda value: _SIGNS.get(value, "?"),
        "short": short_number,
        "signed": lambda value: f"{value:+.0f} %".replace("-", "−"),
    }
    return make_environment(jinja2.PackageLoader("preprocessing.qc"), filters)


def short_number(value: object, digits: int = 4) -> str:
    """Return a covariate's or intensity's value with no more digits than help."""
    if isinstance(value, float):
        text = f"{value:.{digits}g}" if abs(value) < 10**digits else f"{value:.0f}"
        return text.replace("-", "−")
    return "–" if value is None else str(value)


_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 408, 14, 210


@dataclass(frozen=True)
class Line:
    """A curve: whose (``tumour`` or ``tissue``), and its points in the picture."""

    kind: str
    points: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        """The points as SVG takes them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True)
class CurvePlot:
    """All that the template draws.

    Parameters
    ----------
    x_ticks, y_ticks
        (position in the picture, text).
    left, right, bottom
        Of the part that the curves lie in.
    """

    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_title: str
    left: int = _LEFT
    right: int = _RIGHT
    bottom: int = _BOTTOM
    width: int = 420
    height: int = 250


def known_times(record: PatientRecord, num_phases: int) -> tuple[float, ...] | None:
    """Return the phases' seconds after the pre-contrast, if all are known and they increase."""
    times = [t for t in record.phase_times_s[:num_phases] if t is not None]
    if len(times) < num_phases or any(b <= a for a, b in pairwise(times)):
        return None
    return tuple(times)


def plot_curves(
    curves: Sequence[tuple[str, Sequence[float] | None]], times: Sequence[float] | None
) -> CurvePlot | None:
    """Lay out curves of relative enhancement, those that are there.

    Parameters
    ----------
    times
        Seconds; without them the phases are set side by side.

    Returns
    -------
    None where there is no curve of two phases or more.
    """
    there = [(kind, curve) for kind, curve in curves if curve is not None and len(curve) > 1]
    if not there:
        return None
    at = list(times) if times is not None else [float(i) for i in range(len(there[0][1]))]
    values = [100 * v for _, curve in there for v in curve]
    y_ticks = nice_ticks(min(values), max(values))
    low, high = min(y_ticks[0], *values), max(y_ticks[-1], *values)
    x_ticks = nice_ticks(0, at[-1]) if times is not None else at

    def x(value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (value - at[0]) / (max(at[-1], x_ticks[-1]) - at[0])

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low)

    return CurvePlot(
        lines=tuple(
            Line(kind, tuple((x(t), y(100 * v)) for t, v in zip(at, curve, strict=True)))
            for kind, curve in there
        ),
        x_ticks=tuple((x(t), f"{t:g}") for t in x_ticks),
        y_ticks=tuple((y(v), f"{v:g}") for v in y_ticks),
        x_title="seconds after the pre-contrast" if times is not None else "phase",
    )


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values from at or below `low` to at or above `high`, 0 among them if between."""
    span = high - low if high > low else 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * power for s in (1, 2, 5, 10, 20) if span / (s * power) <= most)
    first, last = math.floor(low / step), math.ceil((low + span) / step)
    return [round(i * step, 10) for i in range(first, last + 1)]


# Figures of a patient's page: which pictures, cut from which sheet, with what drawn over them.
#
# Lengths in a panel are mm, so that its aspect ratio is the patient's; the picture, the box and the
# padding are given in pixels and stretched by `Panel.pixel_mm`.

# Height of the orientation letters, as a fraction of the widest panel, and at most of their own.
_LETTER, _LETTER_IN_FLAT = 0.065, 0.2


@dataclass(frozen=True)
class Letter:
    """A letter at a panel's side; (x, y) is the middle of its base, in mm."""

    text: str
    x: float
    y: float


@dataclass(frozen=True)
class Panel:
    """One plane of one image.

    Parameters
    ----------
    width, height
        In mm.
    percent
        Width in percent of the patient's widest panel.
    corner
        (x, y) on the sheet of the picture's first pixel.
    letter_size
        In mm.
    """

    name: str
    width: float
    height: float
    percent: float
    pixel_mm: tuple[float, float]
    corner: tuple[int, int]
    box: Rectangle | None
    padding: tuple[Rectangle, ...]
    letters: tuple[Letter, ...]
    letter_size: float


@dataclass(frozen=True)
class Figure:
    """All planes of one image, with what is written below them.

    Parameters
    ----------
    kind
        ``phase``, ``subtraction`` or ``bias``.
    file
        ``grey`` or ``field``: the end of the picture file's name.
    """

    kind: str
    title: str
    detail: str
    file: str
    sheet: Sheet
    panels: tuple[Panel, ...]

    @property
    def key(self) -> str:
        """The name of its first panel in the page, unless it is of the bias field."""
        return "-".join(re.findall(r"[a-z0-9]+", f"{self.kind} {self.title}"))


def make_figures(pictures: Pictures, record: PatientRecord, num_phases: int) -> tuple[Figure, ...]:
    """Return the figures in the order of the grey sheet's columns; the field comes last."""
    captions = []
    for p in range(num_phases):
        name, time = describe_phase(record, p)
        title = f"phase {p}" if p else "pre-contrast"
        captions.append(("phase", f"{title}, {time}" if p and time else title, name))
    captions += [("subtraction", f"phase {p} − pre", "") for p in range(1, num_phases)]
    if pictures.field is not None:
        captions += [
            ("bias", "before correction", "pre-contrast"),
            ("bias", "after correction", "pre-contrast, same window"),
        ]
    figures = [
        _figure(pictures, caption, "grey", pictures.grey, column)
        for column, caption in enumerate(captions)
    ]
    if pictures.field is not None:
        caption = ("bias", "bias field", "divided out")
        figures.append(_figure(pictures, caption, "field", pictures.field, 0))
    return tuple(figures)


@dataclass(frozen=True)
class Strip:
    """One slice of all phases, and below each post what it has more than the pre-contrast.

    Parameters
    ----------
    uptake
        Of the tumour in each phase, in percent of the pre-contrast; empty where not known.
    """

    phases: tuple[Figure, ...]
    subtractions: tuple[Figure, ...]
    uptake: tuple[float, ...]


def make_strip(figures: Sequence[Figure], tumour: Sequence[float] | None) -> Strip:
    """Return the slice through the tumour's middle out of each figure."""
    phases, subtractions = (
        tuple(replace(f, panels=f.panels[:1]) for f in figures if f.kind == kind)
        for kind in ("phase", "subtraction")
    )
    return Strip(phases, subtractions, tuple(100 * value for value in tumour or ()))


def describe_phase(record: PatientRecord, phase: int) -> tuple[str, str]:
    """Return a phase's name and time, empty where not known."""
    name = record.phase_names[phase] if phase < len(record.phase_names) else ""
    time = record.phase_times_s[phase] if phase < len(record.phase_times_s) else None
    return name, "" if time is None else f"{time:.0f} s"


def _figure(
    pictures: Pictures, caption: tuple[str, str, str], file: str, sheet: Sheet, column: int
) -> Figure:
    kind, title, detail = caption
    widest = max(view.width * view.pixel_mm[0] for view in pictures.views)
    panels = tuple(
        _panel(view, corner, widest)
        for view, corner in zip(pictures.views, sheet.corners[column], strict=True)
    )
    return Figure(kind, title, detail, file, sheet, panels)


def _panel(view: View, corner: tuple[int, int], widest: float) -> Panel:
    width, height = view.width * view.pixel_mm[0], view.height * view.pixel_mm[1]
    size = min(_LETTER * widest, _LETTER_IN_FLAT * height)
    top, right, bottom, left = view.plane.letters
    middle = height / 2 + 0.35 * size
    return Panel(
        name=view.plane.name,
        width=width,
        height=height,
        percent=100 * width / widest,
        pixel_mm=view.pixel_mm,
        corner=corner,
        box=view.box,
        padding=view.padding,
        letters=(
            Letter(top, width / 2, size),
            Letter(right, width - 0.6 * size, middle),
            Letter(bottom, width / 2, height - 0.3 * size),
            Letter(left, 0.6 * size, middle),
        ),
        letter_size=size,
    )


@dataclass(frozen=True)
class Place:
    """Where in the order a patient is: its number from 1, and the pages beside its own."""

    number: int
    count: int
    previous: Entry | None
    following: Entry | None


def render_patient(
    entry: Entry, place: Place, num_phases: int, yardsticks: Sequence[Yardstick]
) -> str:
    """Return the HTML of a patient's page."""
    study, record = entry.study, entry.record
    pictures = study.pictures
    percent = None if pictures is None else pictures.field_percent
    figures = () if pictures is None else make_figures(pictures, record, num_phases)
    return render(
        "patient.html.j2",
        entry=entry,
        place=place,
        figures=figures,
        strip=make_strip(figures, study.tumour),
        curve=plot_curves(
            (("tumour", study.tumour), ("tissue", study.tissue)),
            known_times(record, num_phases),
        ),
        phases=[(p, *describe_phase(record, p)) for p in range(num_phases)],
        measures=[
            (m, study.measures[m.key]) for m in measures_of(num_phases) if m.key in study.measures
        ],
        usual={y.measure.key: y.measure.text(y.usual) for y in yardsticks},
        gradient=css_gradient(),
        ends=None if percent is None else span_percent(colour_span(percent)),
    )
