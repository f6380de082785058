"""Many small pictures in one PNG file: pixels are voxels, the browser stretches and cuts them.

A pixel a voxel keeps the files small and leaves the aspect ratio to the page, which knows the
spacing. Each picture has a border of its own edge pixels, so that no neighbour shines in where a
browser interpolates.

Axis legend: pictures are (height, width) of grey levels or palette indices 0 to 255.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
