"""The run folder: everything a run leaves behind, on a folder or an object store.

=======================  ==============================================================
``config.yaml``          resolved configuration
``run.json``             status, versions, fingerprints, best epoch and its AUCs
``inputs.json``          how the images were made, and how those of training patients vary
``metrics.jsonl``        one line an epoch
``tensorboard/``         the same as events
``checkpoints/``         ``epoch-*.pt`` to go on from, ``best.pt`` to predict with
``predictions.parquet``  validation predictions of the best epoch, where a fold validates
``promoted.json``        of a model made of a sweep's best trial: see `radiotrain.promoted`
``bad-batch-*.pt``       what a network was given when its loss was not finite
``mlflow_run_id``        of the MLflow run that goes on with this one, if it is tracked there
``ray/``                 what Ray Train keeps, and tracebacks of its workers
=======================  ==============================================================
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import yaml

from preprocessing import files
from preprocessing.errors import InputError, MissingPathError, SchemaError
from preprocessing.json_values import first_difference
from radiotrain.config import RunConfig, dump_config, parse_config
from radiotrain.logs.metrics_file import append_metrics, read_metrics
from radiotrain.training.metrics import EpochMetrics, null_for_nan

if TYPE_CHECKING:
    import pandas as pd

SCHEMA_VERSION = 1

Status = Literal["running", "paused", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class RunRecord:
    """What ``run.json`` says.

    Parameters
    ----------
    status
        running, paused (goes on when it is trained again), finished (all epochs or early stopping),
        stopped (others did better), failed (see `error`).
    fold
        That validates; None where none does.
    best_epoch
        Counted from 0; None before the first epoch ended.
    num_epochs
        Epochs trained so far.
    micro_batch_size
        Patients that a worker computes at a time; None for its whole share.
    """

    status: Status
    store_fingerprint: str
    split_fingerprint: str
    seed: int
    fold: int | None
    targets: tuple[str, ...]
    world_size: int = 1
    device: str = "cpu"
    best_epoch: int | None = None
    num_epochs: int = 0
    validation_auc: float | None = None
    validation_auc_per_target: Mapping[str, float | None] = field(default_factory=dict)
    micro_batch_size: int | None = None
    error: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION


def new_record(config: RunConfig, store: str, split: str) -> RunRecord:
    """Return the record of a run that is about to begin.

    Parameters
    ----------
    store, split
        Fingerprints.
    """
    return RunRecord(
        status="running",
        store_fingerprint=store,
        split_fingerprint=split,
        seed=config.seed,
        fold=config.fold,
        targets=config.targets,
    )


class RunFolder:
    """Reads and writes one run's folder."""

    def __init__(self, url: str) -> None:
        self.url = files.absolute(url)

    @property
    def name(self) -> str:
        """The run's name: the last part of its URL."""
        return self.url.rsplit("/", 1)[-1]

    @property
    def checkpoints(self) -> str:
        """URL of the folder of checkpoints."""
        return files.join(self.url, "checkpoints")

    @property
    def best_weights(self) -> str:
        """URL of the best epoch's weights."""
        return files.join(self.checkpoints, "best.pt")

    def read_config(self) -> RunConfig | None:
        """Return the run's configuration, or None where no run was begun."""
        url = files.join(self.url, "config.yaml")
        try:
            values = yaml.safe_load(files.read_text(url))
        except FileNotFoundError:
            return None
        except yaml.YAMLError:
            raise InputError(
                f"{url} is not what radiotrain wrote: train again into a new folder"
            ) from None
        return parse_config(RunConfig, values, url)

    def write_config(self, config: RunConfig) -> None:
        """Write the resolved configuration."""
        files.write_text(files.join(self.url, "config.yaml"), dump_config(config))

    def read_record(self) -> RunRecord | None:
        """Return what ``run.json`` says, or None where there is none."""
        url = files.join(self.url, "run.json")
        try:
            values = json.loads(files.read_text(url))
        except FileNotFoundError:
            return None
        if values.get("schema_version") != SCHEMA_VERSION:
            raise SchemaError(
                f"run {self.url} has schema {values.get('schema_version')}, expected"
                f" {SCHEMA_VERSION}: train again into a new folder"
            )
        return RunRecord(**{**values, "targets": tuple(values["targets"])})

    def write_record(self, record: RunRecord) -> None:
        """Write ``run.json``."""
        text = json.dumps(null_for_nan(asdict(record)), indent=1, allow_nan=False)
        files.write_text(files.join(self.url, "run.json"), text + "\n")

    def read_metrics(self) -> tuple[EpochMetrics, ...]:
        """Return all epochs in ``metrics.jsonl``."""
        return read_metrics(files.join(self.url, "metrics.jsonl"))

    def write_metrics(self, history: Sequence[EpochMetrics]) -> None:
        """Make ``metrics.jsonl`` hold these epochs."""
        append_metrics(files.join(self.url, "metrics.jsonl"), history)

    def write_predictions(self, table: pd.DataFrame) -> None:
        """Write the predictions table of the best epoch."""
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        files.write_bytes(files.join(self.url, "predictions.parquet"), buffer.getvalue())

    def read_predictions(self) -> pd.DataFrame:
        """Return the predictions table of the best epoch."""
        import pandas as pd

        url = files.join(self.url, "predictions.parquet")
        try:
            return pd.read_parquet(io.BytesIO(files.read_bytes(url)))
        except FileNotFoundError:
            raise MissingPathError(f"run {self.url} has no predictions yet: train it") from None

    def check_same_run(self, config: RunConfig, store: str, split: str) -> None:
        """Refuse a folder that holds a run of another configuration, store or split.

        A run that died before its first checkpoint is no loss, and is no reason to refuse.

        Parameters
        ----------
        store, split
            Fingerprints.
        """
        before, record = self.read_config(), self.read_record()
        was_trained = record is not None and record.num_epochs > 0
        if not was_trained and not files.list_names(self.checkpoints):
            return
        found: dict[str, Any] = before.identity() if before else {}
        wanted = config.identity() if before else {}
        if record:
            found |= {"store": record.store_fingerprint, "split": record.split_fingerprint}
            wanted |= {"store": store, "split": split}
        difference = first_difference(found, wanted)
        if difference:
            raise InputError(
                f"{self.url} holds a run of another configuration, {difference}: name a new"
                " folder in 'out', or use the same configuration to resume"
            )


def open_run(url: str) -> tuple[RunFolder, RunConfig, RunRecord]:
    """Return a run that was begun.

    Raises
    ------
    MissingPathError
        If there is none at `url`.
    """
    folder = RunFolder(url)
    config, record = folder.read_config(), folder.read_record()
    if config is None or record is None:
        raise MissingPathError(f"no run at {folder.url}: make one with 'radiotrain train'")
    return folder, config, record
