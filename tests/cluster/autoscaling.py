"""A Ray cluster with a real autoscaler and no cloud: nodes are more raylets on this machine.

Ray's own `AutoscalingCluster` begins and ends with `ray stop`, which ends every Ray of the machine,
and needs a file that is not in Ray's wheel.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray._private.services import get_node_ip_address
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_TYPE,
    FakeMultiNodeProvider,
)
from ray.autoscaler.node_launch_exception import NodeLaunchException

_ROOT = Path(__file__).parents[2]
_BIN = Path(sys.executable).parent
# Lists and maps that the launcher fills in and the autoscaler reads.
_EMPTY: dict[str, Any] = {
    **{key: {} for key in ("auth", "file_mounts")},
    **{
        key: []
        for key in (
            *("cluster_synced_files", "rsync_exclude", "rsync_filter", "initialization_commands"),
            *("setup_commands", "head_setup_commands", "worker_setup_commands"),
            *("head_start_ray_commands", "worker_start_ray_commands"),
        )
    },
}


class CloudWithoutSpot(FakeMultiNodeProvider):
    """A cloud that has no capacity for nodes whose configuration says spot."""

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        if "InstanceMarketOptions" in node_config:
            raise NodeLaunchException("InsufficientInstanceCapacity", "there is none", None)
        super().create_node_with_resources_and_labels(node_config, tags, count, resources, labels)


@dataclass(frozen=True)
class Autoscaled:
    """A cluster of which the head is up.

    Parameters
    ----------
    environment
        In which a driver on the head finds the cluster and its file.
    logs
        Folder of Ray's logs.
    """

    environment: Mapping[str, str]
    logs: Path

    def drive(self, program: str, *words: object, timeout_s: float = 90) -> str:
        """Run Python code as a driver on the head; return what it said, and then what it printed."""
        done = subprocess.run(
            [sys.executable, "-c", program, *map(str, words)],
            env=self.environment,
            cwd=_ROOT,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr + self.said()
        return done.stderr + done.stdout

    def said(self) -> str:
        """Return what the autoscaler said last, for a failed test's message."""
        lines = (self.logs / "monitor.log").read_text().splitlines()
        return "\n".join(lines[-40:])


@contextmanager
def autoscaled(
    node_types: Mapping[str, Any], max_workers: int, environment: Mapping[str, str]
) -> Iterator[Autoscaled]:
    """Start a cluster of a head without CPUs that grows by what it is asked for.

    Parameters
    ----------
    node_types
        As ``available_node_types`` of a cluster file, without the head.
    environment
        Of the head's ``ray start``.
    """
    # Sockets' names are short, and pytest's folders are not.
    folder = Path(tempfile.mkdtemp(prefix="rt-", dir="/tmp"))
    port = _free_port()
    config = _EMPTY | {
        "cluster_name": "fake",
        "max_workers": max_workers,
        "idle_timeout_minutes": 10,
        "upscaling_speed": 1.0,
        "provider": {
            "type": "external",
            "module": f"{CloudWithoutSpot.__module__}.{CloudWithoutSpot.__qualname__}",
            "gcs_address": f"{get_node_ip_address()}:{port}",
            # All nodes have one address here, by which silent ones would be told and begun again.
            "disable_node_updaters": True,
        },
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        "available_node_types": {
            FAKE_HEAD_NODE_TYPE: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            **node_types,
        },
    }
    file = folder / "ray_bootstrap_config.yaml"
    file.write_text(json.dumps(config))
    drivers = {
        **os.environ,
        # Where `ray up` leaves the file on a head; the cluster's token too.
        "HOME": str(folder),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ADDRESS": f"127.0.0.1:{port}",
        "PYTHONPATH": str(_ROOT),
    }
    words = f"start --head --block --port={port} --num-cpus=0 --include-dashboard=false"
    words += f" --object-store-memory=80000000 --temp-dir={folder}/ray"
    words += f" --autoscaling-config={file} --ray-client-server-port={_free_port()}"
    started = {
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "AUTOSCALER_HEARTBEAT_TIMEOUT_S": "100000",
        **environment,
    }
    head = {k: v for k, v in drivers.items() if k != "RAY_ADDRESS"} | started
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen(
            [str(_BIN / "ray"), *words.split()],
            env=head,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        logs = folder / "ray" / "session_latest" / "logs"
        _wait_for(process, logs / "monitor.log", folder / "out")
        yield Autoscaled(drivers, logs)
    finally:
        _end(process, folder)
        shutil.rmtree(folder, ignore_errors=True)


def _wait_for(process: subprocess.Popen[bytes], log: Path, out: Path) -> None:
    deadline = time.monotonic() + 60
    while not (log.exists() and "StandardAutoscaler" in log.read_text()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the head did not come up: {out.read_text()}")
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End the head, and what it leaves: its nodes are no children of its."""
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and f"{folder}/".encode() in (entry / "cmdline").read_bytes():
                os.kill(int(entry.name), signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
