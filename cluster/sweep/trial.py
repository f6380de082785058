"""Train one trial in its Ray actor, rung by rung."""

from __future__ import annotations

import faulthandler
import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

import torch
from ray import tune

from cluster.metrics import TrialMetrics
from cluster.notice import LeavingNodes, WorkerNotice, own_node
from cluster.sweep.config import TrialPlan
from cluster.sweep.folder import TrialInterval, TrialState, read_state
from cluster.sweep.halving import HalvingSchedule, Rung, score_at
from cluster.train import PATIENCE_S, train_on_ray
from preprocessing.common.errors import RadiotrainError
from preprocessing.processes.stop_notice import Stopped
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.data.storage import (
    SHARED_MEMORY,
    SharedCopy,
    choose_placement,
    measure_room,
    missing_bytes,
)
from radiotrain.runs.epoch_metrics import EpochMetrics
from radiotrain.runs.run_folder import RunFolder
from radiotrain.training.loop import OnEpoch, print_line, train

# This process's hold on a host's copy of a store, by the store's URL.
_held: dict[tuple[str, str], SharedCopy] = {}


def train_trial(
    config: Mapping[str, Any],
    schedule: HalvingSchedule,
    workers: int,
    resources: Mapping[str, float],
    max_quiet_minutes: float,
) -> None:
    """Train a trial to its next rung, again and again until it is stopped.

    Parameters
    ----------
    config
        ``config["trial"]``: see `cluster.sweep.sweep_state.describe`.
    workers
        One: the loop runs in this process. More: under Ray Train, each with `resources`.
    max_quiet_minutes
        A process that says nothing for so long is ended, and tried again as one that broke.
    """
    values = config["trial"]
    runs = tuple(_placed(run, resources) for run in values["runs"])
    plan = TrialPlan(values["name"], values["group"], runs)

    notice, is_leaving = WorkerNotice(), LeavingNodes([own_node()])

    def train_fold(run: RunConfig, until_epoch: int | None, on_epoch: OnEpoch) -> None:
        if workers > 1:
            train_on_ray(run, workers, until_epoch=until_epoch, resources=resources)
            return
        _hold_copy(run)
        with _Watchdog(max_quiet_minutes) as reporter:
            train(
                run,
                until_epoch=until_epoch,
                on_epoch=on_epoch,
                reporter=reporter,
                patience_s=PATIENCE_S,
                notice=notice,
                is_leaving=is_leaving,
            )

    try:
        _climb(plan, schedule, train_fold)
    except RadiotrainError as error:
        # The user's mistake, or memory that does not suffice: the same again would end the same.
        tune.report({"mistake": str(error)})
    except Stopped:
        # The driver ends the sweep when all of its trials have said so.
        tune.report({"paused": True})


def _climb(
    plan: TrialPlan,
    schedule: HalvingSchedule,
    train_fold: Callable[[RunConfig, int | None, OnEpoch], None],
) -> None:
    """Train to one rung after the other; each report may be the end."""
    reached = _last_reached(plan, schedule)
    if reached is not None:
        # Trained before: by a sweep that was killed, or before this trial had to wait.
        tune.report({"rung": reached.number})
    for rung in schedule.rungs[reached.number + 1 if reached is not None else 0 :]:
        interval = _train_to(plan, rung, train_fold)
        # As text: Tune takes dictionaries apart.
        tune.report({"rung": rung.number, "segment": json.dumps(vars(interval))})


def _train_to(
    plan: TrialPlan, rung: Rung, train_fold: Callable[[RunConfig, int | None, OnEpoch], None]
) -> TrialInterval:
    _reopen(plan)
    with (
        _IntervalTimer(plan, rung) as stopwatch,
        closing(TrialMetrics(plan.name, plan.group)) as shown,
    ):

        def on_epoch(metrics: EpochMetrics) -> None:
            stopwatch.on_epoch(metrics)
            shown.epoch(metrics)

        for number, run in enumerate(plan.runs[: rung.fold + 1]):
            train_fold(run, rung.epochs if number == rung.fold else None, on_epoch)
    return stopwatch.interval


def _last_reached(plan: TrialPlan, schedule: HalvingSchedule) -> Rung | None:
    folds = read_state(plan).trial_curve().folds
    done = [r for r in schedule.rungs if score_at(folds, r, schedule.smooth_epochs) is not None]
    return done[-1] if done else None


class _IntervalTimer:
    """Measures one way of a trial to a rung."""

    def __init__(self, plan: TrialPlan, rung: Rung) -> None:
        self._plan, self._rung = plan, rung
        self._first_step: float | None = None

    def __enter__(self) -> Self:
        self._began, self._before = time.time(), read_state(self._plan)
        return self

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Hear of an epoch that is trained in this process."""
        if self._first_step is None:
            self._first_step = time.time() - metrics.seconds

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            return
        ended, after = time.time(), read_state(self._plan)
        training_s = _seconds(after) - _seconds(self._before)
        self.interval = TrialInterval(
            trial=self._plan.name,
            rung=self._rung.number,
            epochs=after.num_epochs - self._before.num_epochs,
            host=socket.gethostname(),
            pid=os.getpid(),
            began=self._began,
            # Of epochs in other processes only the length is known here.
            first_step=self._first_step or max(self._began, ended - training_s),
            ended=ended,
            training_s=training_s,
        )


def _seconds(state: TrialState) -> float:
    return sum(metrics.seconds for history in state.histories for metrics in history)


def _reopen(plan: TrialPlan) -> None:
    """Let a trial go on that was stopped in a smaller sweep than this one has become."""
    for run in plan.runs:
        folder = RunFolder(run.out)
        record = folder.read_record()
        if record is not None and record.status == "stopped":
            folder.write_record(replace(record, status="paused"))


def _placed(run: RunConfig, resources: Mapping[str, float]) -> RunConfig:
    """Keep patients off a GPU that several trials share: each would have a copy there."""
    if run.speed.placement != "auto" or not 0 < resources["GPU"] < 1:
        return run
    store = Store.open(run.store)
    missing = missing_bytes(
        store, range(len(store.patient_ids)), SHARED_MEMORY, run.train.normalisation
    )
    room = measure_room(torch.device("cpu"))
    choice = choose_placement("auto", sys.maxsize, missing, room)
    speed = run.speed.model_copy(update={"placement": choice.placement.value})
    return run.model_copy(update={"speed": speed})


def _hold_copy(run: RunConfig) -> None:
    """Keep hold of the host's copy of the cohort between trials: the last user removes it."""
    rule = run.train.normalisation
    if run.speed.placement not in ("auto", "shared") or (run.store, rule) in _held:
        return
    with suppress(OSError):  # no room: the loop streams then
        _held.clear()
        _held[run.store, rule] = SharedCopy(Store.open(run.store), SHARED_MEMORY, rule)


class _Watchdog:
    """Ends this process when it shows no sign of life for too long.

    Done by a thread of Python's own that needs no interpreter, which may be what hangs.
    """

    def __init__(self, max_quiet_minutes: float) -> None:
        self._seconds = 60 * max_quiet_minutes

    def __enter__(self) -> Callable[[str], None]:
        self._wind()
        return self._say

    def __exit__(self, *error: object) -> None:
        faulthandler.cancel_dump_traceback_later()

    def _say(self, line: str) -> None:
        self._wind()
        print_line(line)

    def _wind(self) -> None:
        assert sys.__stderr__ is not None
        faulthandler.dump_traceback_later(self._seconds, exit=True, file=sys.__stderr__)
