"""Run folder: all files of a run.

=======================  ==============================================================
``config.yaml``          resolved configuration
``run.json``             status, versions, fingerprints, best epoch and its AUCs
``inputs.json``          how the images were made, and how those of training patients vary
``metrics.jsonl``        one line an epoch
``tensorboard/``         the same as events
``checkpoints/``         ``epoch-*.pt`` to go on from, ``best.pt`` to predict with
``predictions.parquet``  validation predictions of the best epoch, where a fold validates
``promoted.json``        of a model made of a sweep's best trial: see `radiotrain.runs.promoted`
``bad-batch-*.pt``       what a network was given when its loss was not finite
``test-accesses/``       copies of the test set's access log: see `radiotrain.split.access_log`
``mlflow_run_id``        of the MLflow run that goes on with this one, if it is tracked there
``ray/``                 what Ray Train keeps, and tracebacks of its workers
=======================  ==============================================================

Each file that decides carries a checksum of its own. ``run.json`` is written last and says which
configuration, weights and epochs it belongs to, and the predictions say which weights made them: files
of two runs in one folder are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import yaml

from preprocessing.common.errors import DamagedFileError, InputError, MissingPathError
from preprocessing.common.json_values import first_difference, parse_values
from preprocessing.storage import files
from preprocessing.storage.digests import check_text, dump_with_digest
from radiotrain.config.run_config import (
    ADDED_KEYS,
    RunConfig,
    digest,
    dump_checked_config,
    parse_recorded,
)
from radiotrain.config.yaml_text import load_yaml
from radiotrain.runs.checked_files import check_parquet, from_parquet, read_json, to_parquet
from radiotrain.runs.early_stopping import has_same_length, is_over, why_not_changed, without_length
from radiotrain.runs.epoch_metrics import (
    EpochMetrics,
    MetricsFile,
    append_metrics,
    null_for_nan,
    read_metrics,
)

if TYPE_CHECKING:
    import pandas as pd

    from radiotrain.split.split import Split

SCHEMA_VERSION = 2

REMEDY = (
    "train it again into a new folder (--set out=NEW), or, if 'radiotrain tune' or 'promote' made it,"
    " remove its folder and run that again"
)
"""What to do about a run that is damaged or mixed."""

Status = Literal["running", "paused", "finished", "stopped", "failed"]


@dataclass(frozen=True)
class RunRecord:
    """What ``run.json`` says.

    Parameters
    ----------
    patients_fingerprint
        Of the patients of its split; see `radiotrain.split.split`.
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
    run_digest
        From `run_digest`; the weights, checkpoints and predictions of the run have it too.
    config_digest
        Of the identity of the configuration beside it.
    weights_digest
        Checksum of ``best.pt``; None before there is one.
    metrics_digest
        Checksum of the line of ``metrics.jsonl`` of epoch `num_epochs`; None before there is one.
    """

    status: Status
    patients_fingerprint: str
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
    run_digest: str = ""
    config_digest: str = ""
    weights_digest: str | None = None
    metrics_digest: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    schema_version: int = SCHEMA_VERSION

    @property
    def has_ended(self) -> bool:
        """Whether all its files are as they will stay."""
        return self.status in ("finished", "stopped")


def run_digest(config: RunConfig, split: str) -> str:
    """Return what tells a run's files from those of another run, however long each is trained.

    Parameters
    ----------
    split
        Fingerprint.
    """
    return digest({"config": config.lineage(), "split": split})


def new_record(config: RunConfig, patients: str, split: str) -> RunRecord:
    """Return the record of a run that is about to begin.

    Parameters
    ----------
    patients, split
        Fingerprints of the split's patients, and of the split.
    """
    return RunRecord(
        status="running",
        patients_fingerprint=patients,
        split_fingerprint=split,
        seed=config.seed,
        fold=config.fold,
        targets=config.targets,
        run_digest=run_digest(config, split),
        config_digest=digest(config.identity()),
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
            text = check_text(files.read_bytes(url), url, REMEDY)
        except FileNotFoundError:
            return None
        try:
            values = load_yaml(text)
        except yaml.YAMLError:
            raise InputError(f"{url} is not what radiotrain wrote: {REMEDY}") from None
        return parse_recorded(RunConfig, values, url)

    def write_config(self, config: RunConfig) -> None:
        """Write the resolved configuration."""
        files.write_text(files.join(self.url, "config.yaml"), dump_checked_config(config))

    def read_record(self) -> RunRecord | None:
        """Return what ``run.json`` says, or None where there is none."""
        url = files.join(self.url, "run.json")
        try:
            values = read_json(url, SCHEMA_VERSION, REMEDY)
        except FileNotFoundError:
            return None
        return parse_values(RunRecord, values, url, REMEDY)

    def write_record(self, record: RunRecord) -> None:
        """Write ``run.json``."""
        text = dump_with_digest(null_for_nan(asdict(record)))
        files.write_text(files.join(self.url, "run.json"), text)

    def read_metrics(self) -> tuple[EpochMetrics, ...]:
        """Return all epochs in ``metrics.jsonl``, without a line that is being written."""
        return self._read_metrics().epochs

    def read_history(self, record: RunRecord) -> tuple[EpochMetrics, ...]:
        """Return the epochs in ``metrics.jsonl``, which have to be those of a record.

        A run that is being trained may have more than its record says.

        Raises
        ------
        DamagedFileError
            If they are others, or a line of an ended run is cut short.
        """
        found, num = self._read_metrics(), record.num_epochs
        last = found.digests[num - 1] if 0 < num <= len(found.digests) else None
        is_longer = len(found.epochs) > num or found.is_torn
        if last != record.metrics_digest or (record.has_ended and is_longer):
            raise DamagedFileError(
                f"{self._metrics_url} holds {len(found.epochs)} epochs, which are not the {num} that"
                f" run.json beside it was written for: {REMEDY}"
            )
        return found.epochs

    def _read_metrics(self) -> MetricsFile:
        return read_metrics(self._metrics_url, REMEDY)

    @property
    def _metrics_url(self) -> str:
        return files.join(self.url, "metrics.jsonl")

    def write_metrics(self, history: Sequence[EpochMetrics]) -> None:
        """Make ``metrics.jsonl`` hold these epochs."""
        append_metrics(self._metrics_url, history)

    def write_predictions(self, table: pd.DataFrame, made_by: PredictedBy) -> None:
        """Write the predictions table of the best epoch."""
        content = to_parquet(table, asdict(made_by))
        files.write_bytes(files.join(self.url, "predictions.parquet"), content)

    def read_predictions(self, made_by: PredictedBy | None = None) -> pd.DataFrame:
        """Return the predictions table of the best epoch.

        Parameters
        ----------
        made_by
            The networks that have to have made it; by default any.

        Raises
        ------
        MissingPathError
            If there is none.
        DamagedFileError
            If it is not what was written.
        InputError
            If other networks made it.
        """
        url = files.join(self.url, "predictions.parquet")
        try:
            content = files.read_bytes(url)
        except FileNotFoundError:
            raise MissingPathError(
                f"{url} is missing: if the run has not ended, train it to its end; else {REMEDY}"
            ) from None
        check_parquet(content, url, REMEDY)
        table, about = from_parquet(content)
        wanted = {} if made_by is None else asdict(made_by)
        if any(value and about.get(name) != value for name, value in wanted.items()):
            raise InputError(
                f"{url} was not made by the networks beside it, but by those of another run or epoch:"
                f" {REMEDY}"
            )
        return table

    def holds_training(self) -> bool:
        """Tell whether anything was trained of a run: an epoch, or as far as its first checkpoint."""
        record = self.read_record()
        was_trained = record is not None and record.num_epochs > 0
        return was_trained or bool(files.list_names(self.checkpoints))

    def check_same_run(self, config: RunConfig, split: Split) -> None:
        """Refuse a folder that holds a run of another configuration, other patients or another split.

        A run that died before its first checkpoint is no loss, and is no reason to refuse.
        """
        if not self.holds_training():
            return
        before, record = self.read_config(), self.read_record()
        if before is not None and record is not None:
            self.check_origin(before, record)
        found: dict[str, Any] = before.full_identity() if before else {}
        wanted = config.full_identity() if before else {}
        if record:
            if split.extended_from(record.split_fingerprint) is not None:
                raise InputError(
                    f"{self.url} holds a run of a split that {config.split} extends: name that one in"
                    " 'split' to go on, or a new folder in 'out' to train with the added patients"
                )
            found |= {"patients": record.patients_fingerprint, "split": record.split_fingerprint}
            wanted |= {"patients": split.patients_fingerprint, "split": split.fingerprint}
        (found, _), (wanted, _) = without_length(found), without_length(wanted)
        difference = _difference(found, wanted)
        if difference:
            raise InputError(
                f"{self.url} holds a run of another configuration, {difference}: name a new"
                " folder in 'out', or use the same configuration to resume"
            )
        if before is not None and not has_same_length(before, config):
            self._check_length(before, config, record)

    def _check_length(self, before: RunConfig, config: RunConfig, record: RunRecord | None) -> None:
        """Refuse another number of epochs or patience, unless the run can go on as if it always had it."""
        history = self.read_metrics()
        num_epochs = record.num_epochs if record is not None else 0
        reason = why_not_changed(before, config, history, num_epochs)
        if reason is None and not is_over(history, config):
            names = files.list_names(self.checkpoints)
            if files.exists(files.join(self.url, "promoted.json")):
                reason = (
                    "it is a model of 'radiotrain promote', which has the epochs that it is to have"
                )
            elif not any(name.startswith("epoch-") for name in names):
                reason = (
                    "it has no checkpoint to go on from (a sweep removes those of trials that have"
                    " ended)"
                )
        if reason is not None:
            raise InputError(
                f"{self.url} holds a run that cannot be made longer or shorter: {reason}; name a new"
                " folder in 'out'"
            )

    def check_whole(self, config: RunConfig, record: RunRecord) -> None:
        """Refuse a configuration, record and epochs that are of different runs.

        Raises
        ------
        InputError, DamagedFileError
            If they are.
        """
        self.check_origin(config, record)
        self.read_history(record)

    def check_origin(self, config: RunConfig, record: RunRecord) -> None:
        """Refuse a configuration and a record that are of different runs.

        Raises
        ------
        InputError
            If they are.
        """
        same = run_digest(config, record.split_fingerprint) == record.run_digest
        # The configuration of a run that is to be trained longer is written before its record.
        if record.has_ended:
            same = same and digest(config.identity()) == record.config_digest
        if not same:
            raise InputError(
                f"config.yaml and run.json in {self.url} are of two different runs: {REMEDY}"
            )


@dataclass(frozen=True)
class PredictedBy:
    """Which networks made a table of predictions; empty for any.

    Parameters
    ----------
    run
        Digest of their run.
    weights
        Checksums of their files, one after the other with commas.
    """

    run: str = ""
    weights: str = ""

    @classmethod
    def of(cls, record: RunRecord) -> PredictedBy:
        """Return the network that a run's record names."""
        return cls(record.run_digest, record.weights_digest or "none yet")


