"""What a sweep tries: architectures × targets × seeds, each one training run of its own folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import TypeVar

from pydantic import Field, field_validator

from preprocessing import files
from preprocessing.errors import InputError
from radiotrain.config import (
    AugmentConfig,
    EarlyStoppingConfig,
    NetworkConfig,
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
    """A sweep: one trial for each network, target and seed."""

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


@dataclass(frozen=True)
class TrialPlan:
    """One trial.

    Parameters
    ----------
    name
        Of the trial and of its run folder; says what it is.
    group
        Trials are compared with each other only inside their group: its targets.
    """

    name: str
    group: str
    run: RunConfig


def load_sweep(path: str, overrides: Sequence[str] = ()) -> SweepConfig:
    """Read a sweep's configuration; see `radiotrain.config.load_config` for the errors."""
    return parse_config(SweepConfig, apply_overrides(read_yaml(path), overrides), path)


def plan_trials(sweep: SweepConfig) -> tuple[TrialPlan, ...]:
    """Return all trials, targets going round fastest, so that each gets its first ones early."""
    return tuple(
        _plan(sweep, network, (targets,) if isinstance(targets, str) else targets, seed)
        for seed, network, targets in product(sweep.seeds, sweep.networks, sweep.targets)
    )


def _plan(sweep: SweepConfig, network: str, targets: tuple[str, ...], seed: int) -> TrialPlan:
    group = "+".join(targets)
    name = f"{group}_{network}" + (f"_seed{seed}" if len(sweep.seeds) > 1 else "")
    values = {
        "store": sweep.store,
        "split": sweep.split,
        "out": files.join(sweep.out, name),
        "targets": targets,
        "fold": sweep.fold,
        "seed": seed,
        "network": NetworkConfig(name=network),
        "train": sweep.train,
        "early_stopping": sweep.early_stopping,
        "augment": sweep.augment,
        "speed": sweep.speed,
        "show": sweep.show,
        "precision": sweep.precision,
        "device": sweep.device,
    }
    return TrialPlan(name, group, parse_config(RunConfig, values, "sweep"))


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
