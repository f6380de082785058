"""What happens to hosts while they work: what they make is what undisturbed ones make, to the bit."""

from __future__ import annotations

import json
import re
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import yaml

from tests.stores import assert_same_store

if TYPE_CHECKING:
    import subprocess

    from tests.nodes.conftest import Cluster, Road
    from tests.nodes.hosts import Hosts

pytestmark = pytest.mark.timeout(900)

NUM_EPOCHS = 30
_QUICK_S = 0.5
_ROOT = Path(__file__).parents[2]


def begin_training(
    cluster: Cluster, road: Road, name: str, workers: str = "2", epochs: int = NUM_EPOCHS
) -> subprocess.Popen[str]:
    """Submit a training and go on."""
    values = {
        "store": f"{road.out}/store.zarr",
        "split": f"{road.out}/splits.json",
        "out": f"{road.out}/{name}",
        "targets": ["ER"],
        "network": {"name": "ResNet10-narrow"},
        "train": {"epochs": epochs, "batch_size": 8, "lr": 1e-3, "warmup_epochs": 1},
        "logging": {"tensorboard": False},
    }
    text = yaml.safe_dump(values)
    put = f"import s3fs; s3fs.S3FileSystem().pipe({road.out + '/' + name + '.yaml'!r}, {text.encode()!r})"
    cluster.hosts.run("laptop", f"python -c {shlex.quote(put)}")
    return submit_training(cluster, road, name, workers)


def submit_training(
    cluster: Cluster, road: Road, name: str, workers: str = "2"
) -> subprocess.Popen[str]:
    return cluster.begin("train", "--config", f"{road.out}/{name}.yaml", "--workers", workers)


def metrics_lines(cluster: Cluster, road: Road, name: str) -> list[str]:
    return cluster.read(f"{road.out}/{name}/metrics.jsonl").splitlines()


def num_epochs(cluster: Cluster, road: Road, name: str) -> int:
    return len(metrics_lines(cluster, road, name))


def world_size(cluster: Cluster, road: Road, name: str) -> int | None:
    record = cluster.read(f"{road.out}/{name}/run.json")
    size: int | None = json.loads(record)["world_size"] if record else None
    return size


def kill_driver(cluster: Cluster) -> None:
    cluster.hosts.run("head", "kill -9 $(pgrep -f '^python .*train.py --config')")


def wait_for_epochs(cluster: Cluster, road: Road, name: str, num: int) -> None:
    deadline = time.monotonic() + 200
    while num_epochs(cluster, road, name) < num:
        assert time.monotonic() < deadline, f"{num} epochs of {name} took over 200 s"
        time.sleep(_QUICK_S)


def finish(process: subprocess.Popen[str], status: int = 0) -> str:
    printed, _ = process.communicate(timeout=400)
    assert process.returncode == status, printed
    return printed


def result_of(cluster: Cluster, road: Road, name: str) -> tuple[list[Any], pd.DataFrame]:
    """Return a run's losses and its predictions."""
    folder = cluster.fetch(f"{road.out}/{name}")
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    table = pd.read_parquet(folder / "predictions.parquet").drop(columns="run")
    return [(m["epoch"], m["train_loss"]) for m in map(json.loads, lines)], table


@pytest.fixture(scope="module")
def undisturbed(cluster: Cluster, road: Road) -> tuple[list[Any], pd.DataFrame]:
    finish(begin_training(cluster, road, "undisturbed"))
    return result_of(cluster, road, "undisturbed")


def assert_as_undisturbed(
    cluster: Cluster, road: Road, name: str, undisturbed: tuple[list[Any], pd.DataFrame]
) -> None:
    losses, table = result_of(cluster, road, name)
    assert losses == undisturbed[0]
    pd.testing.assert_frame_equal(table, undisturbed[1], check_exact=True)


@pytest.fixture
def measure(record_property: Callable[[str, object], None]) -> Callable[[float], None]:
    """Keep how long a training took from the fault to its end."""

    def keep(since: float) -> None:
        record_property("seconds from the fault to the end", round(time.monotonic() - since))

    return keep


