"""A patient's pictures: phases, subtractions, and the image before and after bias correction.

Axis legend: P phases, R rows, C columns, S slices; pictures are (height, width).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from preprocessing.qc import measures
from preprocessing.qc.measures import PLANES, Box, Plane, Rectangle, Shape, rectangles_of
from preprocessing.qc.reading import Voxels

# Which intensities are shown black and white.
#
# Axis legend: P phases, V some voxels, the same of each phase.

_DARK, _BRIGHT = 0.5, 99.5
# Of a small tumour, so that it is not all white.
_BRIGHT_TUMOUR = 98.0
# A subtraction shows this much below zero, so that motion is seen as darker than no change.
_BELOW_ZERO = 0.25
# Of the phases' window: where nothing enhances, noise is not to look like something.
_LEAST_SUBTRACTION = 0.25


@dataclass(frozen=True)
class Window:
    """The values that are shown black and white."""

    low: float
    high: float

    def apply(self, values: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Return grey levels 0 to 255."""
        span = max(self.high - self.low, float(np.finfo(np.float32).tiny))
        grey: NDArray[np.uint8] = (
            np.rint((values - self.low) / span * 255).clip(0, 255).astype(np.uint8)
        )
        return grey


def usual_window(values: NDArray[np.floating]) -> Window:
    """Return the window from the darkest to the brightest values but a few."""
    low, high = np.percentile(values, (_DARK, _BRIGHT))
    return Window(float(low), float(high))


def phase_window(values: NDArray[np.float32], tumour: NDArray[np.float32]) -> Window:
    """Return the window of all phases.

    Parameters
    ----------
    values, tumour
        (P, V) intensities, of the whole crop and of the tumour; the latter may be empty.
    """
    usual = usual_window(values)
    return Window(usual.low, max(usual.high, _bright(tumour)))


def subtraction_window(
    values: NDArray[np.float32], tumour: NDArray[np.float32], phases: Window
) -> Window | None:
    """Return the window of all phases less the first; None where there is one phase only."""
    if len(values) < 2:
        return None
    usual = usual_window(values[1:] - values[:1])
    least = _LEAST_SUBTRACTION * (phases.high - phases.low)
    high = max(usual.high, _bright(tumour[1:] - tumour[:1]), least)
    return Window(-_BELOW_ZERO * high, high)


def _bright(tumour: NDArray[np.float32]) -> float:
    return float(np.percentile(tumour, _BRIGHT_TUMOUR)) if tumour.size else -np.inf


# Many small pictures in one PNG file: pixels are voxels, the browser stretches and cuts them.
#
# A pixel a voxel keeps the files small and leaves the aspect ratio to the page, which knows the
# spacing. Each picture has a border of its own edge pixels, so that no neighbour shines in where a
# browser interpolates.
#
# Axis legend: pictures are (height, width) of grey levels or palette indices 0 to 255.

_BORDER = 1

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Sheet:
    """Where the pictures lie.

    Parameters
    ----------
    corners
        (x, y) of the first pixel of each picture, as they were given: columns of pictures.
    """

    width: int
    height: int
    corners: tuple[tuple[tuple[int, int], ...], ...]


def pack(columns: Sequence[Sequence[Picture]]) -> tuple[Picture, Sheet]:
    """Lay out columns of pictures side by side, each column from the top down."""
    height = max(sum(p.shape[0] + 2 * _BORDER for p in column) for column in columns)
    widths = [max(p.shape[1] for p in column) + 2 * _BORDER for column in columns]
    pixels = np.zeros((height, sum(widths)), dtype=np.uint8)
    corners = []
    left = 0
    for column, width in zip(columns, widths, strict=True):
        top = 0
        places = []
        for picture in column:
            framed = np.pad(picture, _BORDER, mode="edge")
            pixels[top : top + framed.shape[0], left : left + framed.shape[1]] = framed
            places.append((left + _BORDER, top + _BORDER))
            top += framed.shape[0]
        corners.append(tuple(places))
        left += width
    return pixels, Sheet(pixels.shape[1], pixels.shape[0], tuple(corners))


def to_png(pixels: Picture, palette: NDArray[np.uint8] | None = None) -> bytes:
    """Return a PNG file of grey levels, or of indices into a palette (256, 3)."""
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


# Windows are set by every second row and column: enough voxels for a percentile.
_STEP = 2

_CUBE = (1.0, 1.0, 1.0)

Planes = list[NDArray[np.float32]]


@dataclass(frozen=True)
class View:
    """What all pictures of one plane have in common.

    Parameters
    ----------
    width, height
        In pixels, which are voxels.
    pixel_mm
        Width and height of a pixel.
    """

    plane: Plane
    width: int
    height: int
    pixel_mm: tuple[float, float]
    box: Rectangle | None
    padding: tuple[Rectangle, ...]


