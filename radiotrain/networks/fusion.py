"""Late fusion: clinical covariates have a say beside the images.

Axis legend: B patients, P phases, R rows, C columns, S slices, T targets, K encoded covariates.
"""

from __future__ import annotations

from torch import Tensor, nn


class LateFusion(nn.Module):
    """Logits of an image network plus a linear function of clinical covariates.

    The linear function begins at zero, so that training begins with the image network.

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
