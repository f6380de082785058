"""Steps of one, two and four workers on this machine, the model fitted to them, and what it foretells.

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

from cluster.planning.gpus import gpu_named, seconds_a_patient
from cluster.planning.scaling import Fit, Link, Measurement, Overheads, Work, epoch_s, fit
from preprocessing.store import Store
from radiotrain.config import RunConfig
from radiotrain.distributed import Worker
from radiotrain.networks.cost import network_cost
from radiotrain.split import load_split, make_split, save_split
from radiotrain.training.training import Training
from tests.unit.training.synthetic import run_config, write_store

_NETWORKS = ("ResNet10-narrow", "ResNet10", "ResNet18")
_WORKERS = (1, 2, 4)
_BATCH = 16
_PAPER = ("SEResNet50", "ResNet34", "SEResNext101")
_CROP = (128, 128, 68)
_GPUS = (1, 2, 4, 8, 16, 32, 64)
_GBITS = (10, 25, 100, 400)
# Of Duke's 922 patients: a fifth tested, a fifth of the others validates.
_NUM_TRAIN, _NUM_VALIDATION = 590, 148
# Two patients a worker at 64, for batch norm.
_LARGE_BATCH = 128


def main() -> None:
    """Measure, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=8, help="of each, the first two not counted")
    parser.add_argument("--efficiency", type=float, default=0.3, help="of a GPU's roof")
    arguments = parser.parse_args()
    measured = [
        measure(network, workers, arguments.steps) for network in _NETWORKS for workers in _WORKERS
    ]
    print_fit(measured, fit(measured, os.cpu_count() or 1))
    for network in _PAPER:
        print_forecast(network, arguments.efficiency)


def measure(network: str, workers: int, num_steps: int) -> Measurement:
    """Time steps of the loop, of gloo workers on this machine with a thread each."""
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
    phases, *crop = store.image_shape
    cost = network_cost(network, phases, 1, (crop[0], crop[1], crop[2]))
    return Measurement(network, workers, _BATCH, 4.0 * cost.num_parameters, max(steps))


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


def print_fit(measured: list[Measurement], found: Fit) -> None:
    """Print each measured step beside the model's."""
    print(f"steps of {_BATCH} patients, {os.cpu_count()} cores, gloo on loopback\n")
    print("| network | workers | step, s | model, s | error |\n|---|---|---|---|---|")
    for m, error in zip(measured, found.relative_error, strict=True):
        model = m.step_s * (1 + error)
        print(f"| {m.network} | {m.workers} | {m.step_s:.3f} | {model:.3f} | {error:+.0%} |")
    print(f"\nexchange {found.gbits:.1f} Gb/s, waiting {1000 * found.sync_s:.0f} ms a step")


def print_forecast(network: str, efficiency: float) -> None:
    """Print the speed-up of an epoch on H100s, for a small and a large batch."""
    cost = network_cost(network, 4, 1, _CROP)
    train_s, validate_s = seconds_a_patient(cost, gpu_named("H100"), efficiency)
    for batch in (16, _LARGE_BATCH):
        work = Work(
            _NUM_TRAIN, _NUM_VALIDATION, batch, train_s, validate_s, 4.0 * cost.num_parameters
        )
        alone = epoch_s(work, 1, Link(10), Overheads())
        print(
            f"\n{network}, batches of {batch}: epoch of {alone:.1f} s on one H100 at"
            f" {100 * efficiency:.0f} % of its roof (reckoned); speed-up:"
        )
        print("| Gb/s |" + "".join(f" {n} |" for n in _GPUS))
        print("|---|" + "---|" * len(_GPUS))
        for gbits in _GBITS:
            cells = [
                f" {alone / epoch_s(work, n, Link(gbits), Overheads()):.1f} |"
                if batch >= 2 * n
                else " |"
                for n in _GPUS
            ]
            print(f"| {gbits} |" + "".join(cells))


if __name__ == "__main__":
    main()
