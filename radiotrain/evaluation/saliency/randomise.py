"""Networks with their weights drawn anew: a map that stays the same shows the image, not the network.

References
----------
Adebayo et al.: Sanity checks for saliency maps. NeurIPS 2018.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from radiotrain.evaluation.saliency.explained import Explained


def with_random_weights(explained: Explained, *, last_layer_only: bool, seed: int) -> Explained:
    """Return the same networks with the last layer's, or all layers', weights drawn anew."""
    networks = tuple(
        _randomised(network, last_layer_only, seed + n)
        for n, network in enumerate(explained.networks)
    )
    return replace(explained, networks=networks)


def _randomised(network: nn.Module, last_layer_only: bool, seed: int) -> nn.Module:
    found = copy.deepcopy(network).eval()
    layers = _drawable(found)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer in layers[-1:] if last_layer_only else layers:
            layer.reset_parameters()
    return found


def _drawable(network: nn.Module) -> Sequence[Any]:
    """Return layers whose weights are drawn, in their order; norms keep what they have seen."""
    kinds = (nn.Linear, nn.modules.conv._ConvNd)
    return [module for module in network.modules() if isinstance(module, kinds)]
