"""Fit baselines and add their rows to the predictions table.

A test patient has one row a fold, whose mean will count: of the very models that predicted the
validation patients. One model refitted to all development patients would have a threshold and a
validation AUC that are those of other models.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preprocessing.store import Store
from radiotrain.data.patients import target_columns
from radiotrain.evaluation.baselines.covariates import Usable, encode, kind_of, usable_clinical
from radiotrain.evaluation.baselines.features import (
    Features,
    from_rows,
    is_varied,
    measure_kinetics,
    measure_size,
    read_features,
    read_records,
)
from radiotrain.evaluation.baselines.models import MODELS, Model, NestedResult, nested_cv
from radiotrain.evaluation.baselines.names import BASELINE_PREFIX
from radiotrain.evaluation.baselines.radiomics import read_radiomics
from radiotrain.evaluation.predictions import COLUMNS
from radiotrain.split.split import Split
from radiotrain.split.test_set_access import TestAccess, check_sealed

Sets = Mapping[str, Features]


@dataclass(frozen=True)
class Baseline:
    """One model of one set of features for one target, fitted on development patients.

    Parameters
    ----------
    features
        Name of the set: ``clinical``, ``size``, ``size and kinetics`` or ``radiomics``.
    columns
        bool (K,): which features it reads, those that vary among development patients.
    """

    features: str
    model: Model
    target: str
    columns: NDArray[np.bool_]
    nested: NestedResult

    @property
    def run(self) -> str:
        """What the predictions table calls it."""
        return f"{BASELINE_PREFIX}{self.features} ({self.model.name})"


@dataclass(frozen=True)
class Baselines:
    """All baselines of a split.

    Parameters
    ----------
    validation
        Rows of the predictions table: each development patient, out of fold.
    notes
        Sentences for the report, e.g. that there is no clinical baseline.
    features
        Names of what each set holds that varies among development patients.
    names
        Of all its columns.
    allowed
        Covariates that might be read although their names or values tell a target.
    """

    fitted: tuple[Baseline, ...]
    validation: pd.DataFrame
    notes: tuple[str, ...]
    features: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    allowed: tuple[str, ...] = ()


def read_sets(
    store: Store,
    split: Split,
    patient_ids: Sequence[str],
    access: TestAccess | None = None,
    *,
    radiomics: bool = False,
    allowed: Collection[str] = (),
    on_patient: Callable[[], object] = lambda: None,
) -> dict[str, Features]:
    """Return the sets of features that baselines read, empty where there are none of a kind.

    Parameters
    ----------
    radiomics
        Whether to measure radiomic features, which takes seconds a patient the first time.
    allowed
        Covariates that may be read although their names or values tell a target.
    on_patient
        Called after each patient whose radiomic features are known.

    Raises
    ------
    SealedTestSetError
        If a test patient is asked for without access.
    """
    columns = read_usable(store, split, allowed).columns
    records = read_records(store, split, patient_ids, access)
    size = read_features(measure_size, store, split, patient_ids, access)
    kinetics = read_features(measure_kinetics, store, split, patient_ids, access)
    sets = {
        "clinical": from_rows(patient_ids, encode(records, columns)),
        "size": size,
        "size and kinetics": size.beside(kinetics),
    }
    if not radiomics:
        for _ in patient_ids:
            on_patient()
    else:
        sets["radiomics"] = read_radiomics(store, split, patient_ids, access, on_patient)
    return sets


def read_usable(store: Store, split: Split, allowed: Collection[str] = ()) -> Usable:
    """Return the clinical covariates that development patients allow to read."""
    ids = split.development_ids
    labels = {target: read_labels(store, split, ids, target) for target in store.targets}
    return usable_clinical(read_records(store, split, ids, None), labels, allowed)


def notes_on_refused(store: Store, split: Split, allowed: Collection[str] = ()) -> tuple[str, ...]:
    """Return sentences on covariates that clinical baselines leave out, and on what was allowed."""
    records = read_records(store, split, split.development_ids, None)
    names = sorted({name for record in records for name in record.covariates})
    found = []
    by_name = [name for name in names if kind_of(name, allowed) == "refused"]
    if by_name:
        found.append(
            f"Clinical baselines leave out {', '.join(by_name)}: by their names they follow from the"
            " receptors, or are known only after treatment; network.allow_covariates allows one by name."
        )
    for name, reason in read_usable(store, split, allowed).told.items():
        found.append(
            f"Clinical baselines leave out {name}: {reason} in development;"
            " network.allow_covariates allows it by name."
        )
    return tuple(found)


def read_labels(
    store: Store,
    split: Split,
    patient_ids: Sequence[str],
    target: str,
    access: TestAccess | None = None,
) -> NDArray[np.int64]:
    """Return labels (N,) of 0, 1 or -1.

    Raises
    ------
    SealedTestSetError
        If a test patient is asked for without access.
    """
    check_sealed(split, patient_ids, access)
    rows = [store.index_of(patient_id) for patient_id in patient_ids]
    return store.labels[rows, target_columns(store, [target])[0]].astype(np.int64)


def fold_numbers(split: Split, patient_ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the fold (N,) that each development patient validates."""
    number = {patient_id: k for k, ids in enumerate(split.folds) for patient_id in ids}
    return np.array([number[patient_id] for patient_id in patient_ids], dtype=np.int64)


