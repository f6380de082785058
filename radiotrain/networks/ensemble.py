"""Ensemble: mean probability of several networks.

Needs torch alone: exports carry this file with them.

Axis legend: B patients, P phases, R rows, C columns, S slices, M networks, T targets, K encoded
covariates.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_FARTHEST = 13.815509557963774
"""Logit of the probability 1 - 1e-6, nearest to 1 that is calibrated."""


class MeanOfNetworks(nn.Module):
    """Networks of one input, whose probabilities are averaged.

    Parameters
    ----------
    members
        Modules from images (B, P, R, C, S), and covariates where they read any, to logits (B, T).
    num_covariates
        Columns that each member reads, for each learnt its encoding from its own training patients;
        by default none.
    scales
        Slope and intercept of each target (T) for each member, by which its logits are calibrated before
        the mean: slope × logit + intercept. By default the logits are taken as they are.
    """

    slopes: Tensor | None
    intercepts: Tensor | None

    def __init__(
        self,
        members: Sequence[nn.Module],
        num_covariates: Sequence[int] = (),
        scales: Sequence[Sequence[tuple[float, float]]] = (),
    ) -> None:
        super().__init__()
        if scales and len(scales) != len(members):
            raise ValueError(f"{len(scales)} scales of {len(members)} members")
        values = torch.tensor(scales, dtype=torch.float32) if scales else None
        # Not among the weights, which are the members' own.
        self.register_buffer("slopes", None if values is None else values[..., 0], persistent=False)
        self.register_buffer(
            "intercepts", None if values is None else values[..., 1], persistent=False
        )
        self.members = nn.ModuleList(members)
        self.num_covariates = tuple(num_covariates) or (0,) * len(members)

    def member_logits(self, images: Tensor, covariates: Tensor | None = None) -> Tensor:
        """Return each member's logits (B, M, T) as their mean takes them.

        Parameters
        ----------
        images
            (B, P, R, C, S).
        covariates
            (B, K), the members' columns one after the other; None where no member reads any.
        """
        found = []
        start = 0
        for member, num in zip(self.members, self.num_covariates, strict=True):
            if num and covariates is not None:
                found.append(member(images, covariates[:, start : start + num]))
            else:
                found.append(member(images))
            start += num
        logits = torch.stack(found, dim=1)
        if self.slopes is None or self.intercepts is None:
            return logits
        # As far from 0 as a probability counts where the scales were fitted.
        return self.slopes * torch.clamp(logits, -_FARTHEST, _FARTHEST) + self.intercepts

    def forward(self, images: Tensor, covariates: Tensor | None = None) -> Tensor:
        """Return logits (B, T) whose sigmoid is the members' mean probability."""
        return self.combine(self.member_logits(images, covariates))

    def combine(self, logits: Tensor) -> Tensor:
        """Return the logits (B, T) of the mean probability of logits (B, M, T)."""
        if len(self.members) == 1:
            return logits[:, 0]
        # The mean's log odds, without a probability that rounds to 0 or 1 on the way.
        positive = torch.logsumexp(functional.logsigmoid(logits), dim=1)
        negative = torch.logsumexp(functional.logsigmoid(-logits), dim=1)
        return positive - negative
