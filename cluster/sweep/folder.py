"""Sweep folder: recorded trials and their states on disk.

====================  ====================================================================
``sweep.yaml``        the sweep's resolved configuration
``suggested.json``    trials that were suggested as the sweep went on (algorithm tpe)
``timeline.json``     who trained what, where and when, for each way to a rung
``TRIAL/``            a trial's run folder; with several folds, one in it for each
====================  ====================================================================

No verdicts are kept: they follow from the trials' epochs (`cluster.sweep.halving`), so that they
are the same whoever asks, during the sweep and after.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal, TypeVar

from cluster.sweep.config import SweepConfig, TrialPlan, group_of, plan_trial
from cluster.sweep.halving import (
    Action,
    FoldCurve,
    HalvingSchedule,
    TrialCurve,
    TrialDecision,
    judge,
    make_schedule,
)
from cluster.sweep.membership import (
    KnownTrial,
    Membership,
    find_members,
    find_trials,
    suggested_per_group,
)
from preprocessing.common.errors import DamagedFileError, InputError, MissingPathError
from preprocessing.common.json_values import parse_values
from preprocessing.storage import files
from preprocessing.storage.digests import check_text, dump_with_digest
from radiotrain.config.run_config import RENAMED_KEYS, dump_checked_config, read_config
from radiotrain.runs.checked_files import read_json
from radiotrain.runs.early_stopping import epoch_choice
from radiotrain.runs.epoch_metrics import EpochMetrics
from radiotrain.runs.run_folder import REMEDY, RunFolder, RunRecord, run_digest

# Trials are read side by side: an object store answers slowly, but many at a time.
_READERS = 16
# Of the lists of suggestions and of the timeline.
SCHEMA_VERSION = 1
_SWEEP_AGAIN = (
    "run 'radiotrain tune --config' with the configuration that the sweep was begun with, which writes"
    " it anew"
)
# How often a run that changes while it is read is read again.
_TRIES = 5

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
class TrialInterval:
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

    def trial_curve(self, failed: bool = False) -> TrialCurve:
        """Return what the schedule sees of it."""
        choice = epoch_choice(self.plan.run)
        curves = tuple(
            FoldCurve(
                tuple(m.validation_auc for m in history),
                record.status == "finished",
                tuple(m.validation_loss for m in history),
                choice,
            )
            for record, history in zip(self.records, self.histories, strict=True)
        )
        return TrialCurve(self.plan.name, curves, failed)


@dataclass(frozen=True)
class TrialSummary:
    """A trial, and where it stands among those of its group."""

    state: TrialState
    verdict: TrialDecision

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


_EntryT = TypeVar("_EntryT", Suggestion, TrialInterval)


class SweepFolder:
    """Reads and writes one sweep's folder."""

    def __init__(self, url: str) -> None:
        self.url = files.absolute(url)

    @property
    def exists(self) -> bool:
        """Whether a sweep was begun here."""
        return files.exists(files.join(self.url, "sweep.yaml"))

    def write_sweep(self, sweep: SweepConfig) -> None:
        """Write the resolved configuration."""
        files.write_text(files.join(self.url, "sweep.yaml"), dump_checked_config(sweep))

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
            check_text(files.read_bytes(url), url, _SWEEP_AGAIN)
            sweep = read_config(SweepConfig, url)
        except FileNotFoundError:
            raise MissingPathError(
                f"no sweep at {self.url}: make one with 'radiotrain tune'"
            ) from None
        return sweep.model_copy(update={"out": self.url})

    def add_suggestion(self, suggestion: Suggestion) -> None:
        """Write down a suggested trial, before it is begun."""
        self._write(self._suggested_url, [*self.read_suggestions(), suggestion])

    def read_suggestions(self) -> tuple[Suggestion, ...]:
        """Return all suggested trials, in their order."""
        return self._read(Suggestion, self._suggested_url, "begin the sweep again in a new folder")

    def add_segment(self, interval: TrialInterval) -> None:
        """Write down what was trained."""
        self._write(self._timeline_url, [*self.read_timeline(), interval])

    def read_timeline(self) -> tuple[TrialInterval, ...]:
        """Return what was trained, in the order in which it was done."""
        remedy = "remove it, and only times of the past are lost"
        return self._read(TrialInterval, self._timeline_url, remedy)

    def read_plans(self, sweep: SweepConfig) -> tuple[TrialPlan, ...]:
        """Return all trials that are known so far."""
        return self.read_members(sweep).trials

    def read_members(self, sweep: SweepConfig) -> Membership:
        """Return all trials that are known so far, and those that do not belong to the sweep any more."""
        return find_members(sweep, self.read_known(sweep))

    def read_known(self, sweep: SweepConfig) -> tuple[KnownTrial, ...]:
        """Return the trials that were trained; of the search algorithm tpe all that were suggested, first."""
        trained = {trial.name: trial for trial in find_trials(self.url)}
        if sweep.search_algorithm != "tpe":
            return tuple(trained.values())
        by_group = {group_of(targets): targets for targets in sweep.targets}
        ordered = {}
        for suggestion in self.read_suggestions():
            if suggestion.group in by_group:
                plan = plan_suggestion(sweep, by_group[suggestion.group], suggestion)
                ordered[plan.name] = KnownTrial(plan.name, plan.run)
        return tuple((ordered | trained).values())

    def _write(self, url: str, entries: Sequence[Suggestion | TrialInterval]) -> None:
        values = {"schema_version": SCHEMA_VERSION, "entries": [vars(entry) for entry in entries]}
        files.write_text(url, dump_with_digest(values))

    def _read(self, kind: type[_EntryT], url: str, remedy: str) -> tuple[_EntryT, ...]:
        try:
            entries = read_json(url, SCHEMA_VERSION, remedy).get("entries")
        except FileNotFoundError:
            return ()
        if not isinstance(entries, list):
            raise DamagedFileError(f"{url} is damaged, it has no list of entries: {remedy}")
        return tuple(parse_values(kind, entry, url, remedy) for entry in entries)

    @property
    def _timeline_url(self) -> str:
        return files.join(self.url, "timeline.json")

    @property
    def _suggested_url(self) -> str:
        return files.join(self.url, "suggested.json")


