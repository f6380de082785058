"""Networks that compute activations anew in the backward pass train as those that keep them.

Compared in float64, relative to the largest value: in float32, 50 layers of batch norm over few
values make rounding visible.
"""

from __future__ import annotations

import copy

import pytest
import torch
from monai.networks import nets
from torch import Tensor, nn

from radiotrain.networks.cost import checkpoint_activations
from radiotrain.networks.registry import NETWORKS

pytestmark = pytest.mark.slow

# One of each kind of block, stem and shortcut, at a crop that it can read; odd sides included.
CROPS = {
    "ResNet10": (18, 16, 9),
    "ResNet18-A": (18, 16, 9),
    "ResNet50": (18, 16, 9),
    "SEResNet50": (18, 16, 9),
    "SEResNext50": (18, 16, 9),
    "SENet154": (18, 16, 9),
    "DenseNet121": (33, 32, 29),
    "EfficientNet-b0": (33, 32, 34),
    "EfficientNet-b2": (18, 16, 9),
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module", params=CROPS)
def given(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    """A network and images."""
    torch.manual_seed(3)
    network = _build(request.param).double()
    for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm3d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.1)
    images = torch.randn(4, 2, *CROPS[request.param], dtype=torch.float64)
    return network, images


def _build(name: str) -> nn.Module:
    if name == "SENet154":  # one block of each kind does, instead of 170 million parameters
        shallow: nn.Module = nets.SENet154(
            spatial_dims=3, in_channels=2, num_classes=2, layers=(2, 1, 1, 1)
        )
        return shallow
    built: nn.Module = NETWORKS[name].build(2, 2)
    return built


def run(network: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """Return outputs, buffers and the gradients of images and all parameters."""
    network = copy.deepcopy(network)
    images = images.clone().requires_grad_()
    torch.manual_seed(4)
    logits = network(images)
    logits.pow(2).sum().backward()
    assert images.grad is not None
    gradients = {f"grad {n}": p.grad for n, p in network.named_parameters() if p.grad is not None}
    buffers = {n: b for n, b in network.named_buffers() if b.is_floating_point()}
    counts = {n: b for n, b in network.named_buffers() if not b.is_floating_point()}
    return {"logits": logits.detach(), "grad images": images.grad, **gradients, **buffers, **counts}


def assert_same(got: dict[str, Tensor], expected: dict[str, Tensor], relative: float) -> None:
    assert got.keys() == expected.keys()
    scale = max(float(v.abs().max()) for n, v in expected.items() if n.startswith("grad"))
    for name, value in expected.items():
        largest = float(value.abs().max())
        # A gradient that is zero but for rounding (a bias before a batch norm) has no scale.
        allowed = relative * max(largest, 1e-3 * scale if name.startswith("grad") else 1e-6)
        assert float((got[name] - value).abs().max()) <= allowed, name


def test_same_in_training_with_activations_forgotten(given: tuple[nn.Module, Tensor]) -> None:
    """Also the running statistics: the second forward pass must not count the batch again."""
    network, images = given
    forgetful = copy.deepcopy(network)
    checkpoint_activations(forgetful)
    assert list(forgetful.state_dict()) == list(network.state_dict())
    assert_same(run(forgetful.train(), images), run(network.train(), images), 1e-12)
