"""A Ray to work on: the cluster that is there, or a lean local one for as long as it is needed."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

# A local Ray shares the machine with the training itself.
_LOCAL_OBJECT_STORE_BYTES = 150_000_000
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Nothing on this machine is about to be taken away.
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # GPUs are hidden from trials that asked for none; the warning about it is for library authors.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}


@contextmanager
def ray_session(*, num_cpus: int | None = None, log_to_driver: bool = False) -> Iterator[None]:
    """Use the Ray that is running here or at ``RAY_ADDRESS``; else start one and end it after.

    Parameters
    ----------
    num_cpus
        CPUs that a Ray started here counts; by default the machine's.
    log_to_driver
        Whether lines that workers print are shown.
    """
    if ray.is_initialized():
        yield
        return
    try:
        ray.init(address="auto", log_to_driver=log_to_driver, logging_level=logging.ERROR)
    except ConnectionError:
        _start_local(num_cpus, log_to_driver)
    try:
        yield
    finally:
        ray.shutdown()


def has_gpus() -> bool:
    """Tell whether any node of the Ray in use has a GPU."""
    return bool(ray.cluster_resources().get("GPU", 0))


def _start_local(num_cpus: int | None, log_to_driver: bool) -> None:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    ray.init(
        address="local",
        num_cpus=num_cpus,
        object_store_memory=_LOCAL_OBJECT_STORE_BYTES,
        include_dashboard=False,
        log_to_driver=log_to_driver,
        logging_level=logging.ERROR,
    )
