"""Dry run: memory, time and fit of each trial, from timed steps."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import mean

import ray
from ray.exceptions import RayError, RayTaskError

from cluster.session import has_gpus
from cluster.sweep.config import SweepConfig, TrialPlan, example_trials
from cluster.sweep.folder import TrialSummary
from cluster.sweep.membership import suggested_per_group
from cluster.sweep.progress import rounds_by_group
from cluster.sweep.resources import trials_at_a_time, worker_resources
from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.split.split import Split
from radiotrain.training.resources import (
    Demand,
    Timing,
    demand_of,
    epoch_s,
    memory_bytes,
    needed_bytes,
    time_run,
)


@dataclass(frozen=True)
class TrialEstimate:
    """What a trial will take.

    Parameters
    ----------
    memory_bytes
        Of a worker's device, or of the host on a CPU: counted, or measured on a GPU.
    epoch_s
        Length of an epoch, patients being ready and nothing else on the device; NaN where nothing
        could be timed. Of several workers: if they shared the work without loss.
    problem
        Why it cannot be trained; None where it fits.
    """

    plan: TrialPlan
    memory_bytes: float
    epoch_s: float
    problem: str | None


@dataclass(frozen=True)
class SweepEstimate:
    """What a sweep will take.

    Parameters
    ----------
    trials
        All trials; of a sweep whose trials are not known yet, one for each network and target.
    num_trials
        Of the sweep.
    is_known
        Whether its trials are.
    devices
        Names of what was timed.
    uses_gpus
        Whether hours are those of GPUs, or of trials on CPUs.
    at_a_time
        Trials that train side by side.
    gpu_share
        Of a worker.
    device_hours
        All trials to their last epoch. Of GPUs, or of a worker's CPUs.
    device_hours_to_come
        What is left to do at most, with halving as configured.
    rounds
        For each target the rounds of halving to come: (trials, seconds of each on its own place).
    """

    trials: tuple[TrialEstimate, ...]
    num_trials: int
    is_known: bool
    devices: tuple[str, ...]
    uses_gpus: bool
    at_a_time: int
    gpu_share: float
    device_hours: float
    device_hours_to_come: float
    rounds: tuple[tuple[tuple[int, float], ...], ...] = ()

    @property
    def fits(self) -> bool:
        """Whether every trial can be trained."""
        return all(trial.problem is None for trial in self.trials)

    def wall_s(self, num_slots: int) -> float:
        """Return how long the rest of the sweep takes at most, with so many trials at a time."""
        return wall_time_s(self.rounds, num_slots)


def estimate_sweep(
    sweep: SweepConfig,
    plans: Sequence[TrialPlan],
    found: Sequence[TrialSummary],
    inputs: tuple[Store, Split],
    progress: Callable[[str, int], AbstractContextManager[Callable[[], object]]],
) -> SweepEstimate:
    """Count and time what a sweep will take, on the Ray in use, one after the other; write nothing.

    Parameters
    ----------
    plans
        Trials that are known so far, of which each configuration is known to be sound.
    found
        The same with what was trained of them.
    inputs
        The sweep's store and split.
    progress
        See `preprocessing.common.progress`.
    """
    workers = sweep.resources.workers
    store, split = inputs
    each = worker_resources(sweep, plans, store)
    chosen = plans or example_trials(sweep)
    kinds = {demand_of(plan.run, workers): plan.run for plan in chosen}
    timings: dict[Demand, Timing | str] = {}
    with progress("time a few steps", len(kinds)) as advance:
        for demand, run in kinds.items():
            timings[demand] = _time(run, workers, each)
            advance()
    trials = []
    for plan in chosen:
        demand = demand_of(plan.run, workers)
        trials.append(_estimate(plan, demand, timings[demand], store, split, workers, each))
    measured = [timing for timing in timings.values() if isinstance(timing, Timing)]
    per_trial = len(sweep.folds) * sweep.train.epochs
    seconds = _mean_epochs(trials)
    known = Counter(plan.group for plan in plans)
    num_trials = {group: max(known[group], suggested_per_group(sweep)) for group in seconds}
    to_come = rounds_by_group(sweep, found)
    return SweepEstimate(
        trials=tuple(trials),
        num_trials=sum(num_trials.values()),
        is_known=bool(plans),
        devices=tuple(dict.fromkeys(timing.device for timing in measured)),
        uses_gpus=each["GPU"] > 0,
        at_a_time=trials_at_a_time(workers, each),
        gpu_share=each["GPU"],
        device_hours=workers
        * sum(num_trials[group] * per_trial * epoch_s for group, epoch_s in seconds.items())
        / 3600,
        device_hours_to_come=workers
        * sum(epochs * seconds[group] for group in to_come for _, epochs in to_come[group])
        / 3600,
        rounds=tuple(
            tuple((num, epochs * seconds[group] / num) for num, epochs in rounds if epochs)
            for group, rounds in to_come.items()
        ),
    )


def check_gpus(sweep: SweepConfig) -> None:
    """Refuse to say how long GPUs take where no step can be measured on one.

    Raises
    ------
    InputError
        If the Ray in use has no GPU, or the sweep wants none.
    """
    wants_none = sweep.device == "cpu" or sweep.resources.gpus == 0
    if wants_none or not has_gpus():
        found = "the sweep is configured for the CPU" if wants_none else "Ray finds none here"
        raise InputError(
            f"--gpus needs steps that were measured on a GPU, and {found}: run this on a machine with"
            " one such GPU, or leave --gpus out"
        )


def wall_time_s(rounds: Sequence[Sequence[tuple[int, float]]], num_slots: int) -> float:
    """Return when the last trial ends, if each is begun as soon as it may be and has a place.

    Parameters
    ----------
    rounds
        For each group its rounds, one after the other: the number of trials, and the seconds of each.
    num_slots
        Trials at a time.
    """
    slots = [0.0] * num_slots
    ready = [(0.0, number, 0) for number in range(len(rounds))]
    last = 0.0
    while ready:
        start, number, index = heapq.heappop(ready)
        if index == len(rounds[number]):
            continue
        num, seconds = rounds[number][index]
        ends = []
        for _ in range(num):
            end = max(start, slots[0]) + seconds
            heapq.heapreplace(slots, end)
            ends.append(end)
        last = max(last, *ends)
        heapq.heappush(ready, (max(ends), number, index + 1))
    return last


def _time(run: RunConfig, workers: int, each: Mapping[str, float]) -> Timing | str:
    """Time a run where its workers will be, with a GPU to itself; else return why that is not possible."""
    task = ray.remote(num_cpus=each["CPU"], num_gpus=math.ceil(each["GPU"]), max_retries=0)(
        time_run
    )
    try:
        timing: Timing = ray.get(task.remote(run, workers))
    except RayTaskError as error:
        if isinstance(error.cause, InputError):
            return str(error.cause)
        raise
    except RayError as error:
        return f"its process died while a step was timed ({type(error).__name__})"
    return timing


def _estimate(
    plan: TrialPlan,
    demand: Demand,
    timing: Timing | str,
    store: Store,
    split: Split,
    workers: int,
    each: Mapping[str, float],
) -> TrialEstimate:
    if isinstance(timing, str):
        counted = memory_bytes(demand, store.image_shape)
        return TrialEstimate(plan, counted, math.nan, timing)
    needed = needed_bytes(demand, timing, store.image_shape)
    room = (
        timing.device_bytes * min(1.0, each["GPU"]) if timing.is_gpu else _host_room(timing, each)
    )
    problem = None
    if needed > room:
        problem = (
            f"a worker needs {needed / 1e9:.1f} GB and has {room / 1e9:.1f} GB: lower"
            " train.batch_size or set train.micro_batch_size, set speed.activation_checkpointing,"
            " or let fewer trials share"
        )
    return TrialEstimate(plan, needed, epoch_s(timing, split, plan.run.fold) / workers, problem)


def _host_room(timing: Timing, each: Mapping[str, float]) -> float:
    """Return a worker's part of its host's memory, if the host is full of them."""
    most: float = max(node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"])
    return timing.device_bytes / max(1, most // each["CPU"])


def _mean_epochs(trials: Sequence[TrialEstimate]) -> dict[str, float]:
    """Return each group's mean length of an epoch, of the trials that could be timed."""
    groups: dict[str, list[float]] = {}
    for trial in trials:
        groups.setdefault(trial.plan.group, []).append(trial.epoch_s)
    return {
        group: mean([s for s in seconds if not math.isnan(s)] or [math.nan])
        for group, seconds in groups.items()
    }