def test_the_driver_is_killed_and_the_job_submitted_again(
    cluster, road, undisturbed, measure
) -> None:
    process = begin_training(cluster, road, "killed_driver")
    wait_for_epochs(cluster, road, "killed_driver", 3)
    began = time.monotonic()
    kill_driver(cluster)
    printed, _ = process.communicate(timeout=60)
    assert process.returncode != 0, printed
    finish(submit_training(cluster, road, "killed_driver"))
    measure(began)
    assert_as_undisturbed(cluster, road, "killed_driver", undisturbed)


def run_when_free(cluster, host: str, command: str) -> str:
    """Run a command that is refused for as long as a killed one on another host may be alive."""
    deadline = time.monotonic() + 150
    while True:
        process = cluster.hosts.popen(host, command)
        printed, _ = process.communicate(timeout=300)
        if process.returncode == 0:
            return printed
        assert process.returncode == 2, printed
        assert "another run (process" in printed
        assert time.monotonic() < deadline, printed
        time.sleep(5)


def test_it_goes_on_elsewhere_from_s3_alone(cluster, road, undisturbed, measure) -> None:
    """On a machine that has nothing of the cluster but the address of the storage."""
    process = begin_training(cluster, road, "moved")
    wait_for_epochs(cluster, road, "moved", 3)
    began = time.monotonic()
    kill_driver(cluster)
    process.communicate(timeout=60)
    command = f"radiotrain train --config {road.out}/moved.yaml --backend ray --workers 2"
    printed = run_when_free(cluster, "laptop", command)
    measure(began)
    # It did not begin anew: the epochs that the cluster had done are not among its own.
    assert "epoch 1/" not in printed, printed
    assert f"epoch {NUM_EPOCHS}/" in printed, printed
    assert_as_undisturbed(cluster, road, "moved", undisturbed)


@contextmanager
def s3_is_silent(hosts: Hosts) -> Iterator[None]:
    """For 20 s, then it answers again."""
    with _cut(hosts, "s3"):
        yield


@contextmanager
def network_is_cut(hosts: Hosts) -> Iterator[None]:
    """To a worker, for 20 s."""
    with _cut(hosts, "w2"):
        yield


@contextmanager
def _cut(hosts: Hosts, name: str) -> Iterator[None]:
    hosts.cut(name)
    time.sleep(20)
    hosts.heal(name)
    yield


@contextmanager
def disk_is_full(hosts: Hosts) -> Iterator[None]:
    """On a worker, until the training has ended."""
    hosts.fill_disk("w1")
    try:
        yield
    finally:
        hosts.free_disk("w1")


@contextmanager
def host_is_lost(hosts: Hosts) -> Iterator[None]:
    """In mid-epoch; it is started again when the training has ended."""
    hosts.kill("w1")
    try:
        yield
    finally:
        hosts.start("w1")


@pytest.mark.parametrize("fault", [s3_is_silent, network_is_cut, disk_is_full, host_is_lost])
def test_a_training_ends_as_if_nothing_had_happened(
    fault, cluster, road, undisturbed, measure
) -> None:
    name = fault.__name__
    process = begin_training(cluster, road, name)
    wait_for_epochs(cluster, road, name, 3)
    began = time.monotonic()
    with fault(cluster.hosts):
        finish(process)
        measure(began)
    assert_as_undisturbed(cluster, road, name, undisturbed)
    # Nobody has typed anything: on a host that came back the head starts Ray again.
    cluster.wait_for_nodes({"head", "w1", "w2"})


_IMDS = """
import http.server
from datetime import UTC, datetime, timedelta
end = (datetime.now(UTC) + timedelta(seconds=40)).strftime("%Y-%m-%dT%H:%M:%SZ")
class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, text):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())
    def do_PUT(self):
        self.answer("token")
    def do_GET(self):
        self.answer('{"action": "terminate", "time": "' + end + '"}')
http.server.HTTPServer(("127.0.0.1", 8169), Handler).serve_forever()
"""


