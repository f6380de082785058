"""A report as another command reads it: its predictions, and how they were made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from preprocessing.common.errors import DamagedFileError, MissingPathError
from preprocessing.storage import files
from radiotrain.checked_parquet import digest_in
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.predictions import read_predictions
from radiotrain.evaluation.report.metrics_json import (
    FILE_NAME,
    TABLE_NAME,
    fingerprint_in,
    read_metrics,
)
from radiotrain.evaluation.table_files import is_table_name


@dataclass(frozen=True)
class Report:
    """One report.

    Parameters
    ----------
    name
        As it was given.
    table
        Validated predictions.
    provenance
        From ``metrics.json``: how they were made; empty where that is not known.
    """

    name: str
    table: pd.DataFrame
    provenance: Mapping[str, Any]

    def runs(self, target: str) -> tuple[str, ...]:
        """Return the runs that were tested for a target, baselines only where there is nothing else."""
        rows = self.table[(self.table["target"] == target) & (self.table["split"] == "test")]
        runs = tuple(str(run) for run in rows["run"].drop_duplicates())
        return tuple(run for run in runs if not is_baseline(run)) or runs

    @property
    def all_runs(self) -> tuple[str, ...]:
        """The names of all runs."""
        return tuple(str(run) for run in self.table["run"].drop_duplicates())

    @property
    def targets(self) -> tuple[str, ...]:
        """What was tested."""
        tested = self.table[self.table["split"] == "test"]
        return tuple(str(target) for target in tested["target"].drop_duplicates())

    def fingerprint(self, of: str) -> str | None:
        """Return the fingerprint of the ``store`` or the ``split``, None where it is not known."""
        return fingerprint_in(self.provenance, of)


def read_report(where: str) -> Report:
    """Read a report's folder, or one of its two files.

    Raises
    ------
    MissingPathError
        If there is no report.
    SchemaError
        If its numbers have another schema.
    InputError, DamagedFileError
        If a file of it is damaged, or of another report.
    """
    url = files.absolute(where)
    name = PurePosixPath(url).name
    if is_table_name(name):
        folder = url.rpartition("/")[0]
        metrics = read_metrics(folder) if name == TABLE_NAME else None
        return _report(where, url, metrics)
    folder = url.rpartition("/")[0] if name == FILE_NAME else url
    metrics = read_metrics(folder)
    predictions = files.join(folder, TABLE_NAME)
    if metrics is None or not files.exists(predictions):
        missing = FILE_NAME if metrics is None else TABLE_NAME
        what = f"it holds no {missing}" if files.exists(folder) else "there is nothing"
        raise MissingPathError(
            f"no report at {folder}: {what}; give a folder that 'radiotrain evaluate --out' wrote"
        )
    return _report(where, predictions, metrics)


def _report(where: str, table_url: str, metrics: dict[str, Any] | None) -> Report:
    table = read_predictions(table_url)
    if metrics is not None:
        check_table(table_url, metrics)
    found = (metrics or {}).get("provenance")
    return Report(where, table, found if isinstance(found, dict) else {})


def check_table(url: str, metrics: Mapping[str, Any]) -> None:
    """Refuse a table that the numbers beside it were not computed from.

    Raises
    ------
    DamagedFileError
        If it is.
    """
    if digest_in(files.read_bytes(url)) != metrics.get("predictions_sha256"):
        raise DamagedFileError(
            f"{url} is not the table that {FILE_NAME} beside it was computed from: evaluate again"
        )
