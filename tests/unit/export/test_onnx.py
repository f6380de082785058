from __future__ import annotations

import json
import re
from pathlib import Path
from typing import cast

import numpy as np
import onnx
import pytest
import torch

from radiotrain.export import to_onnx
from radiotrain.export.load import load_export
from radiotrain.export.to_onnx import run_onnx, write_graph
from radiotrain.networks.ensemble import MeanOfNetworks
from radiotrain.networks.registry import NETWORKS, MonaiCall, build_network
from tests.unit.export.compare import OWN_IMAGES, SAME_IMAGES, ask, sigmoid
from tests.unit.export.exporting import export, file_names

KINDS = (
    "single",
    *(
        pytest.param(kind, marks=pytest.mark.slow)
        for kind in ("several", "ensemble", "ensemble-covariates")
    ),
)
# One of each family, residual ones with either block and either shortcut.
FAMILIES = ("ResNet18-A", "ResNet50", "SEResNet50", "SEResNext50", "DenseNet121", "EfficientNet-b0")


@pytest.mark.parametrize("kind", KINDS)
def test_onnxruntime_says_what_the_model_says(kind, models, store, split, tmp_path) -> None:
    description = export(models[kind], "onnx", tmp_path / "out")
    said = ask(models[kind], store, split)
    export(models[kind], "safetensors", tmp_path / "other")
    covariates = load_export(str(tmp_path / "other")).encode(said.records)
    path = tmp_path / "out/model.onnx"
    for images, tolerance in ((said.same_images, SAME_IMAGES), (said.own_images, OWN_IMAGES)):
        # Of any number of patients, one too.
        for num in (1, len(images)):
            inputs = {"images": images[:num]}
            if covariates.shape[1]:
                inputs["covariates"] = covariates[:num]
            found = run_onnx(path, inputs)
            wanted = said.probabilities[:num]
            np.testing.assert_allclose(found["probability"], wanted, rtol=0, atol=tolerance)
            np.testing.assert_allclose(sigmoid(found["logits"]), wanted, rtol=0, atol=tolerance)
            mean = sigmoid(found["member_logits"]).mean(1)
            np.testing.assert_allclose(mean, wanted, rtol=0, atol=tolerance)
            assert found["member_logits"].shape == (
                num,
                len(description.members),
                len(description.targets),
            )


def test_the_graph_is_valid_and_is_what_model_json_says(models, tmp_path) -> None:
    export(models["covariates"], "onnx", tmp_path / "out")
    assert file_names(tmp_path / "out") == {"model.json", "model-card.md", "model.onnx"}
    details = json.loads((tmp_path / "out/model.json").read_text())["details"]
    graph = onnx.load(tmp_path / "out/model.onnx")
    onnx.checker.check_model(graph, full_check=True)
    assert [o.version for o in graph.opset_import if o.domain == ""] == [details["opset"]]
    assert {o.domain for o in graph.opset_import} == {""}
    for values, told in ((graph.graph.input, "inputs"), (graph.graph.output, "outputs")):
        shapes = {
            v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
            for v in values
        }
        assert shapes == details[told]
    assert details["largest_difference_when_exported"] < details["tolerance"]


@pytest.mark.slow
def test_large_weights_lie_beside_the_graph(models, store, split, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(to_onnx, "LARGEST_IN_ONE_FILE", 1000)
    description = export(models["single"], "onnx", tmp_path / "out")
    assert "model.onnx.data" in description.files
    assert (tmp_path / "out/model.onnx").stat().st_size < 1_000_000
    said = ask(models["single"], store, split)
    found = run_onnx(tmp_path / "out/model.onnx", {"images": said.same_images})
    np.testing.assert_allclose(found["probability"], said.probabilities, rtol=0, atol=SAME_IMAGES)


def shallow(name: str, shape: tuple[int, ...]) -> torch.nn.Module:
    """Two blocks of each stage, the first of which changes the size: more are more of the same."""
    if name.startswith("DenseNet"):  # whose layers read all those before
        blocks = {"block_config": (2, 2, 2, 2)}
        return cast(
            torch.nn.Module, MonaiCall("DenseNet", "in_channels", "out_channels", blocks)(4, 2)
        )
    network = build_network(name, 4, 2, shape[1:])
    for stage in network.modules():
        kinds = (
            {type(block) for block in stage} if isinstance(stage, torch.nn.Sequential) else set()
        )
        # Not EfficientNet's stages themselves, which lie in a row, too.
        if len(kinds) == 1 and kinds != {torch.nn.Sequential}:
            del stage[2:]
    return network


def used(network: torch.nn.Module, shape: tuple[int, ...]) -> MeanOfNetworks:
    """A network whose norms have seen images, so that its outputs are of a usual size."""
    for part in network.modules():
        if isinstance(part, torch.nn.BatchNorm3d):
            part.momentum = None  # the mean of what was seen
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, *shape))
    return MeanOfNetworks([network]).eval()


def assert_exported(network: MeanOfNetworks, shape: tuple[int, ...], tmp_path: Path) -> None:
    images = torch.randn(5, *shape)
    with torch.inference_mode():
        before = network(images).numpy()
    difference = write_graph(network, shape, tmp_path / "model.onnx")
    assert difference < to_onnx.TOLERANCE
    found = run_onnx(tmp_path / "model.onnx", {"images": images.numpy()})["logits"]
    scale = max(1.0, np.abs(before).max())
    np.testing.assert_allclose(found, before, rtol=0, atol=to_onnx.TOLERANCE * scale)
    # The patients differ by far more.
    assert np.ptp(before, axis=0).min() > 100 * to_onnx.TOLERANCE * scale


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_exported(name, tmp_path) -> None:
    torch.manual_seed(0)
    side = max(16, NETWORKS[name].smallest_side)
    shape = (4, side, side, side)
    assert_exported(used(shallow(name, shape), shape), shape, tmp_path)


@pytest.mark.slow
def test_a_whole_network_is_exported(tmp_path) -> None:
    torch.manual_seed(0)
    shape = (4, 16, 16, 16)
    network = build_network("SEResNet50", 4, 2, shape[1:])
    assert_exported(used(network, shape), shape, tmp_path)


def test_the_families_are_those_that_there_are() -> None:
    def family(name: str) -> str:
        return re.split(r"[-\d]", name)[0]

    # SENet154 is a wider SEResNext.
    assert {family(name) for name in NETWORKS} == {*map(family, FAMILIES), "SENet"}


@pytest.mark.slow
def test_a_graph_that_computes_something_else_is_not_written(models, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(to_onnx, "TOLERANCE", 0.0)
    with pytest.raises(RuntimeError, match="nothing was exported"):
        export(models["ensemble"], "onnx", tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
