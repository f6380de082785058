"""What happens to hosts while two workers train: each training ends as an undisturbed one, to the bit."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import yaml

if TYPE_CHECKING:
    import subprocess

    from tests.nodes.conftest import Cluster, Road

pytestmark = pytest.mark.timeout(900)

NUM_EPOCHS = 30
_QUICK_S = 0.5


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
        "early_stopping": {"patience": epochs},
        "show": {"tensorboard": False},
    }
    text = yaml.safe_dump(values)
    put = f"import s3fs; s3fs.S3FileSystem().pipe({road.out + '/' + name + '.yaml'!r}, {text.encode()!r})"
    cluster.hosts.run("laptop", f"python -c {shlex.quote(put)}")
    return submit_training(cluster, road, name, workers)


def submit_training(
    cluster: Cluster, road: Road, name: str, workers: str = "2"
) -> subprocess.Popen[str]:
    return cluster.begin("train", "--config", f"{road.out}/{name}.yaml", "--workers", workers)


def wait_for_epochs(cluster: Cluster, road: Road, name: str, num: int) -> None:
    deadline = time.monotonic() + 200
    while len(cluster.read(f"{road.out}/{name}/metrics.jsonl").splitlines()) < num:
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
    cluster.hosts.run("head", "kill -9 $(pgrep -f '^python .*train.py --config')")
    printed, _ = process.communicate(timeout=60)
    assert process.returncode != 0, printed
    finish(submit_training(cluster, road, "killed_driver"))
    measure(began)
    assert_as_undisturbed(cluster, road, "killed_driver", undisturbed)


def test_it_goes_on_elsewhere_from_s3_alone(cluster, road, undisturbed, measure) -> None:
    """On a machine that has nothing of the cluster but the address of the storage."""
    process = begin_training(cluster, road, "moved")
    wait_for_epochs(cluster, road, "moved", 3)
    began = time.monotonic()
    cluster.hosts.run("head", "kill -9 $(pgrep -f '^python .*train.py --config')")
    process.communicate(timeout=60)
    command = f"radiotrain train --config {road.out}/moved.yaml --on ray --workers 2"
    printed = cluster.hosts.run("laptop", command, timeout_s=300)
    measure(began)
    # It did not begin anew: the epochs that the cluster had done are not among its own.
    assert "epoch 1/" not in printed, printed
    assert f"epoch {NUM_EPOCHS}/" in printed, printed
    assert_as_undisturbed(cluster, road, "moved", undisturbed)


def test_s3_does_not_answer_for_twenty_seconds(cluster, road, undisturbed, measure) -> None:
    process = begin_training(cluster, road, "no_s3")
    wait_for_epochs(cluster, road, "no_s3", 3)
    began = time.monotonic()
    cluster.hosts.cut("s3")
    time.sleep(20)
    cluster.hosts.heal("s3")
    finish(process)
    measure(began)
    assert_as_undisturbed(cluster, road, "no_s3", undisturbed)


def test_the_network_to_a_worker_is_cut_and_healed(cluster, road, undisturbed, measure) -> None:
    process = begin_training(cluster, road, "cut")
    wait_for_epochs(cluster, road, "cut", 3)
    began = time.monotonic()
    cluster.hosts.cut("w2")
    time.sleep(20)
    cluster.hosts.heal("w2")
    finish(process)
    measure(began)
    assert_as_undisturbed(cluster, road, "cut", undisturbed)


def test_a_host_is_lost_in_mid_epoch(cluster, road, undisturbed, measure) -> None:
    process = begin_training(cluster, road, "lost_host")
    wait_for_epochs(cluster, road, "lost_host", 3)
    began = time.monotonic()
    cluster.hosts.kill("w1")
    finish(process)
    measure(began)
    assert_as_undisturbed(cluster, road, "lost_host", undisturbed)
