"""AUC on scanners that were left out of the training.

Baselines are fitted again for it. Networks are not: they come trained on a split whose folds are
scanners (`folds.py`), beside those that are tested.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.evaluation.baselines.features import is_varied
from radiotrain.evaluation.baselines.models import LOGISTIC, Tuning, has_both, nested_cv
from radiotrain.evaluation.baselines.names import BASELINE_PREFIX
from radiotrain.evaluation.baselines.predict import Sets
from radiotrain.evaluation.model import Model, check_together
from radiotrain.evaluation.patients import patient_scores
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.shortcuts.shortcut_results import LeftOut
from radiotrain.evaluation.stability.replicates import name_configurations
from radiotrain.runs.locations import open_split
from radiotrain.split.split import Split
from radiotrain.statistics.stratified_auc import Area, stratified_area, without_small_counts

EACH_IN_TURN = "each in turn"
_NOT_BESIDE = Area(None, None, None, None, "no run of this configuration is evaluated beside it")
_ONE_CLASS = Area(None, None, None, None, "the other scanners have one class only")


@dataclass(frozen=True)
class TrainedWithout:
    """Networks that were each trained without one scanner, and what they say of its patients.

    Parameters
    ----------
    table
        Predictions of validation patients, `run` being the configuration; of several seeds, one after
        the other.
    group_of
        Patient to scanner.
    configuration_of
        Run that is tested, to its configuration.
    folds_by
        The covariate that tells scanners apart.
    """

    table: pd.DataFrame
    group_of: Mapping[str, str]
    configuration_of: Mapping[str, str]
    folds_by: str


def set_aside(models: Sequence[Model]) -> tuple[tuple[Model, ...], tuple[Model, ...]]:
    """Tell models to be tested from those that were trained without one scanner each.

    Where all are of one split, all are to be tested, whatever its folds are.

    Raises
    ------
    InputError
        If those to be tested do not belong together, or the others are of several splits.
    """
    by_covariate = {
        url: bool(open_split(url).folds_by) for url in {model.config.split for model in models}
    }
    if len(by_covariate) > 1 and not all(by_covariate.values()):
        tested = tuple(m for m in models if not by_covariate[m.config.split])
        others = tuple(m for m in models if by_covariate[m.config.split])
    else:
        tested, others = tuple(models), ()
    check_together(tested)
    if others:
        check_together(others)
    return tested, others


def predict_left_out(
    models: Sequence[Model], tested: Sequence[Model], store: Store, split: Split
) -> TrainedWithout | None:
    """Predict the patients of the scanner that each network was trained without.

    Parameters
    ----------
    models, tested
        From `set_aside`.
    split
        Of the models that are tested.

    Returns
    -------
    None where `models` is empty.

    Raises
    ------
    InputError
        If the two splits have other test patients: some would have been trained on. If a network was
        trained on all scanners.
    """
    if not models:
        return None
    for model in models:
        if model.promoted is None and model.config.fold is None:
            raise InputError(
                f"run {model.name} was trained on all folds of {model.config.split}, so that no scanner was"
                " left out, expected runs of one fold each: leave it out, or evaluate it alone"
            )
    url = models[0].config.split
    by_scanner = open_split(url, store)
    if {*by_scanner.development_ids} & {*split.test_ids}:
        raise InputError(
            f"split {url} has other test patients than {tested[0].config.split}: make it again with"
            " the same --seed, --test-fraction and --targets, and train again"
        )
    names = name_configurations({m.url: m.config for m in (*tested, *models)})
    # Several seeds predict the same patients, which one table would refuse; they are averaged.
    tables = [
        validate_predictions(m.validation(store, by_scanner).assign(run=names[m.url]))
        for m in models
    ]
    return TrainedWithout(
        table=pd.concat(tables, ignore_index=True),
        group_of={
            patient_id: group
            for group, ids in zip(by_scanner.groups, by_scanner.folds, strict=True)
            for patient_id in ids
        },
        configuration_of={m.name: names[m.url] for m in tested},
        folds_by=by_scanner.folds_by,
    )


def networks_left_out(known: TrainedWithout, table: pd.DataFrame) -> Iterator[LeftOut]:
    """Compare networks that were trained without a scanner with those that were not.

    Parameters
    ----------
    table
        Predictions of the runs that are tested, validated.
    """
    validation = table[table["split"] == "validation"]
    beside = validation.assign(run=validation["run"].map(known.configuration_of))
    for run, target in known.table[["run", "target"]].drop_duplicates().to_numpy():
        mine = patient_scores(known.table, run, target, "validation")
        seen_rows = beside[(beside["run"] == run) & (beside["target"] == target)]
        groups = np.array([known.group_of[i] for i in mine.patient_ids])
        for name, members in _each(groups):
            chosen = {i for i, m in zip(mine.patient_ids, members, strict=True) if m}
            area = stratified_area(
                mine.labels[members], mine.scores[members], groups[members].tolist()
            )
            seen = _seen(seen_rows, run, target, chosen, known.group_of)
            yield LeftOut(run, target, name, without_small_counts(area), seen)


def baselines_left_out(
    sets: Sets,
    labels_of: Mapping[str, NDArray[np.int64]],
    folds: NDArray[np.int64],
    scanners: Sequence[str],
) -> Iterator[LeftOut]:
    """Fit logistic baselines without one scanner, and test them on its development patients.

    Parameters
    ----------
    sets
        Features of N patients.
    labels_of
        Target to int64 (N,).
    folds
        int64 (N,).
    scanners
        (N,) texts; empty where no covariate tells scanners apart: nothing comes then.
    """
    groups = np.array(scanners)
    for name, features in sets.items():
        columns = is_varied(features.values)
        if not columns.any() or not scanners:
            continue
        x = features.values[:, columns]
        run = f"{BASELINE_PREFIX}{name} ({LOGISTIC.name})"
        for target, labels in labels_of.items():
            seen = nested_cv(LOGISTIC, x, labels, folds).probabilities
            left_out = np.full(len(labels), np.nan)
            for scanner in np.unique(groups):
                mine = groups == scanner
                left_out[mine] = _fitted_without(mine, x, labels, folds)
            for scanner, members in _each(groups):
                area = _ONE_CLASS
                if not np.isnan(left_out[members]).all():
                    area = _area(labels, left_out, groups.tolist(), members)
                known = list(zip(groups.tolist(), folds.tolist(), strict=True))
                yield LeftOut(run, target, scanner, area, _area(labels, seen, known, members))


def _each(groups: NDArray[np.str_]) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield each group's name and members, and at the end all of them."""
    for name in np.unique(groups):
        yield str(name), groups == name
    yield EACH_IN_TURN, np.ones(len(groups), dtype=bool)


