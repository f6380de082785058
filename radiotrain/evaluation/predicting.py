"""Predict the patients of one split with several models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.store import PatientRecord, Store
from radiotrain.evaluation.baselines.covariates import as_text, kind_of
from radiotrain.evaluation.baselines.features import read_records
from radiotrain.evaluation.baselines.predict import (
    Baselines,
    count_baselines,
    fit_baselines,
    read_sets,
)
from radiotrain.evaluation.feature_probe import NetworkFeatures
from radiotrain.evaluation.model import Model
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.report.context import (
    CohortFlow,
    DataFacts,
    FoldCounts,
    LabelCounts,
    ModelFacts,
    RunFacts,
)
from radiotrain.evaluation.shortcuts.acquisition import scanner_of
from radiotrain.evaluation.shortcuts.left_out import TrainedWithout
from radiotrain.evaluation.shortcuts.shortcut_gate import (
    Development,
    find_shortcuts,
    read_development,
)
from radiotrain.evaluation.shortcuts.shortcut_results import Shortcuts
from radiotrain.runs.predict_run import describe_draws, load_network
from radiotrain.split.split import Split, named_parts, not_in_split
from radiotrain.split.test_set_access import TestAccess
from radiotrain.statistics.member_scale import describe_scales


@dataclass(frozen=True)
class Predicting:
    """Predicts with each model, and keeps what it gave for changed images."""

    store: Store
    split: Split
    num_draws: int
    draws: list[pd.DataFrame] = field(default_factory=list)

    def validation(self, model: Model) -> pd.DataFrame:
        """Return predictions of validation patients."""
        if not self.num_draws:
            return model.validation(self.store, self.split)
        return self._augmented(model, "validation")

    def test(self, model: Model, access: TestAccess) -> pd.DataFrame:
        """Return predictions of test patients."""
        if not self.num_draws:
            return model.test(self.store, self.split, access)
        return self._augmented(model, "test", access)

    def _augmented(
        self, model: Model, which: Literal["validation", "test"], access: TestAccess | None = None
    ) -> pd.DataFrame:
        found = model.augmented(self.store, self.split, which, self.num_draws, access)
        self.draws.append(found.draws)
        return found.table

    @property
    def all_draws(self) -> pd.DataFrame | None:
        """Predictions of all changed images so far; None where there are none."""
        return pd.concat(self.draws, ignore_index=True) if self.draws else None

    def provenance(self, models: Sequence[Model]) -> dict[str, Any]:
        """Return how images were changed, where they were."""
        if not self.num_draws:
            return {}
        words = {model.name: describe_draws(model.config, self.num_draws) for model in models}
        return {"test-time augmentation": words}


def allowed_covariates(models: Sequence[Model]) -> tuple[str, ...]:
    """Return the covariates that some of the models' configurations allow by name."""
    return tuple(
        dict.fromkeys(name for model in models for name in model.config.network.allow_covariates)
    )


@dataclass(frozen=True)
class Beside:
    """Baseline models, and what the look for shortcuts knows before the test set is opened."""

    fitted: Baselines
    known: Development
    networks: dict[str, tuple[NetworkFeatures, ...]]

    @classmethod
    def fit(
        cls,
        store: Store,
        split: Split,
        models: Sequence[Model],
        progress: Callable[[str, int], Any],
        radiomics: bool = False,
    ) -> Beside:
        """Fit baseline models, and read what the look for shortcuts needs of development patients."""
        targets = tuple(dict.fromkeys(t for model in models for t in model.config.targets))
        ids = split.development_ids
        with progress("features", len(ids)) as advance:
            allowed = allowed_covariates(models)
            sets = read_sets(
                store, split, ids, radiomics=radiomics, allowed=allowed, on_patient=advance
            )
        with progress("baselines", count_baselines(targets, sets)) as advance:
            fitted = fit_baselines(
                store, split, targets, sets=sets, allowed=allowed, on_fitted=advance
            )
        known = read_development(store, split, targets, sets)
        return cls(fitted, known, {model.name: model.features(store, split) for model in models})

    def shortcuts(
        self,
        store: Store,
        split: Split,
        table: pd.DataFrame,
        access: TestAccess,
        progress: Callable[[str, int], Any],
        without: TrainedWithout | None,
    ) -> Shortcuts:
        """Look for shortcuts in the predictions of a split; see `find_shortcuts`."""
        name = self.known.scanner
        records = read_records(store, split, split.test_ids, access) if name else []
        scanners = {record.patient_id: scanner_of(record, name or "") for record in records}
        checked = validate_predictions(table)
        with progress("shortcuts", len(self.known.labels) + len(self.networks)) as advance:
            return find_shortcuts(self.known, self.networks, checked, scanners, advance, without)


