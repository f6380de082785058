"""What is explained: a model's mean logit of one target, as a function of one patient's images.

Axis legend: B images, P phases, R rows, C columns, S slices, K encoded covariates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from radiotrain.evaluation.statistics.member_scale import MemberScale
from radiotrain.networks.fusion import call_network


@dataclass(frozen=True)
class Explained:
    """A model's networks, asked about one patient.

    Parameters
    ----------
    networks
        In eval mode; those of an ensemble count equally, after `scales`.
    covariates
        float32 (1, K) of the patient for each network; K is 0 for none. They are not explained.
    target
        Which logit.
    scales
        Of the target for each network, by which its logits are calibrated first; empty: as they are.
    """

    networks: tuple[nn.Module, ...]
    covariates: tuple[Tensor, ...]
    target: int
    scales: tuple[MemberScale, ...] = ()

    def logits(self, images: Tensor) -> Tensor:
        """Return the mean logit of each image: (B, P, R, C, S) to (B,)."""
        total = images.new_zeros(len(images))
        for n, (network, covariates) in enumerate(zip(self.networks, self.covariates, strict=True)):
            each = covariates.expand(len(images), -1)
            logits = call_network(network, images, each).float()[:, self.target]
            if self.scales:
                logits = self.scales[n].slope * logits + self.scales[n].intercept
            total = total + logits
        return total / len(self.networks)

    def logits_without_gradient(self, images: Sequence[Tensor], batch: int) -> Tensor:
        """Return the mean logits of images (P, R, C, S) each, a few at a time: (B,)."""
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), batch):
                parts.append(self.logits(torch.stack(list(images[start : start + batch]))))
        return torch.cat(parts).cpu() if parts else torch.empty(0)
