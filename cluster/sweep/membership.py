"""Trials of a sweep: recorded ones and planned ones.

A sweep may be extended, or made smaller: by seeds, folds, networks, targets, samples, and by another
space. A trial that was trained belongs to it as long as its configuration is one that the sweep could
have tried; it keeps its name and its folders, whatever the sweep would call it now. The others stay in
the folder, and are not compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Any

from cluster.sweep.config import (
    Sample,
    SweepConfig,
    TrialPlan,
    draw_samples,
    group_of,
    place_trial,
    plan_trial,
    plan_trials,
)
from preprocessing.common.errors import InputError
from preprocessing.common.json_values import first_difference
from preprocessing.storage import files
from radiotrain.config.run_config import RunConfig, flatten
from radiotrain.runs.early_stopping import without_length
from radiotrain.runs.run_folder import RunFolder

_READERS = 16
_PATIENCE = "early_stopping.patience"
_BASE_SECTIONS = ("train", "early_stopping", "augment", "precision")
# A run's own rules say whether it can have other ones: see `radiotrain.runs.early_stopping`.
_LENGTH = ("train.epochs", _PATIENCE)


@dataclass(frozen=True)
class KnownTrial:
    """A trial that a sweep's folder holds, or that was suggested for it.

    Parameters
    ----------
    run
        Of one of its folds.
    folds
        Run folders of the folds that were begun; empty of one that was only suggested.
    """

    name: str
    run: RunConfig
    folds: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Membership:
    """A sweep's trials.

    Parameters
    ----------
    left_out
        Trials in the folder that do not belong to it any more: their names, and why.
    """

    trials: tuple[TrialPlan, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)


def find_trials(sweep_url: str) -> tuple[KnownTrial, ...]:
    """Return the trials in a sweep's folder of which something was trained, by name."""
    names = files.list_names(sweep_url)
    with ThreadPoolExecutor(_READERS) as pool:
        found = pool.map(partial(_find_trial, sweep_url), names)
        return tuple(trial for trial in found if trial is not None)


def _find_trial(sweep_url: str, name: str) -> KnownTrial | None:
    folder = files.join(sweep_url, name)
    names = files.list_names(folder)
    inside = re.compile(rf"{re.escape(name)}_fold(\d+)")
    folds = {int(m[1]): files.join(folder, m[0]) for m in map(inside.fullmatch, names) if m}
    own = _read_trained(folder) if "config.yaml" in names else None
    if own is not None and own.fold is not None:
        return KnownTrial(name, own, {own.fold: folder, **folds})
    runs = (_read_trained(url) for _, url in sorted(folds.items()))
    run = next((run for run in runs if run is not None), None)
    return None if run is None else KnownTrial(name, run, folds)


def _read_trained(url: str) -> RunConfig | None:
    """Return a run's configuration, None where nothing of it was trained."""
    folder = RunFolder(url)
    return folder.read_config() if folder.holds_training() else None


def find_members(sweep: SweepConfig, known: Sequence[KnownTrial]) -> Membership:
    """Find the trials of a sweep.

    Parameters
    ----------
    known
        All in its folder. With the search algorithm tpe also those that were only suggested; they count in
        this order.
    """
    members, left_out = [], {}
    for trial in known:
        plan = _planned_again(sweep, trial)
        if isinstance(plan, TrialPlan):
            members.append((trial, plan))
        elif trial.folds:
            left_out[trial.name] = plan
    choose = _suggested if sweep.search_algorithm == "tpe" else _drawn
    chosen, others = choose(sweep, members, {trial.name for trial in known})
    return Membership(chosen, left_out | {k.name: why for k, why in others if k.folds})


def check_same_sweep(before: SweepConfig, sweep: SweepConfig, known: Sequence[KnownTrial]) -> None:
    """Refuse settings of all trials that are others than those that trials were trained with.

    Every trial would be trained again beside the old ones.

    Parameters
    ----------
    before
        The configuration that the folder has.
    """
    searched = {*before.search, *sweep.search, *_LENGTH}

    def fixed(config: SweepConfig) -> dict[str, Any]:
        values = flatten(config.model_dump(mode="json", include={*_BASE_SECTIONS}))
        return {key: value for key, value in values.items() if key not in searched}

    difference = first_difference(fixed(before), fixed(sweep))
    if difference is None:
        return
    if any(isinstance(_planned_again(before, trial), TrialPlan) for trial in known if trial.folds):
        key = difference.key
        hint = "" if key not in _searchable(sweep) else f", or search over {key}"
        raise InputError(
            f"{sweep.out} holds a sweep of another configuration, {difference}: name a new folder in"
            f" 'out'{hint}"
        )


def _searchable(sweep: SweepConfig) -> set[str]:
    return set(
        flatten(sweep.model_dump(mode="json", include={"train", "early_stopping", "augment"}))
    )


