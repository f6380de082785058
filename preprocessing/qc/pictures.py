"""A patient's pictures: phases, subtractions, and the image before and after bias correction.

Axis legend: P phases, R rows, C columns, S slices; pictures are (height, width).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.qc import field as bias
from preprocessing.qc.planes import PLANES, Box, Plane, Rectangle, Shape, rectangles_of
from preprocessing.qc.reading import Voxels
from preprocessing.qc.sheet import Picture, Sheet, pack, to_png
from preprocessing.qc.windows import Window, phase_window, subtraction_window, usual_window

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
        field_sheet, field_png = _draw_field(logs, bias.colour_span(field_percent))
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
    return [bias.log_field_in_plane(voxels.field, (r, c, s), p, centre) for p in PLANES]


def _before_and_after(after: Planes, logs: list[NDArray[np.float64]]) -> list[list[Picture]]:
    """Return both columns, in one window."""
    before = [(a * np.exp(log)).astype(np.float32) for a, log in zip(after, logs, strict=True)]
    window = usual_window(np.concatenate([p.ravel() for p in (*before, *after)]))
    return [_grey(before, window), _grey(after, window)]


def _draw_field(logs: list[NDArray[np.float64]], span: float) -> tuple[Sheet, bytes]:
    """Return the field's sheet, in colours from −span to +span."""
    window = Window(-span, span)
    pixels, sheet = pack([[window.apply(log) for log in logs]])
    return sheet, to_png(pixels, bias.palette())
