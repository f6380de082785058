"""Read a report folder, and how its runs were made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pandas as pd

from preprocessing.common.errors import DamagedFileError, MissingPathError
from preprocessing.storage import files
from radiotrain.config.run_config import RunConfig, with_new_names
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.compare.compare_results import Setting
from radiotrain.evaluation.predictions import read_predictions
from radiotrain.evaluation.report.metrics_json import (
    FILE_NAME,
    TABLE_NAME,
    fingerprint_in,
    read_metrics,
)
from radiotrain.evaluation.tables import is_table_name
from radiotrain.runs.checked_files import digest_in


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


NOT_THERE = "not set"

# Where things lie says nothing about what was done, and stores and splits have fingerprints;
# "what" is a sentence about the other values.
_PLACES = {"store", "split", "out", "name", "sweep", "what"}


def differing_settings(first: Report, second: Report) -> tuple[Setting, ...]:
    """Return what differs in preprocessing and software."""
    return tuple(
        setting
        for part in ("preprocessing", "software")
        for setting in _differences(
            first.provenance.get(part), second.provenance.get(part), f"{part}."
        )
    )


def differing_run_settings(
    first: Report, run: str, second: Report, other: str
) -> tuple[Setting, ...]:
    """Return what differs in the configurations of two runs; nothing where one is not known."""
    return tuple(_differences(_configuration(first, run), _configuration(second, other), ""))


def has_configuration(report: Report, run: str) -> bool:
    """Tell whether a report says how a run was made."""
    return bool(_configuration(report, run))


def _configuration(report: Report, run: str) -> dict[str, Any]:
    """Return a run's settings, with those of the model that was made of it."""
    found: dict[str, Any] = {}
    for kind in ("model", "run"):
        values = report.provenance.get(f"{kind} {run}")
        if isinstance(values, Mapping):
            # A report of an earlier release has the names of its time.
            current = with_new_names(RunConfig, values, f"configuration of {run}", warn=False)
            found |= {k: v for k, v in current.items() if k not in _PLACES}
    return found


def _differences(first: Any, second: Any, prefix: str) -> Iterator[Setting]:
    if not isinstance(first, Mapping) or not isinstance(second, Mapping) or not (first and second):
        return
    ours, theirs = dict(_flat(first, prefix)), dict(_flat(second, prefix))
    for name in dict.fromkeys((*ours, *theirs)):
        a, b = ours.get(name, NOT_THERE), theirs.get(name, NOT_THERE)
        if a != b:
            yield Setting(name, a, b)


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False)
