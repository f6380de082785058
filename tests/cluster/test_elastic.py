"""Workers that fail, die, are lost and come back; drivers that are killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from ray.cluster_utils import Cluster
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

import cluster.train
from cluster.failures import WorkerFailedError, WorkerFailure, WorkersError, sum_up
from cluster.train import train_on_ray
from preprocessing.common.errors import InputError, SchemaError
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig, dump_config
from radiotrain.runs.run_folder import RunFolder
from tests.commands import end, start
from tests.ray_copies import COMMAND, PROGRAM
from tests.unit.training.synthetic import run_config

# Ray's own worker processes and its pydantic models warn; none of it is ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")

NUM_EPOCHS = 10
# In a worker, before each epoch is reported: (rank, epoch).
Trouble = Callable[[int, int], None]


@pytest.fixture
def make_config(store: Store, split_url: str, tmp_path: Path) -> Callable[..., RunConfig]:
    def make(name: str, **train: object) -> RunConfig:
        values = {"epochs": NUM_EPOCHS, "batch_size": 8, "lr": 1e-3, "warmup_epochs": 1} | train
        # The log goes on, too, where a run was broken off.
        changes = {"logging": {"tensorboard": True}}
        return run_config(store, split_url, tmp_path / name, train=values, **changes)

    return make


@pytest.fixture(scope="module")
def undisturbed(
    ray_here: None, store: Store, split_url: str, tmp_path_factory: pytest.TempPathFactory
) -> RunConfig:
    """Two workers whom nothing happens to."""
    values = {"epochs": NUM_EPOCHS, "batch_size": 8, "lr": 1e-3, "warmup_epochs": 1}
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    config = run_config(store, split_url, out, train=values)
    train_on_ray(config, workers=2)
    return config


def last_weights(config: RunConfig) -> dict[str, torch.Tensor]:
    newest = max(Path(config.out, "checkpoints").glob("epoch-*.pt"))
    weights: dict[str, torch.Tensor] = torch.load(newest, weights_only=True)["network"]
    return weights


def assert_same_weights(config: RunConfig, other: RunConfig) -> None:
    ours, theirs = last_weights(config), last_weights(other)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def bring(trouble: Trouble, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `trouble` happen in the workers; as an inner function it travels there whole."""

    def work(values: Mapping[str, Any]) -> None:
        import cluster.train as there

        loop = there.train_loop  # type: ignore[attr-defined]

        def train(config: RunConfig, **options: Any) -> Any:
            worker, report = options["worker"], options.pop("on_epoch")
            Path(config.out).mkdir(exist_ok=True)
            Path(config.out, f"pid-{worker.rank}").write_text(str(os.getpid()))
            with Path(config.out, "attempts").open("a") as file:
                file.write(f"{worker.rank}\n")

            def on_epoch(metrics: Any) -> None:
                trouble(worker.rank, metrics.epoch)
                report(metrics)

            return loop(config, on_epoch=on_epoch, **options)

        there.train_loop = train  # type: ignore[attr-defined]
        try:
            there._train_worker(values)
        finally:
            there.train_loop = loop  # type: ignore[attr-defined]

    monkeypatch.setattr(cluster.train, "_train_worker", work)


def count_attempts(config: RunConfig, rank: int) -> int:
    return Path(config.out, "attempts").read_text().split().count(str(rank))


def wait_for_epochs(out: str, num_epochs: int, process: subprocess.Popen[str] | None = None) -> int:
    """Wait until a run has so many epochs; return how many it has."""
    end = time.monotonic() + 200
    while (found := len(RunFolder(out).read_metrics())) < num_epochs:
        assert time.monotonic() < end, f"{found} epochs of {num_epochs}"
        assert process is None or process.poll() is None, process.communicate()
        time.sleep(0.05)
    return found


# Words, without a Ray


def failed(rank: int, sentence: str, **what: Any) -> WorkerFailedError:
    return WorkerFailedError(
        WorkerFailure(f"worker {rank} of 2 on host{rank}", sentence, 2, **what)
    )


