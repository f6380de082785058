"""What Ray Train adds to a training: the bare loop and one Ray worker, taking turns.

With nothing else on the machine: ``OMP_NUM_THREADS=1 python -m benchmarks.ray_overhead``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig, dump_config
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import make_split, save_split
from tests.unit.training.synthetic import run_config, write_store

_AIM = 1.025


@dataclass(frozen=True)
class Timing:
    """Seconds of one run.

    Parameters
    ----------
    epoch
        Mean of what the run says of its epochs: training and validation. The first is left out.
    turn
        Mean from the end of one epoch to the end of the next: checkpoint and reports included.
    rest
        What comes before the first epoch and after the last.
    """

    epoch: float
    turn: float
    rest: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--patients", type=int, default=480)
    parser.add_argument("--epochs", type=int, default=6, help="the first is not counted")
    parser.add_argument("--network", default="ResNet18", help="name from 'radiotrain models'")
    parser.add_argument("--pairs", type=int, default=5, help="how often the two take turns")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = write_store(str(folder / "store"), arguments.patients)
        save_split(make_split(store, seed=3, num_folds=4), str(folder / "splits.json"))
        pairs = []
        for number in range(arguments.pairs):
            configs = {
                kind: make_config(
                    store, folder, f"{kind}-{number}", arguments.network, arguments.epochs
                )
                for kind in ("bare", "ray")
            }
            pairs.append(measure_pair(configs["bare"], configs["ray"], ray_first=number % 2 == 1))
            print_pair(number, *pairs[-1])
    print_summary(pairs)


def make_config(store: Store, folder: Path, name: str, network: str, epochs: int) -> RunConfig:
    """Return the configuration of one run; all are the same but for their folder."""
    return run_config(
        store,
        str(folder / "splits.json"),
        folder / name,
        network={"name": network},
        train={"epochs": epochs, "batch_size": 16, "lr": 1e-3, "warmup_epochs": 1},
    )


def measure_pair(bare: RunConfig, ray: RunConfig, *, ray_first: bool) -> tuple[Timing, Timing]:
    """Measure the two one after the other; they change places, as the machine's speed drifts."""
    words = ["--backend", "ray", "--workers", "1"]
    if ray_first:
        second = measure(ray, words)
        return measure(bare, []), second
    first = measure(bare, [])
    return first, measure(ray, words)


def measure(config: RunConfig, words: list[str]) -> Timing:
    """Train by the command, in processes of its own."""
    file = Path(f"{config.out}.yaml")
    file.write_text(dump_config(config))
    command = [sys.executable, "-m", "radiotrain", "train", "--config", str(file), *words]
    start = time.time()
    subprocess.run(command, check=True, capture_output=True)
    end = time.time()
    seconds = [metrics.seconds for metrics in RunFolder(config.out).read_metrics()]
    ends = epoch_ends(Path(config.out, "tensorboard"))
    turns = [after - before for before, after in pairwise(ends)]
    before_first = ends[0] - seconds[0] - start
    return Timing(fmean(seconds[1:]), fmean(turns), before_first + end - ends[-1])


def epoch_ends(folder: Path) -> list[float]:
    """Return when each epoch was written down, in seconds since 1970."""
    events = EventAccumulator(str(folder)).Reload()
    return [event.wall_time for event in events.Scalars("loss/train")]


def print_pair(number: int, bare: Timing, ray: Timing) -> None:
    """Print one pair as soon as it is there."""
    print(
        f"pair {number + 1}: an epoch with all that belongs to it takes {bare.turn:.2f} s bare and"
        f" {ray.turn:.2f} s under Ray ({ray.turn / bare.turn:.4f}); start and end"
        f" {bare.rest:.1f} and {ray.rest:.1f} s",
        flush=True,
    )


def print_summary(pairs: list[tuple[Timing, Timing]]) -> None:
    """Print the median of the ratios, and what starting Ray costs once a run."""
    print_ratios("training and validation only", [ray.epoch / bare.epoch for bare, ray in pairs])
    print_ratios("epoch to epoch", [ray.turn / bare.turn for bare, ray in pairs])
    added = sorted(ray.rest - bare.rest for bare, ray in pairs)
    print(
        f"start and end of Ray, once a run: {median(added):.1f} s more"
        f" ({added[0]:.1f} to {added[-1]:.1f}); aim of the ratios: below {_AIM}"
    )


def print_ratios(what: str, ratios: list[float]) -> None:
    """Print one line of the result."""
    print(
        f"Ray Train / bare loop, {what:28s}: {median(ratios):.4f}"
        f" ({min(ratios):.4f} to {max(ratios):.4f} in {len(ratios)} pairs)"
    )


if __name__ == "__main__":
    main()
