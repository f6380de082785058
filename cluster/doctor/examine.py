"""Measure all nodes of a cluster, each alone and in pairs."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from itertools import combinations
from pathlib import Path
from typing import Any

import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled
from ray.exceptions import GetTimeoutError, RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.doctor.facts import Examination, NodeFacts, PairFacts, StorageFacts
from preprocessing.storage import files
from preprocessing.storage.s3_options import PATIENCE
from radiotrain.data.storage import SHARED_MEMORY
from radiotrain.doctor import measure

PACKAGES = ("radiotrain", "ray", "torch", "monai", "zarr", "numpy")
# For Python and PyTorch to begin.
_START_S = 20


class Probe:
    """An actor that looks around on its node."""

    def __init__(self) -> None:
        # An object store that is away is what is looked for.
        os.environ.setdefault(PATIENCE, "0")

    def look(self) -> dict[str, Any]:
        """Return what needs no other node; see `NodeFacts`."""
        driver = measure.driver()
        return {
            "versions": _versions(),
            "torch_gpus": tuple(gpu.name for gpu in measure.torch_build(_with_gpus()).gpus),
            "driver": driver.version if driver is not None else None,
            "free_gb": _free_gb(),
            "asks_for_token": bool(is_token_auth_enabled()),
        }

    def clock(self) -> float:
        """Return the time of day, in seconds."""
        return time.time()

    def write(self, url: str, name: str) -> tuple[float, float]:
        """Write an object and read it again; return MB/s of each."""
        return measure.write_and_read(files.join(url, name))

    def list_names(self, url: str) -> list[str]:
        """Return the names in a folder as this node sees it."""
        return files.list_names(url)

    def clean_up(self, url: str, name: str) -> None:
        """Remove what was written, and the folder where it is this node's own."""
        files.remove(files.join(url, name))
        if files.is_local(url):
            with suppress(OSError):
                Path(url).rmdir()

    def exchange(
        self, rank: int, address: str, port: int, backend: str, timeout_s: float
    ) -> tuple[float, float]:
        """All-reduce with another node; return GB/s and milliseconds of latency.

        In a process of its own, since a connection that waits for ever cannot be ended.

        Raises
        ------
        OSError
            With the last line of what that process said.
        """
        words = [sys.executable, "-m", "cluster.doctor.exchange"]
        words += [str(rank), address, str(port), backend, str(timeout_s)]
        try:
            done = subprocess.run(
                words,
                env=_with_gpus(),
                capture_output=True,
                text=True,
                timeout=timeout_s + _START_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise OSError(f"no answer in {timeout_s + _START_S:.0f} s") from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or ["it ended without a word"]
            raise OSError(lines[-1][:300])
        gb_per_s, latency_ms = json.loads(done.stdout.splitlines()[-1])
        return gb_per_s, latency_ms

    def free_port(self) -> int:
        """Return a port of this node that nobody uses."""
        with socket.socket() as probe:
            probe.bind(("", 0))
            port: int = probe.getsockname()[1]
            return port


def _versions() -> Mapping[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _with_gpus() -> dict[str, str]:
    """Return the environment of another process: Ray hides GPUs from an actor that asked for none."""
    return {k: v for k, v in os.environ.items() if k != "CUDA_VISIBLE_DEVICES"}


def _free_gb() -> Mapping[str, float]:
    logs = Path(ray.get_runtime_context().get_temp_dir())
    folders = {"Ray's logs": logs, "home": Path.home(), "/dev/shm": SHARED_MEMORY}
    return {n: shutil.disk_usage(p).free / 1e9 for n, p in folders.items() if p.is_dir()}


_START_TIMEOUT_S = 90
_STORAGE_TIMEOUT_S = 120
# Of connecting, and of each exchange.
_PAIR_TIMEOUT_S = 15.0
_CLOCK_TRIES = 5
# More have too many pairs to wait for.
_MOST_FOR_ALL_PAIRS = 8


@dataclass(frozen=True)
class _Node:
    """A node that answers.

    Parameters
    ----------
    name
        Its address, with the beginning of its id where several nodes have one address.
    """

    name: str
    info: dict[str, Any]
    probe: Any

    @property
    def address(self) -> str:
        return str(self.info["NodeManagerAddress"])

    @property
    def gpus(self) -> float:
        return float(self.info["Resources"].get("GPU", 0))


def examine(storage_url: str | None, say: Callable[[str], None]) -> Examination:
    """Measure the Ray in use.

    Parameters
    ----------
    storage_url
        A folder that all nodes should reach, or None. Files are written there and removed.
    say
        Told what is being done.
    """
    alive = [node for node in ray.nodes() if node["Alive"]]
    say(f"looking at {len(alive)} nodes")
    nodes, silent = _begin(alive)
    try:
        found = tuple(_look(node) for node in nodes)
        storage: tuple[StorageFacts, ...] = ()
        if storage_url is not None:
            say(f"writing to {storage_url} from each")
            storage = _try_storage(nodes, storage_url)
        all_pairs = len(nodes) <= _MOST_FOR_ALL_PAIRS
        pairs = _pairs(nodes, all_pairs)
        if pairs:
            say(f"letting {len(pairs)} pairs exchange")
        exchanged = tuple(_exchange(first, second) for first, second in pairs)
    finally:
        for node in nodes:
            ray.kill(node.probe)
    return Examination(found, silent, storage_url, storage, exchanged, all_pairs)


def _begin(alive: Sequence[dict[str, Any]]) -> tuple[list[_Node], tuple[str, ...]]:
    # Of no CPU: they are to be found on nodes that are busy, or have none to hand out.
    actor = ray.remote(num_cpus=0, max_concurrency=2)(Probe)
    begun = []
    for info in alive:
        place = NodeAffinitySchedulingStrategy(info["NodeID"], soft=False)
        begun.append((info, actor.options(scheduling_strategy=place).remote()))
    deadline = time.monotonic() + _START_TIMEOUT_S
    nodes, silent = [], []
    for info, probe in begun:
        name = _name(info, alive)
        try:
            ray.get(probe.clock.remote(), timeout=max(1.0, deadline - time.monotonic()))
            nodes.append(_Node(name, info, probe))
        except (GetTimeoutError, RayError):
            ray.kill(probe)
            silent.append(name)
    return nodes, tuple(silent)


def _name(info: dict[str, Any], alive: Sequence[dict[str, Any]]) -> str:
    address = str(info["NodeManagerAddress"])
    is_shared = sum(other["NodeManagerAddress"] == address for other in alive) > 1
    return f"{address}/{info['NodeID'][:4]}" if is_shared else address


def _look(node: _Node) -> NodeFacts:
    skew, error = _skew(node)
    resources = node.info["Resources"]
    return NodeFacts(
        name=node.name,
        is_head="node:__internal_head__" in resources,
        cpus=float(resources.get("CPU", 0)),
        ray_gpus=node.gpus,
        skew_s=skew,
        skew_error_s=error,
        **ray.get(node.probe.look.remote()),
    )


def _skew(node: _Node) -> tuple[float, float]:
    """Ask for the time as NTP does: the quickest answer tells most (Cristian, 1989)."""
    asked = []
    for _ in range(_CLOCK_TRIES):
        begin = time.time()
        there = ray.get(node.probe.clock.remote())
        end = time.time()
        asked.append(((end - begin) / 2, there - (begin + end) / 2))
    error, skew = min(asked)
    return skew, error


def _try_storage(nodes: Sequence[_Node], url: str) -> tuple[StorageFacts, ...]:
    """Write from each node, then look from each for what all have written."""
    folder = files.join(url, f"doctor-{uuid.uuid4().hex[:8]}")
    names = {node.name: node.name.replace("/", "-") for node in nodes}
    speeds: dict[str, tuple[float, float] | str] = {
        node.name: _answer(node.probe.write.remote(folder, names[node.name])) for node in nodes
    }
    seen = {node.name: _answer(node.probe.list_names.remote(folder)) for node in nodes}
    for node in nodes:
        _answer(node.probe.clean_up.remote(folder, names[node.name]))
    found = []
    for node in nodes:
        speed, there = speeds[node.name], seen[node.name]
        if isinstance(speed, str) or isinstance(there, str):
            error = speed if isinstance(speed, str) else str(there)
            found.append(StorageFacts(node.name, error))
        else:
            sees = tuple(name for name, file in names.items() if file in there)
            found.append(StorageFacts(node.name, None, sees, *speed))
    return tuple(found)


def _answer(asked: Any, timeout_s: float = _STORAGE_TIMEOUT_S) -> Any:
    """Return the answer, or why there is none, as a text."""
    try:
        return ray.get(asked, timeout=timeout_s)
    except GetTimeoutError:
        ray.cancel(asked)
        return f"no answer in {timeout_s:.0f} s"
    except RayTaskError as error:
        return f"{type(error.cause).__name__}: {' '.join(str(error.cause).split())[:300]}"
    except RayError as error:
        return f"the node was lost: {type(error).__name__}"


def _pairs(nodes: Sequence[_Node], all_pairs: bool) -> list[tuple[_Node, _Node]]:
    """Return each node with each other one, or with its neighbours in a ring."""
    if all_pairs:
        return list(combinations(nodes, 2))
    return list(zip(nodes, [*nodes[1:], nodes[0]], strict=True))


def _exchange(first: _Node, second: _Node) -> PairFacts:
    backend = "nccl" if first.gpus and second.gpus else "gloo"
    port = _port(first)
    asked = [
        node.probe.exchange.remote(rank, first.address, port, backend, _PAIR_TIMEOUT_S)
        for rank, node in enumerate((first, second))
    ]
    answers = [_answer(one) for one in asked]
    errors = [answer for answer in answers if isinstance(answer, str)]
    if errors:
        return PairFacts(first.name, second.name, backend, error=errors[0])
    gb_per_s, latency_ms = answers[0]
    return PairFacts(first.name, second.name, backend, gb_per_s, latency_ms)


def _port(node: _Node) -> int:
    port: int = ray.get(node.probe.free_port.remote())
    return port
