"""State of a running sweep in its driver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

from cluster.sweep.config import SweepConfig, TrialPlan
from cluster.sweep.folder import (
    SweepFolder,
    TrialInterval,
    TrialState,
    TrialSummary,
    ladder_of,
    read_state,
    read_states,
    summaries,
)
from cluster.sweep.halving import Action, HalvingSchedule, TrialDecision
from preprocessing.store import Store
from radiotrain.runs.checkpoint import remove_checkpoints
from radiotrain.runs.run_folder import RunFolder, Status, new_record
from radiotrain.split.split import load_split


class SweepState:
    """States and verdicts of all trials.

    Parameters
    ----------
    plans
        Trials that are known beforehand.
    advance
        Called once for each trial of which nothing more is to be trained.

    Notes
    -----
    Ray copies and pickles what it is given, to go on after its driver died. Here the run folders
    serve for that: copies are the sweep_state itself, and a pickle of it is empty.
    """

    def __init__(
        self,
        sweep: SweepConfig,
        plans: Sequence[TrialPlan],
        advance: Callable[[], None] = lambda: None,
    ) -> None:
        self.sweep, self._advance = sweep, advance
        split = load_split(sweep.split, Store.open(sweep.store))
        self._fingerprints = split.patients_fingerprint, split.fingerprint
        self._states = {state.plan.name: state for state in read_states(plans)}
        self._given_up: dict[str, str] = {}
        self._ended: set[str] = set()
        self._summaries = self._judge()
        for summary in tuple(self._summaries.values()):
            if summary.has_ended:
                self.end(summary.plan.name)

    def __deepcopy__(self, memo: Mapping[int, Any]) -> Self:
        return self

    def __getstate__(self) -> dict[str, Any]:
        return {}

    @property
    def schedule(self) -> HalvingSchedule:
        """What trials are judged by."""
        return ladder_of(self.sweep)

    @property
    def summaries(self) -> tuple[TrialSummary, ...]:
        """All trials."""
        return tuple(self._summaries.values())

    def summary(self, name: str) -> TrialSummary:
        """Return one trial."""
        return self._summaries[name]

    def verdict(self, name: str) -> TrialDecision:
        """Return what is to become of a trial."""
        return self._summaries[name].verdict

    def add(self, plan: TrialPlan) -> None:
        """Take up a trial that was suggested."""
        self._states[plan.name] = read_state(plan)
        self._summaries = self._judge()

    def refresh(self, name: str, interval: TrialInterval | None = None) -> None:
        """Read from storage how far a trial is; write down how it came there."""
        if interval is not None:
            with suppress(OSError):  # nothing depends on it
                SweepFolder(self.sweep.out).add_segment(interval)
        self._states[name] = read_state(self._states[name].plan)
        self._summaries = self._judge()

    def give_up(self, name: str, reason: str) -> None:
        """Take note of a trial that broke for the last time; the others do not wait for it."""
        self._given_up[name] = reason
        state = read_state(self._states[name].plan)
        if not state.has_failed:
            # Its process could not say so itself.
            state = self._mark(state, "failed", reason)
        self._states[name] = state
        self._summaries = self._judge()
        self.end(name)

    def is_given_up(self, name: str) -> bool:
        """Tell whether a trial broke for the last time."""
        return name in self._given_up

    def end(self, name: str) -> None:
        """Say in storage that nothing more is to be trained of a trial, and keep what is of use."""
        if name in self._ended:
            return
        self._ended.add(name)
        self._advance()
        state = self._states[name]
        stopped = self.verdict(name).action is Action.STOP
        if stopped and state.records[-1].status not in ("stopped", "finished"):
            self._states[name] = self._mark(state, "stopped", None)
            self._summaries = self._judge()
        self.prune()

    def prune(self) -> None:
        """Remove what nobody needs: checkpoints of ended trials, weights of all but the best few."""
        kept: dict[str, int] = {}
        for summary in sorted(self.summaries, key=lambda s: s.rank):
            group, name = summary.plan.group, summary.plan.name
            if name not in self._ended or name in self._given_up:
                continue
            kept[group] = kept.get(group, 0) + 1
            for run in summary.plan.runs[: len(summary.state.records)]:
                with suppress(OSError):  # it is only room, and the next trial's end tries again
                    remove_checkpoints(
                        RunFolder(run.out).checkpoints,
                        weights_too=kept[group] > self.sweep.keep_best,
                    )

    def _judge(self) -> dict[str, TrialSummary]:
        found = summaries(self.sweep, self._states.values(), self._given_up)
        by_name = {summary.plan.name: summary for summary in found}
        return {name: by_name[name] for name in self._states}

    def _mark(self, state: TrialState, status: Status, error: str | None) -> TrialState:
        """Say in the folder of a trial's last run how it ended: nothing of it runs any more."""
        if not state.records:
            # Nothing is there but that: it broke before its run had a folder.
            begun = new_record(state.plan.run, *self._fingerprints)
            state = replace(state, records=(begun,), histories=((),))
        run = state.plan.runs[len(state.records) - 1]
        marked = replace(state.records[-1], status=status, error=error)
        RunFolder(run.out).write_record(marked)
        return replace(state, records=(*state.records[:-1], marked))


def describe(plan: TrialPlan) -> dict[str, Any]:
    """Return a trial as Ray carries it to where it is trained."""
    return {
        "name": plan.name,
        "group": plan.group,
        "runs": list(plan.runs),
    }
