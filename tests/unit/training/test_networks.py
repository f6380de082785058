from __future__ import annotations

import json
import subprocess
import sys
from functools import cache

import pytest
import torch
from monai.networks import nets
from torch.autograd.graph import saved_tensors_hooks

from preprocessing.common.errors import InputError
from radiotrain.networks.cost import network_cost
from radiotrain.networks.registry import NETWORKS, build_network, check_network_name
from tests.commands import call

# MONAI's own modules, and their parameters at 4 phases and 1 target. The 2D originals have their
# published numbers; these have one more axis in every kernel.
EXPECTED = {
    "ResNet10": (nets.ResNet, 14.4),
    "ResNet18": (nets.ResNet, 33.2),
    "ResNet34": (nets.ResNet, 63.5),
    "ResNet50": (nets.ResNet, 46.2),
    "ResNet101": (nets.ResNet, 85.3),
    "ResNet152": (nets.ResNet, 117.4),
    "ResNet200": (nets.ResNet, 126.6),
    "ResNet18-A": (nets.ResNet, 33.1),
    "ResNet34-A": (nets.ResNet, 63.4),
    "ResNet10-narrow": (nets.ResNet, 0.9),
    "SEResNet50": (nets.SEResNet50, 48.8),
    "SEResNet101": (nets.SEResNet101, 90.0),
    "SEResNet152": (nets.SEResNet152, 124.1),
    "SEResNext50": (nets.SEResNext50, 28.4),
    "SEResNext101": (nets.SEResNext101, 52.3),
    "SENet154": (nets.SENet154, 170.2),
    "DenseNet121": (nets.DenseNet121, 11.3),
    "DenseNet169": (nets.DenseNet169, 18.6),
    "DenseNet201": (nets.DenseNet201, 25.4),
    "DenseNet264": (nets.DenseNet264, 40.3),
    "EfficientNet-b0": (nets.EfficientNetBN, 4.7),
    "EfficientNet-b1": (nets.EfficientNetBN, 7.5),
    "EfficientNet-b2": (nets.EfficientNetBN, 8.7),
    "EfficientNet-b3": (nets.EfficientNetBN, 12.1),
    "EfficientNet-b4": (nets.EfficientNetBN, 19.6),
    "EfficientNet-b5": (nets.EfficientNetBN, 31.1),
    "EfficientNet-b6": (nets.EfficientNetBN, 44.4),
    "EfficientNet-b7": (nets.EfficientNetBN, 68.8),
    "EfficientNet-b8": (nets.EfficientNetBN, 90.8),
    "EfficientNet-L2": (nets.EfficientNetBN, 492.7),
}


@cache
def built(name: str) -> torch.nn.Module:
    """Build in training mode, without allocating anything; once for all tests, which keep it."""
    with torch.device("meta"):
        return NETWORKS[name].build(4, 3)


def outputs(network: torch.nn.Module, side: int) -> torch.Size:
    """Shape for two patients, without computing anything."""
    return network(torch.zeros(2, 4, side, side, side, device="meta")).shape


@pytest.mark.parametrize("name", NETWORKS)
def test_smallest_input_is_the_smallest(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Keeps any shape; torch takes more time to find that out than for all else.
    monkeypatch.setattr(torch.nn.functional, "batch_norm", lambda x, *_, **__: x)
    network, side = built(name), NETWORKS[name].smallest_side
    assert outputs(network, side) == (2, 3)
    if side > 1:
        with pytest.raises((RuntimeError, ValueError)):
            outputs(network, side - 1)


@pytest.mark.parametrize("name", ["SEResNet50", "DenseNet121", "EfficientNet-b0"])
def test_too_small_a_crop_is_refused(name: str) -> None:
    side = NETWORKS[name].smallest_side
    with pytest.raises(InputError, match="preprocess with a larger"):
        build_network(name, 4, 1, (64, 64, side - 1))


def test_efficientnets_read_every_voxel_of_the_usual_crop() -> None:
    """MONAI's padding is that of the 2D image size, whatever the crop."""
    for name in (name for name in NETWORKS if name.startswith("EfficientNet")):
        network = built(name)
        blocks = [block for stage in network._blocks for block in stage]
        steps = [(network._conv_stem, network._conv_stem_padding)]
        steps += [(b._depthwise_conv, b._depthwise_conv_padding) for b in blocks]
        for size in (128, 68):
            for conv, padding in steps:
                before, after = getattr(padding, "padding", (0, 0))[:2]
                kernel, stride = conv.kernel_size[0], conv.stride[0]
                after_conv = (size + before + after - kernel) // stride + 1
                last_read = (after_conv - 1) * stride + kernel - 1 - before
                assert last_read >= size - 1, name
                size = after_conv


def test_names_stand_for_monai_modules_of_known_size() -> None:
    assert set(NETWORKS) == set(EXPECTED)
    for name, (module, millions) in EXPECTED.items():
        network = built(name)
        assert type(network) is module
        # 3 targets there, 1 here.
        head = list(network.parameters())[-2:]
        num_parameters = sum(p.numel() for p in network.parameters())
        num_parameters -= sum(p.numel() * 2 // 3 for p in head)
        assert num_parameters / 1e6 == pytest.approx(millions, abs=0.06), name


def test_network_takes_any_phases_and_targets() -> None:
    network = build_network("ResNet10-narrow", 3, 2, (16, 16, 8)).eval()
    assert network(torch.zeros(1, 3, 16, 16, 8)).shape == (1, 2)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("seresnet50", "SEResNet50"),
        ("Resnet-34", "ResNet34"),
        ("efficientnet_b0", "EfficientNet-b0"),
    ],
)
def test_unknown_name_says_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(InputError, match=rf"unknown network '{name}' \(did you mean '{nearest}'\?"):
        check_network_name(name)