def cautions_about(models: Sequence[Model]) -> Iterator[str]:
    """Say which models are one, and which thresholds come from other networks."""
    names: dict[str, list[str]] = {}
    for model in (m for m in models if m.promoted is None and m.record.weights_digest):
        names.setdefault(str(model.record.weights_digest), []).append(model.name)
    for alike in (found for found in names.values() if len(found) > 1):
        yield (
            f"Runs {', '.join(alike)} are one: their weights are the same to the bit. That they agree"
            " says nothing, and they count several times in means over runs. Evaluate one of them."
        )
    for model in models:
        promoted = model.promoted
        if promoted is None or not promoted.scales:
            continue
        for name, scales in zip(promoted.members, promoted.scales, strict=True):
            yield from describe_scales(f"Network {name} of {model.name}", scales)
    for kind in ("retrain", "ensemble"):
        runs = [m.name for m in models if m.promoted is not None and m.promoted.kind == kind]
        if not runs:
            continue
        several = len(runs) > 1
        whose = "each network" if several else "this network"
        moved = f"Those of {whose}, trained anew on more patients, may lie higher or lower"
        if kind == "ensemble":
            moved = "Their means, which are tested, lie closer together"
        theirs = "thresholds and AUCs" if several else "its threshold and its AUC"
        yield (
            f"Run{'s' * several} {', '.join(runs)}: {theirs} on validation come from the"
            f" probabilities of single networks of the sweep. {moved}; sensitivity and specificity"
            " move with that, the AUC does not."
        )


_MOST_VALUES = 12
"""A covariate of the acquisition with more different values than this is not listed."""

_NOT_IN_SPLIT = "it is in the store, but not in the split of the runs"


def describe_runs(store: Store, split: Split, models: Sequence[Model]) -> RunFacts:
    """Return what is known of the networks and their data; no test patient is read."""
    return RunFacts(
        models=tuple(_describe_model(model, split) for model in models),
        data=_describe_data(store, split),
        versions=dict(models[0].record.versions),
    )


def describe_flow(store: Store, split: Split, models: Sequence[Model]) -> CohortFlow:
    """Return the flow of patients: exclusions with reasons, partitions, and labels."""
    reasons = {r.patient_id: next(f for f in r.findings if f.excludes) for r in store.excluded}
    excluded = [(i, finding.code, finding.message) for i, finding in reasons.items()]
    excluded += [(i, "not_in_split", _NOT_IN_SPLIT) for i in not_in_split(split, store)]
    fold = models[0].config.fold
    return CohortFlow(
        num_patients=len(store.spec.patient_ids),
        excluded=tuple(excluded),
        num_train=len(split.train_ids(fold)),
        num_validation=len(split.validation_ids(fold)),
        num_test=len(split.test_ids),
        note=(
            f"{split.num_folds} folds, {_how_divided(split)};"
            f" {'; '.join((*_who_trained(split, models), *_parts(split)))}."
        ),
        folds=tuple(
            FoldCounts(k, len(split.train_ids(k)), len(split.validation_ids(k)))
            for k in range(split.num_folds)
        ),
        labels=tuple(_count_labels(store, split, models)),
    )


def partitions_of(split: Split, models: Sequence[Model]) -> dict[str, tuple[str, ...]]:
    """Return the patients of each partition, by its name in the table of characteristics.

    Training and validation are told apart where all models were trained on one fold's patients.
    """
    folds = {None if m.promoted is not None else m.config.fold for m in models}
    fold = next(iter(folds))
    if len(folds) > 1 or fold is None:
        development = {f"Development ({split.num_folds} folds)": tuple(split.development_ids)}
    else:
        development = {
            "Training": tuple(split.train_ids(fold)),
            f"Validation (fold {fold})": tuple(split.validation_ids(fold)),
        }
    return {**development, "Test": tuple(split.test_ids)}


