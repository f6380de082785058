"""Tracker interface, and an epoch's numbers by tag."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from radiotrain.runs.epoch_metrics import EpochMetrics


class Tracker(Protocol):
    """Keeps what it is told of one run. It may raise: the run goes on."""

    @property
    def name(self) -> str:
        """What people call it."""

    @property
    def takes_patients(self) -> bool:
        """Whether it may be given pictures of patients: only one that keeps them with the run."""

    def scalars(self, epoch: int, values: Mapping[str, float]) -> None:
        """Take the numbers of an epoch, by tag."""

    def picture(self, tag: str, epoch: int, pixels: NDArray[np.uint8]) -> None:
        """Take a picture, uint8 (height, width, 3)."""

    def flush(self) -> None:
        """Make what it was told visible."""

    def finish(self, epoch: int, values: Mapping[str, float]) -> None:
        """Take the numbers of the whole run; `epoch` is its best."""

    def close(self) -> None:
        """Let go of files and connections."""


def epoch_scalars(metrics: EpochMetrics) -> dict[str, float]:
    """Return an epoch's numbers by tag; what is undefined or was not measured is left out."""
    values: dict[str, float | None] = {
        "loss/train": metrics.train_loss,
        "loss/validation": metrics.validation_loss,
        "lr": metrics.lr,
        "speed/patients_per_s": metrics.samples_per_s,
        "energy/joules": metrics.energy_joules,
        "validation_auc/mean": metrics.validation_auc,
    }
    if metrics.peak_memory_bytes is not None:
        values["memory/peak_gb"] = metrics.peak_memory_bytes / 1e9
    for target, value in metrics.validation_auc_per_target.items():
        values[f"validation_auc/{target}"] = value
    return _defined(values.items())


def run_scalars(best: EpochMetrics, energy_joules: float | None) -> dict[str, float]:
    """Return a run's numbers by tag: by these runs are compared."""
    values: dict[str, float | None] = {
        "run/best_validation_auc": best.validation_auc,
        "run/best_validation_loss": best.validation_loss,
        "run/best_epoch": best.epoch + 1,
        "run/energy_joules": energy_joules,
    }
    return _defined(values.items())


def plain(value: Any) -> str | float | None:
    """Return a value of the configuration as trackers take it: text, a number, or nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    if value is None or isinstance(value, int | float | str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(str(part) for part in value)
    return str(value)


def _defined(values: Iterable[tuple[str, float | None]]) -> dict[str, float]:
    return {tag: v for tag, v in values if v is not None and math.isfinite(v)}
