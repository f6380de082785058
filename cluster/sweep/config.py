"""Sweep configuration, search space and planned trials.

Every combination of the `grid` values is tried; all others are drawn. A draw depends on the sweep's
search seed, the field and the sample's number alone: each architecture and target is given the same
settings, so that they are compared on equal terms, and another field changes nobody's values.
"""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any, Literal, TypeVar

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from preprocessing.common.errors import InputError
from preprocessing.storage import files
from radiotrain.config.run_config import (
    FIRST_NAMES,
    AugmentConfig,
    EarlyStoppingConfig,
    LoggingConfig,
    NetworkConfig,
    Precision,
    RunConfig,
    Section,
    SpeedConfig,
    TrainConfig,
    parse_config,
    read_config,
)
from radiotrain.networks.registry import check_network_name


class Distribution(Section):
    """Where a field's values come from: exactly one of these."""

    grid: tuple[Any, ...] | None = Field(default=None, min_length=1)
    """Each of these values, with each combination of the other grids."""
    choice: tuple[Any, ...] | None = Field(default=None, min_length=1)
    """One of these values, each as likely."""
    uniform: tuple[float, float] | None = None
    """A number from the first to the second."""
    loguniform: tuple[float, float] | None = None
    """The same, each factor as likely as another: for learning rates and the like."""
    integer: tuple[int, int] | None = None
    """A whole number from the first to the second, both included."""

    @model_validator(mode="after")
    def _is_one(self) -> Distribution:
        kinds = self.model_dump(exclude_none=True)
        if len(kinds) != 1:
            raise ValueError(
                f"got {', '.join(kinds) or 'nothing'}, expected exactly one of"
                f" {', '.join(type(self).model_fields)}"
            )
        for name in ("uniform", "loguniform", "integer"):
            bounds = getattr(self, name)
            if bounds is not None and not bounds[0] < bounds[1]:
                raise ValueError(f"{name} is {list(bounds)}, expected the smaller one first")
        if self.loguniform is not None and self.loguniform[0] <= 0:
            raise ValueError(f"loguniform is {list(self.loguniform)}, expected positive bounds")
        return self

    @property
    def values(self) -> tuple[Any, ...] | None:
        """The values there are to choose from; None where they are numbers in a range."""
        return self.grid if self.grid is not None else self.choice

    def contains(self, value: Any) -> bool:
        """Tell whether a value, as a run's configuration has it, is one of these."""
        if self.values is not None:
            return any(_is_same(value, one) for one in self.values)
        if self.integer is not None and isinstance(value, float) and not value.is_integer():
            return False
        bounds = self.integer or self.uniform or self.loguniform
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and bounds is not None and bounds[0] <= value <= bounds[1]

    def position(self, value: Any) -> int:
        """Return where a value stands among those there are to choose from."""
        assert self.values is not None
        return next(i for i, one in enumerate(self.values) if _is_same(value, one))

    def draw(self, generator: np.random.Generator) -> Any:
        """Draw a value; not of a grid."""
        if self.choice is not None:
            return self.choice[int(generator.integers(len(self.choice)))]
        if self.integer is not None:
            return int(generator.integers(self.integer[0], self.integer[1] + 1))
        if self.uniform is not None:
            return float(generator.uniform(*self.uniform))
        assert self.loguniform is not None
        low, high = map(math.log, self.loguniform)
        return float(math.exp(generator.uniform(low, high)))


def _is_same(one: Any, other: Any) -> bool:
    """Compare values as YAML and JSON have them, where lists and tuples are the same."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return bool(one == other)


def combinations(search: Mapping[str, Distribution]) -> list[dict[str, Any]]:
    """Return every combination of the grids' values, by dotted key; an empty one where there are none."""
    grids = {key: d.grid for key, d in search.items() if d.grid is not None}
    return [dict(zip(grids, values, strict=True)) for values in product(*grids.values())]


def draw_settings(search: Mapping[str, Distribution], number: int, seed: int) -> dict[str, Any]:
    """Draw a value for each field that has no grid.

    Parameters
    ----------
    number
        Of the sample, from 0.
    """
    return {
        key: d.draw(_generator(seed, key, number)) for key, d in search.items() if d.grid is None
    }


def _generator(seed: int, key: str, sample: int) -> np.random.Generator:
    name = FIRST_NAMES.get(key, key)
    return np.random.default_rng([seed, zlib.crc32(name.encode()), sample])


_ValueT = TypeVar("_ValueT")

