"""Time steps of one, two and four workers on this machine.

With nothing else on the machine: ``OMP_NUM_THREADS=1 python -m benchmarks.scaling``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from statistics import median

import torch
from torch import distributed, multiprocessing

from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.distributed import Worker
from radiotrain.split.split import load_split, make_split, save_split
from radiotrain.training.trainer import Training
from tests.unit.training.synthetic import run_config, write_store

_NETWORKS = ("ResNet10-narrow", "ResNet10", "ResNet18")
_WORKERS = (1, 2, 4)
_BATCH = 16


def main() -> None:
    """Measure, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8, help="of each, the first two not counted")
    arguments = parser.parse_args()
    print(f"steps of {_BATCH} patients, {os.cpu_count()} cores, gloo on loopback\n")
    print("| network | workers | step, s |\n|---|---|---|")
    for network in _NETWORKS:
        for workers in _WORKERS:
            step_s = measure(network, workers, arguments.steps)
            print(f"| {network} | {workers} | {step_s:.3f} |")


def measure(network: str, workers: int, num_steps: int) -> float:
    """Return the seconds of a step by gloo workers on this machine with a thread each."""
    with tempfile.TemporaryDirectory() as folder:
        store = write_store(f"{folder}/store", 2 * _BATCH)
        save_split(make_split(store, seed=3, num_folds=4), f"{folder}/splits.json")
        config = run_config(
            store,
            f"{folder}/splits.json",
            Path(folder, "run"),
            network={"name": network},
            train={"epochs": 2, "batch_size": _BATCH, "warmup_epochs": 1},
        )
        multiprocessing.spawn(_work, (workers, folder, config, num_steps), nprocs=workers)
        steps = [float(torch.load(f"{folder}/{rank}.pt")) for rank in range(workers)]
    return max(steps)


def _work(rank: int, workers: int, folder: str, config: RunConfig, num_steps: int) -> None:
    torch.set_num_threads(1)
    worker = Worker.single("cpu")
    if workers > 1:
        group = f"file://{folder}/group"
        distributed.init_process_group("gloo", group, rank=rank, world_size=workers)
        worker = Worker.of_group(torch.device("cpu"))
    store = Store.open(config.store)
    training = Training(config, worker, store, load_split(config.split, store))
    training.wrapped.train()
    step, seconds = training.plan(0)[0], []
    for _ in range(num_steps):
        begin = time.perf_counter()
        training.take_step(step)
        seconds.append(time.perf_counter() - begin)
    torch.save(torch.tensor(median(seconds[2:])), f"{folder}/{rank}.pt")
    if workers > 1:
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
