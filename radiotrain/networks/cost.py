"""Parameters, operations and memory of a network.

A residual block, or a whole dense block, keeps its input alone until its gradient is due.

Axis legend: B patients, P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from monai.networks.blocks.squeeze_and_excitation import SEBlock
from monai.networks.nets.densenet import _DenseBlock
from monai.networks.nets.efficientnet import MBConvBlock
from monai.networks.nets.resnet import ResNetBlock, ResNetBottleneck
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from radiotrain.networks.registry import NETWORKS, build_network, check_network_name

# A dense layer's input is all that came before it in its block: kept for each layer, nothing
# would be gained.
KEPT_BY_INPUT = (ResNetBlock, ResNetBottleneck, SEBlock, MBConvBlock, _DenseBlock)


def checkpoint_activations(module: nn.Module) -> None:
    """Let the blocks of a MONAI classifier, in place, forget their activations until backward.

    Outputs, gradients, random draws, running statistics and keys of the state dict stay the same;
    a step takes about a third longer. Blocks in evaluation mode are computed as before.
    """
    blocks: list[nn.Module] = [m for m in module.modules() if isinstance(m, KEPT_BY_INPUT)]
    for block in blocks:
        if not isinstance(block, _Forgetful):
            block.__class__ = _forgetful(type(block))  # type: ignore[arg-type]


class _Forgetful(nn.Module):
    """What is put before a block's class, so that its forward pass is computed twice."""

    def forward(self, x: Any) -> Any:
        if not self.training:
            return super().forward(x)
        return checkpoint(super().forward, x, use_reentrant=False, context_fn=self._contexts)

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _statistics_kept(self)


@cache
def _forgetful(block: type[nn.Module]) -> type[nn.Module]:
    """Return a block's class with `_Forgetful` before it."""
    return type(f"Forgetful{block.__name__}", (_Forgetful, block), {})


@contextmanager
def _statistics_kept(block: nn.Module) -> Iterator[None]:
    """Let batch norms count the batch in copies of their statistics, which are thrown away."""
    norms = [part for part in block.modules() if isinstance(part, _BatchNorm)]
    kept = [dict(norm._buffers) for norm in norms]
    for norm in norms:
        norm._buffers.update({k: v.clone() for k, v in norm._buffers.items() if v is not None})
    try:
        yield
    finally:
        for norm, buffers in zip(norms, kept, strict=True):
            norm._buffers.update(buffers)


# Batch norm needs two values a channel where a small crop ends in a single voxel.
_BATCH = 2


@dataclass(frozen=True)
class NetworkCost:
    """What one sample (a patient's images, float32) costs a network.

    Parameters
    ----------
    forward_gflop, training_gflop
        Thousand million multiplications and additions of convolutions and linear layers, of the
        forward pass alone and of forward and backward pass.
    activation_mb
        10^6 bytes kept for the backward pass.
    checkpointed_mb
        As many where blocks keep their inputs alone (``speed.activation_checkpointing``): these, what
        is between blocks, and the largest block's activations when its turn has come.
    smallest_side
        Of a crop, in voxels, for each of the three axes.
    """

    name: str
    num_parameters: int
    forward_gflop: float
    training_gflop: float
    activation_mb: float
    checkpointed_mb: float
    smallest_side: int
    summary: str


@cache
def network_cost(
    name: str, num_phases: int, num_targets: int, crop_shape: tuple[int, int, int]
) -> NetworkCost:
    """Count a network's parameters, arithmetic and activations.

    Parameters
    ----------
    num_phases
        P, the input's channels.
    num_targets
        Logits.
    crop_shape
        (R, C, S).

    Raises
    ------
    InputError
        If the name is unknown or the crop too small.
    """
    family = NETWORKS[check_network_name(name)]
    with torch.device("meta"):
        network = build_network(name, num_phases, num_targets, crop_shape)
        images = torch.empty(_BATCH, num_phases, *crop_shape)
    for part in network.modules():
        if type(part) is nn.BatchNorm3d:
            part.__class__ = _NormOfShapes
    forward, of_images = _count_flops(network)
    activations, checkpointed = _count_saved_bytes(network, images)
    return NetworkCost(
        name=name,
        num_parameters=sum(p.numel() for p in network.parameters()),
        forward_gflop=sum(forward) / _BATCH / 1e9,
        training_gflop=(3 * sum(forward) - sum(of_images)) / _BATCH / 1e9,
        activation_mb=activations / _BATCH / 1e6,
        checkpointed_mb=checkpointed / _BATCH / 1e6,
        smallest_side=family.smallest_side,
        summary=family.summary,
    )


class _KeptByNorm(torch.autograd.Function):
    """What torch's batch norm keeps for its backward pass, and a result of its shape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, *own: Tensor) -> Tensor:
        """Return (B, C, R, K, S) from x of that shape and weight, running mean and variance (C,)."""
        of_batch = (torch.empty_like(own[0]), torch.empty_like(own[0]))
        ctx.save_for_backward(x, *own, *of_batch)
        return torch.empty_like(x)


class _NormOfShapes(nn.BatchNorm3d):
    """Batch norm on the meta device, where torch's takes half of the time to find shapes."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _KeptByNorm.apply(x, self.weight, self.running_mean, self.running_var)  # type: ignore[no-untyped-call]
        return out


def _count_flops(network: nn.Module) -> tuple[list[int], list[int]]:
    """Return lists that the next forward pass fills: of all layers, and of the first one.

    torch's own counter takes grouped convolutions for full ones in the backward pass. There, a
    layer's gradients of weights and input cost its forward pass each; that of images is not needed.
    """
    layers: list[int] = []
    first: list[int] = []

    def count(layer: nn.Module, _: Any, output: Tensor) -> None:
        weight: Any = layer.weight
        layers.append(2 * output.numel() * weight[0].numel())
        if not first:
            first.append(layers[-1])

    for layer in network.modules():
        if isinstance(layer, (nn.Conv3d, nn.Linear)):
            layer.register_forward_hook(count)
    return layers, first


def _count_saved_bytes(network: nn.Module, images: Tensor) -> tuple[int, int]:
    """Run a forward pass; return the bytes that it keeps for the backward pass.

    Returns
    -------
    As it is, and with the blocks' activations computed anew.
    """
    parameters = {p.untyped_storage()._cdata for p in network.parameters()}
    # The storages themselves are kept: a freed one's number may be given to another.
    saved: dict[int, torch.UntypedStorage] = {}
    begun: list[int] = []
    blocks: list[int] = []
    inputs: dict[int, torch.UntypedStorage] = {}

    def total() -> int:
        return sum(storage.nbytes() for storage in saved.values())

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in parameters:
            saved[storage._cdata] = storage
        return tensor

    def enter(_: nn.Module, given: Any) -> None:
        begun.append(total())
        if len(begun) == 1:
            storage = given[0].untyped_storage()
            inputs[storage._cdata] = storage

    def leave(_: nn.Module, __: Any, ___: Any) -> None:
        before = begun.pop()
        if not begun:
            blocks.append(total() - before)

    for module in network.modules():
        if isinstance(module, KEPT_BY_INPUT):
            module.register_forward_pre_hook(enter)
            module.register_forward_hook(leave)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        network(images)
    inputs_bytes = sum(storage.nbytes() for storage in inputs.values())
    return total(), total() - sum(blocks) + inputs_bytes + max(blocks, default=0)
