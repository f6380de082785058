"""The networks, by the names papers use, built from MONAI's modules.

Axis legend: B patients, P phases (input channels), R rows, C columns, S slices, T targets.
MONAI and torch are imported when a network is built, so that naming one stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from preprocessing.errors import InputError, nearest_hint

if TYPE_CHECKING:
    from torch import nn

_Builder = Callable[[int, int], Any]


@dataclass(frozen=True)
class NetworkFamily:
    """How a network is built, and the smallest side of a crop that it can read.

    Parameters
    ----------
    build
        From (number of phases, number of targets) to a module.
    smallest_side
        In voxels, for each of the three axes: below it a pooling or an unpadded
        convolution would have nothing left to read.
    """

    build: _Builder
    smallest_side: int
    summary: str


@dataclass(frozen=True)
class NetworkDescription:
    """One line of ``radiotrain models``."""

    name: str
    num_parameters: int
    smallest_input: tuple[int, int, int]
    summary: str


def _resnet(function: str, widen_factor: float = 1.0) -> _Builder:
    def build(num_phases: int, num_targets: int) -> Any:
        from monai.networks import nets

        # Stride 2 in the stem, as in the 2D ResNet and in MedicalNet's backbones. MONAI's
        # default of 1 costs eight times the arithmetic.
        return getattr(nets, function)(
            spatial_dims=3,
            n_input_channels=num_phases,
            num_classes=num_targets,
            conv1_t_stride=2,
            widen_factor=widen_factor,
        )

    return build


def _squeeze_excite(function: str) -> _Builder:
    def build(num_phases: int, num_targets: int) -> Any:
        from monai.networks import nets

        return getattr(nets, function)(
            spatial_dims=3, in_channels=num_phases, num_classes=num_targets
        )

    return build


def _densenet(num_phases: int, num_targets: int) -> Any:
    from monai.networks import nets

    return nets.DenseNet121(spatial_dims=3, in_channels=num_phases, out_channels=num_targets)


def _efficientnet(num_phases: int, num_targets: int) -> Any:
    from monai.networks import nets

    return nets.EfficientNetBN(
        "efficientnet-b0",
        spatial_dims=3,
        in_channels=num_phases,
        num_classes=num_targets,
        pretrained=False,
    )


NETWORKS: dict[str, NetworkFamily] = {
    "ResNet10": NetworkFamily(_resnet("resnet10"), 1, "residual, stem stride 2"),
    "ResNet18": NetworkFamily(_resnet("resnet18"), 1, "residual, stem stride 2"),
    "ResNet34": NetworkFamily(_resnet("resnet34"), 1, "residual, stem stride 2"),
    "ResNet50": NetworkFamily(_resnet("resnet50"), 1, "residual bottleneck, stem stride 2"),
    "SEResNet50": NetworkFamily(_squeeze_excite("SEResNet50"), 3, "squeeze-excite bottleneck"),
    "SEResNext101": NetworkFamily(
        _squeeze_excite("SEResNext101"), 3, "squeeze-excite bottleneck, 32 groups"
    ),
    "DenseNet121": NetworkFamily(_densenet, 29, "densely connected"),
    "EfficientNet-b0": NetworkFamily(_efficientnet, 32, "inverted residual, fixed padding"),
    "ResNet10-narrow": NetworkFamily(
        _resnet("resnet10", 0.25), 1, "quarter width, for tests and demonstrations"
    ),
}


def check_network_name(name: str) -> str:
    """Return `name` if it is a network's.

    Raises
    ------
    InputError
        If it is not; the nearest one is named.
    """
    if name not in NETWORKS:
        by_lower = {known.lower(): known for known in NETWORKS}
        hint = nearest_hint(name.lower(), by_lower)
        if hint:
            lower = hint.split("'")[1]
            hint = hint.replace(lower, by_lower[lower])
        raise InputError(
            f"unknown network {name!r}{hint}, expected one of {', '.join(NETWORKS)}:"
            " see 'radiotrain models'"
        )
    return name


def build_network(
    name: str, num_phases: int, num_targets: int, crop_shape: tuple[int, int, int]
) -> nn.Module:
    """Build a network with fresh weights, drawn from torch's global generator.

    Parameters
    ----------
    num_phases
        P, the input's channels.
    num_targets
        T, one logit each.
    crop_shape
        (R, C, S) of the images it will read.

    Returns
    -------
    Module from float32 (B, P, R, C, S) to logits (B, T).

    Raises
    ------
    InputError
        If the name is unknown or the crop is too small for it.
    """
    family = NETWORKS[check_network_name(name)]
    if min(crop_shape) < family.smallest_side:
        side = family.smallest_side
        raise InputError(
            f"network {name} reads crops of {side}×{side}×{side} or more, got"
            f" {'×'.join(map(str, crop_shape))}: choose a ResNet, or preprocess with a larger"
            " --crop-shape"
        )
    module: nn.Module = family.build(num_phases, num_targets)
    return module


def describe_networks(num_phases: int = 4, num_targets: int = 1) -> list[NetworkDescription]:
    """Count every network's parameters, without allocating their memory."""
    import torch

    described = []
    for name, family in NETWORKS.items():
        with torch.device("meta"):
            module = family.build(num_phases, num_targets)
        num_parameters = sum(p.numel() for p in module.parameters())
        side = family.smallest_side
        described.append(
            NetworkDescription(name, num_parameters, (side, side, side), family.summary)
        )
    return described