def fit_baselines(
    store: Store,
    split: Split,
    targets: Sequence[str],
    *,
    sets: Sets | None = None,
    models: Sequence[Model] = MODELS,
    seed: int = 0,
    allowed: Collection[str] = (),
    on_fitted: Callable[[], None] = lambda: None,
) -> Baselines:
    """Fit every model to every set of features for every target; test patients stay sealed.

    Parameters
    ----------
    sets
        Of the development patients, from `read_sets`; read here by default.
    allowed
        As in `read_sets`.
    on_fitted
        Called after each model, `count_baselines` times.
    """
    ids = split.development_ids
    sets = read_sets(store, split, ids, allowed=allowed) if sets is None else sets
    folds = fold_numbers(split, ids)
    fitted, tables, notes = [], [], list(_missing_sets(sets))
    notes += notes_on_refused(store, split, allowed)
    for target in targets:
        labels = read_labels(store, split, ids, target)
        for name, features in sets.items():
            columns = is_varied(features.values)
            for model in models:
                if columns.any():
                    result = nested_cv(model, features.values[:, columns], labels, folds, seed)
                    baseline = Baseline(name, model, target, columns, result)
                    notes += [f"{baseline.run}, {target}: {note}." for note in result.notes]
                    tables.append(_validation_rows(baseline, ids, folds, labels))
                    fitted.append(baseline)
                on_fitted()
    names = {
        name: tuple(np.array(features.names)[is_varied(features.values)].tolist())
        for name, features in sets.items()
    }
    columns_of = {name: features.names for name, features in sets.items()}
    return Baselines(tuple(fitted), _join(tables), tuple(notes), names, columns_of, tuple(allowed))


def count_baselines(targets: Sequence[str], sets: Sets, models: Sequence[Model] = MODELS) -> int:
    """Return how many models `fit_baselines` fits at most."""
    return len(targets) * len(models) * len(sets)


def predict_test(
    baselines: Baselines,
    store: Store,
    split: Split,
    access: TestAccess,
    on_patient: Callable[[], object] = lambda: None,
) -> pd.DataFrame:
    """Return each fold's predictions of the test patients, as rows of the predictions table.

    Parameters
    ----------
    on_patient
        Called after each patient whose features are known.

    Raises
    ------
    SealedTestSetError
        If the access is to another split's test set.
    """
    radiomics = "radiomics" in baselines.features
    sets = read_sets(
        store,
        split,
        split.test_ids,
        access,
        radiomics=radiomics,
        allowed=baselines.allowed,
        on_patient=on_patient,
    )
    tables = []
    for baseline in baselines.fitted:
        # Not every radiomic feature is defined for a test patient, or for one only.
        known = sets[baseline.features].under(baselines.names[baseline.features])
        x = known.values[:, baseline.columns]
        labels = read_labels(store, split, split.test_ids, baseline.target, access)
        for fold, model in baseline.nested.fitted.items():
            numbers = np.full(len(labels), fold)
            probabilities = model.predict(x)
            tables.append(_rows(baseline, "test", split.test_ids, numbers, labels, probabilities))
    return _join(tables)


def _missing_sets(sets: Sets) -> list[str]:
    found = []
    for name, features in sets.items():
        if not is_varied(features.values).any():
            why = (
                "the store holds no clinical covariates that differ between patients"
                if name == "clinical"
                else "no feature differs between patients"
            )
            found.append(f"There is no {name} baseline: {why}.")
    return found


def _validation_rows(
    baseline: Baseline,
    ids: Sequence[str],
    folds: NDArray[np.int64],
    labels: NDArray[np.int64],
) -> pd.DataFrame:
    p = baseline.nested.probabilities
    known = ~np.isnan(p)
    chosen = [patient_id for patient_id, is_known in zip(ids, known, strict=True) if is_known]
    return _rows(baseline, "validation", chosen, folds[known], labels[known], p[known])


def _rows(
    baseline: Baseline,
    part: str,
    ids: Sequence[str],
    folds: NDArray[np.int64],
    labels: NDArray[np.int64],
    probabilities: NDArray[np.float64],
) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "run": baseline.run,
        "patient_id": list(ids),
        "target": baseline.target,
        "split": part,
        "fold": pd.array(folds.tolist(), dtype="Int64"),
        "label": labels,
        "probability": probabilities,
    }
    return pd.DataFrame(columns, columns=list(COLUMNS))


def _join(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    filled = [table for table in tables if len(table)]
    if not filled:
        return pd.DataFrame(columns=list(COLUMNS)).astype({"fold": "Int64"})
    return pd.concat(filled, ignore_index=True)