def places(cluster: Cluster, road: Road, name: str) -> list[tuple[int, int]]:
    """Return epochs and steps of the checkpoints there are, the newest last."""
    listed = f"import s3fs; print(*s3fs.S3FileSystem().ls({road.out + '/' + name + '/checkpoints'!r}, refresh=True))"
    names = cluster.hosts.run("laptop", f"python -c {shlex.quote(listed)}").split()
    found = [re.search(r"epoch-(\d+)-step-(\d+)-", name) for name in names]
    return sorted((int(m[1]), int(m[2])) for m in found if m)


def test_a_spot_instance_that_is_taken_back_costs_at_most_a_step(cluster, road, measure) -> None:
    """Its metadata service gives notice, the watcher drains it, and at its time it is gone."""
    hosts, name = cluster.hosts, "spot"
    process = begin_training(cluster, road, name, workers="2-3", epochs=5000)
    wait_for_epochs(cluster, road, name, 3)
    deadline = time.monotonic() + 120
    while world_size(cluster, road, name) != 3:
        assert time.monotonic() < deadline, "not three workers"
        time.sleep(_QUICK_S)
    began = time.monotonic()
    service = hosts.popen("w1", f"python -c {shlex.quote(_IMDS)}")
    watch = "AWS_EC2_METADATA_SERVICE_ENDPOINT=http://127.0.0.1:8169 python -m cluster.spot_watch"
    said = hosts.run("w1", f"cd {_ROOT} && {watch}", timeout_s=60)
    assert "spot instance: terminate in" in said
    # From now on every step is in a checkpoint, until the node is gone.
    while not any(step for _, step in places(cluster, road, name)):
        assert time.monotonic() < began + 40, "no checkpoint of a step"
        time.sleep(_QUICK_S)
    time.sleep(max(0, began + 40 - time.monotonic()))
    service.kill()
    hosts.kill("w1")
    service.communicate(timeout=30)
    last = places(cluster, road, name)[-1]
    try:
        while world_size(cluster, road, name) != 2:
            assert time.monotonic() < began + 300, "it does not go on"
            time.sleep(_QUICK_S)
        measure(began)
        wait_for_epochs(cluster, road, name, last[0] + 3)
    finally:
        hosts.start("w1")
    kill_driver(cluster)
    printed, _ = process.communicate(timeout=60)
    done = [json.loads(line)["epoch"] for line in metrics_lines(cluster, road, name)]
    assert done == list(range(len(done)))
    assert "lost touch" not in printed, printed
    cluster.wait_for_nodes({"head", "w1", "w2"})


def test_patients_are_done_elsewhere_than_where_there_is_no_room(cluster, road, s3) -> None:
    """Their files are brought from S3 to the disk of the host that works on them."""
    words = (f"{s3}/cohort", f"{s3}/no_room.zarr", "--config", f"{road.out}/preprocess.yaml")
    with disk_is_full(cluster.hosts):
        printed = cluster.submit("preprocess", *words)
    assert "40 patients stored, 0 excluded" in printed
    assert_same_store(cluster.fetch(f"{s3}/no_room.zarr"), cluster.fetch(f"{road.out}/store.zarr"))


def test_a_host_that_joins_late_is_taken_up(cluster, road, measure) -> None:
    cluster.hosts.kill("w1")
    cluster.wait_for_nodes({"head", "w2"})
    # More epochs than this test waits for, however fast the machine.
    process = begin_training(cluster, road, "late", workers="2-3", epochs=5000)
    wait_for_epochs(cluster, road, "late", 3)
    assert world_size(cluster, road, "late") == 2
    began = time.monotonic()
    cluster.hosts.start("w1")
    deadline = began + 400
    while world_size(cluster, road, "late") != 3:
        assert time.monotonic() < deadline, "the host was not taken up"
        time.sleep(_QUICK_S)
    measure(began)
    wait_for_epochs(cluster, road, "late", num_epochs(cluster, road, "late") + 3)
    kill_driver(cluster)
    process.communicate(timeout=60)
    # The three went on where the two had been.
    done = [json.loads(line)["epoch"] for line in metrics_lines(cluster, road, "late")]
    assert done == list(range(len(done)))
