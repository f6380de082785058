"""Several networks as one, whose probability is the mean of theirs.

Needs torch alone: exports carry this file with them.

Axis legend: B patients, P phases, R rows, C columns, S slices, M networks, T targets, K encoded
covariates.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class MeanOfNetworks(nn.Module):
    """Networks of one input, whose probabilities are averaged.

    Parameters
    ----------
    members
        Modules from images (B, P, R, C, S), and covariates where they read any, to logits (B, T).
    num_covariates
        Columns that each member reads, for each learnt its encoding from its own training patients;
        by default none.
    """

    def __init__(self, members: Sequence[nn.Module], num_covariates: Sequence[int] = ()) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.num_covariates = tuple(num_covariates) or (0,) * len(members)

    def member_logits(self, images: Tensor, covariates: Tensor | None = None) -> Tensor:
        """Return each member's logits (B, M, T).

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
        return torch.stack(found, dim=1)

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
