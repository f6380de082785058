"""Late fusion of images and clinical covariates.

Axis legend: B patients, P phases, R rows, C columns, S slices, T targets, K encoded covariates.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LateFusion(nn.Module):
    """Logits of an image network plus a linear function of clinical covariates.

    The linear function begins at zero, so that training begins with the image network, or where
    `begin_at` puts it, so that training begins with what covariates alone tell.

    Parameters
    ----------
    network
        Module from images (B, P, R, C, S) to logits (B, T).
    num_covariates
        K, the columns of `radiotrain.data.covariates.CovariateEncoder`.
    num_targets
        T.
    """

    def __init__(self, network: nn.Module, num_covariates: int, num_targets: int) -> None:
        super().__init__()
        self.network = network
        # A bias would be a second one beside that of the network's head.
        self.linear = nn.Linear(num_covariates, num_targets, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, images: Tensor, covariates: Tensor) -> Tensor:
        """Return logits (B, T) of images (B, P, R, C, S) and covariates (B, K)."""
        logits: Tensor = self.network(images) + self.linear(covariates)
        return logits

    def begin_at(self, weights: Tensor, intercept: Tensor, *, keep_head: bool = False) -> None:
        """Begin with a logistic regression of the covariates, the images adding nothing yet.

        Parameters
        ----------
        weights
            (T, K).
        intercept
            (T,), which the bias of the image network's last linear layer takes.
        keep_head
            Leave that layer's weights, which were published, and add to its bias.
        """
        head = [part for part in self.network.modules() if isinstance(part, nn.Linear)][-1]
        with torch.no_grad():
            self.linear.weight.copy_(weights)
            if not keep_head:
                head.weight.zero_()
                head.bias.zero_()
            head.bias.add_(intercept)


def call_network(network: nn.Module, images: Tensor, covariates: Tensor) -> Tensor:
    """Return logits (B, T) of images (B, P, R, C, S) and covariates (B, K), K being 0 for none."""
    logits: Tensor = network(images, covariates) if covariates.shape[1] else network(images)
    return logits
