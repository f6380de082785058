"""Scheduler for Ray Tune that applies the halving decisions."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Self

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler

from cluster.failures import cause_of_death
from cluster.metrics import SweepMetrics
from cluster.sweep.folder import TrialInterval, TrialSummary
from cluster.sweep.halving import Action
from cluster.sweep.sweep_state import SweepState
from preprocessing.processes import stop_notice
from preprocessing.storage import files
from radiotrain.training.loop import print_line

_ENDS = (Action.STOP, Action.DONE, Action.FAILED)


class SuccessiveHalving(FIFOScheduler):  # type: ignore[misc]
    """Lets trials train from rung to rung.

    Trials report when they have reached a rung, and at no other time: then they are at rest, and
    whatever is decided interrupts nothing. A trial that has to wait gives its place up; its
    checkpoints are its run folders' business.
    """

    def __init__(self, sweep_state: SweepState) -> None:
        super().__init__()
        self._sweep_state = sweep_state
        self._trials: dict[str, Trial] = {}
        self._metrics = SweepMetrics(files.absolute(sweep_state.sweep.out).rsplit("/", 1)[-1])
        self._counts: dict[str, int] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # As the sweep state: Ray's copy is this one, and a pickle of it is empty.
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def set_search_properties(self, metric: str | None, mode: str | None, **spec: Any) -> bool:
        """Accept whatever metric the search has: the schedule knows its own."""
        return True

    def on_trial_add(self, tune_controller: Any, trial: Trial) -> None:
        """Take up a trial."""
        self._trials[name_of(trial)] = trial

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        """Decide on a trial that has reached a rung.

        One that is stopped is paused first and ended a moment later: meanwhile another
        may ask for its process, which would be gone with it.
        """
        name = name_of(trial)
        if result.get("paused"):
            return str(self.PAUSE)
        if result.get("mistake"):
            self._sweep_state.give_up(name, result["mistake"])
        else:
            interval = result.get("segment")
            self._sweep_state.refresh(
                name, TrialInterval(**json.loads(interval)) if interval else None
            )
        goes_on = self._sweep_state.verdict(name).action is Action.TRAIN
        return str(self.CONTINUE if goes_on else self.PAUSE)

    def on_trial_complete(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> None:
        """Take note of a trial that is ended while it has a place."""
        self._sweep_state.end(name_of(trial))

    def on_trial_remove(self, tune_controller: Any, trial: Trial) -> None:
        """Take note of a trial that is ended while it waits."""
        self._sweep_state.end(name_of(trial))

    def on_trial_error(self, tune_controller: Any, trial: Trial) -> None:
        """Take note of a trial that broke: for the last time, or to be tried again."""
        name, reason = name_of(trial), f"its process {cause_of_death(_last_error(trial))}"
        if trial.status == Trial.ERROR:
            # So it is while Tune puts it back into its queue.
            print_line(f"{name}: {reason}: going on from its last checkpoint")
            return
        self._sweep_state.give_up(name, reason)

    def choose_trial_to_run(self, tune_controller: Any) -> Trial | None:
        """Return a trial that waited and may go on; those not begun start by themselves."""
        self._show()
        if stop_notice.came() is not None:
            return None
        for name, trial in self._trials.items():
            paused = trial.status == Trial.PAUSED and not trial.is_saving
            if paused and self._sweep_state.verdict(name).action is Action.TRAIN:
                return trial
        self._settle(tune_controller)
        return None

    def _settle(self, tune_controller: Any) -> None:
        """End the trials that are at rest and have no place any more."""
        for name, trial in self._trials.items():
            at_rest = trial.status in (Trial.PAUSED, Trial.PENDING) and not trial.is_saving
            if at_rest and self._sweep_state.verdict(name).action in _ENDS:
                tune_controller.stop_trial(trial)

    def _show(self) -> None:
        """Show how many trials are in which status, where that has changed."""
        counts = dict(Counter(self._status(summary) for summary in self._sweep_state.summaries))
        if counts != self._counts:
            self._counts = counts
            self._metrics.update(counts)

    def _status(self, summary: TrialSummary) -> str:
        trial = self._trials.get(summary.plan.name)
        if trial is not None and trial.status == Trial.RUNNING:
            return "running"
        # What storage says of one that does not run here was left by a sweep that was killed.
        return "paused" if summary.status == "running" else summary.status


def _last_error(trial: Trial) -> str:
    """Return Ray's account of what a trial died of just now.

    `Trial.get_error` reads a copy of the file, which is not there yet or an older one.
    """
    accounts = Path(trial.error_file).read_text(errors="replace")
    # "Failure # 2 (occurred at …)", one after the other.
    return accounts.rpartition("Failure # ")[2]


def name_of(trial: Trial) -> str:
    """Return the name of the sweep's trial that a trial of Ray's is."""
    return str(trial.config["trial"]["name"])
