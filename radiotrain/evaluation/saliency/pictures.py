"""Saliency map over three slices of the tumour.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from preprocessing.common.page import data_uri
from radiotrain.evaluation.saliency.saliency_results import PatientSaliency, Picture

_NUM_SLICES = 3
_DPI, _QUALITY = 80, 80
# Weaker than this share of the strongest is left clear.
_CLEAR = 0.15


def draw(
    images: NDArray[np.float32],
    saliency: NDArray[np.float32],
    tumour: NDArray[np.bool_],
    found: PatientSaliency,
    target: str,
) -> Picture:
    """Draw a test patient's map; neither id nor probability is said."""
    truth = "positive" if found.label == 1 else "negative"
    what = f"{target}-{truth} test patient, {'correctly' if found.is_right else 'incorrectly'} classified"
    return Picture(
        uri=draw_map(images, saliency, tumour),
        alt=f"Three slices of a {what}, with the saliency map over them and the tumour outlined.",
        caption=f"{what[0].upper()}{what[1:]}",
    )


def draw_map(
    images: NDArray[np.float32],
    saliency: NDArray[np.float32],
    tumour: NDArray[np.bool_],
    slice_names: Sequence[str] = (),
) -> str:
    """Draw the first enhancement (or the only phase), the tumour's outline, and the map: a data URI.

    Parameters
    ----------
    images
        (P, R, C, S), normalised.
    saliency
        (R, C, S), not negative.
    slice_names
        Above each slice; by default its number in the crop.
    """
    under = images[1] - images[0] if len(images) > 1 else images[0]
    low, high = np.percentile(under, [1, 99.5])
    top = float(np.percentile(saliency, 99.9)) or 1.0
    slices = _slices(saliency, tumour)
    figure = Figure(figsize=(2.4 * len(slices), 2.5), layout="constrained")
    for axes, s in zip(np.atleast_1d(figure.subplots(1, len(slices))), slices, strict=True):
        axes.imshow(under[:, :, s], cmap="gray", vmin=low, vmax=high)
        strength = np.clip(saliency[:, :, s] / top, 0, 1)
        shown = axes.imshow(
            strength, cmap="inferno", vmin=0, vmax=1, alpha=np.where(strength < _CLEAR, 0, 0.55)
        )
        if tumour[:, :, s].any():
            axes.contour(tumour[:, :, s], levels=[0.5], colors="#35d0ff", linewidths=1)
        axes.set_title(slice_names[s] if slice_names else f"slice {s}", fontsize=8)
        axes.set_axis_off()
    bar = figure.colorbar(shown, ax=figure.axes, shrink=0.8, ticks=[0, 1])
    bar.ax.set_yticklabels(["none", "most"], fontsize=7)
    return jpeg_uri(figure)


def jpeg_uri(figure: Figure) -> str:
    """Return a figure as a data URI."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="jpeg", dpi=_DPI, pil_kwargs={"quality": _QUALITY})
    return data_uri(buffer.getvalue(), "jpeg")


def _slices(saliency: NDArray[np.float32], tumour: NDArray[np.bool_]) -> list[int]:
    """Return the tumour's middle slice, and the slices with most of the map."""
    inside = np.flatnonzero(tumour.any(axis=(0, 1)))
    middle = int(inside[len(inside) // 2]) if len(inside) else saliency.shape[2] // 2
    most = np.argsort(-saliency.sum(axis=(0, 1)), kind="stable")
    chosen = [middle, *(int(s) for s in most if s != middle)]
    return sorted(chosen[:_NUM_SLICES])
