"""The losses: class-weighted cross-entropy and focal loss, both skipping missing labels.

Axis legend: B patients, T targets.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from preprocessing.cohort import MISSING_LABEL


def masked_losses(
    logits: Tensor, labels: Tensor, positive_weight: Tensor, focal_gamma: float = 0.0
) -> Tensor:
    """Return the weighted loss of each label, 0 where it is missing.

    Parameters
    ----------
    logits
        Floating (B, T).
    labels
        Integer (B, T) of 0, 1 or -1 (missing).
    positive_weight
        float32 (T,), weight of a positive label; a negative one weighs 1.
    focal_gamma
        γ of the focal loss: a label whose right answer has probability p counts (1 - p)^γ.
        0 is cross-entropy.

    Returns
    -------
    float32 (B, T).

    References
    ----------
    Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equation 4.
    """
    logits, known = logits.float(), labels != MISSING_LABEL
    wanted = labels.clamp(min=0).float()
    losses = functional.binary_cross_entropy_with_logits(
        logits, wanted, pos_weight=positive_weight, reduction="none"
    )
    if focal_gamma > 0:
        # log(1 - p) from the logit: 1 - p itself rounds to 0 for labels that are surely right.
        wrong = torch.where(wanted > 0, -logits, logits)
        losses = losses * torch.exp(focal_gamma * functional.logsigmoid(wrong))
    # where, not a product: an infinite loss under the mask would become NaN.
    return torch.where(known, losses, torch.zeros_like(losses))


def masked_loss(
    logits: Tensor,
    labels: Tensor,
    positive_weight: Tensor,
    normaliser: float | None = None,
    focal_gamma: float = 0.0,
) -> Tensor:
    """Return the mean of `masked_losses` over the labels that are there.

    Parameters
    ----------
    normaliser
        What the sum is divided by; the number of labels there by default. Workers that
        share a global batch all pass its number, so that their losses add up to the whole.

    Returns
    -------
    float32 scalar; 0 with zero gradients when no label is there.
    """
    total = masked_losses(logits, labels, positive_weight, focal_gamma).sum()
    known = labels != MISSING_LABEL
    count = known.sum().clamp(min=1) if normaliser is None else max(normaliser, 1.0)
    return total / count


def positive_weights(labels: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return negatives / positives of each target, 1 where a class is missing.

    Parameters
    ----------
    labels
        int8 (N, T) of the training patients.
    """
    positive = np.sum(labels == 1, axis=0)
    negative = np.sum(labels == 0, axis=0)
    both = (positive > 0) & (negative > 0)
    return np.where(both, negative / np.maximum(positive, 1), 1.0).astype(np.float32)
