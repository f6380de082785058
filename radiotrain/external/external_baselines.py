"""Baselines on an external cohort.

Axis legend: N patients, K features.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from preprocessing.store import Store
from radiotrain.evaluation.baselines.covariates import encode, usable_clinical
from radiotrain.evaluation.baselines.features import (
    Features,
    from_rows,
    is_varied,
    measure_kinetics,
    measure_size,
    read_features,
    read_records,
)
from radiotrain.evaluation.baselines.predict import Baselines, Sets, read_usable
from radiotrain.evaluation.predictions import COLUMNS
from radiotrain.evaluation.shortcuts.acquisition import (
    acquisition_variables,
    measure_background,
)
from radiotrain.evaluation.shortcuts.shortcut_gate import (
    Development,
    acquisition_results,
    cross_validated,
)
from radiotrain.evaluation.shortcuts.shortcut_results import AcquisitionResult
from radiotrain.external.cohort import Cohort
from radiotrain.external.external_models import load_labels
from radiotrain.split.split import Split
from radiotrain.split.test_set_access import TestAccess

_NUM_PARTS = 5
_CLINICAL = "clinical"
_OWN = "own clinical"


@dataclass(frozen=True)
class CohortSets:
    """Features of a cohort's patients.

    Parameters
    ----------
    of_training
        As the training cohort's baselines read them.
    clinical
        Clinical covariates as this cohort has them.
    notes
        Sentences on what the training cohort's baselines read and this cohort has not.
    """

    of_training: Sets
    clinical: Features
    notes: tuple[str, ...]


def read_cohort_sets(
    cohort: Cohort,
    training: Store | None,
    split: Split | None,
    access: TestAccess,
    allowed: Collection[str] = (),
) -> CohortSets:
    """Read the features of the cohort's patients.

    Parameters
    ----------
    allowed
        Covariates that may be read although their names or values tell a target.
    """
    store, sealed, ids = cohort.store, cohort.sealed, cohort.patient_ids
    records = read_records(store, sealed, ids, access)
    size = read_features(measure_size, store, sealed, ids, access)
    kinetics = read_features(measure_kinetics, store, sealed, ids, access)
    labels = load_labels(store, sealed, store.targets)
    usable = usable_clinical(records, dict(zip(store.targets, labels.T, strict=True)), allowed)
    own = from_rows(ids, encode(records, usable.columns))
    notes: tuple[str, ...] = tuple(
        f"Clinical models of the external cohort leave out {name}: {reason} there."
        for name, reason in usable.told.items()
    )
    clinical = own
    if training is not None and split is not None:
        columns = read_usable(training, split, allowed).columns
        clinical = from_rows(ids, encode(records, columns))
        missing = [
            column.name
            for column in columns
            if all(record.covariates.get(column.name) is None for record in records)
        ]
        if missing:
            notes += (
                (
                    f"The clinical baseline of the training cohort reads {', '.join(missing)}, which the external"
                    " cohort does not have: it predicted as with missing values."
                ),
            )
    sets = {_CLINICAL: clinical, "size": size, "size and kinetics": size.beside(kinetics)}
    return CohortSets(sets, own, notes)


def predict_cohort(
    fitted: Baselines, sets: CohortSets, cohort: Cohort, labels: Mapping[str, str]
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return what the training cohort's baselines predict of the cohort, one row a patient and fold.

    Parameters
    ----------
    labels
        Target to label of the cohort.

    Returns
    -------
    Rows of the predictions table, part ``test``; and sentences on baselines that read nothing that
    this cohort has.
    """
    tables, notes = [], []
    for baseline in fitted.fitted:
        x = sets.of_training[baseline.features].values[:, baseline.columns]
        if np.isnan(x).all():
            notes.append(
                f"{baseline.run}, {baseline.target}: not tested, as the external cohort has none of its"
                " features."
            )
            continue
        known = load_labels(cohort.store, cohort.sealed, [labels[baseline.target]])[:, 0]
        for fold, model in baseline.nested.fitted.items():
            tables.append(
                pd.DataFrame(
                    {
                        "run": baseline.run,
                        "patient_id": cohort.patient_ids,
                        "target": baseline.target,
                        "split": "test",
                        "fold": pd.array([fold] * len(known), dtype="Int64"),
                        "label": known,
                        "probability": model.predict(x),
                    },
                    columns=list(COLUMNS),
                )
            )
    empty = pd.DataFrame(columns=list(COLUMNS)).astype({"fold": "Int64"})
    return (pd.concat(tables, ignore_index=True) if tables else empty), tuple(dict.fromkeys(notes))


def cohort_models(
    cohort: Cohort,
    sets: CohortSets,
    labels: Mapping[str, str],
    access: TestAccess,
    advance: Callable[[], None] = lambda: None,
) -> tuple[AcquisitionResult, ...]:
    """Return how well acquisition and simple features predict each target within this cohort.

    Each by logistic regression in five-fold cross-validation of the cohort itself, folds stratified by the
    label: what a shortcut, or a baseline made here, would reach.

    Parameters
    ----------
    labels
        Target to label of the cohort.
    advance
        Called after each target.
    """
    store, sealed, ids = cohort.store, cohort.sealed, cohort.patient_ids
    records = read_records(store, sealed, ids, access)
    variables = acquisition_variables(records)
    background = read_features(measure_background, store, sealed, ids, access).values
    found: list[AcquisitionResult] = []
    for target, name in labels.items():
        known = load_labels(store, sealed, [name])[:, 0]
        about = Development(
            patient_ids=ids,
            folds=_parts(known),
            labels={target: known},
            variables=variables,
            scanner=None,
            scanners=(),
            background=background,
            sets=sets.of_training,
        )
        found += acquisition_results(about, target)
        found += _simple(about, target, sets)
        advance()
    return tuple(found)


def _simple(about: Development, target: str, sets: CohortSets) -> Iterator[AcquisitionResult]:
    own = {**sets.of_training, _CLINICAL: sets.clinical}
    for name, features in own.items():
        if is_varied(features.values).any():
            area = cross_validated(about, features.values, about.labels[target])
            yield AcquisitionResult(target, name, area)


def _parts(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the fold (N,) of each patient, stratified by label; a missing one is a class of its own.

    Fewer folds where the rarest class has fewer patients: each fold's training part needs both classes.
    """
    rarest = min(int((labels == value).sum()) for value in (0, 1))
    parts = np.zeros(len(labels), dtype=np.int64)
    num = min(_NUM_PARTS, rarest)
    if num < 2:
        return parts
    _, place = np.unique(labels, return_inverse=True)
    counts = np.bincount(place)
    # Missing labels may be fewer than folds, which scikit-learn warns of; they belong to any.
    strata = np.where(counts[place] >= num, place, place[labels == 0][0])
    folds = StratifiedKFold(num, shuffle=True, random_state=0)
    for fold, (_, rows) in enumerate(folds.split(np.zeros(len(labels)), strata)):
        parts[rows] = fold
    return parts