# Sections that a sweep has as a run has them.
_SHARED_SECTIONS = ("train", "early_stopping", "augment", "speed", "logging")
_SEARCHED_SECTIONS = ("network", *_SHARED_SECTIONS)
# The sweep has its own place for these.
_NOT_SEARCHED = {
    "network.name": "list it under networks",
    "train.epochs": "trials are compared epoch by epoch, set it under train",
}


class HalvingConfig(Section):
    """Successive halving, among the trials of one target only."""

    enabled: bool = True
    """Whether trials are stopped early."""
    grace_epochs: int = Field(default=10, ge=1)
    """No trial is stopped before this many epochs."""
    reduction_factor: float = Field(default=3.0, gt=1)
    """At each rung one in this many trials is promoted, rounded up. Rungs lie at grace_epochs times its
    powers; with several folds also after 1, factor, factor², … of them."""
    smooth_epochs: int = Field(default=1, ge=1)
    """A fold's score is its mean validation AUC over this many epochs, which end with the one that is
    kept (early_stopping.choose; with best_auc: the best such mean)."""


class ResourcesConfig(Section):
    """What one trial takes of the cluster."""

    workers: int = Field(default=1, ge=1)
    """Workers that train a trial together; more than one: by DDP under Ray Train."""
    cpus: float = Field(default=1, gt=0)
    """Processor cores of a worker."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs of a worker, fractions allowed; null: where the cluster has any, one, or as small a part of
    it as lets up to four trials share it, if by their estimated memory they fit (one worker only)."""


class SweepConfig(Section):
    """A sweep: one trial for each network, target, seed and searched setting."""

    store: str
    """Store made by ``radiotrain preprocess``: folder or s3://…"""
    split: str
    """Split made by ``radiotrain split``."""
    out: str
    """Folder of the sweep; each trial is a run folder inside it."""
    networks: tuple[str, ...]
    """Names from ``radiotrain models``."""
    targets: tuple[str | tuple[str, ...], ...]
    """Targets, each with networks of its own; a list among them is learned jointly."""
    seeds: tuple[int, ...] = (0,)
    """Seeds, each a trial of its own."""
    search: dict[str, Distribution] = Field(default_factory=dict)
    """Fields of a run that are varied, by dotted key: ``train.lr: {loguniform: [1e-4, 1e-2]}``; with
    grid, choice, uniform, loguniform or integer. Every network and target is given the same settings."""
    search_algorithm: Literal["random", "tpe"] = "random"
    """random: drawn beforehand, the same for each network and target. tpe: each target's trials are
    suggested by Optuna from the results of those before, the network being one more choice."""
    num_samples: int = Field(default=1, ge=1)
    """Draws of what is searched and not a grid; with tpe each network's trials, on average."""
    search_seed: int = Field(default=0, ge=0)
    """Seed of these draws."""
    folds: tuple[int, ...] = (0,)
    """Validation folds, one after the other; several make each trial a cross-validation."""
    halving: HalvingConfig = HalvingConfig()
    resources: ResourcesConfig = ResourcesConfig()
    max_failures: int = Field(default=3, ge=0)
    """Retries of a failed trial, from its last checkpoint."""
    max_quiet_minutes: float = Field(default=60.0, gt=0)
    """Timeout of a trial of one worker that reports nothing: it is ended and counts as failed."""
    keep_best: int = Field(default=3, ge=1)
    """Trials of each target whose weights are kept; the others keep their numbers and predictions."""
    train: TrainConfig = TrainConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    augment: AugmentConfig = AugmentConfig()
    speed: SpeedConfig = SpeedConfig()
    logging: LoggingConfig = LoggingConfig()
    covariate_start: Literal["logistic", "zero"] = "logistic"
    """As `network.covariate_start` in a run's configuration, for trials with covariates."""
    averaging: Literal["calibrated", "raw"] = "calibrated"
    """As in a run's configuration."""
    precision: Precision = "auto"
    """As in a run's configuration."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """As in a run's configuration."""

    @field_validator("networks")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _different("networks", tuple(check_network_name(name) for name in names))

    @field_validator("targets")
    @classmethod
    def _targets(
        cls, targets: tuple[str | tuple[str, ...], ...]
    ) -> tuple[str | tuple[str, ...], ...]:
        return _different("targets", targets)

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return _different("seeds", seeds)

    @field_validator("folds")
    @classmethod
    def _folds(cls, folds: tuple[int, ...]) -> tuple[int, ...]:
        if any(fold < 0 for fold in folds):
            raise ValueError(f"folds is {list(folds)}, expected numbers from 0 on")
        return _different("folds", folds)

    @field_validator("store", "split", "out")
    @classmethod
    def _absolute(cls, value: str) -> str:
        return files.absolute(value)

    @field_validator("search")
    @classmethod
    def _searchable(cls, search: dict[str, Distribution]) -> dict[str, Distribution]:
        for key in search:
            if key.partition(".")[0] not in _SEARCHED_SECTIONS or "." not in key:
                raise ValueError(
                    f"{key!r} cannot be searched, expected a key such as train.lr in one of the"
                    f" sections {', '.join(_SEARCHED_SECTIONS)}"
                )
            if key in _NOT_SEARCHED:
                raise ValueError(f"{key!r} cannot be searched: {_NOT_SEARCHED[key]}")
        return {key: _configured(key, distribution) for key, distribution in search.items()}

    @property
    def base(self) -> RunConfig:
        """What all trials share, as a run: that of the first network, targets, seed and fold."""
        return RunConfig(
            store=self.store,
            split=self.split,
            out=self.out,
            targets=self.targets[0],  # type: ignore[arg-type]  # one name or several
            seed=self.seeds[0],
            fold=self.folds[0],
            network=NetworkConfig(name=self.networks[0], covariate_start=self.covariate_start),
            averaging=self.averaging,
            precision=self.precision,
            device=self.device,
            **{section: getattr(self, section) for section in _SHARED_SECTIONS},
        )

    @model_validator(mode="after")
    def _base_is_possible(self) -> SweepConfig:
        try:
            _ = self.base
        except ValidationError as error:
            (first, *_) = error.errors()
            raise ValueError(str(first["ctx"]["error"])) from None
        return self

    @model_validator(mode="after")
    def _samples_differ(self) -> SweepConfig:
        if self.search_algorithm == "tpe":
            return self._tpe_can_choose()
        if self.num_samples > 1 and all(d.grid is not None for d in self.search.values()):
            raise ValueError(
                f"num_samples is {self.num_samples}, but nothing in search is drawn: all would be the same;"
                " add a choice, uniform, loguniform or integer, or use seeds"
            )
        return self

    def _tpe_can_choose(self) -> SweepConfig:
        if not self.search:
            raise ValueError(
                "search_algorithm is tpe and search is empty: name the fields to be searched"
            )
        if len(self.seeds) > 1:
            raise ValueError(
                f"search_algorithm is tpe and seeds is {list(self.seeds)}, expected one: a suggestion is"
                " tried once; use folds to measure it better"
            )
        return self