def died(text: str) -> WorkerHealthCheckFailedError:
    return WorkerHealthCheckFailedError("a check failed", RuntimeError(text))


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        ({1: failed(1, "ValueError: x")}, WorkersError("worker 1 of 2 on host1: ValueError: x")),
        (
            {1: failed(1, "a"), 0: failed(0, "b")},
            WorkersError("worker 0 of 2 on host0: b; worker 1 of 2 on host1: a"),
        ),
        (
            {0: failed(0, "closed", is_echo=True), 1: failed(1, "ValueError: x")},
            WorkersError("worker 1 of 2 on host1: ValueError: x"),
        ),
        (
            {0: failed(0, "closed", is_echo=True), 1: failed(1, "closed", is_echo=True)},
            WorkersError("worker 0 of 2 on host0: closed; worker 1 of 2 on host1: closed"),
        ),
        (
            {0: failed(0, "ValueError: x"), 1: failed(1, "no chunk", mistake=InputError)},
            InputError("worker 1 of 2 on host1: no chunk"),
        ),
        (
            {0: failed(0, "lower lr", mistake=InputError), 1: failed(1, "lower lr", mistake=InputError)},
            InputError("lower lr"),
        ),
        ({1: failed(1, "lower lr", mistake=InputError)}, InputError("worker 1 of 2 on host1: lower lr")),
        (
            {0: failed(0, "old", mistake=SchemaError), 1: failed(1, "lost", mistake=InputError)},
            SchemaError("worker 0 of 2 on host0: old; worker 1 of 2 on host1: lost"),
        ),
        (
            {1: died("pid: 7\nip: 10.0.0.1\nThe actor's node died."), 0: failed(0, "x", is_echo=True)},
            WorkersError(
                "worker 1 (process 7 on 10.0.0.1): does not answer any more: its host, or the"
                " network to it, was lost"
            ),
        ),
        (
            {0: died("Worker exit type: NODE_OUT_OF_MEMORY")},
            WorkersError("worker 0: was killed by Ray because its host ran out of memory"),
        ),
        ({0: died("one\nsomething new")}, WorkersError("worker 0: something new")),
        ({0: TimeoutError("no answer\nmore")}, WorkersError("worker 0: TimeoutError: no answer")),
    ],
)  # fmt: skip
def test_the_sentence_names_each_cause_and_its_worker(
    failures: dict[int, BaseException], expected: Exception
) -> None:
    found = sum_up(failures)
    assert (type(found), str(found)) == (type(expected), str(expected))


# Real workers


