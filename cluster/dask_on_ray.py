"""Dask workers on the nodes of a Ray cluster.

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
from distributed.security import Security

from cluster.session import growth_of_cluster, most_of, ray_session
from preprocessing.common.errors import InputError
from preprocessing.processes.dask_client import (
    SCHEDULER_SETTINGS,
    ClientFactory,
    any_dashboard_port,
    free_dashboard_port,
    refuse_other_hosts,
)
from radiotrain.training.loop import print_line

_START_TIMEOUT_S = 120
# A node of a cloud has to be found, booted and installed first.
_GROWTH_TIMEOUT_S = 1800


def ray_client(num_workers: int | None = None) -> ClientFactory:
    """Return a factory of a client on the Ray cluster that is there, or on a local one started for it.

    Parameters
    ----------
    num_workers
        Processes, one thread each; by default one for each CPU that Ray has, or that the nodes
        without a GPU have when an autoscaler has brought as many as it may.
    """

    @contextmanager
    def connect(num_tasks: int) -> Iterator[Client]:
        with ray_session():
            wanted = _num_workers(num_workers)
            with _scheduler() as (client, address, security):
                yield from _with_workers(client, address, security, min(wanted, num_tasks))

    return connect


def _num_workers(asked: int | None) -> int:
    there, most = int(ray.cluster_resources().get("CPU", 0)), int(most_of("CPU"))
    if most == 0:
        raise InputError("the Ray cluster has no CPUs to work on: add nodes to it")
    if asked is not None and asked > most:
        raise InputError(
            f"{asked} workers asked for, the Ray cluster {'has' if most == there else 'can grow to'}"
            f" {most} CPUs: ask for fewer, or add nodes"
        )
    # GPUs are dear, and this work has no use for them.
    spared = int(growth_of_cluster().without("GPU").most("CPU"))
    return asked or max(there, spared) or most


@contextmanager
def _scheduler() -> Iterator[tuple[Client, str, Security]]:
    """Start a scheduler in this process, on the address by which Ray's nodes know this one.

    Whoever can talk to a scheduler or a worker can run what they like there. Both talk only to
    those who hold a certificate that is made anew here, for this run.
    """
    with dask.config.set(SCHEDULER_SETTINGS):
        security = Security.temporary()
        with any_dashboard_port():
            cluster = LocalCluster(
                n_workers=0,
                host=ray.util.get_node_ip_address(),
                # It asks nobody for a name: for this machine alone.
                dashboard_address=f"127.0.0.1:{free_dashboard_port('127.0.0.1')}",
                security=security,
                silence_logs=logging.CRITICAL,
            )
        refuse_other_hosts(cluster)
        with cluster, Client(cluster) as client:
            yield client, cluster.scheduler_address, security


def _with_workers(client: Client, address: str, security: Security, count: int) -> Iterator[Client]:
    actor = ray.remote(_WorkerHost).options(
        num_cpus=1, max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD"
    )
    hosts = [actor.remote() for _ in range(count)]
    # Awaited by nobody: `run` lasts as long as its worker, and Ray calls it again on a new node.
    running = [host.run.remote(address, security) for host in hosts]
    try:
        _wait_for_one(client, count)
        yield client
    finally:
        del running
        for host in hosts:
            ray.kill(host)


def _wait_for_one(client: Client, count: int) -> None:
    there = int(ray.cluster_resources().get("CPU", 0))
    grows = growth_of_cluster().most("CPU") > there
    timeout_s = _GROWTH_TIMEOUT_S if grows else _START_TIMEOUT_S
    if there == 0:
        print_line(f"the Ray cluster has no CPUs yet, waiting for nodes for {count} workers")
    try:
        client.wait_for_workers(1, timeout=timeout_s)
    except TimeoutError as error:
        free = int(ray.available_resources().get("CPU", 0))
        raise InputError(
            f"none of {count} Dask workers has begun on the Ray cluster in {timeout_s} s:"
            f" {free} of its CPUs are free now; wait for what runs there, or add nodes"
            f"{' (`ray status` says why none come)' if grows else ''}"
        ) from error


class _WorkerHost:
    """A Ray actor that keeps one Dask worker process alive."""

    async def run(self, address: str, security: Security) -> None:
        """Connect a worker to the scheduler and stay until it is told to end."""
        with dask.config.set(SCHEDULER_SETTINGS):
            nanny = await Nanny(
                address,
                nthreads=1,
                memory_limit=0,
                security=security,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
            try:
                await nanny.finished()
            finally:
                with contextlib.suppress(asyncio.CancelledError, OSError):
                    await nanny.close()
