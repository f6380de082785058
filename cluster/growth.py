"""What the Ray cluster in use could become, where an autoscaler brings nodes that are asked for.

Ray's own count is of the nodes that are there. A cluster that begins with none would look like one
that has no GPU, nobody would ask for any, and none would come.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import yaml

# `ray up` leaves here, on the head, what its autoscaler may start. Neither of Ray's autoscalers tells
# the cluster itself (`get_max_resources_from_cluster_config` has no answer with either).
_BOOTSTRAP = "~/ray_bootstrap_config.yaml"
# The resource by which Ray marks the head.
_HEAD = "node:__internal_head__"


@dataclass(frozen=True)
class NodeKind:
    """A kind of node that can be started.

    Parameters
    ----------
    resources
        What one node has, by Ray's names (CPU, GPU).
    most
        How many there may be.
    """

    resources: Mapping[str, float]
    most: int


@dataclass(frozen=True)
class Growth:
    """Nodes that an autoscaler can start, those that it has started included.

    Parameters
    ----------
    kinds
        Without the head, and without kinds of which there may be none.
    most_nodes
        Of all kinds together.
    """

    kinds: tuple[NodeKind, ...] = ()
    most_nodes: int = 0

    def most(self, resource: str) -> float:
        """Return how much of a resource all nodes have together when as many as possible are up."""
        total, free = 0.0, self.most_nodes
        # The richest first: the limit on all nodes may leave no place for the others.
        for kind in sorted(self.kinds, key=lambda k: k.resources.get(resource, 0), reverse=True):
            count = min(kind.most, free)
            total += count * kind.resources.get(resource, 0)
            free -= count
        return total

    def without(self, resource: str) -> Growth:
        """Return the nodes that do not have a resource."""
        kinds = tuple(kind for kind in self.kinds if not kind.resources.get(resource, 0))
        return Growth(kinds, self.most_nodes)


def growth_of_cluster() -> Growth:
    """Return what the autoscaler of the Ray in use could start.

    Known on the head, where `ray submit` and `ray job submit` run their scripts; elsewhere, and
    where no autoscaler is, there is no growth.
    """
    try:
        text = Path(_BOOTSTRAP).expanduser().read_text()
    except OSError:
        return Growth()
    # The file may be left from another cluster of which this machine was the head.
    return growth_of(yaml.safe_load(text)) if _is_on_head() else Growth()


def growth_of(config: Mapping[str, Any]) -> Growth:
    """Return what a cluster file, completed by Ray, lets its autoscaler start."""
    most_nodes = int(config.get("max_workers", 0))
    found = config.get("available_node_types", {}).items()
    kinds = (
        NodeKind(dict(values.get("resources", {})), int(values.get("max_workers", most_nodes)))
        for name, values in found
        if name != config.get("head_node_type")
    )
    return Growth(tuple(kind for kind in kinds if kind.most > 0), most_nodes)


def most_of(resource: str) -> float:
    """Return how much of a resource the Ray in use has, or could have."""
    there: float = ray.cluster_resources().get(resource, 0.0)
    return max(there, growth_of_cluster().most(resource))


def _is_on_head() -> bool:
    here = ray.get_runtime_context().get_node_id()
    return any(
        node["NodeID"] == here and _HEAD in node["Resources"]
        for node in ray.nodes()
        if node["Alive"]
    )