def test_naming_a_network_imports_neither_torch_nor_monai() -> None:
    code = (
        "import sys, radiotrain.networks.registry as r; r.check_network_name('ResNet18');"
        "assert not {'torch', 'monai'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# GFLOP forward and training, MB of activations at 4×128×128×68. Counted independently, with
# torch's flop counter (corrected for grouped convolutions) and saved tensors; there, the gradient
# of the images, which training does not need, was left out where no convolution is grouped.
COUNTED = {
    "ResNet18": (53, 136, 153),
    "SEResNet50": (62, 163, 463),
    "SEResNext101": (63, 188 - 24.4, 707),
    "DenseNet121": (63, 165, 509),
    "EfficientNet-b0": (3.4, 10 - 0.96, 541),
}


@pytest.mark.parametrize("name", COUNTED)
def test_cost_is_what_was_counted_independently(name: str) -> None:
    cost = network_cost(name, 4, 1, (128, 128, 68))
    forward, training, activations = COUNTED[name]
    assert cost.forward_gflop == pytest.approx(forward, rel=0.02)
    assert cost.training_gflop == pytest.approx(training, rel=0.05)
    assert cost.activation_mb == pytest.approx(activations, rel=0.04)


@pytest.mark.parametrize(
    ("name", "side"), [("ResNet10-narrow", 16), ("DenseNet121", 32), ("EfficientNet-b0", 32)]
)
def test_activations_are_those_that_torch_really_keeps(name: str, side: int) -> None:
    network = build_network(name, 2, 1, (side,) * 3)
    parameters = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.randn(2, 2, side, side, side))
    num_bytes = sum(storage.nbytes() for at, storage in kept.items() if at not in parameters)
    counted = network_cost(name, 2, 1, (side,) * 3).activation_mb
    assert counted == pytest.approx(num_bytes / 2 / 1e6, rel=1e-3)


def test_stem_alone_costs_what_its_shapes_say() -> None:
    small, large = (network_cost("ResNet10-narrow", 4, 1, (side, 8, 8)) for side in (32, 64))
    assert large.forward_gflop == pytest.approx(2 * small.forward_gflop, rel=0.01)
    assert small.num_parameters == large.num_parameters


def test_models_prints_what_each_network_costs() -> None:
    words = ["models", "SEResNet50", "ResNet10-narrow", "--phases", "2", "--json"]
    out, _ = call(*words, "--crop-shape", 32, 32, 17)
    printed = json.loads(out)
    assert [network["name"] for network in printed] == ["SEResNet50", "ResNet10-narrow"]
    assert printed[0]["smallest_side"] == 3
    assert printed[0]["training_gflop"] > 2 * printed[0]["forward_gflop"] > 0


def test_models_says_what_cannot_read_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {name: NETWORKS[name] for name in ("ResNet10-narrow", "DenseNet121")}
    monkeypatch.setattr("radiotrain.networks.registry.NETWORKS", kept)
    out, _ = call("models", "--crop-shape", 16, 16, 8)
    assert "ResNet10-narrow" in out
    assert "cannot read crops this small: DenseNet121" in out
