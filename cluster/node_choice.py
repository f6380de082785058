"""Node kind for the autoscaler: spot, or on demand without spot.

Ray's own choice knows nothing of prices, and asks again and again for a kind that the cloud has just
refused: seen with both of Ray 2.60's autoscalers. The older one lets a function of one's own choose, by
``RAY_AUTOSCALER_UTILIZATION_SCORER=cluster.node_choice.score`` in the environment of the head's
``ray start``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ray.autoscaler._private.resource_demand_scheduler import _default_utilization_scorer

# Kinds of node whose names end so are dearer than others of the same resources.
_DEAR = "_on_demand"

Score = tuple[Any, ...]


def score(
    node_resources: Mapping[str, float],
    resource_demands: Sequence[Mapping[str, float]],
    node_type: str,
    *,
    node_availability_summary: Any,
) -> Score | None:
    """Return how well a kind of node serves what is asked for: the highest is started.

    First by what Ray goes by, so that nodes with GPUs are left alone by those who need none. Of kinds
    that are equal in that, one that was not refused lately (Ray forgets after
    ``AUTOSCALER_NODE_AVAILABILITY_MAX_STALENESS_S``, half an hour), then the one that is not dear.

    Parameters
    ----------
    node_resources
        What one node has.
    resource_demands
        What is waited for, one entry a task, actor or bundle.
    node_availability_summary
        The last answer of the cloud for each kind of node.

    Returns
    -------
    None where the node is of no use.
    """
    fit: Score | None = _default_utilization_scorer(
        node_resources,
        resource_demands,
        node_type,
        node_availability_summary=node_availability_summary,
    )
    if fit is None:
        return None
    last = node_availability_summary.node_availabilities.get(node_type)
    return (*fit, last is None or last.is_available, not node_type.endswith(_DEAR))
