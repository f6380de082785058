"""Notices to stop, and nodes that are about to be taken away, cost at most a step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.runs.checkpoint import newest_position
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import make_split, save_split
from tests.cluster.test_elastic import start_training, wait_for_epochs
from tests.commands import end
from tests.processes import descendants, is_alive
from tests.processes import wait_for as wait_until
from tests.ray_copies import COMMAND, PROGRAM
from tests.unit.training.synthetic import run_config, write_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def own_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One whose copy in shared memory no other test makes."""
    return write_store(str(tmp_path_factory.mktemp("notices") / "store"), seed=25)


@pytest.fixture
def make_config(own_store: Store, tmp_path: Path) -> Callable[..., RunConfig]:
    split_url = str(tmp_path / "splits.json")
    save_split(make_split(own_store, seed=3, num_folds=4), split_url)

    def make(name: str, **changes: object) -> RunConfig:
        values = {"epochs": 4000, "batch_size": 8, "lr": 1e-3, "warmup_epochs": 1}
        stopping = {"patience": None}
        return run_config(
            own_store, split_url, tmp_path / name, train=values, early_stopping=stopping, **changes
        )

    return make


def copies_of(store: Store) -> list[str]:
    return [path.name for path in Path("/dev/shm").glob(f"*{store.fingerprint}")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_workers_of_a_driver_that_is_to_stop_write_where_they_are(
    copied_workers: None,
    own_store: Store,
    make_config: Callable[..., RunConfig],
    number: signal.Signals,
) -> None:
    """SIGHUP goes to the whole group, as from a terminal that is closed."""
    config = make_config("run")
    process = start_training(config, COMMAND, "--workers", "2")
    wait_for_epochs(config.out, 2, process)
    below = descendants(process.pid)
    tell = os.killpg if number == signal.SIGHUP else os.kill
    tell(process.pid, number)
    _, said = end(process, status=128 + number, timeout_s=60)
    record = RunFolder(config.out).read_record()
    assert record is not None
    assert (record.status, record.error) == ("paused", None)
    place = newest_position(RunFolder(config.out).checkpoints)
    assert place.step > 0
    assert said.splitlines()[-1] == (
        f"paused {place.describe()} ({number.name}): run the same command again to resume"
    )
    assert "terminate called" not in said
    wait_until(lambda: not any(map(is_alive, below)), "Ray's processes to end")
    assert copies_of(own_store) == []


def drain(address: str, node_id: str, seconds: int) -> None:
    words = ["drain-node", f"--address={address}", f"--node-id={node_id}", "--reason-message=test"]
    words += ["--reason=DRAIN_NODE_REASON_PREEMPTION", f"--deadline-remaining-seconds={seconds}"]
    ray_command = Path(sys.executable).with_name("ray")
    subprocess.run([ray_command, *words], check=True, capture_output=True, timeout=100)


# The command, whose first worker writes down each step that it takes.
NOTING_COMMAND = (
    PROGRAM
    + """
import os
import cluster.train as here
from radiotrain.cli import main

def work(values, path=os.environ["STEPS"]):
    import os
    import cluster.train as there
    from radiotrain.training.trainer import Training
    take_step = Training.take_step

    def noted(self, step, *arguments):
        loss = take_step(self, step, *arguments)
        if self.worker.is_writer:
            with open(path, "a") as file:
                print(os.getpid(), step.epoch, step.number, file=file)
        return loss

    Training.take_step = noted
    there._train_worker(values)

here._train_worker = work
main()
"""
)


def taken(steps: Path) -> list[tuple[str, str]]:
    """Return the process and the place of each step that was taken."""
    lines = [line.split(" ", 1) for line in steps.read_text().splitlines()]
    return [(process, place) for process, place in lines]


def test_a_drained_node_costs_at_most_a_step(
    copied_workers: None, make_config: Callable[..., RunConfig]
) -> None:
    """Its last step is in a checkpoint; the group goes on elsewhere, and that is no failure."""
    config = make_config("drained")
    folder, steps = RunFolder(config.out), Path(f"{config.out}.steps")
    hosts = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        second = hosts.add_node(num_cpus=1)
        there = {"RAY_ADDRESS": hosts.address, "STEPS": str(steps)}
        process = start_training(config, NOTING_COMMAND, "--workers", "2", environment=there)
        wait_for_epochs(config.out, 2, process)
        hosts.add_node(num_cpus=1)
        drain(hosts.address, second.node_id, 30)
        wait_until(lambda: newest_position(folder.checkpoints).step > 0, "a step's checkpoint", 60)
        wait_until(lambda: len({w for w, _ in taken(steps)}) == 2, "the next group's step", 150)
        seen = len(folder.read_metrics())
        hosts.remove_node(second, allow_graceful=False)
        wait_for_epochs(config.out, seen + 2, process)
        process.send_signal(signal.SIGTERM)
        _, said = end(process, status=143, timeout_s=60)
    finally:
        hosts.shutdown()
    places = [place for _, place in taken(steps)]
    assert len(places) - len(set(places)) <= 1
    epochs = [m.epoch for m in folder.read_metrics()]
    assert epochs == list(range(len(epochs)))
    assert "going on from the last checkpoint" not in said, "it counts as a failure"
