"""A Ray to work on: the cluster that is there, or a lean local one for as long as it is needed."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import ray
from ray._private import services

from cluster.growth import most_of
from preprocessing.errors import InputError
from radiotrain.data.placement import SHARED_MEMORY
from radiotrain.data.shared import remove_unused

# A local Ray shares the machine with the training itself.
_LOCAL_OBJECT_STORE_BYTES = 150_000_000
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
        CPUs that a Ray started here counts; by default the machine's.

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
    address = _running_cluster()
    if address is None:
        start_local(num_cpus)
    else:
        _connect(address)
    try:
        yield address is None
    finally:
        ray.shutdown()
        # Ray ends its workers without asking; their copies of a cohort would stay.
        remove_unused(SHARED_MEMORY)


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
    machine, and ends with it.
    """
    if os.environ.get("RAY_ADDRESS"):
        return os.environ["RAY_ADDRESS"]
    started: str | None = services.find_bootstrap_address(None)
    return started if started in services.find_gcs_addresses() else None


def _connect(address: str) -> None:
    workers = {**_WORKERS, **_DASHBOARD}
    _set_environment({**_DRIVER, **workers})
    try:
        ray.init(
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
    try:
        ray.init(
            address="local",
            num_cpus=num_cpus,
            object_store_memory=_LOCAL_OBJECT_STORE_BYTES,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except OSError as error:
        # Sockets' names may have 107 bytes; batch systems like long folders for temporary files.
        if "AF_UNIX path length" not in str(error):
            raise
        raise InputError(
            f"the folder for temporary files, {tempfile.gettempdir()}, has too long a name for"
            " Ray's sockets: set TMPDIR to a shorter one, such as /tmp"
        ) from None


def _set_environment(values: Mapping[str, str]) -> None:
    for name, value in values.items():
        os.environ.setdefault(name, value)
