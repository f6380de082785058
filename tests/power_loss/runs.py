"""A run whose training leaves every kind of file."""

from __future__ import annotations

from pathlib import Path

from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from tests.unit.training.synthetic import run_config

EPOCHS = 3


def config(store: str, split: str, out: Path) -> RunConfig:
    """Return a run of some seconds that keeps a checkpoint after each step, too."""
    return run_config(
        Store.open(store),
        split,
        out,
        targets=["ER"],
        train={"epochs": EPOCHS, "batch_size": 8, "lr": 3e-3, "warmup_epochs": 1, "ema_decay": 0.9},
        speed={"checkpoint_minutes": 1e-9, "placement": "device"},
    )
