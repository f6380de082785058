"""The loss: class-weighted binary cross-entropy that skips missing labels.

Axis legend: B patients, T targets.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from preprocessing.cohort import MISSING_LABEL


def masked_bce(
    logits: Tensor, labels: Tensor, positive_weight: Tensor, normaliser: float | None = None
) -> Tensor:
    """Return the mean weighted cross-entropy over the labels that are there.

    Parameters
    ----------
    logits
        Floating (B, T).
    labels
        Integer (B, T) of 0, 1 or -1 (missing).
    positive_weight
        float32 (T,), weight of a positive label; a negative one weighs 1.
    normaliser
        What the sum is divided by; the number of labels there by default. Workers that
        share a global batch all pass its number, so that their losses add up to the whole.

    Returns
    -------
    float32 scalar; 0 with zero gradients when no label is there.
    """
    known = labels != MISSING_LABEL
    losses = functional.binary_cross_entropy_with_logits(
        logits.float(),
        labels.clamp(min=0).float(),
        pos_weight=positive_weight,
        reduction="none",
    )
    # where, not a product: an infinite loss under the mask would become NaN.
    total = torch.where(known, losses, torch.zeros_like(losses)).sum()
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
