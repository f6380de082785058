"""Saliency map and pictures of one patient.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor

from radiotrain.evaluation.saliency.attribution import Explained, integrated_gradients
from radiotrain.evaluation.saliency.pictures import jpeg_uri
from radiotrain.evaluation.saliency.scores import points_inside, share_inside
from radiotrain.inference.model import TrainedModel
from radiotrain.inference.prepare import Prepared
from radiotrain.inference.probability import encode

_LARGEST_SHARE_MISSING = 0.5
# Below this there is nothing to explain.
_LEAST_LOGITS = 1e-3
# To 0 and 1, of a probability whose logit is taken.
_NEAREST = 1e-15


@dataclass(frozen=True)
class Attention:
    """One target's map, and what it says in numbers.

    Parameters
    ----------
    map
        float32 (R, C, S), not negative, 0 in the padding.
    share_in_tumour, tumour_share
        Of the map inside the tumour region, and the region's share of the voxels, which is what
        chance would give; None where it is not defined.
    highest_in_tumour
        Whether the map's highest voxel lies in the region.
    num_steps
        Of the path from the baseline to the image.
    completeness_error
        How far the attributions are from adding up to what there is to explain, in logits.
    explained_logits
        What there is to explain: logit of the image less that of the baseline.
    """

    map: NDArray[np.float32]
    share_in_tumour: float | None
    tumour_share: float | None
    highest_in_tumour: bool
    num_steps: int
    completeness_error: float
    explained_logits: float

    @property
    def share_missing(self) -> float:
        """How far the attributions are from adding up, as a share of what there is to explain."""
        return self.completeness_error / max(abs(self.explained_logits), _LEAST_LOGITS)

    @property
    def adds_up(self) -> bool:
        """Whether they come near enough for the map to say something of the answer."""
        return self.share_missing <= _LARGEST_SHARE_MISSING


def look(
    model: TrainedModel,
    target: int,
    images: Tensor,
    patient: Prepared,
    steps: int,
    probabilities: NDArray[np.float64],
) -> Attention:
    """Look at one target of a model.

    Parameters
    ----------
    target
        Which of the model's.
    images
        float32 (1, P, R, C, S), normalised.
    steps
        Each costs a forward and a backward pass of every network.
    probabilities
        float64 (M,), what the networks gave for the images, as their mean takes it.
    """
    explained = Explained(
        tuple(member.trained.network for member in model.members),
        tuple(encode(member, patient.record).to(model.device) for member in model.members),
        target,
        tuple(
            member.scales[model.rules[target].target]
            for member in model.members
            if member.scales is not None
        ),
    )
    own = float(logit(np.clip(probabilities, _NEAREST, 1 - _NEAREST)).mean())
    found = integrated_gradients(explained, images[0].to(model.device), steps, own)
    tumour, padding = patient.tumour, patient.padding
    saliency = np.where(padding, 0, found.saliency).astype(np.float32)
    share, chance = share_inside(saliency, tumour, padding)
    return Attention(
        map=saliency,
        share_in_tumour=None if math.isnan(share) else share,
        tumour_share=None if math.isnan(chance) else chance,
        highest_in_tumour=points_inside(saliency, tumour, padding),
        num_steps=steps,
        completeness_error=found.completeness_error,
        explained_logits=found.logit - found.baseline_logit,
    )


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
