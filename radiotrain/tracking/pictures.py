"""Pictures of a run for trackers, and input gradients.

Axis legend: N patients with a label or without, B patients shown, P phases, R rows, C columns, S
slices, K encoded covariates.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray
from sklearn.metrics import roc_curve
from torch import Tensor, nn
from torch.nn import functional

from preprocessing.cohort.cohort import MISSING_LABEL
from radiotrain.networks.fusion import call_network
from radiotrain.runs.epoch_metrics import auc

_DOTS_PER_INCH = 100
_CURVE, _CHANCE = "#1f5f99", "#8a929b"
# Values outside are drawn black or white: a few bright vessels would leave the rest grey.
_DARKEST, _BRIGHTEST = 0.5, 99.5


def roc_picture(
    target: str, epoch: int, labels: NDArray[np.int8], scores: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Draw a target's ROC curve; where it is undefined, say why in its place.

    Parameters
    ----------
    epoch
        Counted from 0.
    labels
        int8 (N,) of 0, 1 or -1 (missing).
    scores
        float32 (N,).

    Returns
    -------
    uint8 (height, width, 3).
    """
    known = labels != MISSING_LABEL
    positives, negatives = int(np.sum(labels == 1)), int(np.sum(labels == 0))
    area = auc(labels, scores)
    # Drawn after each epoch: a layout that fits itself takes as long again.
    figure = Figure(figsize=(4.2, 4.4), dpi=_DOTS_PER_INCH)
    axes = figure.add_axes((0.14, 0.11, 0.83, 0.79))
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xlabel("1 − specificity")
    axes.set_ylabel("sensitivity")
    axes.grid(color="#e8ebee", linewidth=0.8)
    axes.plot([0, 1], [0, 1], color=_CHANCE, linewidth=1, linestyle=(0, (4, 4)))
    said = "AUC undefined" if math.isnan(area) else f"AUC {area:.3f}"
    axes.set_title(
        f"{target}, epoch {epoch + 1}: {said}\n{positives} positive, {negatives} negative",
        fontsize=10,
    )
    if math.isnan(area):
        why = "one class only" if not positives or not negatives else "outputs are not finite"
        axes.text(0.5, 0.5, why, ha="center", va="center", backgroundcolor="white")
    else:
        alarms, hits, _ = roc_curve(labels[known], scores[known], drop_intermediate=False)
        axes.plot(alarms, hits, color=_CURVE, linewidth=2)
    return pixels_of(figure)


