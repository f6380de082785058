"""Predictions of models on one split, and what to know of the models before believing them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pandas as pd

from preprocessing.store import Store
from radiotrain.augmented_prediction import describe_draws
from radiotrain.evaluation.baselines.features import read_records
from radiotrain.evaluation.baselines.predict import (
    Baselines,
    count_baselines,
    fit_baselines,
    read_sets,
)
from radiotrain.evaluation.model import Model
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.shortcuts.acquisition import scanner_of
from radiotrain.evaluation.shortcuts.find import Development, find_shortcuts, read_development
from radiotrain.evaluation.shortcuts.left_out import TrainedWithout
from radiotrain.evaluation.shortcuts.probe import NetworkFeatures
from radiotrain.evaluation.shortcuts.results import Shortcuts
from radiotrain.evaluation.statistics.member_scale import describe_scales
from radiotrain.seal import TestAccess
from radiotrain.split import Split


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
