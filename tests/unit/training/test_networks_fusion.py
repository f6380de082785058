from __future__ import annotations

import pytest
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


@pytest.mark.parametrize(
    "name", ["ResNet10-narrow", "SEResNet50", "DenseNet121", "EfficientNet-b0"]
)
def test_training_begins_with_a_logistic_regression_in_every_family(name: str) -> None:
    network = LateFusion(build_network(name, 2, 3, (32, 32, 32)), 5, 3).eval()
    weights, intercept = torch.randn(3, 5), torch.randn(3)
    network.begin_at(weights, intercept)
    covariates = torch.randn(2, 5)
    with torch.no_grad():
        found = network(torch.randn(2, 2, 32, 32, 32), covariates)
    assert torch.allclose(found, covariates @ weights.T + intercept, atol=1e-6)


def test_a_published_head_stays() -> None:
    network = fused().eval()
    images, weights, intercept = torch.randn(2, 2, 16, 16, 8), torch.randn(3, 5), torch.randn(3)
    covariates = torch.randn(2, 5)
    expected = network.network(images) + covariates @ weights.T + intercept
    network.begin_at(weights, intercept, keep_head=True)
    assert torch.allclose(network(images, covariates), expected, atol=1e-6)


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
