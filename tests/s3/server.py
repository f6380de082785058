"""A real S3 server of the tests' own."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import fsspec
import s3fs
import zarr.core.sync

KEY, SECRET = "tests", "tests-of-radiotrain"
BUCKET = "radiotrain"
_PORTS = ("s3.port", "s3.port.grpc", "master.port", "master.port.grpc", "volume.port",
          "volume.port.grpc", "filer.port", "filer.port.grpc")  # fmt: skip
_START_S = 60


def program() -> str | None:
    """Return the server's program, or None where it is not installed."""
    return shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")


def environment(endpoint: str) -> dict[str, str]:
    """Return the variables by which clients find a server, and may use it."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


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
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
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


def _free_ports(num: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(num)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def _make_bucket(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while True:
        bucket = client_of(port)
        try:
            if not bucket.exists(BUCKET):
                bucket.mkdir(BUCKET)
            bucket.pipe_file(f"{BUCKET}/there", b"1")
            return
        except Exception as error:
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"the S3 server did not start: {tail}") from error
        finally:
            close(bucket)
        time.sleep(0.3)


def client_of(port: int) -> Any:
    return s3fs.S3FileSystem(
        key=KEY,
        secret=SECRET,
        endpoint_url=f"http://127.0.0.1:{port}",
        use_listings_cache=False,
        skip_instance_cache=True,
        # Who waits for the server asks more often than a client that waits longer each time.
        config_kwargs={"retries": {"total_max_attempts": 1}},
    )


def close(client: Any) -> None:
    """Close a client in its own event loop.

    Nothing else closes those of Zarr's loop, the others s3fs, but in whichever loop is running where they happen
    to be collected, and asyncio says so in the midst of another test.
    """
    if client._s3 is not None and client.asynchronous:
        zarr.core.sync.sync(client._s3.close())
    elif client._s3 is not None:
        fsspec.asyn.sync(client.loop, client._s3.close)