def open_run(url: str) -> tuple[RunFolder, RunConfig, RunRecord]:
    """Return a run that was begun.

    Raises
    ------
    MissingPathError
        If there is none at `url`.
    InputError, DamagedFileError, SchemaError
        If a file of it is damaged, of another run, or of another version.
    """
    folder = RunFolder(url)
    record = folder.read_record()
    config = None if record is None else folder.read_config()
    if config is None or record is None:
        raise MissingPathError(f"no run at {folder.url}: make one with 'radiotrain train'")
    folder.check_whole(config, record)
    return folder, config, record


def _difference(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> str | None:
    """Say what differs first in two identities; keys that were added later come last."""
    added = [tuple(dotted.split(".")) for dotted in ADDED_KEYS]
    plain = [
        {
            k: {n: x for n, x in v.items() if (k, n) not in added} if isinstance(v, dict) else v
            for k, v in values.items()
            if (k,) not in added
        }
        for values in (found, wanted)
    ]
    difference = first_difference(*plain)
    if difference is not None:
        return str(difference)
    for dotted, old in ADDED_KEYS.items():
        section, _, key = dotted.partition(".")
        a, b = (values.get(section, {}) if key else values for values in (found, wanted))
        name = key or section
        if name in a or name in b:
            before, now = a.get(name, old), b.get(name, old)
            if before != now:
                shown = [json.dumps(value).strip('"') for value in (before, now)]
                return f"{dotted} is {shown[0]} there and {shown[1]} now (it was added later: set it to {shown[0]})"
    difference = first_difference(found, wanted)
    return None if difference is None else str(difference)
