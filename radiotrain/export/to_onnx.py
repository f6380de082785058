"""Write ``model.onnx``: all members and their mean in one graph.

Written by ``torch.onnx.export(dynamo=True)``, which traces by ``torch.export`` and translates by
onnxscript. It refuses to make a batch of one size look like any: the older exporter, by TorchScript,
wrote the example's batch size into a ResNet with shortcut A without a word.

Axis legend: B patients, P phases, R rows, C columns, S slices, M members, T targets, K encoded
covariates.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from radiotrain.export.describe import TrainedModel
from radiotrain.export.description import ModelDescription
from radiotrain.networks.ensemble import MeanOfNetworks

FILE_NAME = "model.onnx"
OPSET = 18
# Of logits, relative to the largest where that is above 1: float32 summed in another order. Torch's own
# float32 was seen 2e-4 away from float64.
TOLERANCE = 1e-3
# Read by onnxruntime (1.29 or newer) when it is loaded. Without it, it asks for its maker's host, sends what was run
# where, and keeps a number of the device in ~/.cache; `disable_telemetry_events` comes too late for that.
NO_TELEMETRY = {"ORT_DISABLE_TELEMETRY": "1"}
# A protobuf holds 2 GiB; above this, weights lie in a file beside the graph.
LARGEST_IN_ONE_FILE = 1_800_000_000
_OUTPUTS = ("probability", "logits", "member_logits")
_EXAMPLE_BATCH, _CHECKED_BATCH = 2, 3


def write_onnx(
    trained: TrainedModel, description: ModelDescription, folder: Path
) -> ModelDescription:
    """Write the graph and check that onnxruntime computes the same; return what it is.

    Raises
    ------
    RuntimeError
        If onnxruntime's logits differ by more than `TOLERANCE`.
    """
    network = trained.network
    shape = (description.input.num_phases, *description.input.crop_shape)
    difference = write_graph(network, shape, folder / FILE_NAME)
    details = {
        "opset": OPSET,
        "exporter": f"torch {torch.__version__} (dynamo), onnxscript",
        "inputs": {
            "images": ["batch", *shape],
            **({"covariates": ["batch", sum(network.num_covariates)]} if _reads(network) else {}),
        },
        "outputs": {
            "probability": ["batch", len(description.targets)],
            "logits": ["batch", len(description.targets)],
            "member_logits": ["batch", len(network.members), len(description.targets)],
        },
        "tolerance": TOLERANCE,
        "largest_difference_when_exported": difference,
    }
    return description.model_copy(update={"details": details})


def write_graph(network: MeanOfNetworks, shape: tuple[int, ...], path: Path) -> float:
    """Write a network's graph; return by how much onnxruntime's logits differ from the network's.

    Parameters
    ----------
    network
        In eval mode. Its shortcuts of type A are changed in place, to the same function.
    shape
        (P, R, C, S) of the images.

    Returns
    -------
    The largest difference, relative to the largest logit where that is above 1.

    Raises
    ------
    RuntimeError
        If it is more than `TOLERANCE`.
    """
    # Before the exporter, which may load onnxruntime as well.
    os.environ.update(NO_TELEMETRY)
    _let_shortcuts_be_traced(network)
    _export(network, shape, path)
    return _check(network, shape, path)


class _Outputs(nn.Module):
    """The graph's outputs, in the order of `_OUTPUTS`."""

    def __init__(self, network: MeanOfNetworks) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, images: Tensor, covariates: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        of_members = self.network.member_logits(images, covariates)
        logits = self.network.combine(of_members)
        return torch.sigmoid(logits), logits, of_members


class _ZeroPaddedShortcut(nn.Module):
    """MONAI's shortcut A, whose zeros do not take the example's batch size into the graph."""

    def __init__(self, planes: int, stride: int) -> None:
        super().__init__()
        self.planes, self.stride = planes, stride

    def forward(self, x: Tensor) -> Tensor:
        used = x[:, :, :: self.stride, :: self.stride, :: self.stride]
        return functional.pad(used, (0, 0, 0, 0, 0, 0, 0, self.planes - x.shape[1]))


def _let_shortcuts_be_traced(network: nn.Module) -> None:
    for part in list(network.modules()):
        shortcut = getattr(part, "downsample", None)
        if isinstance(shortcut, functools.partial):
            settings = shortcut.keywords
            part.downsample = _ZeroPaddedShortcut(settings["planes"], settings["stride"])


def _reads(network: MeanOfNetworks) -> bool:
    """Tell whether any member reads covariates."""
    return sum(network.num_covariates) > 0


def _example(network: MeanOfNetworks, shape: tuple[int, ...], batch: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn((batch, *shape), generator=generator)
    if not _reads(network):
        return (images,)
    num = sum(network.num_covariates)
    return images, torch.randn((batch, num), generator=generator)


def _export(network: MeanOfNetworks, shape: tuple[int, ...], path: Path) -> None:
    example = _example(network, shape, _EXAMPLE_BATCH)
    names = ("images", "covariates")[: len(example)]
    batch = torch.export.Dim("batch")
    with _quiet():
        program = torch.onnx.export(
            _Outputs(network).eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(names),
            output_names=list(_OUTPUTS),
            dynamic_shapes={name: {0: batch} for name in names},
            verbose=False,
        )
    assert program is not None
    _forget_where_it_was_made(program.model)
    num_bytes = sum(p.numel() * p.element_size() for p in network.parameters())
    program.save(str(path), external_data=num_bytes > LARGEST_IN_ONE_FILE)


def _forget_where_it_was_made(model: Any) -> None:
    """Remove the paths of source files, which the exporter keeps with each node."""
    for graph in (model.graph, *(f.graph for f in model.functions.values())):
        graph.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()
        for value in (*graph.inputs, *graph.initializers.values()):
            value.metadata_props.clear()


def _check(network: MeanOfNetworks, shape: tuple[int, ...], path: Path) -> float:
    example = _example(network, shape, _CHECKED_BATCH)
    with torch.inference_mode():
        wanted = network.member_logits(*example).numpy()
    inputs = dict(zip(("images", "covariates"), (x.numpy() for x in example), strict=False))
    found = run_onnx(path, inputs)["member_logits"]
    difference = float(np.abs(found - wanted).max() / max(1.0, float(np.abs(wanted).max())))
    if not difference <= TOLERANCE:
        raise RuntimeError(
            f"onnxruntime's logits differ from the network's by {difference:.1e}, expected"
            f" {TOLERANCE:.0e} at most: nothing was exported"
        )
    return difference


def run_onnx(path: Path, inputs: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
    """Return all outputs of a graph by name, computed by onnxruntime on the CPU.

    From here on this process and those that it starts have `NO_TELEMETRY` in their environment.
    """
    os.environ.update(NO_TELEMETRY)
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip(_OUTPUTS, session.run(list(_OUTPUTS), inputs), strict=True))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter from telling about packages that no network here needs."""
    log = logging.getLogger("torch.onnx")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
