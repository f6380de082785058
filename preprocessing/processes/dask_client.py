"""Clients of Dask: on processes of this machine, or on a cluster that exists already."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import dask
from distributed import Client, LocalCluster
from distributed.security import Security
from distributed.utils import silence_logging_cmgr
from tornado.httputil import HTTPServerRequest
from tornado.routing import Matcher, Rule
from tornado.web import HTTPError, RequestHandler

from preprocessing.common.errors import InputError
from preprocessing.processes.machine import is_own_host
from preprocessing.processes.worker_process import (
    START_METHOD,
    interrupts_held_back,
    worker_context,
)

# Given the number of tasks, a client of the cluster that is to do them.
ClientFactory = Callable[[int], AbstractContextManager[Client]]

_DASHBOARD_PORT = 8787
_CONNECT_TIMEOUT_S = 10
# What a task is worth: it is tried on a second worker when the first one dies.
SCHEDULER_SETTINGS = {
    "distributed.scheduler.allowed-failures": 1,
    # Forked workers deadlock in Zarr on S3, and copies save nothing where each worker has a host process.
    "distributed.worker.multiprocessing-method": "spawn",
    "distributed.worker.memory.terminate": False,
}


def local_client(num_workers: int) -> ClientFactory:
    """Return a factory of a client of `num_workers` processes of this machine, one thread each.

    A scheduler or worker runs what it is sent, and every user of this machine can connect to their
    ports. They answer only those who hold a certificate that is made here, for this run.
    """

    @contextmanager
    def connect(num_tasks: int) -> Iterator[Client]:
        method = {"distributed.worker.multiprocessing-method": START_METHOD}
        with dask.config.set(SCHEDULER_SETTINGS | method):
            worker_context("distributed", "preprocessing.pipeline.run")
            with interrupts_held_back(), any_dashboard_port():
                cluster = LocalCluster(
                    n_workers=min(num_workers, num_tasks),
                    threads_per_worker=1,
                    dashboard_address=f"127.0.0.1:{free_dashboard_port('127.0.0.1')}",
                    memory_limit=0,
                    security=Security.temporary(),
                    # A copy has the variables that were set when what it is copied from began.
                    env=dict(os.environ),
                    # What a worker says while it is being ended is not for the user.
                    silence_logs=logging.CRITICAL,
                )
            refuse_other_hosts(cluster)
            with cluster, Client(cluster) as client:
                yield client

    return connect


def scheduler_client(address: str) -> ClientFactory:
    """Return the Dask cluster whose scheduler listens at `address`, e.g. ``tcp://10.0.0.1:8786``."""

    @contextmanager
    def connect(num_tasks: int) -> Iterator[Client]:
        try:
            client = Client(address, timeout=_CONNECT_TIMEOUT_S)
        except (OSError, ValueError, TypeError) as error:
            raise InputError(
                f"no Dask scheduler answers at {address!r}: start one with 'dask scheduler' and"
                " workers with 'dask worker', and give its address, such as tcp://host:8786"
            ) from error
        # What there is to say of a scheduler that goes away, `preprocessing.pipeline.run` says.
        with silence_logging_cmgr(logging.CRITICAL), client:
            if not client.scheduler_info(n_workers=-1)["workers"]:
                raise InputError(
                    f"the Dask scheduler at {address} has no workers: start some with"
                    f" 'dask worker {address} --nthreads 1'"
                )
            yield client

    return connect


@contextmanager
def any_dashboard_port() -> Iterator[None]:
    """Begin a cluster without a word where its dashboard's port was taken since it was free."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=r"Port \d+ is already in use", module="distributed"
        )
        yield


def free_dashboard_port(host: str) -> int:
    """Return Dask's usual dashboard port, or 0 (any) where something else listens there."""
    with socket.socket() as probe:
        try:
            probe.bind((host, _DASHBOARD_PORT))
        except OSError:
            return 0
    return _DASHBOARD_PORT


def refuse_other_hosts(cluster: LocalCluster) -> None:
    """Answer requests whose Host header is of another machine with 403, Bokeh's web sockets included.

    Dask has no setting for it: its `allow_websocket_origin` leaves out all pages but Bokeh's.
    """
    router = cluster.scheduler.http_application.default_router
    router.rules.insert(0, Rule(_OtherHost(), _Refusal))


class _OtherHost(Matcher):
    def match(self, request: HTTPServerRequest) -> dict[str, Any] | None:
        return None if is_own_host(request.headers.get("Host")) else {}


class _Refusal(RequestHandler):
    # Not a handler of errors: Dask goes on looking for another page after one of those.
    def prepare(self) -> None:
        raise HTTPError(403, reason="Host is not a name of this machine")
