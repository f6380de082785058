"""A cluster without workers that grows by what it is asked for: Ray's own autoscaler, no cloud."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.node_provider_availability_tracker import (
    NodeAvailabilityRecord,
    NodeAvailabilitySummary,
)

from cluster.node_choice import score
from cluster.session import Growth, NodeKind, growth_of
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from radiotrain.split.split import make_split, save_split
from tests.cluster.autoscaling import Autoscaled, autoscaled
from tests.unit.training.synthetic import write_store

CPU, GPU = {"CPU": 8}, {"CPU": 8, "GPU": 1}


@pytest.mark.parametrize(
    ("growth", "cpus", "gpus"),
    [
        (Growth(), 0, 0),
        (Growth((NodeKind(GPU, 3),), 8), 24, 3),
        (Growth((NodeKind(GPU, 8), NodeKind(GPU, 8)), 8), 64, 8),
        (Growth((NodeKind({"CPU": 64}, 2), NodeKind(GPU, 8)), 5), 2 * 64 + 3 * 8, 5),
    ],
)
def test_the_most_that_there_can_be(growth: Growth, cpus: float, gpus: float) -> None:
    assert (growth.most("CPU"), growth.most("GPU")) == (cpus, gpus)


def test_nodes_without_gpus_alone() -> None:
    growth = Growth((NodeKind(CPU, 2), NodeKind(GPU, 8)), 20)
    assert growth.without("GPU").most("CPU") == 16
    assert growth.without("GPU").most("GPU") == 0


def test_what_a_cluster_file_lets_grow() -> None:
    config = yaml.safe_load((Path(__file__).parents[2] / "ray_cluster.yaml").read_text())
    growth = growth_of(config)
    kinds = config["available_node_types"]
    workers = [name for name in kinds if name != config["head_node_type"]]
    assert len(growth.kinds) == sum(kinds[name]["max_workers"] > 0 for name in workers)
    assert growth.most("GPU") == config["max_workers"]


def summary(**available: bool) -> NodeAvailabilitySummary:
    return NodeAvailabilitySummary(
        {name: NodeAvailabilityRecord(name, yes, 0.0, None) for name, yes in available.items()}
    )


@pytest.mark.parametrize(
    ("answers", "chosen"),
    [
        ({}, "gpu_spot"),
        ({"gpu_spot": True}, "gpu_spot"),
        ({"gpu_spot": False}, "gpu_on_demand"),
        ({"gpu_spot": False, "gpu_on_demand": True}, "gpu_on_demand"),
        ({"gpu_spot": False, "gpu_on_demand": False}, "gpu_spot"),
    ],
)
def test_the_cheapest_of_what_was_not_refused(answers: dict[str, bool], chosen: str) -> None:
    scores = {
        name: score(GPU, [{"GPU": 1}], name, node_availability_summary=summary(**answers))
        for name in ("gpu_on_demand", "gpu_spot")
    }
    assert max(scores, key=lambda name: scores[name] or ()) == chosen


def test_gpus_are_for_those_who_ask_for_one() -> None:
    of = {
        name: score(there, [{"CPU": 1}] * 8, name, node_availability_summary=summary(cpu=False))
        for name, there in (("cpu", CPU), ("gpu_spot", GPU))
    }
    assert of["cpu"] > of["gpu_spot"]
    assert score(CPU, [{"GPU": 1}], "cpu", node_availability_summary=summary()) is None


@pytest.fixture(scope="module")
def grown() -> Iterator[Autoscaled]:
    """A head alone, in a cloud without spot instances, with the file's choice among kinds."""
    kinds = {
        "cpu": {"resources": {"CPU": 2}, "node_config": {}, "max_workers": 1},
        "gpu_on_demand": {"resources": {"CPU": 1, "GPU": 1}, "node_config": {}, "max_workers": 2},
        "gpu_spot": {
            "resources": {"CPU": 1, "GPU": 1},
            "node_config": {"InstanceMarketOptions": {"MarketType": "spot"}},
            "max_workers": 2,
        },
    }
    chosen_by = {"RAY_AUTOSCALER_UTILIZATION_SCORER": "cluster.node_choice.score"}
    with autoscaled(kinds, 3, chosen_by) as cluster:
        yield cluster


COMMAND = """
import sys
from radiotrain.cli import main
sys.argv[0] = "radiotrain"
try:
    main()
except SystemExit as error:
    print("status", error.code or 0)
"""
NODES = """
import json, ray
ray.init(log_to_driver=False)
print(json.dumps([n["Resources"] for n in ray.nodes() if n["Alive"]]))
"""


def nodes(cluster: Autoscaled) -> list[tuple[int, int]]:
    """Return the CPUs and GPUs of each node that is alive."""
    found = json.loads(cluster.drive(NODES).splitlines()[-1])
    return sorted((int(n.get("CPU", 0)), int(n.get("GPU", 0))) for n in found)


@pytest.mark.slow
def test_preprocessing_begins_on_no_node_at_all(grown: Autoscaled, tmp_path: Path) -> None:
    write_phantom(tmp_path / "cohort", PhantomSettings(patients=3, matrix=48, slices=16))
    assert nodes(grown) == [(0, 0)]
    words = ("preprocess", tmp_path / "cohort", tmp_path / "store", "--backend", "ray")
    printed = grown.drive(COMMAND, *words, "--crop-shape", 24, 24, 12)
    assert "waiting for nodes" in printed
    assert "3 patients stored" in printed
    assert nodes(grown) == [(0, 0), (2, 0)]


@pytest.mark.slow
def test_a_sweep_asks_for_gpus_that_are_not_there(grown: Autoscaled, tmp_path: Path) -> None:
    store = write_store(str(tmp_path / "store"))
    save_split(make_split(store, seed=3, num_folds=4), str(tmp_path / "splits.json"))
    values = {
        "store": store.url,
        "split": str(tmp_path / "splits.json"),
        "out": str(tmp_path / "sweep"),
        "networks": ["ResNet10-narrow"],
        "targets": ["ER"],
        "seeds": [0, 1],
        "train": {"epochs": 2, "batch_size": 4, "warmup_epochs": 1},
    }
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(values))
    printed = grown.drive(COMMAND, "tune", "--config", tmp_path / "sweep.yaml")
    assert "no GPU is up yet, each trial will have one to itself" in printed
    assert "status 0" in printed
    assert len(list(tmp_path.glob("sweep/*/predictions.parquet"))) == 2
    # Spot was refused, and trials had nodes of the other kind: each its own, unless the first was
    # done before the second's was up.
    found = nodes(grown)
    assert found.count((1, 1)) in (1, 2)
    assert "InsufficientInstanceCapacity" in (grown.logs / "monitor.log").read_text()
