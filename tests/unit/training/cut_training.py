"""Trains and is killed at every so many'th operation on a file, and at every step; then resumed.

``python -m tests.unit.training.cut_training STORE SPLIT FOLDER FIRST STRIDE`` ends with status 0 if
each resumed run ended with the undisturbed run's weights, bit for bit, and says how often it was
killed. Each try is a fork of this process: importing what a training takes costs seconds.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import monai.networks.nets  # noqa: F401 - the first network's, loaded once for all forks
import torch
import torch._dynamo  # the first optimiser's

from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.runs.checkpoint import load_newest_checkpoint
from radiotrain.runs.predict_run import load_network
from radiotrain.runs.run_folder import RunFolder
from radiotrain.training.loop import train
from radiotrain.training.trainer import Training
from tests.unit.training.synthetic import run_config

# With all that a checkpoint may hold, and one after each step.
TRAIN = {
    "epochs": 2,
    "batch_size": 9,
    "micro_batch_size": 5,
    "lr": 3e-3,
    "warmup_epochs": 1,
    "ema_decay": 0.9,
    "sampling": "balanced",
}
CHANGES = ("open", "os.rename", "os.remove", "os.truncate")


def main(store_url: str, split_url: str, folder: Path, first: int, stride: int) -> None:
    torch.set_num_threads(1)
    store = Store.open(store_url)

    def config(name: str) -> RunConfig:
        return run_config(
            store,
            split_url,
            folder / name,
            targets=["ER", "PR"],
            train=TRAIN,
            speed={"checkpoint_minutes": 1e-9, "placement": "device"},
            logging={"tensorboard": False},
        )

    undisturbed = config("undisturbed")
    # A collection in a fork would copy all of it.
    gc.freeze()
    run(lambda: train(undisturbed, reporter=lambda _: None))
    for kills, number in enumerate(range(first, 10_000, stride)):
        disturbed = config(f"killed-{number}")

        def killed(disturbed: RunConfig = disturbed, number: int = number) -> None:
            kill_at(number, disturbed.out)
            train(disturbed, reporter=lambda _: None)

        if run(killed) == 0:
            print(f"killed {kills} times")
            return
        run(partial(train, disturbed, reporter=lambda _: None))
        must_equal(undisturbed.out, disturbed.out, number)
    raise AssertionError("it never ends")


def run(action: Callable[[], object]) -> int:
    """Do something in a fork; return its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        action()
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status not in (0, -signal.SIGKILL):
        sys.exit(f"the training ended with status {status}")
    return status


def kill_at(number: int, below: str) -> None:
    """Kill this process at an operation on a file below a folder, or at a step's end."""
    seen = 0

    def count() -> None:
        nonlocal seen
        if seen == number:
            os.kill(os.getpid(), signal.SIGKILL)
        seen += 1

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if event in CHANGES and str(arguments[0]).startswith(below):
            count()

    take_step = Training.take_step

    def counted(self: Training, *arguments: object) -> torch.Tensor:
        loss = take_step(self, *arguments)
        count()
        return loss

    Training.take_step = counted
    sys.addaudithook(hook)


def must_equal(expected: str, found: str, number: int) -> None:
    one, other = (RunFolder(url) for url in (expected, found))
    states = [load_newest_checkpoint(folder.checkpoints) for folder in (one, other)]
    for part in ("network", "averaged"):
        for name, value in states[0][part].items():
            if not torch.equal(value, states[1][part][name]):
                sys.exit(f"killed at {number}: {part} {name} is another")
    best = [load_network(folder.url).network.state_dict() for folder in (one, other)]
    if not all(torch.equal(value, best[1][name]) for name, value in best[0].items()):
        sys.exit(f"killed at {number}: the best weights are others")
    if not one.read_predictions()["probability"].equals(other.read_predictions()["probability"]):
        sys.exit(f"killed at {number}: the predictions are others")
    losses = [[m.train_loss for m in folder.read_metrics()] for folder in (one, other)]
    if losses[0] != losses[1]:
        sys.exit(f"killed at {number}: losses {losses[1]}, expected {losses[0]}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