@dataclass(frozen=True)
class Pictures:
    """Where a patient's pictures are, and how they are to be shown.

    Parameters
    ----------
    grey
        Columns of (axial, coronal, sagittal): P phases, P − 1 subtractions, then, where there
        was a correction, the pre-contrast before and after it.
    field
        One column, where there was a correction.
    image_window, subtraction_window
        Intensities, of all phases and of all subtractions.
    field_percent
        Lowest and highest over the tissue.
    """

    views: tuple[View, ...]
    grey: Sheet
    field: Sheet | None
    image_window: Window
    subtraction_window: Window | None
    field_percent: tuple[float, float] | None


def draw(
    voxels: Voxels,
    box: Box | None,
    spacing_mm: tuple[float, float, float] | None,
    field_percent: tuple[float, float] | None,
) -> tuple[Pictures, bytes, bytes | None]:
    """Return the pictures' places and the PNG files of the grey ones and of the field."""
    centre = choose_centre(voxels.tumour, box)
    scale = np.float32(voxels.scale)
    phases = [[p.cut(phase, centre) * scale for p in PLANES] for phase in voxels.images]
    sample, tumour = _sample(voxels), voxels.images[:, voxels.tumour & ~voxels.padding]
    image_window = phase_window(sample * scale, tumour * scale)
    minus_window = subtraction_window(sample * scale, tumour * scale, image_window)
    columns = [_grey(phase, image_window) for phase in phases]
    if minus_window is not None:
        columns += [_grey(_minus(phase, phases[0]), minus_window) for phase in phases[1:]]
    field_sheet, field_png = None, None
    if field_percent is not None:
        logs = _logs(voxels, centre)
        columns += _before_and_after(phases[0], logs)
        field_sheet, field_png = _draw_field(logs, measures.colour_span(field_percent))
    pixels, sheet = pack(columns)
    views = tuple(_view(p, voxels.padding, centre, box, spacing_mm or _CUBE) for p in PLANES)
    pictures = Pictures(views, sheet, field_sheet, image_window, minus_window, field_percent)
    return pictures, to_png(pixels), field_png


def choose_centre(tumour: NDArray[np.bool_], box: Box | None) -> Shape:
    """Return the voxel that all planes go through, of the box, else the mask, else the crop."""
    if box is None and tumour.any():
        marked = [np.flatnonzero(tumour.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
        r, c, s = (int(m[0] + m[-1]) // 2 for m in marked)
        return r, c, s
    start, stop = box or ((0, 0, 0), tumour.shape)
    r, c, s = (int(a + b) // 2 for a, b in zip(start, stop, strict=True))
    return r, c, s


def _view(
    plane: Plane,
    padding: NDArray[np.bool_],
    centre: Shape,
    box: Box | None,
    spacing_mm: tuple[float, float, float],
) -> View:
    hidden = plane.cut(padding, centre)
    shape = (padding.shape[0], padding.shape[1], padding.shape[2])
    return View(
        plane=plane,
        width=hidden.shape[1],
        height=hidden.shape[0],
        pixel_mm=(spacing_mm[plane.across], spacing_mm[plane.down]),
        box=None if box is None else plane.rectangle(box, shape),
        padding=rectangles_of(hidden),
    )


def _sample(voxels: Voxels) -> NDArray[np.int16]:
    """Return (P, some voxels) that are not padding."""
    inside = ~voxels.padding[::_STEP, ::_STEP]
    if not inside.any():
        inside = np.ones_like(inside)
    return voxels.images[:, ::_STEP, ::_STEP][:, inside]


def _minus(post: Planes, pre: Planes) -> Planes:
    return [a - b for a, b in zip(post, pre, strict=True)]


def _grey(planes: Planes, window: Window) -> list[Picture]:
    return [window.apply(plane) for plane in planes]


def _logs(voxels: Voxels, centre: Shape) -> list[NDArray[np.float64]]:
    r, c, s = voxels.padding.shape
    return [measures.log_field_in_plane(voxels.field, (r, c, s), p, centre) for p in PLANES]


def _before_and_after(after: Planes, logs: list[NDArray[np.float64]]) -> list[list[Picture]]:
    """Return both columns, in one window."""
    before = [(a * np.exp(log)).astype(np.float32) for a, log in zip(after, logs, strict=True)]
    window = usual_window(np.concatenate([p.ravel() for p in (*before, *after)]))
    return [_grey(before, window), _grey(after, window)]


def _draw_field(logs: list[NDArray[np.float64]], span: float) -> tuple[Sheet, bytes]:
    """Return the field's sheet, in colours from −span to +span."""
    window = Window(-span, span)
    pixels, sheet = pack([[window.apply(log) for log in logs]])
    return sheet, to_png(pixels, measures.palette())
