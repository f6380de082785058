"""Replicates of a predictions table, and the ensemble of each configuration.

Runs with the same ``configuration`` are replicates: one configuration, trained again with another
seed or on another fold. Their mean is an ensemble, kept in the table as a run of its own, so that
it gets every number that a run gets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from statistics import mean

import pandas as pd

from preprocessing.errors import InputError
from radiotrain.evaluation.baselines.names import is_baseline

_PARTS = ("validation", "test")
_KEY = ["target", "split", "patient_id"]


def replicates(table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return the runs of each configuration, in the order of the table; ensembles are none.

    Parameters
    ----------
    table
        A table from `predictions.validate_predictions`; without a column ``configuration`` there
        are none.
    """
    found: dict[str, list[str]] = {}
    if "configuration" in table:
        for run, name in table[["run", "configuration"]].drop_duplicates().to_numpy():
            if name and not _is_ensemble(run, name):
                found.setdefault(name, []).append(run)
    return {name: tuple(runs) for name, runs in found.items()}


def ensembles(table: pd.DataFrame) -> dict[str, str]:
    """Return the ensembles in the table, and the configuration of each."""
    if "configuration" not in table:
        return {}
    pairs = table[["run", "configuration"]].drop_duplicates().to_numpy()
    return {run: name for run, name in pairs if name and _is_ensemble(run, name)}


def add_ensembles(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with the mean of each configuration's runs as a run of its own.

    A test patient gets the mean of all runs; a validation patient that of the runs which had not
    seen the patient, since others have no row. Ensembles that are there already are made anew, so
    that judging a table again changes nothing.

    Parameters
    ----------
    table
        A table from `predictions.validate_predictions`.

    Raises
    ------
    InputError
        If two runs of a configuration have different labels of a patient.
    """
    several = {name: runs for name, runs in replicates(table).items() if len(runs) > 1}
    built = [part for name, runs in several.items() for part in _means(table, name, runs)]
    if not built:
        return table
    stale = [run for run, name in ensembles(table).items() if name in several]
    kept = table[~table["run"].isin(stale)]
    # Before the baseline models, so that reports list networks first.
    beside = kept["run"].map(is_baseline)
    means = pd.concat(built, ignore_index=True)[list(table.columns)].astype(dict(table.dtypes))
    return pd.concat([kept[~beside], means, kept[beside]], ignore_index=True)


def _key_of(table: pd.DataFrame) -> list[str]:
    """Return what rows of one patient share: in a cross-validated test the outer part, too."""
    return [*_KEY, *(["outer"] if "outer" in table else [])]


def _is_ensemble(run: str, configuration: str) -> bool:
    return re.fullmatch(re.escape(configuration) + r", mean of \d+", run) is not None


def _means(table: pd.DataFrame, name: str, runs: tuple[str, ...]) -> Iterator[pd.DataFrame]:
    """Yield, for each target with several runs, the rows of the ensemble."""
    of_runs = table[table["run"].isin(runs) & table["split"].isin(_PARTS)]
    for _, rows in of_runs.groupby("target", sort=False):
        num = rows["run"].nunique()
        if num > 1:
            yield _mean_rows(rows, name).assign(run=f"{name}, mean of {num}")


def _mean_rows(rows: pd.DataFrame, name: str) -> pd.DataFrame:
    """Average over the folds of a run first, so that every run weighs the same."""
    found = []
    by_patient = rows.groupby(_key_of(rows), sort=False, dropna=False)
    for (target, split, patient, *outer), of_patient in by_patient:
        labels = sorted(set(of_patient["label"]))
        if len(labels) > 1:
            raise InputError(
                f"configuration {name!r}: patient {patient!r} has the {target!r} labels"
                f" {' and '.join(map(str, labels))} in its runs, expected one: correct the table"
            )
        by_run: dict[str, list[float]] = {}
        for run, probability in zip(of_patient["run"], of_patient["probability"], strict=True):
            by_run.setdefault(run, []).append(probability)
        folds = of_patient["fold"].drop_duplicates().tolist()
        found.append(
            {
                "patient_id": patient,
                "target": target,
                "split": split,
                "fold": folds[0] if len(folds) == 1 and split == "validation" else pd.NA,
                "label": labels[0],
                # Exact sums: the order of the runs makes and breaks no ties.
                "probability": mean(mean(values) for values in by_run.values()),
                "configuration": name,
                "seed": pd.NA,
                **({"outer": outer[0]} if outer else {}),
            }
        )
    return pd.DataFrame(found)
