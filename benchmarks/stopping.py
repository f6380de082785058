"""What early stopping would have saved and cost, replayed on runs that were trained to their ends.

    radiotrain tune --config sweep.yaml --set halving.enabled=false --set early_stopping.patience=null
    python -m benchmarks.stopping SWEEP [SWEEP …]

Takes the validation AUCs of every epoch of every run (of one fold each) from the run folders, and
lets each way of stopping decide on them as if the sweep ran again: ours by `cluster.sweep.halving`,
the others by Ray Tune's own schedulers, with some trials at a time, in many random orders.

saved: epochs not trained, of all. lost: score of the sweep's best trial less that of the chosen one,
both trained to their ends; the score is the validation AUC of the best epoch, or the best mean of three
successive ones. These scores are of the patients that the ways of stopping look at, and the maximum
favours what maximises it: they say how far a way agrees with training all to the end, not that it
finds better networks (see `benchmarks.learning.epochs` for that). Mean over sweeps, targets and orders, and the share of cases that lose 0.01 or more.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from statistics import mean
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import (
    AsyncHyperBandScheduler,
    FIFOScheduler,
    MedianStoppingRule,
    TrialScheduler,
)

from cluster.sweep.halving import Action, FoldCurve, TrialCurve, fold_score, judge, make_schedule
from preprocessing.storage import files
from radiotrain.runs.run_folder import RunFolder

Curve = tuple[float, ...]
# By group, by trial.
Curves = Mapping[str, Mapping[str, Curve]]
_SMOOTH = 3


@dataclass(frozen=True)
class Outcome:
    """What one way of stopping did in one sweep.

    Parameters
    ----------
    epochs
        Trained, by trial.
    chosen
        The trial taken for the best, by group.
    """

    epochs: Mapping[str, int]
    chosen: Mapping[str, str]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sweeps", nargs="+", help="folders of runs")
    parser.add_argument("--grace", type=int, default=10, help="epochs before the first decision")
    parser.add_argument("--factor", type=float, default=3)
    parser.add_argument("--slots", type=int, default=4, help="trials at a time")
    parser.add_argument("--orders", type=int, default=20, help="random orders of the trials")
    given = parser.parse_args()
    sweeps = [read_curves(url) for url in given.sweeps]
    num_trials = sum(len(trials) for curves in sweeps for trials in curves.values())
    longest = max(
        len(c) for curves in sweeps for trials in curves.values() for c in trials.values()
    )
    print(
        f"{len(sweeps)} sweeps, {num_trials} trials of {longest} epochs, compared within"
        f" {sum(len(curves) for curves in sweeps)} groups; {given.slots} at a time, {given.orders} orders"
    )
    header = ("saved", "lost, one epoch", "≥ 0.01", "lost, smoothed", "≥ 0.01")
    print(f"{'':40s}" + "".join(f"{name:>16s}" for name in header))
    for name, replay in ways(given.grace, given.factor, longest).items():
        rows = []
        for curves in sweeps:
            for order in range(given.orders):
                outcome = replay(curves, given.slots, random.Random(order))
                rows += list(judged(curves, outcome))
        saved, smoothed, single = (list(column) for column in zip(*rows, strict=True))
        print(
            f"{name:40s}{mean(saved):16.1%}"
            f"{mean(single):16.4f}{mean(x >= 0.01 for x in single):16.0%}"
            f"{mean(smoothed):16.4f}{mean(x >= 0.01 for x in smoothed):16.0%}",
            flush=True,
        )


def read_curves(url: str) -> Curves:
    """Return the validation AUCs of all runs in a folder."""
    curves: dict[str, dict[str, Curve]] = {}
    for name in files.list_names(url):
        folder = RunFolder(files.join(url, name))
        record = None
        with suppress(NotADirectoryError):
            record = folder.read_record()
        if record is not None:
            aucs = tuple(metrics.validation_auc for metrics in folder.read_metrics())
            curves.setdefault("+".join(record.targets), {})[name] = aucs
    return curves


def ways(
    grace: int, factor: float, epochs: int
) -> Mapping[str, Callable[[Curves, int, random.Random], Outcome]]:
    """Return the ways of stopping by name."""
    of_ray = {"time_attr": "epoch", "metric": "auc", "mode": "max", "grace_period": grace}

    def asha() -> FIFOScheduler:
        return AsyncHyperBandScheduler(max_t=epochs + 1, reduction_factor=factor, **of_ray)

    def median() -> FIFOScheduler:
        return MedianStoppingRule(**of_ray)

    schedule = f"halving, {grace} epochs, factor {factor:g}"
    return {
        "none": lambda curves, slots, rng: _with_ladder(curves, epochs, grace, factor, False, 1),
        f"{schedule} (ours)": lambda curves, slots, rng: _with_ladder(
            curves, epochs, grace, factor, True, 1
        ),
        f"{schedule}, smoothed": lambda curves, slots, rng: _with_ladder(
            curves, epochs, grace, factor, True, _SMOOTH
        ),
        "ASHA within targets": lambda curves, slots, rng: _each_alone(curves, slots, rng, asha),
        "ASHA over all (plain)": lambda curves, slots, rng: _together(curves, slots, rng, asha),
        "median rule within targets": lambda curves, slots, rng: _each_alone(
            curves, slots, rng, median
        ),
        "median rule over all (plain)": lambda curves, slots, rng: _together(
            curves, slots, rng, median
        ),
    }


def judged(curves: Curves, outcome: Outcome) -> Iterator[tuple[float, float, float]]:
    """Return the share of epochs saved and what was lost, of each group."""
    for group, trials in curves.items():
        possible = sum(len(curve) for curve in trials.values())
        saved = 1 - sum(outcome.epochs[name] for name in trials) / possible
        chosen = trials[outcome.chosen[group]]

        def lost(
            smooth: int, trials: Mapping[str, Curve] = trials, chosen: Curve = chosen
        ) -> float:
            best = max(fold_score(curve, smooth) for curve in trials.values())
            return best - fold_score(chosen, smooth)

        yield saved, lost(_SMOOTH), lost(1)


def _with_ladder(
    curves: Curves, epochs: int, grace: int, factor: float, halving: bool, smooth: int
) -> Outcome:
    """Climb rung by rung; who comes first makes no difference."""
    schedule = make_schedule(1, epochs, grace, factor, smooth, halving=halving)
    trained: dict[str, int] = {}
    chosen: dict[str, str] = {}
    for group, trials in curves.items():
        done = dict.fromkeys(trials, 0)
        while True:
            trial_curves = [_entrant(name, trials[name], done[name]) for name in trials]
            verdicts = judge(trial_curves, schedule)
            able = {n: v.rung.epochs for n, v in verdicts.items() if v.action is Action.TRAIN}
            if not able:
                break
            done |= able
        finished = [name for name, v in verdicts.items() if v.action is Action.DONE]
        chosen[group] = max(finished, key=lambda name: verdicts[name].score or 0.0)
        trained |= done
    return Outcome(trained, chosen)


def _entrant(name: str, curve: Curve, num_epochs: int) -> TrialCurve:
    seen = curve[:num_epochs]
    return TrialCurve(name, (FoldCurve(seen, len(seen) == len(curve)),) if seen else ())


def _each_alone(
    curves: Curves, slots: int, rng: random.Random, make: Callable[[], FIFOScheduler]
) -> Outcome:
    outcomes = [_together({group: trials}, slots, rng, make) for group, trials in curves.items()]
    return Outcome(
        {name: n for outcome in outcomes for name, n in outcome.epochs.items()},
        {group: name for outcome in outcomes for group, name in outcome.chosen.items()},
    )


def _together(
    curves: Curves, slots: int, rng: random.Random, make: Callable[[], FIFOScheduler]
) -> Outcome:
    """Replay under one of Ray's schedulers, an epoch of each running trial in turn."""
    scheduler, controller = make(), _NoController()
    every = {name: curve for trials in curves.values() for name, curve in trials.items()}
    waiting = rng.sample(sorted(every), len(every))
    running: list[tuple[str, Trial]] = []
    trained = dict.fromkeys(every, 0)
    while waiting or running:
        while waiting and len(running) < slots:
            name = waiting.pop(0)
            trial = Trial("replayed", stub=True, trial_id=name)
            scheduler.on_trial_add(controller, trial)
            running.append((name, trial))
        for name, trial in tuple(running):
            trained[name] += 1
            epoch = trained[name]
            result = {"epoch": epoch, "auc": every[name][epoch - 1], "training_iteration": epoch}
            decision = scheduler.on_trial_result(controller, trial, result)
            if decision == TrialScheduler.STOP or epoch == len(every[name]):
                scheduler.on_trial_complete(controller, trial, result)
                running.remove((name, trial))
    chosen = {group: _best_seen(trials, trained) for group, trials in curves.items()}
    return Outcome(trained, chosen)


def _best_seen(trials: Mapping[str, Curve], trained: Mapping[str, int]) -> str:
    """Return the trial with the best single epoch, as Ray Tune's own result grid does."""
    return max(sorted(trials), key=lambda name: fold_score(trials[name][: trained[name]], 1))


class _NoController:
    """What Ray's schedulers may ask for while trials are replayed."""

    def get_live_trials(self) -> Sequence[Any]:
        return ()


if __name__ == "__main__":
    main()