def _planned_again(sweep: SweepConfig, known: KnownTrial) -> TrialPlan | str:
    """Return a known trial as one of the sweep's, in its place; or why it is none of them."""
    run, group = known.run, group_of(known.run.targets)
    targets = {group_of(one): one for one in sweep.targets}
    for key, value, values in (
        ("targets", group, list(targets)),
        ("networks", run.network.name, sweep.networks),
        ("seeds", run.seed, sweep.seeds),
    ):
        if value not in values:
            return f"{value} is not among the sweep's {key}"
    flat = flatten(run.model_dump())
    searched = {key: flat[key] for key in sweep.search}
    for key, distribution in sweep.search.items():
        if not distribution.contains(searched[key]):
            return f"{key} is {searched[key]}, which is outside the space"
    try:
        plan = plan_trial(sweep, run.network.name, targets[group], run.seed, "", searched)
    except InputError as error:
        return str(error)
    difference = first_difference(_identity(sweep, run), _identity(sweep, plan.run))
    if difference:
        return str(difference)
    return place_trial(plan, sweep.out, known.name, known.folds)


def _identity(sweep: SweepConfig, run: RunConfig) -> dict[str, Any]:
    """Return what tells a trial from others: its fold and its length do not."""
    identity, (_, patience) = without_length(run.full_identity())
    if _PATIENCE in sweep.search:
        identity[_PATIENCE] = patience
    return {key: value for key, value in identity.items() if key != "fold"}


_Members = Sequence[tuple[KnownTrial, TrialPlan]]
_Chosen = tuple[tuple[TrialPlan, ...], list[tuple[KnownTrial, str]]]


def _suggested(sweep: SweepConfig, members: _Members, _: set[str]) -> _Chosen:
    """Return those that were suggested, as many as the sweep is to have of each target."""
    num: dict[str, int] = {}
    plans, others = [], []
    for known, plan in members:
        num[plan.group] = num.get(plan.group, 0) + 1
        if num[plan.group] <= suggested_per_group(sweep):
            plans.append(plan)
        else:
            others.append((known, f"num_samples is {sweep.num_samples}"))
    return tuple(plans), others


def _drawn(sweep: SweepConfig, members: _Members, taken: set[str]) -> _Chosen:
    """Return what the sweep plans, in the place of those that are known."""
    by_key: dict[str, TrialPlan] = {}
    others = []
    for known, plan in members:
        before = by_key.setdefault(_key(sweep, plan), plan)
        if before is not plan:
            others.append((known, f"it is the same as {before.name}"))
    planned = plan_trials(sweep, _choose_samples(sweep, list(by_key.values())))
    chosen = {_key(sweep, plan): plan for plan in planned}
    others += [
        (known, f"num_samples is {sweep.num_samples}")
        for known, plan in members
        if _key(sweep, plan) not in chosen
    ]
    names = {*taken, *(plan.name for plan in planned)}
    plans = []
    for key, plan in chosen.items():
        if key in by_key:
            plans.append(by_key[key])
            continue
        name = plan.name if plan.name not in taken else _free_name(plan, names)
        names.add(name)
        plans.append(place_trial(plan, sweep.out, name))
    return tuple(plans), others


def _key(sweep: SweepConfig, plan: TrialPlan) -> str:
    return json.dumps(_identity(sweep, plan.run), sort_keys=True)


def _free_name(plan: TrialPlan, names: set[str]) -> str:
    """Return the name of a trial whose own name another one has."""
    begin = re.sub(r"_\d{3,}$", "", plan.name)
    return next(name for n in count() if (name := f"{begin}_{n:03d}") not in names)


def _choose_samples(sweep: SweepConfig, members: Sequence[TrialPlan]) -> tuple[Sample, ...]:
    """Return a sweep's samples: first those of which trials were trained, then new ones.

    What is chosen does not change while trials of it are trained.
    """
    drawn = {_sample_key(sample.values): sample for sample in draw_samples(sweep)}
    trained: dict[str, Mapping[str, Any]] = {}
    for plan in sorted(members, key=_number):
        values = {key: v for key, v in plan.searched.items() if sweep.search[key].grid is None}
        trained.setdefault(_sample_key(values), values)
    earlier = [values for key, values in trained.items() if key not in drawn]
    there = [sample for key, sample in drawn.items() if key in trained]
    there += [Sample(sweep.num_samples + n, values) for n, values in enumerate(earlier)]
    new = [sample for key, sample in drawn.items() if key not in trained]
    return tuple(sorted((there + new)[: sweep.num_samples], key=lambda sample: sample.number))


def _sample_key(values: Mapping[str, Any]) -> str:
    # A whole number may be drawn for a field that has it as 3.0.
    plain = {
        key: int(value) if isinstance(value, float) and value.is_integer() else value
        for key, value in values.items()
    }
    return json.dumps(plain, sort_keys=True)


def _number(plan: TrialPlan) -> tuple[int, str]:
    """Return what a trial's name is sorted by: the number at its end."""
    found = re.search(r"\d+$", plan.name)
    return int(found[0]) if found else 0, plan.name


def suggested_per_group(sweep: SweepConfig) -> int:
    """Return how many trials each target will have where they are suggested; 0 where all are known."""
    return len(sweep.networks) * sweep.num_samples if sweep.search_algorithm == "tpe" else 0
