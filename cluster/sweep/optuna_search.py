"""Next trial of a sweep: planned first, then Optuna's suggestions."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from cluster.sweep.config import Distribution, SweepConfig, TrialPlan, group_of
from cluster.sweep.folder import (
    Suggestion,
    SweepFolder,
    TrialSummary,
    plan_suggestion,
)
from cluster.sweep.halving import Action, score_at
from cluster.sweep.membership import suggested_per_group
from cluster.sweep.sweep_state import SweepState, describe

_NETWORK = "network.name"
_SCORE = "score"


class NextTrial(Searcher):  # type: ignore[misc]
    """Gives Ray Tune the trials of a sweep one after the other.

    Parameters
    ----------
    max_running
        Most trials at a time; None for as many as there is room for.
    """

    def __init__(self, sweep_state: SweepState, max_running: int | None = None) -> None:
        super().__init__(metric=_SCORE, mode="max")
        self._sweep_state, self._max_running = sweep_state, max_running
        self._given: set[str] = set()
        self._tpe = _Tpe(sweep_state) if sweep_state.sweep.search_algorithm == "tpe" else None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return a trial's plain values, None where all depends on others now, or the end."""
        if self._is_full():
            return None
        waiting = False
        for summary in self._sweep_state.summaries:
            name = summary.plan.name
            if name in self._given or summary.has_ended:
                continue
            if summary.verdict.action is Action.TRAIN:
                return self._give(summary)
            waiting = True
        suggestion = self._tpe.next() if self._tpe is not None else None
        if suggestion is not None:
            return self._give(suggestion)
        return None if waiting else Searcher.FINISHED

    def _is_full(self) -> bool:
        if self._max_running is None:
            return False
        active = [
            s
            for s in self._sweep_state.summaries
            if s.plan.name in self._given and s.verdict.action is Action.TRAIN
        ]
        return len(active) >= self._max_running

    def _give(self, summary: TrialSummary) -> dict[str, Any]:
        self._given.add(summary.plan.name)
        return {"trial": describe(summary.plan)}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Leave it to the scheduler, which tells the sweep state."""

    def save(self, checkpoint_path: str) -> None:
        """Keep nothing: run folders serve for it."""

    def restore(self, checkpoint_path: str) -> None:
        """Keep nothing: run folders serve for it."""


class _Tpe:
    """A tree-structured Parzen estimator for each group, through Ray Tune's searcher for Optuna.

    It gets the score at the first rung, where all trials of a group are alike. It gets that of every
    trial of the sweep, whatever the space was when that was suggested: all lie in the space as it is
    now.
    """

    def __init__(self, sweep_state: SweepState) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._sweep_state, self._sweep = sweep_state, sweep_state.sweep
        self._folder = SweepFolder(self._sweep.out)
        self._groups = {group_of(targets): targets for targets in self._sweep.targets}
        suggestions = self._folder.read_suggestions()
        self._next_number = {
            group: 1 + max((s.number for s in suggestions if s.group == group), default=-1)
            for group in self._groups
        }
        self._taken = {trial.name for trial in self._folder.read_known(self._sweep)}
        self._asked: dict[str, str] = {}
        self._told: set[str] = set()
        self._searches = {group: self._start(group) for group in self._groups}

    def _start(self, group: str) -> OptunaSearch:
        # A search that goes on must not draw again what it drew at its first start.
        seed = [self._sweep.search_seed, group, self._next_number[group]]
        return OptunaSearch(
            space=search_space(self._sweep),
            metric=_SCORE,
            mode="max",
            seed=zlib.crc32(repr(tuple(seed)).encode()),
        )

    def next(self) -> TrialSummary | None:
        """Suggest one more trial for the group that has the fewest; None where all have all."""
        members = Counter(summary.plan.group for summary in self._sweep_state.summaries)
        group = min(self._groups, key=lambda g: members[g])
        if members[group] >= suggested_per_group(self._sweep):
            return None
        self._tell(group)
        number = self._next_number[group]
        chosen = self._searches[group].suggest(_id(group, number))
        suggestion = _suggestion(self._sweep, group, number, chosen)
        plan = plan_suggestion(self._sweep, self._groups[group], suggestion)
        while plan.name in self._taken:
            # A trial of another search algorithm may have the name.
            suggestion = replace(suggestion, number=suggestion.number + 1)
            plan = plan_suggestion(self._sweep, self._groups[group], suggestion)
        self._asked[plan.name] = _id(group, number)
        self._next_number[group] = suggestion.number + 1
        self._folder.add_suggestion(suggestion)
        self._sweep_state.add(plan)
        return self._sweep_state.summary(plan.name)

    def _tell(self, group: str) -> None:
        search = self._searches[group]
        for summary in self._sweep_state.summaries:
            name = summary.plan.name
            if summary.plan.group != group or name in self._told:
                continue
            score, failed = self._first_score(summary), self._sweep_state.is_given_up(name)
            if score is None and not failed:
                continue
            self._told.add(name)
            if name in self._asked:
                result = None if score is None else {_SCORE: score}
                search.on_trial_complete(self._asked[name], result, error=score is None)
            elif score is not None:
                search.add_evaluated_point(choices_of(self._sweep, summary.plan), score)

    def _first_score(self, summary: TrialSummary) -> float | None:
        schedule = self._sweep_state.schedule
        return score_at(
            summary.state.trial_curve().folds, schedule.rungs[0], schedule.smooth_epochs
        )


def _id(group: str, number: int) -> str:
    return f"{group}_{number}"


def search_space(sweep: SweepConfig) -> dict[str, BaseDistribution]:
    """Return Optuna's distributions; of a list of values their positions, which are always plain."""
    network = CategoricalDistribution(range(len(sweep.networks)))
    return {_NETWORK: network, **{key: _distribution(d) for key, d in sweep.search.items()}}


def _distribution(distribution: Distribution) -> BaseDistribution:
    values = distribution.values
    if values is not None:
        return CategoricalDistribution(range(len(values)))
    if distribution.integer is not None:
        return IntDistribution(*distribution.integer)
    if distribution.uniform is not None:
        return FloatDistribution(*distribution.uniform)
    assert distribution.loguniform is not None
    return FloatDistribution(*distribution.loguniform, log=True)


def _suggestion(
    sweep: SweepConfig, group: str, number: int, chosen: Mapping[str, Any]
) -> Suggestion:
    def value(key: str, distribution: Distribution) -> Any:
        values = distribution.values
        return chosen[key] if values is None else values[chosen[key]]

    searched = {key: value(key, distribution) for key, distribution in sweep.search.items()}
    return Suggestion(group, number, sweep.networks[chosen[_NETWORK]], searched)


def choices_of(sweep: SweepConfig, plan: TrialPlan) -> dict[str, Any]:
    """Return what Optuna would have chosen for one of the sweep's trials to come of it."""

    def choice(key: str, distribution: Distribution) -> Any:
        value = plan.searched[key]
        if distribution.values is not None:
            return distribution.position(value)
        return int(value) if distribution.integer is not None else float(value)

    chosen = {key: choice(key, distribution) for key, distribution in sweep.search.items()}
    return {_NETWORK: sweep.networks.index(plan.run.network.name), **chosen}
