"""Measurements of a cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class NodeFacts:
    """What a node is and has.

    Parameters
    ----------
    name
        Its address, by which Ray knows it.
    versions
        Package to version; Python among them. Missing packages are missing here.
    ray_gpus, torch_gpus
        That Ray hands out; names of those that PyTorch finds.
    driver
        NVIDIA's, or None.
    free_gb
        Folder to free room, 10^9 bytes.
    skew_s, skew_error_s
        Its clock ahead of the driver's, and how sure that is: half of the question's way and back.
    asks_for_token
        Whether its Ray answers only those who have the token.
    """

    name: str
    is_head: bool
    versions: Mapping[str, str]
    cpus: float
    ray_gpus: float
    torch_gpus: tuple[str, ...]
    driver: str | None
    free_gb: Mapping[str, float]
    skew_s: float
    skew_error_s: float
    asks_for_token: bool


@dataclass(frozen=True)
class StorageFacts:
    """What a node can do with the folder where stores and runs are to lie.

    Parameters
    ----------
    error
        Why it could not be written or read, or None.
    sees
        The nodes whose files it finds there, its own among them.
    write_mb_per_s, read_mb_per_s
        Of one object.
    """

    node: str
    error: str | None
    sees: tuple[str, ...] = ()
    write_mb_per_s: float | None = None
    read_mb_per_s: float | None = None


@dataclass(frozen=True)
class PairFacts:
    """How two nodes add up their gradients.

    Parameters
    ----------
    backend
        gloo, or nccl where both have a GPU.
    gb_per_s
        Bytes of the tensor over the time of one all-reduce; median of several.
    latency_ms
        Of an all-reduce of one number.
    error
        Why there was none, or None.
    """

    first: str
    second: str
    backend: str
    gb_per_s: float | None = None
    latency_ms: float | None = None
    error: str | None = None


@dataclass(frozen=True)
class Examination:
    """All that was measured.

    Parameters
    ----------
    storage_url
        What was tried, or None.
    silent
        Nodes that Ray counts as alive and that did not answer.
    all_pairs
        Whether each node was tried with each other one, or only with its neighbours.
    """

    nodes: tuple[NodeFacts, ...]
    silent: tuple[str, ...]
    storage_url: str | None
    storage: tuple[StorageFacts, ...]
    pairs: tuple[PairFacts, ...]
    all_pairs: bool

    def to_json(self) -> dict[str, Any]:
        """Return it as values of JSON."""
        return asdict(self)
