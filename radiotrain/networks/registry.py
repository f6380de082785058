"""Networks by name, built from MONAI's modules.

Axis legend: B patients, P phases (input channels), R rows, C columns, S slices, T targets.
MONAI and torch are imported when a network is built, so that naming one stays cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from preprocessing.common.errors import InputError, hint, nearest

if TYPE_CHECKING:
    from torch import nn

_Builder = Callable[[int, int], Any]


@dataclass(frozen=True)
class NetworkFamily:
    """How a network is built, and the smallest side of a crop that it can read in training.

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
class MonaiCall:
    """A call of ``monai.networks.nets`` that builds a network: plain values, so that others can make it.

    Parameters
    ----------
    function
        Name of a class or function of ``monai.networks.nets``.
    phases, targets
        What it calls the number of input channels and of outputs.
    options
        Its other arguments.
    """

    function: str
    phases: str
    targets: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def arguments(self, num_phases: int, num_targets: int) -> dict[str, Any]:
        """Return all arguments by name, as JSON values."""
        return {
            "spatial_dims": 3,
            self.phases: num_phases,
            self.targets: num_targets,
            **self.options,
        }

    def __call__(self, num_phases: int, num_targets: int) -> Any:
        """Return the module, with fresh weights."""
        from monai.networks import nets

        return getattr(nets, self.function)(**self.arguments(num_phases, num_targets))


def _resnet(function: str, widen_factor: float = 1.0, shortcut_type: str = "B") -> MonaiCall:
    # Stride 2 in the stem, as in the 2D ResNet and in MedicalNet's backbones. MONAI's
    # default of 1 costs eight times the arithmetic.
    options = {
        "conv1_t_stride": 2,
        "widen_factor": widen_factor,
        "shortcut_type": shortcut_type,
    }
    return MonaiCall(function, "n_input_channels", "num_classes", options)


def _squeeze_excite(function: str) -> MonaiCall:
    return MonaiCall(function, "in_channels", "num_classes")


def _densenet(function: str) -> MonaiCall:
    return MonaiCall(function, "in_channels", "out_channels")


def _efficientnet(model_name: str) -> MonaiCall:
    options = {"model_name": model_name, "pretrained": False}
    return MonaiCall("EfficientNetBN", "in_channels", "num_classes", options)


def _resnets() -> Iterator[tuple[str, NetworkFamily]]:
    for depth in (10, 18, 34, 50, 101, 152, 200):
        summary = "residual bottleneck" if depth >= 50 else "residual"
        yield f"ResNet{depth}", NetworkFamily(_resnet(f"resnet{depth}"), 1, summary)
    for depth in (18, 34):
        summary = "residual, as MedicalNet"
        build = _resnet(f"resnet{depth}", shortcut_type="A")
        yield f"ResNet{depth}-A", NetworkFamily(build, 1, summary)


def _squeeze_excites() -> Iterator[tuple[str, NetworkFamily]]:
    for name, summary in (
        ("SEResNet50", "squeeze-excite"),
        ("SEResNet101", "squeeze-excite"),
        ("SEResNet152", "squeeze-excite"),
        ("SEResNext50", "squeeze-excite, grouped"),
        ("SEResNext101", "squeeze-excite, grouped"),
        ("SENet154", "squeeze-excite, grouped"),
    ):
        yield name, NetworkFamily(_squeeze_excite(name), 3, summary)


def _densenets() -> Iterator[tuple[str, NetworkFamily]]:
    for depth in (121, 169, 201, 264):
        name = f"DenseNet{depth}"
        yield name, NetworkFamily(_densenet(name), 29, "densely connected")


def _efficientnets() -> Iterator[tuple[str, NetworkFamily]]:
    # MONAI pads each convolution as TensorFlow's "same" would at the model's 2D image size (224
    # for b0), whatever the crop. Where a crop's side becomes odd sooner, a stage may be one voxel
    # shorter than "same" would make it (68 slices end as 2 rather than 3); every voxel is read all
    # the same. How small a crop may be follows from where that image size becomes odd.
    for size, smallest in (
        ("b0", 32), ("b1", 16), ("b2", 4), ("b3", 12), ("b4", 28), ("b5", 8), ("b6", 16),
        ("b7", 24), ("b8", 32), ("L2", 32),
    ):  # fmt: skip
        build = _efficientnet(f"efficientnet-{size.lower()}")
        summary = "inverted residual"
        yield f"EfficientNet-{size}", NetworkFamily(build, smallest, summary)


NETWORKS: dict[str, NetworkFamily] = {
    **dict(_resnets()),
    "ResNet10-narrow": NetworkFamily(
        _resnet("resnet10", 0.25), 1, "residual, a quarter of the channels"
    ),
    **dict(_squeeze_excites()),
    **dict(_densenets()),
    **dict(_efficientnets()),
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
        lower = nearest(name.lower(), by_lower)
        meant = None if lower is None else by_lower[lower]
        raise InputError(
            f"unknown network {name!r}{hint(meant)}, expected one of {', '.join(NETWORKS)}:"
            " see 'radiotrain models'"
        )
    return name


def monai_call(name: str) -> MonaiCall:
    """Return the call of MONAI that builds a network, for programs that do not have radiotrain."""
    call = NETWORKS[check_network_name(name)].build
    assert isinstance(call, MonaiCall)
    return call


def build_network(
    name: str,
    num_phases: int,
    num_targets: int,
    crop_shape: tuple[int, int, int],
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
