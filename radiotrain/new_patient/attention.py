"""Where a model looks in one patient's images: integrated gradients, as in the report of a test."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit
from torch import Tensor

from radiotrain.evaluation.saliency.attribution import integrated_gradients
from radiotrain.evaluation.saliency.explained import Explained
from radiotrain.evaluation.saliency.scores import points_inside, share_inside
from radiotrain.new_patient.prepare import Prepared
from radiotrain.new_patient.probability import encode
from radiotrain.new_patient.trained_model import TrainedModel

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
