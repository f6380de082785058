"""A report as another command reads it: its predictions, and how they were made."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from preprocessing import files
from preprocessing.errors import InputError, MissingPathError, SchemaError
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.predictions import read_predictions
from radiotrain.evaluation.report.metrics_json import SCHEMA_VERSION

_METRICS, _PREDICTIONS = "metrics.json", "predictions.parquet"
_TABLES = (".csv", ".parquet")


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
        found = re.search(r"fingerprint (\w+)", str(self.provenance.get(of, "")))
        return found[1] if found else None


def read_report(where: str) -> Report:
    """Read a report's folder, or one of its two files.

    Raises
    ------
    MissingPathError
        If there is no report.
    SchemaError
        If its numbers have another schema.
    InputError
        If a file of it is damaged.
    """
    url = files.absolute(where)
    name = PurePosixPath(url).name
    if name.lower().endswith(_TABLES):
        folder = url.rpartition("/")[0]
        metrics = _read_metrics(folder) if name == _PREDICTIONS else None
        return Report(where, read_predictions(url), _provenance(metrics))
    folder = url.rpartition("/")[0] if name == _METRICS else url
    metrics = _read_metrics(folder)
    predictions = files.join(folder, _PREDICTIONS)
    if metrics is None or not files.exists(predictions):
        missing = _METRICS if metrics is None else _PREDICTIONS
        what = f"it holds no {missing}" if files.exists(folder) else "there is nothing"
        raise MissingPathError(
            f"no report at {folder}: {what}; give a folder that 'radiotrain evaluate --out' wrote"
        )
    return Report(where, read_predictions(predictions), _provenance(metrics))


def _read_metrics(folder: str) -> dict[str, Any] | None:
    """Return the numbers of a report, None where there are none."""
    url = files.join(folder, _METRICS)
    try:
        values = json.loads(files.read_text(url))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise InputError(f"{url} is damaged ({error}): evaluate again") from error
    found = values.get("schema_version") if isinstance(values, dict) else None
    if found == SCHEMA_VERSION:
        return dict(values)
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise SchemaError(
            f"report {folder} has schema {found}, expected {SCHEMA_VERSION}: it was made by a newer"
            " radiotrain, use that one"
        )
    raise SchemaError(
        f"report {folder} has schema {found}, expected {SCHEMA_VERSION}: make it again with"
        f" 'radiotrain evaluate', from its runs or --predictions {folder}/{_PREDICTIONS}"
    )


def _provenance(metrics: dict[str, Any] | None) -> Mapping[str, Any]:
    found = (metrics or {}).get("provenance")
    return found if isinstance(found, dict) else {}
