"""The way its users run it: `ray up`, `ray submit`, everything on S3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.nodes.conftest import Cluster, Road

pytestmark = pytest.mark.timeout(900)


def test_the_cluster_has_all_nodes(cluster: Cluster) -> None:
    assert cluster.nodes() == {"head", "w1", "w2"}


def test_the_doctor_finds_nothing_broken(
    cluster: Cluster, s3: str, record_property: Callable[[str, object], None]
) -> None:
    command = f"radiotrain cluster doctor --storage {s3}/doctor --json ~/found.json"
    printed = cluster.exec(command)
    record_property("what it printed", printed)
    found = json.loads(cluster.hosts.run("head", "cat ~/found.json"))
    nodes = {cluster.hosts.ip(name) for name in ("head", "w1", "w2")}
    assert {node["name"] for node in found["nodes"]} == nodes
    assert all(node["asks_for_token"] for node in found["nodes"])
    assert all(set(storage["sees"]) == nodes for storage in found["storage"])
    pairs = {frozenset((p["first"], p["second"])): p for p in found["pairs"]}
    assert len(pairs) == 3
    assert all(pair["gb_per_s"] > 0 for pair in pairs.values())
    assert "Ray answers only those who have the token" in printed
    assert "broken" not in printed


def test_the_whole_road_is_taken_on_the_cluster(cluster: Cluster, road: Road) -> None:
    assert "40 patients stored" in road.printed
    assert "results on the test set" in road.printed
    metrics = json.loads(cluster.read(f"{road.out}/report/metrics.json"))
    ours = metrics["runs"]["ER"]["ER"]
    assert ours["num_patients"] == 8
    assert f"{ours['auc']:.3f}" in road.printed.partition("results on the test set")[2]
