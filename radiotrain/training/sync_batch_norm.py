"""Batch norm over the global batch, on CPUs too.

Axis legend: B patients, C channels; any number of axes follows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn


def synchronise_batch_norm(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the network with every batch norm taking its statistics over all workers.

    torch's own does so on GPUs only. Parameters, buffers and their names stay.
    """
    if device.type != "cpu":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]
        return converted
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            # A class of its own, not another module: hooks, state and names stay as they are.
            module.__class__ = _class_over_workers(type(module))  # type: ignore[assignment]
    return network


def _class_over_workers(kind: type[nn.Module]) -> type[nn.Module]:
    return kind if issubclass(kind, _OverWorkers) else type(kind.__name__, (_OverWorkers, kind), {})


class _Sum(torch.autograd.Function):
    """A tensor summed over all workers; so are its gradients."""

    @staticmethod
    def forward(context: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone()
        distributed.all_reduce(total)
        return total


def _sum(value: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(value)  # type: ignore[no-untyped-call]
    return total


class _OverWorkers(nn.Module):
    """In training, batch norm over the patients of all workers (two passes, as accurate as one)."""

    weight: Tensor
    bias: Tensor
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor
    eps: float
    momentum: float

    def forward(self, values: Tensor) -> Tensor:
        """Normalise floating (B, C, …)."""
        if not self.training or distributed.get_world_size() == 1:
            normalised: Tensor = super().forward(values)
            return normalised
        axes = [0, *range(2, values.ndim)]
        shape = (1, -1, *(1 for _ in axes[1:]))
        count = torch.tensor(float(values.numel() // values.shape[1]))
        distributed.all_reduce(count)
        mean = _sum(values.sum(axes)) / count
        centred = values - mean.view(shape)
        variance = _sum((centred * centred).sum(axes)) / count
        self._remember(mean.detach(), variance.detach() * count / (count - 1))
        factor = self.weight * torch.rsqrt(variance + self.eps)
        return centred * factor.view(shape) + self.bias.view(shape)

    @torch.no_grad()
    def _remember(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        self.num_batches_tracked += 1
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased_variance, self.momentum)
