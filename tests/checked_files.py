"""Files with checksums, changed by a test as if they had been written so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from preprocessing.storage.digests import dump_with_digest, zip_with_digest
from radiotrain.config.run_config import RunConfig, digest
from radiotrain.runs.checkpoint import save_weights
from radiotrain.runs.epoch_metrics import history_digest
from radiotrain.runs.run_folder import PredictedBy, RunFolder, run_digest


def read_values(path: Path) -> dict[str, Any]:
    """Return a JSON file's values without its checksum."""
    values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    values.pop("sha256", None)
    return values


def change_values(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    """Change a JSON file's values; its checksum is made anew."""
    values = read_values(path)
    path.write_text(dump_with_digest(change(values) or values, in_order=True), "utf-8")


def seal_weights(path: Path) -> None:
    """Give a file of ``torch.save`` the checksum that ours have."""
    path.write_bytes(zip_with_digest(path.read_bytes()))


def change_history(run: Path, change: Callable[[list[Any]], list[Any]]) -> None:
    """Change the epochs of a run; its record is made to fit."""
    folder = RunFolder(str(run))
    record, history = folder.read_record(), change(list(folder.read_metrics()))
    assert record is not None
    folder.write_metrics(history)
    values = {"num_epochs": len(history), "metrics_digest": history_digest(history)}
    change_values(run / "run.json", lambda old: old | values)


def change_config(run: Path, config: RunConfig) -> None:
    """Make a run one of another configuration, with the weights and predictions that it has."""
    folder = RunFolder(str(run))
    record, table = folder.read_record(), folder.read_predictions()
    assert record is not None
    digest_of_run = run_digest(config, record.split_fingerprint)
    saved = torch.load(folder.best_weights, weights_only=True) | {"run": digest_of_run}
    weights = save_weights(folder.best_weights, saved)
    folder.write_config(config)
    folder.write_predictions(table, PredictedBy(digest_of_run, weights))
    values = {"run_digest": digest_of_run, "config_digest": digest(config.identity())}
    change_values(run / "run.json", lambda old: old | values | {"weights_digest": weights})