def saliency_picture(
    patient_ids: Sequence[str], images: NDArray[np.float32], saliency: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Draw a row a patient: each phase, then saliency over what the contrast agent added first.

    The slice is the one in the middle of the saliency.

    Parameters
    ----------
    images
        float32 (B, P, R, C, S).
    saliency
        float32 (B, R, C, S), not negative.

    Returns
    -------
    uint8 (height, width, 3).
    """
    num_phases = images.shape[1]
    panels = _Panels(len(patient_ids), num_phases + 1, images.shape[2] / images.shape[3])
    for row, (patient_id, image, map_) in enumerate(
        zip(patient_ids, images, saliency, strict=True)
    ):
        place = middle_slice(map_)
        shown = image[..., place]
        low, high = window(shown)
        for phase in range(num_phases):
            panels.draw_grey(row, phase, shown[phase], low, high)
        _draw_overlay(panels, row, num_phases, shown, map_[..., place])
        panels.name_row(row, f"{patient_id}\nslice {place + 1}/{image.shape[-1]}")
    for phase in range(num_phases):
        panels.name_column(phase, phase_name(phase))
    panels.name_column(num_phases, f"saliency{' on post 1 − pre' * (num_phases > 1)}")
    return pixels_of(panels.figure)


def batch_picture(
    titles: Sequence[str], before: NDArray[np.float32], after: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Draw a column a patient: the middle slice of each phase, before and after augmentation.

    Both are drawn with the same black and white, so that a change of brightness shows.

    Parameters
    ----------
    titles
        What is written above each patient.
    before, after
        float32 (B, P, R, C, S).

    Returns
    -------
    uint8 (height, width, 3).
    """
    num_phases, place = before.shape[1], before.shape[-1] // 2
    panels = _Panels(2 * num_phases, len(titles), before.shape[2] / before.shape[3])
    for column, title in enumerate(titles):
        panels.name_column(column, title)
        low, high = window(before[column, ..., place])
        shown = (*before[column, ..., place], *after[column, ..., place])
        for row, image in enumerate(shown):
            panels.draw_grey(row, column, image, low, high)
    for row in range(2 * num_phases):
        said = "augmented" if row >= num_phases else f"slice {place + 1}/{before.shape[-1]}"
        panels.name_row(row, f"{phase_name(row % num_phases)}\n{said}")
    return pixels_of(panels.figure)


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """Return a picture, uint8 (height, width, 3), as a PNG file."""
    buffer = io.BytesIO()
    imsave(buffer, pixels, format="png")
    return buffer.getvalue()


def middle_slice(saliency: NDArray[np.float32]) -> int:
    """Return the slice nearest to the centre of mass of a map (R, C, S); the middle of an empty one."""
    weights = np.nan_to_num(saliency.sum(axis=(0, 1), dtype=np.float64))
    if weights.sum() <= 0:
        return len(weights) // 2
    centre = np.average(np.arange(len(weights)), weights=weights)
    return round(float(centre))


def phase_name(phase: int) -> str:
    """Return what people call a phase."""
    return "pre-contrast" if phase == 0 else f"post {phase}"


class _Panels:
    """Images in rows and columns with names at the left and above.

    All are drawn in one pair of axes, in inches: matplotlib takes ten milliseconds to make axes, and as
    long again to fit them to each other.

    Parameters
    ----------
    aspect
        Height of an image over its width.
    """

    _WIDTH, _GAP, _LEFT, _TOP = 1.5, 0.03, 0.4, 0.36

    def __init__(self, num_rows: int, num_columns: int, aspect: float) -> None:
        self._height = self._WIDTH * aspect
        width = self._LEFT + num_columns * (self._WIDTH + self._GAP)
        height = self._TOP + num_rows * (self._height + self._GAP)
        self.figure = Figure(figsize=(width, height), dpi=_DOTS_PER_INCH)
        self._axes = self.figure.add_axes((0, 0, 1, 1), xlim=(0, width), ylim=(height, 0))
        self._axes.set_axis_off()

    def draw(self, row: int, column: int, image: NDArray[np.float32], **options: Any) -> None:
        """Draw one slice (R, C), with options of matplotlib's `imshow`."""
        left, top = self._corner(row, column)
        extent = (left, left + self._WIDTH, top + self._height, top)
        self._axes.imshow(image, extent=extent, aspect="auto", **options)

    def draw_grey(
        self, row: int, column: int, image: NDArray[np.float32], low: float, high: float
    ) -> None:
        """Draw one slice (R, C) between black and white."""
        self.draw(row, column, image, cmap="gray", vmin=low, vmax=high, interpolation="nearest")

    def name_row(self, row: int, name: str) -> None:
        """Write beside the first image of a row."""
        left, top = self._corner(row, 0)
        self._axes.text(
            left - 0.05, top + self._height / 2, name, fontsize=8, rotation=90, ha="right",
            va="center", multialignment="center",
        )  # fmt: skip

    def name_column(self, column: int, name: str) -> None:
        """Write above the first image of a column."""
        left, top = self._corner(0, column)
        middle = left + self._WIDTH / 2
        self._axes.text(middle, top - 0.05, name, fontsize=8, ha="center", va="bottom")

    def _corner(self, row: int, column: int) -> tuple[float, float]:
        left = self._LEFT + column * (self._WIDTH + self._GAP)
        return left, self._TOP + row * (self._height + self._GAP)


def window(image: NDArray[np.float32]) -> tuple[float, float]:
    """Return the values drawn black and white."""
    finite = image[np.isfinite(image)]
    if finite.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(finite, (_DARKEST, _BRIGHTEST))
    return float(low), float(max(high, low + 1e-6))


def pixels_of(figure: Figure) -> NDArray[np.uint8]:
    """Return a figure's pixels, uint8 (height, width, 3)."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    colours = np.asarray(canvas.buffer_rgba())  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(colours[..., :3])


def _draw_overlay(
    panels: _Panels, row: int, column: int, shown: NDArray[np.float32], map_: NDArray[np.float32]
) -> None:
    """Draw saliency (R, C) over the first subtraction of (P, R, C), or over a single phase."""
    under = shown[1] - shown[0] if len(shown) > 1 else shown[0]
    panels.draw_grey(row, column, under, *window(under))
    strength = np.clip(map_ / max(float(np.percentile(map_, _BRIGHTEST)), 1e-12), 0, 1)
    panels.draw(row, column, strength, cmap="inferno", alpha=0.65 * strength, vmin=0, vmax=1)


_SMOOTHINGS = 2


def input_gradient(network: nn.Module, images: Tensor, covariates: Tensor | None = None) -> Tensor:
    """Return how much each voxel moves the logits: the gradient's absolute value, smoothed.

    The network is left as it was: its modes, gradients, running means, and the random
    generators, so that training goes on as if nothing had been looked at.

    Parameters
    ----------
    network
        Not wrapped for several workers.
    images
        float32 (B, P, R, C, S) on the network's device.
    covariates
        float32 (B, K), for a network that takes some.

    Returns
    -------
    float32 (B, R, C, S): of the summed logits, added up over the phases.
    """
    images = images.detach().clone().requires_grad_()
    if covariates is None:
        covariates = images.new_empty((len(images), 0))
    with _evaluating(network), _same_random_numbers(images.device), torch.enable_grad():
        logits = call_network(network, images, covariates)
        (gradient,) = torch.autograd.grad(logits.float().sum(), images)
    saliency = gradient.float().abs().sum(1)
    for _ in range(_SMOOTHINGS):
        saliency = functional.avg_pool3d(saliency, 3, stride=1, padding=1, count_include_pad=False)
    return saliency


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    before = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, was_training in before.items():
            module.training = was_training


@contextmanager
def _same_random_numbers(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