def _seen(
    rows: pd.DataFrame, run: str, target: str, chosen: set[str], group_of: Mapping[str, str]
) -> Area:
    """Return the AUC of the same patients by networks that knew other patients of the scanner."""
    if rows.empty:
        return _NOT_BESIDE
    labels, scores, strata = [], [], []
    for fold, part in rows[rows["patient_id"].isin(chosen)].groupby("fold", dropna=False):
        found = patient_scores(part, run, target, "validation")
        labels.append(found.labels)
        scores.append(found.scores)
        strata += [(fold, group_of[i]) for i in found.patient_ids]
    none = [np.empty(0)]
    area = stratified_area(
        np.concatenate(labels or none).astype(np.int64), np.concatenate(scores or none), strata
    )
    return without_small_counts(area)


def _fitted_without(
    mine: NDArray[np.bool_],
    x: NDArray[np.float64],
    labels: NDArray[np.int64],
    folds: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return probabilities of a group's patients by a model fitted on all others; NaN without classes."""
    rows = np.flatnonzero(~mine & (labels != MISSING_LABEL))
    if not has_both(labels[rows]):
        return np.full(int(mine.sum()), np.nan)
    return Tuning(LOGISTIC, x, labels, folds, seed=0).fit(rows).predict(x[mine])


def _area(
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    strata: Sequence[Hashable],
    members: NDArray[np.bool_],
) -> Area:
    usable = (labels != MISSING_LABEL) & ~np.isnan(scores) & members
    area = stratified_area(
        labels[usable],
        scores[usable],
        [stratum for stratum, use in zip(strata, usable, strict=True) if use],
    )
    return without_small_counts(area)
