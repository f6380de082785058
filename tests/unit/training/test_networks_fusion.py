from __future__ import annotations

import torch

from radiotrain.networks.fusion import LateFusion
from radiotrain.networks.registry import build_network


def fused() -> LateFusion:
    torch.manual_seed(0)
    return LateFusion(build_network("ResNet10-narrow", 2, 3, (16, 16, 8)), 5, 3)


def test_training_begins_with_the_image_network() -> None:
    network = fused().eval()
    images = torch.randn(2, 2, 16, 16, 8)
    assert torch.equal(network(images, torch.randn(2, 5)), network.network(images))


def test_gradients_reach_images_and_covariates() -> None:
    network = fused()
    network(torch.randn(2, 2, 16, 16, 8), torch.randn(2, 5)).pow(2).sum().backward()
    gradients = {name: p.grad for name, p in network.named_parameters()}
    assert {"linear.weight", "network.conv1.weight"} <= gradients.keys()
    assert [n for n, g in gradients.items() if g is None or not g.abs().max() > 0] == []


def test_state_dict_has_the_networks_keys_and_one_more() -> None:
    network = fused()
    assert set(network.state_dict()) == {
        "linear.weight",
        *(f"network.{key}" for key in network.network.state_dict()),
    }