@dataclass(frozen=True)
class TrialPlan:
    """One trial: a configuration, trained on one fold or on several.

    Parameters
    ----------
    name
        Of the trial and of its folder; says what it is.
    group
        Trials are compared with each other only inside their group: its targets.
    runs
        One a fold, in the order in which they are trained. A single one's run folder is the trial's
        own; several have theirs inside it, and so have those that were added to a single one.
    searched
        What was set of the searched fields, by dotted key.
    """

    name: str
    group: str
    runs: tuple[RunConfig, ...]
    searched: Mapping[str, Any] = field(default_factory=dict)

    @property
    def run(self) -> RunConfig:
        """The first fold's run, which stands for all where folds do not matter."""
        return self.runs[0]

    def describe_searched(self) -> str:
        """Return the searched settings in words, nothing where there are none."""
        return ", ".join(
            f"{key}={f'{value:.4g}' if isinstance(value, float) else value}"
            for key, value in self.searched.items()
        )


def load_sweep(path: str, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep's configuration; see `radiotrain.config.run_config.load_config` for the errors."""
    return read_config(SweepConfig, path, overrides)


@dataclass(frozen=True)
class Sample:
    """Values of the searched fields that have no grid, and the number by which trials are called.

    Every network, target and seed is given the same samples, each with all combinations of the grids.
    """

    number: int
    values: Mapping[str, Any]


def draw_samples(sweep: SweepConfig) -> tuple[Sample, ...]:
    """Draw a sweep's samples; of equal ones the first counts, so that none is trained twice."""
    samples: dict[str, Sample] = {}
    for number in range(sweep.num_samples):
        values = draw_settings(sweep.search, number, sweep.search_seed)
        samples.setdefault(json.dumps(values), Sample(number, values))
    return tuple(samples.values())


def plan_trials(
    sweep: SweepConfig, samples: Sequence[Sample] | None = None
) -> tuple[TrialPlan, ...]:
    """Return all trials that are known beforehand, targets going round fastest.

    With the search algorithm tpe there are none: see `cluster.sweep.optuna_search`.

    Parameters
    ----------
    samples
        By default those of a sweep that begins.
    """
    if sweep.search_algorithm == "tpe":
        return ()
    samples = draw_samples(sweep) if samples is None else samples
    per_combination = max([sweep.num_samples, *(sample.number + 1 for sample in samples)])
    searched = {
        per_combination * n + sample.number: {**grid, **sample.values}
        for n, grid in enumerate(combinations(sweep.search))
        for sample in samples
    }
    several = len(sweep.seeds) > 1
    plans = tuple(
        plan_trial(
            sweep,
            network,
            targets,
            seed,
            (f"_seed{seed}" if several else "") + (f"_{number:03d}" if sweep.search else ""),
            values,
        )
        for seed, (number, values), network, targets in product(
            sweep.seeds, searched.items(), sweep.networks, sweep.targets
        )
    )
    _check_names(plans)
    return plans


def example_trials(sweep: SweepConfig) -> tuple[TrialPlan, ...]:
    """Return a trial of each network and target with nothing searched, for what is not known yet."""
    return tuple(
        plan_trial(sweep, network, targets, sweep.seeds[0], "", {})
        for network, targets in product(sweep.networks, sweep.targets)
    )


def group_of(targets: str | tuple[str, ...]) -> str:
    """Return the name of the group of trials that learn these targets."""
    return targets if isinstance(targets, str) else "+".join(targets)


def plan_trial(
    sweep: SweepConfig,
    network: str,
    targets: str | tuple[str, ...],
    seed: int,
    suffix: str,
    searched: Mapping[str, Any],
) -> TrialPlan:
    """Return one trial.

    Parameters
    ----------
    suffix
        Of its name, which begins with the targets and the network.
    searched
        Values by dotted key.

    Raises
    ------
    InputError
        If one of them cannot be used.
    """
    base = sweep.base
    sections: dict[str, dict[str, Any]] = {"network": {"name": network}}
    for key, value in searched.items():
        section, _, name_in_section = key.partition(".")
        sections.setdefault(section, {})[name_in_section] = value
    varied = {name: getattr(base, name).model_dump() | new for name, new in sections.items()}
    # Sections that do not vary are values that were checked: they are taken as they are.
    values = {**dict(base), **varied, "targets": targets, "seed": seed}
    run = parse_config(RunConfig, values, "sweep")
    runs = tuple(run.model_copy(update={"fold": fold}) for fold in sweep.folds)
    plan = TrialPlan("", group_of(targets), runs, dict(searched))
    return place_trial(plan, sweep.out, f"{plan.group}_{network}{suffix}")


def place_trial(
    plan: TrialPlan, sweep_url: str, name: str, known: Mapping[int, str] | None = None
) -> TrialPlan:
    """Return a trial with its name and the folders of its runs.

    Parameters
    ----------
    known
        Run folders of folds that were begun before, which stay where they are.
    """
    folder, known = files.join(sweep_url, name), known or {}

    def place(fold: int) -> str:
        inside = bool(known) or len(plan.runs) > 1
        return known.get(fold) or files.join(folder, *[f"{name}_fold{fold}"] * inside)

    runs = tuple(
        run.model_copy(update={"out": place(run.fold)}) for run in plan.runs if run.fold is not None
    )
    return replace(plan, name=name, runs=runs)


def _configured(key: str, distribution: Distribution) -> Distribution:
    """Return a field's values as a run's configuration has them: 0.001 for the text ``1e-3``."""
    section, _, name = key.partition(".")
    model: Any = RunConfig.model_fields[section].annotation
    field_info = model.model_fields.get(name)
    if field_info is None or distribution.values is None:
        return distribution
    adapter = TypeAdapter(field_info.annotation)

    def configured(value: Any) -> Any:
        # What cannot be is refused where it is used, by the configuration's own words.
        with suppress(ValidationError):
            return adapter.validate_python(value)
        return value

    kind = "grid" if distribution.grid is not None else "choice"
    return distribution.model_copy(update={kind: tuple(map(configured, distribution.values))})


def _different(key: str, values: tuple[_ValueT, ...]) -> tuple[_ValueT, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError(f"{key} is {list(values)}, expected one or several different ones")
    return values


def _check_names(plans: Sequence[TrialPlan]) -> None:
    """Refuse two trials of one name: they would share a folder."""
    names = [plan.name for plan in plans]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise InputError(f"two trials are both named {min(repeated)!r}: change the targets")
