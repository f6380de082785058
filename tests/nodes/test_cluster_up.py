"""The way its users run it: `ray up`, `ray submit`, everything on S3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.nodes.conftest import Cluster, Road

pytestmark = pytest.mark.timeout(900)


def test_the_cluster_has_all_nodes(cluster: Cluster) -> None:
    assert cluster.nodes() == {"head", "w1", "w2"}


def test_the_whole_road_is_taken_on_the_cluster(cluster: Cluster, road: Road) -> None:
    assert "40 patients stored" in road.printed
    assert "beside the published rows" in road.printed
    metrics = json.loads(cluster.read(f"{road.out}/report/metrics.json"))
    ours = metrics["runs"]["ER"]["ER"]
    assert ours["num_patients"] == 8
    assert f"{ours['auc']:.3f}" in road.printed.partition("beside the published rows")[2]