def _parts(split: Split) -> Iterator[str]:
    parts = named_parts(split)
    if len(parts) > 1:
        sizes = ", ".join(f"{len(ids)} in part {n}" for n, ids in parts)
        yield f"patients were added to the split, and the test set has {sizes}"


def _how_divided(split: Split) -> str:
    targets = ", ".join(split.targets)
    if split.folds_by:
        return f"one for each {split.folds_by}, the test set stratified jointly over {targets}"
    return f"stratified jointly over {targets}"


def _count_labels(store: Store, split: Split, models: Sequence[Model]) -> Iterator[LabelCounts]:
    row_of = {patient: row for row, patient in enumerate(store.patient_ids)}
    for target in dict.fromkeys(t for model in models for t in model.config.targets):
        column = store.labels[:, store.spec.targets.index(target)]
        for part, ids in (("development", split.development_ids), ("test", split.test_ids)):
            found = Counter(int(column[row_of[i]]) for i in ids)
            yield LabelCounts(target, part, found[1], found[0], found[MISSING_LABEL])


def _who_trained(split: Split, models: Sequence[Model]) -> Iterator[str]:
    """Say which patients the networks were trained on, and which chose the threshold."""
    runs = [model for model in models if model.promoted is None]
    folds = sorted({run.config.fold for run in runs if run.config.fold is not None})
    if folds:
        yield f"validated on fold {', '.join(map(str, folds))}"
    for run in runs:
        if run.config.fold is None:
            num = len(split.development_ids)
            yield f"{run.name} was trained on all {num} development patients, none validated it"
    for model in models:
        if model.promoted is not None:
            yield f"{model.name} is {model.promoted.describe(split)}"


def _describe_model(model: Model, split: Split) -> ModelFacts:
    config, record = model.config, model.record
    network = load_network(model.members[0]).network
    one = len(model.members) == 1
    return ModelFacts(
        run=model.name,
        network=config.network.name,
        targets=config.targets,
        covariates=config.network.covariates,
        num_networks=len(model.members),
        num_parameters=sum(p.numel() for p in network.parameters()),
        initial_weights=config.network.pretrained,
        seed=config.seed,
        fold=config.fold,
        epochs=record.num_epochs if one else None,
        best_epoch=record.best_epoch + 1 if one and record.best_epoch is not None else None,
        device=record.device,
        config=config.model_dump(mode="json"),
        about=model.promoted.describe(split) if model.promoted is not None else "",
    )


def _describe_data(store: Store, split: Split) -> DataFacts:
    records = read_records(store, split, split.development_ids, None)
    names = sorted({name for record in records for name in record.covariates})
    return DataFacts(
        layout=str(store.spec.cohort.get("layout", "")),
        num_phases=store.spec.num_phases,
        crop_shape=store.spec.crop_shape,
        spacing_mm=_spacing(records),
        preprocessing=dict(store.spec.settings),
        acquisition=tuple(_acquisition(records, names)),
        covariates=tuple(names),
        stratified_over=split.targets,
        num_folds=split.num_folds,
        split_seed=split.seed,
    )


def _spacing(records: Sequence[PatientRecord]) -> tuple[tuple[float, ...], ...]:
    known = np.array([r.spacing_mm for r in records if r.spacing_mm is not None])
    if not len(known):
        return ()
    found = (np.min(known, axis=0), np.median(known, axis=0), np.max(known, axis=0))
    return tuple(tuple(float(value) for value in values) for values in found)


def _acquisition(
    records: Sequence[PatientRecord], names: Sequence[str]
) -> Iterator[tuple[str, str, int]]:
    for name in names:
        if kind_of(name) != "acquisition":
            continue
        counts = Counter(as_text(record.covariates.get(name)) or "unknown" for record in records)
        if len(counts) <= _MOST_VALUES:
            yield from ((name, value, num) for value, num in counts.most_common())
