"""What it takes to start a trial of a sweep, and how much of a sweep's time is training.

With nothing else on the machine: ``OMP_NUM_THREADS=1 python -m benchmarks.sweep_startup``.

A sweep of short trials, one a core at a time, three times: each trial with a nested Ray Train run
as it is usually done, each in an actor of its own, and in actors that are used again (ours). Start-up
is from a slot's previous trial (the sweep's first trials: from the moment Tune is started) to a trial's
first training step. Share: seconds inside epochs / (slots × seconds from Tune's start to its end).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import ray

import cluster.sweep.run
from cluster.session import start_local
from cluster.sweep.config import SweepConfig
from cluster.sweep.folder import SweepFolder, TrialInterval
from preprocessing.common.progress import progress
from preprocessing.store import Store
from radiotrain.config.run_config import parse_config
from radiotrain.split.split import make_split, save_split
from tests.unit.training.synthetic import write_store


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--slots", type=int, default=2, help="trials at a time")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--patients", type=int, default=160)
    given = parser.parse_args()
    print(f"{given.trials} trials of {given.epochs} epochs, {given.slots} at a time")
    header = ("wall s", "first start", "start-up s", "longest", "training")
    print(f"{'':28s}" + "".join(f"{name:>14s}" for name in header))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = write_store(str(folder / "store"), given.patients)
        save_split(make_split(store, seed=3, num_folds=4), str(folder / "splits.json"))
        for kind, measure in (
            ("nested Ray Train", _nested),
            ("an actor a trial", _fresh_actors),
            ("actors used again (ours)", _ours),
        ):
            sweep = _sweep(store, folder, kind.split()[0], given.trials, given.epochs)
            # A nested trial's workers need places beside the actors of trials.
            start_local(num_cpus=given.slots)
            try:
                begun = time.time()
                measure(sweep)
                ended = time.time()
            finally:
                ray.shutdown()
            _print(kind, SweepFolder(sweep.out).read_timeline(), begun, ended, given.slots)


def _sweep(store: Store, folder: Path, name: str, trials: int, epochs: int) -> SweepConfig:
    values = {
        "store": store.url,
        "split": str(folder / "splits.json"),
        "out": str(folder / name),
        "networks": ["ResNet10-narrow"],
        "targets": ["ER"],
        "seeds": list(range(trials)),
        "train": {"epochs": epochs, "batch_size": 16},
        "early_stopping": {"patience": None},
        "halving": {"enabled": False},
        "logging": {"tensorboard": False},
        "device": "cpu",
    }
    return parse_config(SweepConfig, values, "benchmark")


def _ours(sweep: SweepConfig) -> None:
    cluster.sweep.run.run_sweep(sweep, progress)


def _fresh_actors(sweep: SweepConfig) -> None:
    """Let Tune end each trial's actor with its trial."""
    config = cluster.sweep.run.tune.TuneConfig

    def without_reuse(**options: Any) -> Any:
        return config(**(options | {"reuse_actors": False}))

    with mock.patch.object(cluster.sweep.run.tune, "TuneConfig", without_reuse):
        _ours(sweep)


def _nested(sweep: SweepConfig) -> None:
    """Let Ray Train train each trial, on one worker."""

    def trial(config: Any, **options: Any) -> None:
        import cluster.sweep.trial as there
        from cluster.train import train_on_ray

        loop = there.train  # type: ignore[attr-defined]

        def nested(run: Any, *, until_epoch: int | None, **ignored: Any) -> None:
            train_on_ray(run, 1, until_epoch=until_epoch, resources=options["resources"])

        there.train = nested  # type: ignore[attr-defined]
        try:
            there.train_trial(config, **options)
        finally:
            there.train = loop  # type: ignore[attr-defined]

    def resources(workers: int, each: Any) -> Any:
        return cluster.sweep.run.tune.PlacementGroupFactory([{"node:__internal_head__": 0.001}])

    def max_running(workers: int, each: Any) -> int:
        return int(ray.cluster_resources()["CPU"])

    with (
        mock.patch("cluster.sweep.run.train_trial", trial),
        mock.patch("cluster.sweep.run.trial_resources", resources),
        mock.patch("cluster.sweep.run.max_running", max_running),
    ):
        _ours(sweep)


def _print(
    kind: str, timeline: Sequence[TrialInterval], begun: float, ended: float, slots: int
) -> None:
    starts = _startups(timeline, begun, slots)
    first, later = starts[:slots], starts[slots:]
    training = sum(interval.training_s for interval in timeline)
    share = training / (slots * (ended - begun))
    print(
        f"{kind:28s}{ended - begun:14.1f}{max(first):14.1f}{median(later):14.2f}"
        f"{max(later):14.2f}{share:14.1%}",
        flush=True,
    )


def _startups(timeline: Sequence[TrialInterval], begun: float, slots: int) -> list[float]:
    """Return each trial's seconds from when its slot was free to its first step, in order of start.

    Which slot a trial had is not known where each has a process of its own: it is the one that had
    been free longest.
    """
    free = [begun] * slots
    found = []
    for interval in sorted(timeline, key=lambda s: s.first_step):
        slot = free.index(min(free))
        found.append(interval.first_step - free[slot])
        free[slot] = interval.ended
    return found


if __name__ == "__main__":
    main()
