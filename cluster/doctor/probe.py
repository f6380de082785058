"""What is measured on a node, by an actor there."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import ray
from ray._private.authentication.authentication_utils import is_token_auth_enabled

from preprocessing.storage import files
from preprocessing.storage.s3_options import PATIENCE
from radiotrain.data.placement import SHARED_MEMORY
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
