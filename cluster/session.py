"""Connect to a Ray cluster or start a local one; autoscaler limits.

Ray's own count is of the nodes that are there. A cluster that begins with none would look like one
that has no GPU, nobody would ask for any, and none would come.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
import yaml
from ray._common.utils import get_ray_address_file
from ray._private import services
from ray._private import utils as ray_utils
from ray._private.authentication.authentication_token_setup import AuthenticationTokenLoader

from preprocessing.common.errors import InputError
from preprocessing.processes import machine
from preprocessing.processes.worker_process import interrupts_held_back
from preprocessing.storage.files import make_own, socket_folder
from radiotrain.data.storage import SHARED_MEMORY, remove_unused

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


# A local Ray shares the machine with the training itself.
_LOCAL_OBJECT_STORE_BYTES = 150_000_000
# How long Ray's workers may take to be gone.
_LAST_WORKER_S = 10.0
_DRIVER = {
    # Tune's own tables say less than the run folders; 0 chooses the older, silent output.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Ctrl-C ends a sweep as it ends every other command; run folders keep what was done.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # For so long Ray waits for a worker's place on a host that it does not yet know to be lost,
    # before it counts the hosts again.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    # A submitted job may have set a variable for the workers itself: Ray would refuse it twice.
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",
}
_TOKEN = "RAY_AUTH_TOKEN"
# Of Ray's sockets, below its folder for temporary files.
_LONGEST_NAME = len("/session_2026-11-30_18-31-18_817031_1234567/sockets/plasma_store")
_WORKERS = {
    # How long a stopped trial may take to write its last lines before its actor is thrown away.
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
}
# The head's /api/train/v2/runs/v1 then lists trainings with their attempts and workers, those that
# a trial begins included.
_DASHBOARD = {"RAY_TRAIN_ENABLE_STATE_TRACKING": "1"}
_LOCAL = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Nothing on this machine is about to be taken away.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
}


@contextmanager
def ray_session(*, num_cpus: int | None = None) -> Iterator[bool]:
    """Use the Ray at ``RAY_ADDRESS`` or begun by ``ray start``; else start one and end it after.

    Parameters
    ----------
    num_cpus
        CPUs that a Ray started here counts; by default those that this process may use.

    Yields
    ------
    Whether the Ray was started here, and has nothing else to do.

    Notes
    -----
    Workers' output stays in Ray's logs: what matters of it is in the run folders.
    """
    if ray.is_initialized():
        yield False
        return
    address, token = _running_cluster(), os.environ.get(_TOKEN)
    if address is None:
        start_local(num_cpus)
    else:
        _connect(address)
    try:
        yield address is None
    finally:
        workers = _own_workers()
        ray.shutdown()
        _forget_token(token)
        # Ray ends its workers without asking, and waits for none; their copies of a cohort would stay.
        psutil.wait_procs(workers, _LAST_WORKER_S)
        remove_unused(SHARED_MEMORY)


def _own_workers() -> list[psutil.Process]:
    """Return the workers of a Ray that this process has started."""
    parents, raylets = {}, set()
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # ended since it was listed
            parents[child] = child.ppid()
            if "raylet" in child.name():
                raylets.add(child.pid)
    return [child for child, parent in parents.items() if parent in raylets]


@contextmanager
def join_cluster() -> Iterator[None]:
    """Use the Ray that is there, and start none.

    Raises
    ------
    InputError
        If there is none.
    """
    if ray.is_initialized():
        yield
        return
    address = _running_cluster()
    if address is None:
        raise InputError(
            "no Ray cluster runs on this machine: begin one (ray up, ray start --head), run this on its"
            " head, or set RAY_ADDRESS"
        )
    _connect(address)
    try:
        yield
    finally:
        ray.shutdown()


def has_gpus() -> bool:
    """Tell whether any node of the Ray in use has a GPU, or one that has can be brought."""
    return most_of("GPU") > 0


def _running_cluster() -> str | None:
    """Return the address of a cluster that was begun on purpose.

    Left alone, ``address="auto"`` also finds the private Ray of another training on this
    machine, and ends with it. Every user can write where Ray keeps a cluster's address.
    """
    if os.environ.get("RAY_ADDRESS"):
        return os.environ["RAY_ADDRESS"]
    with suppress(OSError):
        if Path(get_ray_address_file(None)).stat().st_uid not in (0, os.getuid()):
            return None
    started: str | None = services.find_bootstrap_address(None)
    return started if started in services.find_gcs_addresses() else None


def _connect(address: str) -> None:
    workers = {**_WORKERS, **_DASHBOARD}
    _set_environment({**_DRIVER, **workers})
    try:
        _init(
            # Not the address itself: only "auto" takes up the token of a cluster that has one.
            address="auto",
            runtime_env={"env_vars": {name: os.environ[name] for name in workers}},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except ConnectionError as error:
        raise InputError(
            f"the Ray cluster at {address} does not answer: start it again, or, to use a Ray of"
            " one's own, unset RAY_ADDRESS and run 'ray stop'"
        ) from error


def start_local(num_cpus: int | None) -> None:
    """Start a Ray of one's own, whatever else runs here; `ray.shutdown` ends it."""
    _set_environment({**_DRIVER, **_LOCAL, **_WORKERS})
    # Not the token in the home folder: that may lie open to others, or not be writable.
    os.environ.setdefault(_TOKEN, secrets.token_hex(32))
    AuthenticationTokenLoader.instance().reset_cache()
    _init(
        address="local",
        # Ray itself sees the limits of the outermost control group alone, and rounds CPUs down.
        num_cpus=num_cpus or machine.num_cpus(),
        _memory=machine.memory().available,
        _temp_dir=str(_temporary_folder()),
        object_store_memory=_LOCAL_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )


def _forget_token(before: str | None) -> None:
    """Let the next Ray of this process, perhaps a cluster's, take its own token."""
    if before is None:
        os.environ.pop(_TOKEN, None)
        AuthenticationTokenLoader.instance().reset_cache()


def _temporary_folder() -> Path:
    """Return where a local Ray keeps its sockets and logs: a folder in one of this user alone.

    Ray opens its own folders to every user, who could put sockets of theirs in the place of its own.

    Raises
    ------
    InputError
        If none has a name that is short enough, or the folder is another user's.
    """
    own = f"radiotrain-{os.getuid()}"
    parent = socket_folder(len(f"/{own}/ray") + _LONGEST_NAME, os.environ.get("RAY_TMPDIR"))
    outer = Path(parent, own)
    make_own(outer, "Ray is to keep its sockets", "set TMPDIR to a folder of your own")
    return outer / "ray"


def _init(**options: Any) -> None:
    """Start or join Ray; notices to stop and Ctrl-C stay this process's own business.

    Ray's processes would end with a terminal that is closed, before trials have written where they are.
    """
    # Ray would end this process at SIGTERM without leaving any block.
    own = ray_utils.set_sigterm_handler
    ray_utils.set_sigterm_handler = lambda handler: None
    try:
        with interrupts_held_back():
            ray.init(**options)
    finally:
        ray_utils.set_sigterm_handler = own


def _set_environment(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        os.environ.setdefault(name, value)
