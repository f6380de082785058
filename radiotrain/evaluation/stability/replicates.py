"""Replicates of a configuration, and their ensemble.

Runs with the same ``configuration`` are replicates: one configuration, trained again with another
seed or on another fold. Their mean is an ensemble, kept in the table as a run of its own, so that
it gets every number that a run gets. Where the column ``averaging`` says ``calibrated``, each run is first
calibrated on its own validation patients, so that none decides by its louder logits; the runs' own
rows stay as they were predicted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from statistics import mean

import numpy as np
import pandas as pd

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import InputError
from radiotrain.config.run_config import RunConfig, digest
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.statistics.member_scale import (
    MemberPatients,
    MemberScale,
    cross_fitted_members,
    describe_scales,
    fit_member_scales,
)

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

    A test patient gets the mean of all runs, calibrated as `on_one_scale` says; a validation patient that of the runs which had not
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


def on_one_scale(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of one configuration's runs as their mean takes them.

    Where all of the runs have ``calibrated`` in the column ``averaging``, each run and target is calibrated by
    `statistics.member_scale`, in a cross-validated test within each outer part: test patients by the curve of
    all validation patients of the run, validation patients by curves that were fitted without them.
    Otherwise the rows stay as they are.
    """
    if not _is_calibrated(table):
        return table
    found = table["probability"].to_numpy(dtype=np.float64, copy=True)
    for places, members in _members_of(table):
        scales = fit_member_scales(members)
        for of_run, scale, held in zip(places, scales, cross_fitted_members(members), strict=True):
            found[of_run] = scale.apply(found[of_run])
            found[of_run[_fitted(table.iloc[of_run])]] = held
    return table.assign(probability=found)


def notes_on_scales(table: pd.DataFrame) -> tuple[str, ...]:
    """Say which runs enter their mean by another scale than that of their own validation patients.

    Parameters
    ----------
    table
        A table from `predictions.validate_predictions`.
    """
    notes: list[str] = []
    for runs in (runs for runs in replicates(table).values() if len(runs) > 1):
        rows = table[table["run"].isin(runs) & table["split"].isin(_PARTS)]
        if not _is_calibrated(rows):
            continue
        for places, members in _members_of(rows):
            if len(places) < 2:
                continue
            for of_run, scale in zip(places, fit_member_scales(members), strict=True):
                first = rows.iloc[of_run[0]]
                part = f", outer part {first['outer']}" if "outer" in rows else ""
                scales = {str(first["target"]): scale}
                notes += describe_scales(
                    f"Run {first['run']}{part} in the mean of its runs", scales
                )
    return tuple(notes)


def calibrate_members(
    table: pd.DataFrame, members: Sequence[str]
) -> tuple[pd.DataFrame, tuple[dict[str, MemberScale], ...]]:
    """Return validation rows of an ensemble's members as their mean takes them, and each one's scales.

    Parameters
    ----------
    table
        Predictions table of the validation patients of each.
    members
        Their names in its column ``run``.
    """
    marked = table.assign(averaging="calibrated").reset_index(drop=True)
    scales = scales_of_runs(marked, members)
    return on_one_scale(marked)[list(table.columns)], tuple(scales[name] for name in members)


def scales_of_runs(table: pd.DataFrame, runs: Sequence[str]) -> dict[str, dict[str, MemberScale]]:
    """Return the scales of runs of one configuration by target; of none where raw ones are averaged.

    Parameters
    ----------
    table
        Validation rows of the runs, of a single split.
    runs
        All that are averaged; those without validation patients have no rows.
    """
    if not _is_calibrated(table):
        return {}
    found: dict[str, dict[str, MemberScale]] = {run: {} for run in runs}
    for target, rows in table.groupby("target", sort=False):
        members = [_patients_of(rows[rows["run"] == run]) for run in runs]
        for run, scale in zip(runs, fit_member_scales(members), strict=True):
            found[run][str(target)] = scale
    return found


def _is_calibrated(table: pd.DataFrame) -> bool:
    return "averaging" in table and bool((table["averaging"] == "calibrated").all())


def _members_of(
    table: pd.DataFrame,
) -> Iterator[tuple[list[np.ndarray], list[MemberPatients]]]:
    """Yield, for each target and outer part, the rows of each run by place, and its validation patients."""
    numbered = table.reset_index(drop=True)
    keys = ["target", *(["outer"] if "outer" in table else [])]
    for _, rows in numbered.groupby(keys, sort=False, dropna=False):
        places = [of_run.index.to_numpy() for _, of_run in rows.groupby("run", sort=False)]
        yield places, [_patients_of(numbered.iloc[of_run]) for of_run in places]


def _patients_of(rows: pd.DataFrame) -> MemberPatients:
    """Return the patients that a run is calibrated on."""
    fitted = rows[_fitted(rows)]
    return MemberPatients(
        tuple(fitted["patient_id"].tolist()),
        fitted["label"].to_numpy(dtype=np.float64),
        fitted["probability"].to_numpy(dtype=np.float64),
    )


def _fitted(rows: pd.DataFrame) -> np.ndarray:
    """Return which rows a run is calibrated on."""
    return np.asarray((rows["split"] == "validation") & (rows["label"] != MISSING_LABEL))


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
            yield _mean_rows(on_one_scale(rows), name).assign(run=f"{name}, mean of {num}")


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
                **({"averaging": rows["averaging"].iloc[0]} if "averaging" in rows else {}),
                **({"outer": outer[0]} if outer else {}),
            }
        )
    return pd.DataFrame(found)


_OF_REPLICATES = ("seed", "fold")
_DIGITS = 6


def name_configurations(configs: Mapping[str, RunConfig]) -> dict[str, str]:
    """Return the name of each run's configuration; replicates have the same.

    Runs are replicates where they differ in nothing but seed, fold and where they are kept and
    computed. Names are short (targets and network), with a digest where that would not tell two
    configurations apart.

    Parameters
    ----------
    configs
        The configuration of each run, by the run's name.
    """
    digests = {run: _digest(config) for run, config in configs.items()}
    short = {run: _short_name(config) for run, config in configs.items()}
    digests_of: dict[str, set[str]] = {}
    for run, name in short.items():
        digests_of.setdefault(name, set()).add(digests[run])
    return {
        run: name if len(digests_of[name]) == 1 else f"{name} {digests[run][:_DIGITS]}"
        for run, name in short.items()
    }


def _digest(config: RunConfig) -> str:
    return digest({k: v for k, v in config.identity().items() if k not in _OF_REPLICATES})


def _short_name(config: RunConfig) -> str:
    return f"{'+'.join(config.targets)} {config.network.name}"
