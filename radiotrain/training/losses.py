"""Losses that skip missing labels.

Axis legend: B patients, T targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from preprocessing.cohort.cohort import MISSING_LABEL
from radiotrain.config.run_config import TrainConfig
from radiotrain.data.sampler import expected_draws


def masked_losses(
    logits: Tensor, labels: Tensor, class_weights: Tensor, focal_gamma: float = 0.0
) -> Tensor:
    """Return the weighted loss of each label, 0 where it is missing.

    Parameters
    ----------
    logits
        Floating (B, T).
    labels
        Integer (B, T) of 0, 1 or -1 (missing).
    class_weights
        float32 (2, T), weights of a negative and of a positive label, above 0.
    focal_gamma
        γ of the focal loss: a label whose right answer has probability p counts (1 - p)^γ.
        0 is cross-entropy. Class weights are the α of its equation 5.

    Returns
    -------
    float32 (B, T).

    References
    ----------
    Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, equations 4 and 5.
    """
    logits, known = logits.float(), labels != MISSING_LABEL
    wanted = labels.clamp(min=0).float()
    negative, positive = class_weights
    losses = negative * functional.binary_cross_entropy_with_logits(
        logits, wanted, pos_weight=positive / negative, reduction="none"
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
    class_weights: Tensor,
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
    total = masked_losses(logits, labels, class_weights, focal_gamma).sum()
    known = labels != MISSING_LABEL
    count = known.sum().clamp(min=1) if normaliser is None else max(normaliser, 1.0)
    return total / count


@dataclass(frozen=True)
class LossWeights:
    """How much labels weigh in training and in validation.

    Parameters
    ----------
    training
        float32 (2, T): of a label that is drawn, negatives first.
    validation
        float32 (2, T): of a label of a patient; each patient is validated once. A label weighs
        as much as one of its class in training, all draws of an epoch together.
    """

    training: NDArray[np.float32]
    validation: NDArray[np.float32]

    @staticmethod
    def of(labels: NDArray[np.int8], train: TrainConfig) -> LossWeights:
        """Return the weights of a run.

        Parameters
        ----------
        labels
            int8 (N, T) of the training patients.
        """
        if train.class_weight_rule == "patients":
            weights = positive_weights(labels) if train.class_weights else np.ones(labels.shape[1])
            both = np.stack([np.ones_like(weights), weights]).astype(np.float32)
            return LossWeights(both, both)
        draws = draws_of(labels, train)
        drawn, known = _per_class(labels, draws), _per_class(labels, np.ones_like(draws))
        weights = _mean_one(drawn) if train.class_weights else np.ones_like(drawn)
        # A class that no training patient has is drawn as often as it would be without weights.
        per_patient = np.divide(drawn, known, out=np.ones_like(drawn), where=known > 0)
        return LossWeights(weights.astype(np.float32), (weights * per_patient).astype(np.float32))


def draws_of(labels: NDArray[np.int8], train: TrainConfig) -> NDArray[np.float64]:
    """Return how often an epoch draws each training patient, on average: float64 (N,)."""
    return expected_draws(labels[:, 0]) if train.sampling == "balanced" else np.ones(len(labels))


def _per_class(labels: NDArray[np.int8], draws: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how often labels of each class are drawn: float64 (2, T), negatives first."""
    return np.stack([draws @ (labels == value) for value in (0, 1)])


def _mean_one(drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights (2, T) by which each class has half of the draws (2, T); 1 where one is missing."""
    both = np.all(drawn > 0, axis=0)
    half = drawn.sum(axis=0) / 2
    weights: NDArray[np.float64] = np.divide(
        half, drawn, out=np.ones_like(drawn), where=both & (drawn > 0)
    )
    return weights


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
