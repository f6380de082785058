"""Dask's workers on the nodes of a Ray cluster, one process a CPU asked for.

Each worker lives in a Ray actor, which Ray starts again elsewhere when its node is lost; Dask
then gives its patients to the others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import dask
import ray
from distributed import Client, LocalCluster, Nanny

from cluster.session import ray_session
from preprocessing.dask_home import (
    SCHEDULER_SETTINGS,
    DaskHome,
    any_dashboard_port,
    free_dashboard_port,
)
from preprocessing.errors import InputError

_START_TIMEOUT_S = 120


def ray_home(num_workers: int | None = None) -> DaskHome:
    """Return a home on the Ray cluster that is there, or on a local one started for it.

    Parameters
    ----------
    num_workers
        Processes, one thread each; by default one for each CPU that Ray has.
    """

    @contextmanager
    def home(num_tasks: int) -> Iterator[Client]:
        with ray_session():
            num_cpus = int(ray.cluster_resources().get("CPU", 0))
            wanted = num_workers or num_cpus
            if num_cpus == 0:
                raise InputError("the Ray cluster has no CPUs to work on: add nodes to it")
            if wanted > num_cpus:
                raise InputError(
                    f"{wanted} workers asked for, the Ray cluster has {num_cpus} CPUs: ask for"
                    " fewer, or add nodes"
                )
            with _scheduler() as (client, address):
                yield from _with_workers(client, address, min(wanted, num_tasks))

    return home


@contextmanager
def _scheduler() -> Iterator[tuple[Client, str]]:
    """Start a scheduler in this process, on the address by which Ray's nodes know this one."""
    host = ray.util.get_node_ip_address()
    with dask.config.set(SCHEDULER_SETTINGS):
        with any_dashboard_port():
            cluster = LocalCluster(
                n_workers=0,
                host=host,
                dashboard_address=f"{host}:{free_dashboard_port(host)}",
                silence_logs=logging.CRITICAL,
            )
        with cluster, Client(cluster) as client:
            yield client, cluster.scheduler_address


def _with_workers(client: Client, address: str, count: int) -> Iterator[Client]:
    actor = ray.remote(_WorkerHost).options(
        num_cpus=1, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD"
    )
    hosts = [actor.remote() for _ in range(count)]
    # Awaited by nobody: `run` lasts as long as its worker, and Ray calls it again on a new node.
    running = [host.run.remote(address) for host in hosts]
    try:
        _wait_for_one(client, count)
        yield client
    finally:
        del running
        for host in hosts:
            ray.kill(host)


def _wait_for_one(client: Client, count: int) -> None:
    try:
        client.wait_for_workers(1, timeout=_START_TIMEOUT_S)
    except TimeoutError as error:
        free = int(ray.available_resources().get("CPU", 0))
        raise InputError(
            f"none of {count} Dask workers has begun on the Ray cluster in {_START_TIMEOUT_S} s:"
            f" {free} of its CPUs are free now; wait for what runs there, or add nodes"
        ) from error


class _WorkerHost:
    """A Ray actor that keeps one Dask worker process alive."""

    async def run(self, address: str) -> None:
        """Connect a worker to the scheduler and stay until it is told to end."""
        with dask.config.set(SCHEDULER_SETTINGS):
            nanny = await Nanny(address, nthreads=1, memory_limit=0, silence_logs=logging.CRITICAL)
            try:
                await nanny.finished()
            finally:
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await nanny.close()
