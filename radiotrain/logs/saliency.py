"""Where in its input a network looks, for the pictures of a run.

Axis legend: B patients, P phases, R rows, C columns, S slices, K encoded covariates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from radiotrain.networks.fusion import call_network

_SMOOTHINGS = 2


def input_gradient(network: nn.Module, images: Tensor, covariates: Tensor | None = None) -> Tensor:
    """Return how much each voxel moves the logits: the gradient's absolute value, smoothed.

    The network is left as it was: its modes, gradients, running means, and the random
    generators, so that training goes on as if nothing had been looked at.

    Parameters
    ----------
    network
        Not wrapped for several workers.
    images
        float32 (B, P, R, C, S) on the network's device.
    covariates
        float32 (B, K), for a network that takes some.

    Returns
    -------
    float32 (B, R, C, S): of the summed logits, added up over the phases.
    """
    images = images.detach().clone().requires_grad_()
    if covariates is None:
        covariates = images.new_empty((len(images), 0))
    with _evaluating(network), _same_random_numbers(images.device), torch.enable_grad():
        logits = call_network(network, images, covariates)
        (gradient,) = torch.autograd.grad(logits.float().sum(), images)
    saliency = gradient.float().abs().sum(1)
    for _ in range(_SMOOTHINGS):
        saliency = functional.avg_pool3d(saliency, 3, stride=1, padding=1, count_include_pad=False)
    return saliency


@contextmanager
def _evaluating(network: nn.Module) -> Iterator[None]:
    before = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, was_training in before.items():
            module.training = was_training


@contextmanager
def _same_random_numbers(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield
