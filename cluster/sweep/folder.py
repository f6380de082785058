"""A sweep's folder: what was tried and how far each trial is, known from storage alone.

====================  ====================================================================
``sweep.yaml``        the sweep's resolved configuration
``suggested.jsonl``   trials that were suggested as the sweep went on (searcher tpe), one a line
``timeline.jsonl``    who trained what, where and when: a line for each way to a rung
``TRIAL/``            a trial's run folder; with several folds, one in it for each
====================  ====================================================================

No verdicts are kept: they follow from the trials' epochs (`cluster.sweep.ladder`), so that they
are the same whoever asks, during the sweep and after.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

from cluster.sweep.config import (
    SweepConfig,
    TrialPlan,
    group_of,
    load_sweep,
    plan_trial,
    plan_trials,
)
from cluster.sweep.ladder import Action, Entrant, FoldCurve, Ladder, Verdict, judge, make_ladder
from preprocessing import files
from preprocessing.errors import MissingPathError
from radiotrain.config import dump_config
from radiotrain.runs import RunFolder, RunRecord
from radiotrain.training.metrics import EpochMetrics

# Trials are read side by side: an object store answers slowly, but many at a time.
_READERS = 16

TrialStatus = Literal["not begun", "running", "paused", "waiting", "stopped", "finished", "failed"]


@dataclass(frozen=True)
class Suggestion:
    """A trial that was suggested as the sweep went on.

    Parameters
    ----------
    number
        In its group, from 0.
    searched
        Values by dotted key.
    """

    group: str
    number: int
    network: str
    searched: Mapping[str, Any]


@dataclass(frozen=True)
class Segment:
    """One way of a trial to a rung, without a break.

    Parameters
    ----------
    host, pid
        Of the process that a trial lives in; the workers of a larger trial have their own.
    began, first_step, ended
        Seconds since 1970: when the trial was given its place, when it began to train, and when it was
        at rest again.
    training_s
        Seconds inside epochs.
    """

    trial: str
    rung: int
    epochs: int
    host: str
    pid: int
    began: float
    first_step: float
    ended: float
    training_s: float


@dataclass(frozen=True)
class TrialState:
    """What is known of a trial from its run folders; folds that were not begun are left out."""

    plan: TrialPlan
    records: tuple[RunRecord, ...] = ()
    histories: tuple[tuple[EpochMetrics, ...], ...] = ()

    @property
    def num_epochs(self) -> int:
        """Epochs trained, over all folds."""
        return sum(len(history) for history in self.histories)

    @property
    def error(self) -> str | None:
        """What its last run died of, if it did."""
        return self.records[-1].error if self.records and self.has_failed else None

    @property
    def has_failed(self) -> bool:
        """Whether its last run died."""
        return bool(self.records) and self.records[-1].status == "failed"

    def entrant(self, failed: bool = False) -> Entrant:
        """Return what the ladder sees of it."""
        curves = tuple(
            FoldCurve(tuple(m.validation_auc for m in history), record.status == "finished")
            for record, history in zip(self.records, self.histories, strict=True)
        )
        return Entrant(self.plan.name, curves, failed)


@dataclass(frozen=True)
class Standing:
    """A trial, and where it stands among those of its group."""

    state: TrialState
    verdict: Verdict

    @property
    def plan(self) -> TrialPlan:
        """The trial."""
        return self.state.plan

    @property
    def status(self) -> TrialStatus:
        """How it is with the trial.

        ``paused``: it is to go on; ``waiting``: that depends on others of its group. A trial that
        was ``running`` when its sweep was killed cannot be told from one that runs.
        """
        ended: dict[Action, TrialStatus] = {Action.STOP: "stopped", Action.DONE: "finished"}
        if self.verdict.action in ended:
            return ended[self.verdict.action]
        if self.state.has_failed:
            return "failed"
        if self.verdict.action is Action.WAIT:
            return "waiting"
        if not self.state.records:
            return "not begun"
        return "running" if self.state.records[-1].status == "running" else "paused"

    @property
    def has_ended(self) -> bool:
        """Whether nothing more is to be trained."""
        return self.verdict.action in (Action.STOP, Action.DONE)

    @property
    def rank(self) -> tuple[int, int]:
        """Smaller is better, within a group: a higher rung, then a better place there."""
        reached = self.verdict.rung.number
        if self.verdict.action in (Action.TRAIN, Action.FAILED):
            reached -= 1
        return -reached, self.verdict.place or 0


class SweepFolder:
    """Reads and writes one sweep's folder."""

    def __init__(self, url: str) -> None:
        self.url = files.absolute(url)

    def write_sweep(self, sweep: SweepConfig) -> None:
        """Write the resolved configuration."""
        files.write_text(files.join(self.url, "sweep.yaml"), dump_config(sweep))

    def read_sweep(self) -> SweepConfig:
        """Return the configuration that the sweep was last run with.

        Where the folder was moved, trials are looked for where it is now.

        Raises
        ------
        MissingPathError
            If there is no sweep.
        """
        url = files.join(self.url, "sweep.yaml")
        try:
            sweep = load_sweep(url)
        except MissingPathError:
            raise MissingPathError(
                f"no sweep at {self.url}: make one with 'radiotrain tune'"
            ) from None
        return sweep.model_copy(update={"out": self.url})

    def add_suggestion(self, suggestion: Suggestion) -> None:
        """Write down a suggested trial, before it is begun."""
        lines = [*self.read_suggestions(), suggestion]
        text = "".join(json.dumps(vars(line)) + "\n" for line in lines)
        files.write_text(self._suggested_url, text)

    def read_suggestions(self) -> tuple[Suggestion, ...]:
        """Return all suggested trials, in their order."""
        try:
            text = files.read_text(self._suggested_url)
        except FileNotFoundError:
            return ()
        return tuple(Suggestion(**json.loads(line)) for line in text.splitlines())

    def add_segment(self, segment: Segment) -> None:
        """Write down what was trained."""
        text = "".join(json.dumps(vars(s)) + "\n" for s in (*self.read_timeline(), segment))
        files.write_text(self._timeline_url, text)

    def read_timeline(self) -> tuple[Segment, ...]:
        """Return what was trained, in the order in which it was done."""
        try:
            text = files.read_text(self._timeline_url)
        except FileNotFoundError:
            return ()
        return tuple(Segment(**json.loads(line)) for line in text.splitlines())

    def read_plans(self, sweep: SweepConfig) -> tuple[TrialPlan, ...]:
        """Return all trials that are known so far."""
        by_group = {group_of(targets): targets for targets in sweep.targets}
        return plan_trials(sweep) + tuple(
            plan_suggestion(sweep, by_group[suggestion.group], suggestion)
            for suggestion in self.read_suggestions()
            if sweep.searcher == "tpe" and suggestion.group in by_group
        )

    @property
    def _timeline_url(self) -> str:
        return files.join(self.url, "timeline.jsonl")

    @property
    def _suggested_url(self) -> str:
        return files.join(self.url, "suggested.jsonl")


def plan_suggestion(
    sweep: SweepConfig, targets: str | tuple[str, ...], suggestion: Suggestion
) -> TrialPlan:
    """Return the trial of a suggestion."""
    return plan_trial(
        sweep,
        suggestion.network,
        targets,
        sweep.seeds[0],
        f"_{suggestion.number:03d}",
        suggestion.searched,
    )


def ladder_of(sweep: SweepConfig) -> Ladder:
    """Return what a sweep's trials are judged by."""
    return make_ladder(
        len(sweep.folds),
        sweep.train.epochs,
        sweep.halving.grace_epochs,
        sweep.halving.reduction_factor,
        sweep.halving.smooth_epochs,
        halving=sweep.halving.enabled,
    )


def trials_per_group(sweep: SweepConfig) -> int:
    """Return how many trials each target has, or will have."""
    if sweep.searcher == "tpe":
        return len(sweep.networks) * sweep.samples
    return len(plan_trials(sweep)) // len(sweep.targets)


def read_states(plans: Sequence[TrialPlan]) -> tuple[TrialState, ...]:
    """Read from storage how far each trial is."""
    with ThreadPoolExecutor(_READERS) as pool:
        return tuple(pool.map(read_state, plans))


def read_state(plan: TrialPlan) -> TrialState:
    """Read from storage how far a trial is."""
    state = TrialState(plan)
    for run in plan.runs:
        folder = RunFolder(run.out)
        # The record is written after the epochs: what it says is there.
        record = folder.read_record()
        if record is None:
            break
        state = replace(
            state,
            records=(*state.records, record),
            histories=(*state.histories, folder.read_metrics()),
        )
    return state


def standings(
    sweep: SweepConfig, states: Iterable[TrialState], given_up: Collection[str] | None = None
) -> tuple[Standing, ...]:
    """Judge all trials of a sweep, each within its group.

    Parameters
    ----------
    given_up
        Names of trials that are not tried again; by default all whose last run died. The others of
        their groups do not wait for them.
    """
    ladder, num = ladder_of(sweep), trials_per_group(sweep)
    found = []
    for members in _by_group(states):
        entrants = [
            state.entrant(state.has_failed if given_up is None else state.plan.name in given_up)
            for state in members
        ]
        verdicts = judge(entrants, ladder, num)
        found += [Standing(state, verdicts[state.plan.name]) for state in members]
    return tuple(found)


def best_of_each_group(found: Sequence[Standing]) -> tuple[Standing, ...]:
    """Return the best trial of each group, of those that were trained at all."""
    best: dict[str, Standing] = {}
    for standing in sorted(found, key=lambda s: s.rank):
        if standing.state.num_epochs and standing.verdict.score is not None:
            best.setdefault(standing.plan.group, standing)
    order = list(dict.fromkeys(standing.plan.group for standing in found))
    return tuple(sorted(best.values(), key=lambda s: order.index(s.plan.group)))


def _by_group(states: Iterable[TrialState]) -> Iterator[list[TrialState]]:
    ordered = list(states)
    order = list(dict.fromkeys(state.plan.group for state in ordered))
    ordered.sort(key=lambda state: order.index(state.plan.group))
    for _, members in groupby(ordered, key=lambda state: state.plan.group):
        yield list(members)
