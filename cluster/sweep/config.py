"""What a sweep tries: architectures × targets × seeds × settings, each a run of its own folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any, TypeVar

from pydantic import Field, field_validator, model_validator

from cluster.sweep.search import Distribution, settings
from preprocessing import files
from preprocessing.errors import InputError
from radiotrain.config import (
    AugmentConfig,
    EarlyStoppingConfig,
    RunConfig,
    Section,
    ShowConfig,
    SpeedConfig,
    TrainConfig,
    apply_overrides,
    parse_config,
    read_yaml,
)
from radiotrain.networks.registry import check_network_name

_ValueT = TypeVar("_ValueT")

# Sections that a sweep has as a run has them.
_SHARED_SECTIONS = ("train", "early_stopping", "augment", "speed", "show")
_SEARCHED_SECTIONS = ("network", *_SHARED_SECTIONS)


class AshaConfig(Section):
    """Asynchronous successive halving, among the trials of one target only."""

    enabled: bool = True
    """Whether trials are stopped before they end by themselves."""
    grace_epochs: int = Field(default=10, ge=1)
    """No trial is stopped before this many epochs."""
    reduction_factor: float = Field(default=3.0, gt=1)
    """At each rung one in this many trials goes on; rungs lie at grace_epochs times its powers."""


class ResourcesConfig(Section):
    """What one trial takes of the cluster."""

    cpus: float = Field(default=1, gt=0)
    """Processor cores of a trial."""
    gpus: float | None = Field(default=None, ge=0)
    """GPUs of a trial, fractions allowed; null: one where the cluster has any."""


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
    samples: int = Field(default=1, ge=1)
    """Draws of what is searched and not a grid."""
    search_seed: int = Field(default=0, ge=0)
    """Seed of these draws."""
    fold: int = Field(default=0, ge=0)
    """Fold that validates."""
    asha: AshaConfig = AshaConfig()
    resources: ResourcesConfig = ResourcesConfig()
    max_failures: int = Field(default=1, ge=0)
    """How often a trial that breaks is tried again, from its last checkpoint."""
    train: TrainConfig = TrainConfig()
    early_stopping: EarlyStoppingConfig = EarlyStoppingConfig()
    augment: AugmentConfig = AugmentConfig()
    speed: SpeedConfig = SpeedConfig()
    show: ShowConfig = ShowConfig()
    precision: str = "auto"
    """As in a run's configuration."""
    device: str = "auto"
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
        return search

    @model_validator(mode="after")
    def _samples_differ(self) -> SweepConfig:
        if self.samples > 1 and all(d.grid is not None for d in self.search.values()):
            raise ValueError(
                f"samples is {self.samples}, but nothing in search is drawn: all would be the same;"
                " add a choice, uniform, loguniform or integer, or use seeds"
            )
        return self


@dataclass(frozen=True)
class TrialPlan:
    """One trial.

    Parameters
    ----------
    name
        Of the trial and of its run folder; says what it is.
    group
        Trials are compared with each other only inside their group: its targets.
    searched
        What was set of the searched fields, by dotted key.
    """

    name: str
    group: str
    run: RunConfig
    searched: Mapping[str, Any] = field(default_factory=dict)

    def describe_searched(self) -> str:
        """Return the searched settings in words, nothing where there are none."""
        return ", ".join(
            f"{key}={f'{value:.4g}' if isinstance(value, float) else value}"
            for key, value in self.searched.items()
        )


def load_sweep(path: str, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep's configuration; see `radiotrain.config.load_config` for the errors."""
    return parse_config(SweepConfig, apply_overrides(read_yaml(path), overrides), path)


def plan_trials(sweep: SweepConfig) -> tuple[TrialPlan, ...]:
    """Return all trials, targets going round fastest, so that each gets its first ones early."""
    searched = list(settings(sweep.search, sweep.samples, sweep.search_seed))
    return tuple(
        _plan(
            sweep,
            network,
            (targets,) if isinstance(targets, str) else targets,
            seed,
            f"_{number:03d}" if sweep.search else "",
            values,
        )
        for seed, (number, values), network, targets in product(
            sweep.seeds, enumerate(searched), sweep.networks, sweep.targets
        )
    )


def _plan(
    sweep: SweepConfig,
    network: str,
    targets: tuple[str, ...],
    seed: int,
    suffix: str,
    searched: Mapping[str, Any],
) -> TrialPlan:
    group = "+".join(targets)
    name = f"{group}_{network}" + (f"_seed{seed}" if len(sweep.seeds) > 1 else "") + suffix
    values: dict[str, Any] = {
        "store": sweep.store,
        "split": sweep.split,
        "out": files.join(sweep.out, name),
        "targets": targets,
        "fold": sweep.fold,
        "seed": seed,
        "network": {"name": network},
        "precision": sweep.precision,
        "device": sweep.device,
        **{section: getattr(sweep, section).model_dump() for section in _SHARED_SECTIONS},
    }
    for key, value in searched.items():
        section, _, name_in_section = key.partition(".")
        values[section][name_in_section] = value
    return TrialPlan(name, group, parse_config(RunConfig, values, "sweep"), dict(searched))


def _different(key: str, values: tuple[_ValueT, ...]) -> tuple[_ValueT, ...]:
    if not values or len(set(values)) < len(values):
        raise ValueError(f"{key} is {list(values)}, expected one or several different ones")
    return values


def check_sweep(plans: Sequence[TrialPlan]) -> None:
    """Refuse two trials of one name: they would share a folder."""
    names = [plan.name for plan in plans]
    repeated = {name for name in names if names.count(name) > 1}
    if repeated:
        raise InputError(f"two trials are both named {min(repeated)!r}: change the targets")
