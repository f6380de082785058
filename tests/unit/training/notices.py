"""Trains with notices to stop at every step; a program of its own.

``python -m tests.unit.training.notices STORE SPLIT FOLDER`` gives a training notice after every step
and in every validation, resumes it, and ends with status 0 if it has the undisturbed run's weights,
predictions and losses, bit for bit. Each try is a fork of this process (see `cut_training`).
"""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import monai.networks.nets  # noqa: F401 - loaded once for all forks
import torch
import torch._dynamo

from preprocessing.processes.stop_notice import Stopped, listening
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.runs.checkpoint import newest_position
from radiotrain.runs.run_folder import RunFolder
from radiotrain.training import trainer as module
from radiotrain.training.loop import train
from radiotrain.training.trainer import Training
from tests.unit.training.cut_training import TRAIN, must_equal, run
from tests.unit.training.synthetic import run_config

PAUSED = 128 + signal.SIGUSR1


def main(store_url: str, split_url: str, folder: Path) -> None:
    torch.set_num_threads(1)
    store = Store.open(store_url)

    def config(name: str) -> RunConfig:
        speed = {"placement": "device"}
        return run_config(
            store, split_url, folder / name, train=TRAIN, speed=speed, targets=["ER", "PR"]
        )

    undisturbed = config("undisturbed")
    gc.freeze()
    run(lambda: train(undisturbed, reporter=lambda _: None))
    steps = given(config("steps"), lambda config: disturb(config, "take_step"))
    validations = given(config("validations"), lambda config: disturb(config, "validate"))
    for number, name in enumerate(("steps", "validations")):
        must_equal(undisturbed.out, str(folder / name), number)
    print(f"paused after {steps} steps and in {validations} validations")


def given(config: RunConfig, disturbed: Callable[[RunConfig], None]) -> int:
    """Train until the end, with a notice each time; return how often it was paused."""
    for number in range(100):
        status = run_paused(config, disturbed)
        record = RunFolder(config.out).read_record()
        assert record is not None
        if status == 0:
            assert record.status == "finished"
            return number
        if (status, record.status, record.error) != (PAUSED, "paused", None):
            sys.exit(f"status {status}, {record}")
    raise AssertionError("it never ends")


def run_paused(config: RunConfig, disturbed: Callable[[RunConfig], None]) -> int:
    child = os.fork()
    if child == 0:
        try:
            disturbed(config)
        except Stopped as stop:
            os._exit(stop.exit_status)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def disturb(config: RunConfig, where: str) -> None:
    """Give notice in the first step, or in the first validation that none was given in, and go on."""
    name = "_augmented" if where == "take_step" else "predict_logits"
    owner = Training if where == "take_step" else module
    original = getattr(owner, name)

    def noticed(*arguments: object) -> object:
        # A place after an epoch's last step was written by a notice in its validation.
        if where == "take_step" or newest_position(RunFolder(config.out).checkpoints).step == 0:
            setattr(owner, name, original)
            os.kill(os.getpid(), signal.SIGUSR1)
        return original(*arguments)

    setattr(owner, name, noticed)
    with listening():
        train(config, reporter=lambda _: None)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
