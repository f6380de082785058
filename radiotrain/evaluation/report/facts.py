"""What is known of the networks and the data behind a predictions table, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class ModelFacts:
    """One network, or several of one configuration whose probabilities are averaged.

    Parameters
    ----------
    run
        Its name in the predictions table.
    network
        Name of the architecture.
    num_networks
        1 but for an ensemble.
    num_parameters
        Of one network.
    initial_weights
        File that it began with; None: random numbers.
    epochs, best_epoch
        Epochs trained, and the one whose weights are used (from 1); None where it is not known.
    config
        The resolved configuration, JSON values.
    about
        How it was made, where it was promoted from a sweep.
    """

    run: str
    network: str
    targets: tuple[str, ...]
    covariates: tuple[str, ...] = ()
    num_networks: int = 1
    num_parameters: int | None = None
    initial_weights: str | None = None
    seed: int | None = None
    fold: int | None = None
    epochs: int | None = None
    best_epoch: int | None = None
    device: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    about: str = ""


@dataclass(frozen=True)
class DataFacts:
    """The store and the split.

    Parameters
    ----------
    layout
        How the cohort lay on disk, e.g. ``duke``.
    num_phases, crop_shape
        Of the networks' input: phases, and (rows, columns, slices).
    spacing_mm
        Lowest, median and highest of the development patients' voxels, each of (rows, columns,
        slices); empty where it is not known.
    preprocessing
        Settings of the store, JSON values.
    acquisition
        (covariate, value, development patients) of what is known about the scanners.
    covariates
        Names of all covariates that the store keeps.
    stratified_over, num_folds, split_seed
        Of the split.
    """

    layout: str
    num_phases: int
    crop_shape: tuple[int, int, int]
    spacing_mm: tuple[tuple[float, ...], ...] = ()
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    acquisition: tuple[tuple[str, str, int], ...] = ()
    covariates: tuple[str, ...] = ()
    stratified_over: tuple[str, ...] = ()
    num_folds: int = 0
    split_seed: int | None = None

    @property
    def input_text(self) -> str:
        """The networks' input in words."""
        rows, columns, slices = self.crop_shape
        return f"{self.num_phases} phases of {rows} × {columns} × {slices} voxels"

    @property
    def spacing_text(self) -> str:
        """The spacing of voxels in words; empty where it is not known."""
        if not self.spacing_mm:
            return ""
        low, middle, high = (" × ".join(f"{v:.2f}" for v in s) for s in self.spacing_mm)
        return f"{middle} mm" if low == high else f"median {middle} mm ({low} to {high} mm)"


@dataclass(frozen=True)
class RunFacts:
    """Networks, data and software."""

    models: tuple[ModelFacts, ...]
    data: DataFacts
    versions: Mapping[str, str] = field(default_factory=dict)
