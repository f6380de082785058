"""Our networks compute what MONAI's modules do, from the same state dicts.

Compared in float64, relative to the largest value: in float32, 50 layers of batch norm over few
values make rounding visible. What we changed is compared part by part in float32 and bfloat16.
"""

from __future__ import annotations

import copy

import pytest
import torch
from monai.networks import nets
from monai.networks.blocks.squeeze_and_excitation import SEResNetBottleneck
from monai.networks.nets.efficientnet import MBConvBlock
from torch import Tensor, nn

from radiotrain.networks.faster import make_faster
from radiotrain.networks.memory import checkpoint_activations
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
def pair(request: pytest.FixtureRequest) -> tuple[nn.Module, nn.Module, Tensor]:
    """MONAI's module, ours with the same weights, and images."""
    torch.manual_seed(3)
    monai = _build(request.param).double()
    for norm in (m for m in monai.modules() if isinstance(m, nn.BatchNorm3d)):
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.normal_(norm.bias, std=0.1)
    images = torch.randn(4, 2, *CROPS[request.param], dtype=torch.float64)
    return monai, make_faster(copy.deepcopy(monai)), images


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


def test_keys_shapes_and_parameter_order_are_monais(
    pair: tuple[nn.Module, nn.Module, Tensor],
) -> None:
    monai, ours, _ = pair
    shapes = [{k: v.shape for k, v in m.state_dict().items()} for m in (monai, ours)]
    assert list(shapes[0].items()) == list(shapes[1].items())
    names = [[n for n, _ in m.named_parameters()] for m in (monai, ours)]
    assert names[0] == names[1]


def test_same_in_evaluation(pair: tuple[nn.Module, nn.Module, Tensor]) -> None:
    monai, ours, images = pair
    # Statistics as after some training; the fresh ones would let activations explode.
    warmed = copy.deepcopy(monai).train()
    for norm in (m for m in warmed.modules() if isinstance(m, nn.BatchNorm3d)):
        norm.momentum = 1.0
    with torch.no_grad():
        warmed(images)
    state = warmed.state_dict()
    for network in (monai, ours):
        network.load_state_dict(state)
    assert_same(run(ours.eval(), images), run(monai.eval(), images), 1e-6)


def test_same_in_training(pair: tuple[nn.Module, nn.Module, Tensor]) -> None:
    monai, ours, images = pair
    assert_same(run(ours.train(), images), run(monai.train(), images), 1e-8)


def test_same_in_training_with_activations_forgotten(
    pair: tuple[nn.Module, nn.Module, Tensor],
) -> None:
    """Also the running statistics: the second forward pass must not count the batch again."""
    _, ours, images = pair
    forgetful = copy.deepcopy(ours)
    checkpoint_activations(forgetful)
    assert list(forgetful.state_dict()) == list(ours.state_dict())
    assert_same(run(forgetful.train(), images), run(ours.train(), images), 1e-12)


def _parts() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """What `make_faster` changes, each by itself, with the shape of its input."""
    torch.manual_seed(5)
    conv = nn.Conv3d(4, 16, 7, stride=2, padding=3, bias=False)
    strided = nn.Conv3d(16, 32, 1, stride=2)
    excite = SEResNetBottleneck(3, inplanes=32, planes=8, groups=1, reduction=4)
    options = {"spatial_dims": 3, "expand_ratio": 6, "se_ratio": 0.25, "image_size": [28] * 3}
    keeping = MBConvBlock(in_channels=8, out_channels=8, kernel_size=5, stride=1, **options)
    halving = MBConvBlock(in_channels=8, out_channels=16, kernel_size=3, stride=2, **options)
    return {
        "stem": (nn.Sequential(conv, nn.MaxPool3d(3, 2, 1), strided), (2, 4, 33, 32, 17)),
        "squeeze-excite": (excite, (2, 32, 9, 8, 7)),
        "inverted residual": (keeping, (2, 8, 9, 8, 7)),
        "inverted residual, stride 2": (halving, (2, 8, 9, 8, 7)),
    }


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("part", _parts())
def test_same_parts_in_the_precisions_of_training(part: str, precision: torch.dtype) -> None:
    monai, shape = _parts()[part]
    ours, images = make_faster(nn.Sequential(copy.deepcopy(monai))), torch.randn(shape)
    exact = run(nn.Sequential(copy.deepcopy(monai).double()), images.double())
    with torch.autocast("cpu", torch.bfloat16, enabled=precision is torch.bfloat16):
        got, expected = run(ours, images), run(nn.Sequential(monai), images)
    assert {n: v.dtype for n, v in got.items()} == {n: v.dtype for n, v in expected.items()}
    scale = max(float(v.norm()) for n, v in exact.items() if n.startswith("grad"))
    rounding = 1e-5 if precision is torch.float32 else 0.05
    for name, value in exact.items():
        # How far off MONAI's own rounding is depends on the processor; ours may be off by as much.
        ours_off, monai_off = (float((r[name] - value).double().norm()) for r in (got, expected))
        least = rounding * max(float(value.double().norm()), 1e-3 * scale)
        assert ours_off <= max(3 * monai_off, least), name


def test_other_modules_are_left_alone() -> None:
    plain = nn.Sequential(nn.Conv3d(1, 1, 1, stride=2), nn.MaxPool3d(2))
    images = torch.randn(1, 1, 8, 8, 8)
    expected = plain(images)
    torch.testing.assert_close(make_faster(plain)(images), expected)