def plan_suggestion(
    sweep: SweepConfig, targets: str | tuple[str, ...], suggestion: Suggestion
) -> TrialPlan:
    """Return the trial of a suggestion, which may have been recorded with the old names of keys."""
    searched = {RENAMED_KEYS.get(key, key): value for key, value in suggestion.searched.items()}
    return plan_trial(
        sweep,
        suggestion.network,
        targets,
        sweep.seeds[0],
        f"_{suggestion.number:03d}",
        searched,
    )


def ladder_of(sweep: SweepConfig) -> HalvingSchedule:
    """Return what a sweep's trials are judged by."""
    return make_schedule(
        len(sweep.folds),
        sweep.train.epochs,
        sweep.halving.grace_epochs,
        sweep.halving.reduction_factor,
        sweep.halving.smooth_epochs,
        halving=sweep.halving.enabled,
    )


def read_states(plans: Sequence[TrialPlan]) -> tuple[TrialState, ...]:
    """Read from storage how far each trial is."""
    with ThreadPoolExecutor(_READERS) as pool:
        return tuple(pool.map(read_state, plans))


def read_state(plan: TrialPlan) -> TrialState:
    """Read from storage how far a trial is."""
    state = TrialState(plan)
    for run in plan.runs:
        found = _read_run(RunFolder(run.out))
        if found is None:
            break
        record, history = found
        if record.run_digest != run_digest(run, record.split_fingerprint):
            if not RunFolder(run.out).holds_training():
                # It died before its first checkpoint, and its sweep has other settings now.
                break
            raise InputError(
                f"{run.out} holds a run of another configuration than its sweep has for it: remove that"
                " folder and run 'radiotrain tune' again"
            )
        state = replace(
            state, records=(*state.records, record), histories=(*state.histories, history)
        )
    return state


def _read_run(folder: RunFolder) -> tuple[RunRecord, tuple[EpochMetrics, ...]] | None:
    """Return how far a run is, which may be trained meanwhile; None where it was not begun."""
    record = folder.read_record()
    for _ in range(_TRIES):
        if record is None:
            return None
        try:
            # The record is written after the epochs: what it says is there.
            return record, folder.read_history(record)
        except DamagedFileError:
            before, record = record, folder.read_record()
            if record == before:
                raise
    raise DamagedFileError(f"{folder.url} changes faster than it can be read: {REMEDY}")


def summaries(
    sweep: SweepConfig, states: Iterable[TrialState], given_up: Collection[str] | None = None
) -> tuple[TrialSummary, ...]:
    """Judge all trials of a sweep, each within its group.

    Parameters
    ----------
    given_up
        Names of trials that are not tried again; by default all whose last run died. The others of
        their groups do not wait for them.
    """
    schedule, num = ladder_of(sweep), suggested_per_group(sweep)
    found = []
    for members in _by_group(states):
        trial_curves = [
            state.trial_curve(state.has_failed if given_up is None else state.plan.name in given_up)
            for state in members
        ]
        verdicts = judge(trial_curves, schedule, num)
        found += [TrialSummary(state, verdicts[state.plan.name]) for state in members]
    return tuple(found)


def best_of_each_group(found: Sequence[TrialSummary]) -> tuple[TrialSummary, ...]:
    """Return the best trial of each group, of those that were trained at all."""
    best: dict[str, TrialSummary] = {}
    for summary in sorted(found, key=lambda s: s.rank):
        if summary.state.num_epochs and summary.verdict.score is not None:
            best.setdefault(summary.plan.group, summary)
    order = list(dict.fromkeys(summary.plan.group for summary in found))
    return tuple(sorted(best.values(), key=lambda s: order.index(s.plan.group)))


def _by_group(states: Iterable[TrialState]) -> Iterator[list[TrialState]]:
    ordered = list(states)
    order = list(dict.fromkeys(state.plan.group for state in ordered))
    ordered.sort(key=lambda state: order.index(state.plan.group))
    for _, members in groupby(ordered, key=lambda state: state.plan.group):
        yield list(members)
