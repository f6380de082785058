"""The tumour in some phases, so that people see whether the right one was read.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from radiotrain.evaluation.saliency.pictures import jpeg_uri

_MOST_PHASES = 4


def draw_phases(
    images: NDArray[np.float32],
    tumour: NDArray[np.bool_],
    names: tuple[str, ...],
    slice_names: tuple[str, ...],
) -> str:
    """Draw the tumour's middle slice in each phase, all in the same grey scale: a data URI.

    Parameters
    ----------
    images
        (P, R, C, S), normalised.
    tumour
        (R, C, S).
    names
        Of the phases.
    slice_names
        Of the crop's slices.
    """
    inside = np.flatnonzero(tumour.any(axis=(0, 1)))
    middle = int(inside[len(inside) // 2]) if len(inside) else images.shape[3] // 2
    shown = list(range(len(images)))[:_MOST_PHASES]
    plane = images[:, :, :, middle]
    low, high = np.percentile(plane, [1, 99.5])
    figure = Figure(figsize=(2.4 * len(shown), 2.5), layout="constrained")
    for axes, n in zip(np.atleast_1d(figure.subplots(1, len(shown))), shown, strict=True):
        axes.imshow(plane[n], cmap="gray", vmin=low, vmax=high)
        if tumour[:, :, middle].any():
            axes.contour(tumour[:, :, middle], levels=[0.5], colors="#35d0ff", linewidths=1)
        axes.set_title(names[n], fontsize=8)
        axes.set_axis_off()
    figure.suptitle(slice_names[middle], fontsize=8)
    return jpeg_uri(figure)


def phase_titles(times_s: tuple[float | None, ...]) -> tuple[str, ...]:
    """Return what each phase is called on the page."""
    titles = []
    for n, time_s in enumerate(times_s):
        name = "pre-contrast" if n == 0 else f"post-contrast {n}"
        titles.append(f"{name}, {time_s:.0f} s" if n and time_s is not None else name)
    return tuple(titles)