@pytest.mark.slow
def test_a_mistake_of_one_worker_is_its_own_sentence_and_not_tried_again(
    ray_here: None, make_config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    def trouble(rank: int, epoch: int) -> None:
        if (rank, epoch) == (1, 1):
            raise InputError("patient P003 is damaged: run 'radiotrain store verify'")

    bring(trouble, monkeypatch)
    config = make_config("mistake")
    start = time.monotonic()
    with pytest.raises(InputError, match=r"^worker 1 of 2 on \S+: patient P003 is damaged: run"):
        train_on_ray(config, workers=2)
    # The other worker waits for this one in a collective; it is not waited for.
    assert time.monotonic() - start < cluster.train._COLLECTIVE_TIMEOUT_S / 4
    assert count_attempts(config, 1) == 1
    record = RunFolder(config.out).read_record()
    assert record is not None
    assert record.status == "failed"
    assert "P003" in str(record.error)


@pytest.mark.slow
def test_another_exception_is_tried_again_and_then_told_with_its_traceback(
    ray_here: None,
    make_config: Callable[..., RunConfig],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def trouble(rank: int, epoch: int) -> None:
        if rank == 1:
            raise KeyError("gone")

    bring(trouble, monkeypatch)
    monkeypatch.setattr(cluster.train, "_MAX_FAILURES", 1)
    config = make_config("bug")
    with pytest.raises(WorkersError, match=r"worker 1 of 2 on \S+: KeyError: 'gone' \(traceback"):
        train_on_ray(config, workers=2)
    assert count_attempts(config, 1) == 2
    assert "in trouble" in Path(config.out, "ray", "traceback-1.txt").read_text()
    assert "KeyError: 'gone'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_worker_costs_nothing_of_the_result(
    undisturbed: RunConfig,
    make_config: Callable[..., RunConfig],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bring(lambda rank, epoch: None, monkeypatch)
    config = make_config("killed")
    done: list[int] = []

    def kill() -> None:
        done.append(wait_for_epochs(config.out, 2))
        os.kill(int(Path(config.out, "pid-1").read_text()), signal.SIGKILL)

    thread = Thread(target=kill)
    thread.start()
    result = train_on_ray(config, workers=2)
    thread.join()
    assert done[0] < NUM_EPOCHS, "killed too late to show anything"
    assert count_attempts(config, 1) == 2
    assert [m.epoch for m in result.history] == list(range(NUM_EPOCHS))
    assert_same_weights(config, undisturbed)
    assert "was killed from outside" in capsys.readouterr().err


# The command, as a user types it

# The same with epochs long enough for hosts to come and go, until it is told to hurry, and a Ray that
# soon sees them.
SLOW_COMMAND = (
    PROGRAM
    + """
import os
import cluster.train as here
from radiotrain.cli import main

def work(values, hurry=os.environ["HURRY"]):
    import time
    from pathlib import Path
    import cluster.train as there
    report = there._report

    def slowly(metrics):
        time.sleep(0 if Path(hurry).exists() else 3)
        report(metrics)

    there._report = slowly
    there._train_worker(values)

here._train_worker, here._SECONDS_BETWEEN_RESIZES = work, 5.0
main()
"""
)


def start_training(
    config: RunConfig, program: str, *words: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    file = Path(f"{config.out}.yaml")
    file.write_text(dump_config(config))
    words = ("train", "--config", str(file), "--backend", "ray", *words)
    return start(*words, program=("-c", program), environment=environment)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_driver_costs_nothing_of_the_result(
    undisturbed: RunConfig, make_config: Callable[..., RunConfig]
) -> None:
    config = make_config("driver")
    process = start_training(config, COMMAND, "--workers", "2")
    num_done = wait_for_epochs(config.out, 2, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert num_done < NUM_EPOCHS, "killed too late to show anything"
    end(start_training(config, COMMAND, "--workers", "2"), timeout_s=200)
    assert [m.epoch for m in RunFolder(config.out).read_metrics()] == list(range(NUM_EPOCHS))
    assert_same_weights(config, undisturbed)


@contextmanager
def one_host() -> Iterator[Cluster]:
    """Yield a cluster of one host with one CPU, beside whatever Ray runs here."""
    hosts = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    try:
        yield hosts
    finally:
        hosts.shutdown()


def wait_for_world_size(folder: RunFolder, size: int, process: subprocess.Popen[str]) -> None:
    """Wait until a group of this size has trained an epoch."""
    end = time.monotonic() + 200
    while (record := folder.read_record()) is None or record.world_size != size:
        assert time.monotonic() < end, record
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    wait_for_epochs(folder.url, len(folder.read_metrics()) + 1, process)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_hosts_that_join_are_taken_up_and_those_lost_are_done_without(
    make_config: Callable[..., RunConfig],
) -> None:
    config = make_config("elastic", epochs=40)
    folder, hurry = RunFolder(config.out), Path(f"{config.out}.hurry")
    with one_host() as hosts:
        there = {"RAY_ADDRESS": hosts.address, "HURRY": str(hurry)}
        process = start_training(config, SLOW_COMMAND, "--workers", "1-2", environment=there)
        wait_for_world_size(folder, 1, process)
        second = hosts.add_node(num_cpus=1)
        wait_for_world_size(folder, 2, process)
        hosts.remove_node(second, allow_graceful=False)
        assert len(folder.read_metrics()) < 40, "lost too late to show anything"
        hurry.touch()
        _, said = end(process, timeout_s=300)
    record = folder.read_record()
    assert record is not None
    assert (record.status, record.world_size) == ("finished", 1)
    assert [m.epoch for m in folder.read_metrics()] == list(range(40))
    # Whichever is seen first: the host that is gone, or the worker that waits for it in vain.
    lost = "lost touch with another worker.*|its host, or the network to it, was lost"
    assert re.search(f"({lost}): going on from the last checkpoint", said)
    # The tumours show ER: whoever trained, it was learned.
    assert record.validation_auc == pytest.approx(1.0)
