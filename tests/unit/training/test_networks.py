from __future__ import annotations

import pytest
import torch
from monai.networks import nets

from preprocessing.errors import InputError
from radiotrain.networks.registry import NETWORKS, build_network, describe_networks

# MONAI's own modules, and their parameters at 4 phases and 1 target, counted once by hand.
EXPECTED = {
    "ResNet10": (nets.ResNet, 14.4),
    "ResNet18": (nets.ResNet, 33.2),
    "ResNet34": (nets.ResNet, 63.5),
    "ResNet50": (nets.ResNet, 46.2),
    "SEResNet50": (nets.SEResNet50, 48.8),
    "SEResNext101": (nets.SEResNext101, 52.3),
    "DenseNet121": (nets.DenseNet121, 11.3),
    "EfficientNet-b0": (nets.EfficientNetBN, 4.7),
    "ResNet10-narrow": (nets.ResNet, 0.9),
}


def outputs(name: str, side: int) -> torch.Size:
    """Shape for two patients in training mode, without computing anything."""
    with torch.device("meta"):
        network = NETWORKS[name].build(4, 3)
        return network(torch.zeros(2, 4, side, side, side)).shape


@pytest.mark.parametrize("name", NETWORKS)
def test_smallest_input_is_the_smallest(name: str) -> None:
    side = NETWORKS[name].smallest_side
    assert outputs(name, side) == (2, 3)
    if side > 1:
        with pytest.raises((RuntimeError, ValueError)):
            outputs(name, side - 1)


@pytest.mark.parametrize("name", NETWORKS)
def test_too_small_a_crop_is_refused(name: str) -> None:
    side = NETWORKS[name].smallest_side
    if side > 1:
        with pytest.raises(InputError, match="preprocess with a larger"):
            build_network(name, 4, 1, (64, 64, side - 1))


def test_names_stand_for_monai_modules_of_published_size() -> None:
    described = {d.name: d.num_parameters for d in describe_networks()}
    assert set(described) == set(EXPECTED)
    for name, (module, millions) in EXPECTED.items():
        with torch.device("meta"):
            assert type(NETWORKS[name].build(4, 1)) is module
        assert described[name] / 1e6 == pytest.approx(millions, abs=0.06), name


def test_network_takes_any_phases_and_targets() -> None:
    network = build_network("ResNet10-narrow", 3, 2, (16, 16, 8)).eval()
    assert network(torch.zeros(1, 3, 16, 16, 8)).shape == (1, 2)
