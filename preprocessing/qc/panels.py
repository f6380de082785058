"""Figures of a patient's page: which pictures, cut from which sheet, with what drawn over them.

Lengths in a panel are mm, so that its aspect ratio is the patient's; the picture, the box and the
padding are given in pixels and stretched by `Panel.pixel_mm`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from preprocessing.qc.pictures import Pictures, View
from preprocessing.qc.planes import Rectangle
from preprocessing.qc.sheet import Sheet
from preprocessing.store import PatientRecord

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
