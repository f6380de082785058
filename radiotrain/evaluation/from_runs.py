"""From trained runs, and models promoted from sweeps, to a predictions table.

The only place where a test set is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

import pandas as pd

from preprocessing.errors import InputError
from preprocessing.store import Store
from radiotrain.augmented_prediction import describe_draws
from radiotrain.evaluation.baselines.features import read_records
from radiotrain.evaluation.baselines.predict import (
    Baselines,
    count_baselines,
    fit_baselines,
    predict_test,
    read_sets,
)
from radiotrain.evaluation.baselines.radiomics_cache import check_installed
from radiotrain.evaluation.describe_runs import describe_flow, describe_runs
from radiotrain.evaluation.family import (
    as_text,
    find_primary,
    headline_pairs,
    plan_of_access,
)
from radiotrain.evaluation.leaks.in_store import check_store
from radiotrain.evaluation.model import Model, open_model
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.published import collection_of
from radiotrain.evaluation.saliency.find import find_saliency
from radiotrain.evaluation.shortcuts.acquisition import scanner_of
from radiotrain.evaluation.shortcuts.find import Development, find_shortcuts, read_development
from radiotrain.evaluation.shortcuts.left_out import TrainedWithout, predict_left_out, set_aside
from radiotrain.evaluation.shortcuts.probe import NetworkFeatures
from radiotrain.evaluation.shortcuts.results import Shortcuts
from radiotrain.evaluation.stability.configurations import name_configurations
from radiotrain.evaluation.stability.replicates import add_ensembles
from radiotrain.evaluation.subgroups.find import find_subgroups
from radiotrain.evaluation.subgroups.from_store import facts_of_split
from radiotrain.places import open_inputs
from radiotrain.seal import TestAccess, count_accesses, open_test_set, read_test_log
from radiotrain.split import Split, notes_on
from radiotrain.split_lineage import find_lineage


def predict_runs(
    urls: Sequence[str],
    store_url: str | None,
    purpose: str,
    progress: Callable[[str, int], Any],
    *,
    baselines: bool = True,
    radiomics: bool = False,
    num_draws: int = 0,
    num_salient: int = 0,
    splits: Sequence[str] = (),
    primary: Sequence[str] = (),
) -> tuple[pd.DataFrame, ReportContext]:
    """Predict validation and test patients with each run; the access to the test set is logged.

    Of a promoted model the predictions of validation patients are those that came with it.

    Parameters
    ----------
    urls
        Folders of runs and promoted models, all of one split; beside them such of a split with the same
        test patients whose folds are scanners. These are not tested: they show what is left on a scanner
        that a network was not trained on.
    store_url
        Where the store is now; None: where the runs found it.
    purpose
        Goes into the access log.
    progress
        See `preprocessing.progress`.
    baselines
        Whether to append the rows of models without a network, fitted to the development patients
        of the same split, and to look for shortcuts.
    radiomics
        Whether radiomic features are among the baselines; they are kept beside the store.
    num_draws
        Random changes of each image over which runs' probabilities are averaged; 0: none.
    num_salient
        Test patients of each model and target to look at where the network looks; 0: none.
    splits
        Where the runs' splits are now; see `radiotrain.places.split_of_run`.
    primary
        Results that are confirmatory, ``TARGET`` or ``RUN:TARGET``; see `family.find_primary`.

    Returns
    -------
    Predictions table, and what the report can say beyond it.

    Raises
    ------
    InputError
        If the runs do not belong together, or to the store; the test set is not opened then.
    """
    if radiomics:
        check_installed()
        if not baselines:
            raise InputError(
                "got --no-baselines with --radiomics, which adds baselines: leave out one of the two"
            )
    models, others = set_aside([open_model(url, splits) for url in urls])
    if others and not baselines:
        raise InputError(
            f"got --no-baselines with {others[0].name}, which is not tested but serves the look for"
            " shortcuts, which that leaves out: leave out one of the two"
        )
    named = find_primary(primary, headline_pairs(_headlines_of(models))) if primary else ()
    first = models[0].config
    store, given = open_inputs(store_url or first.store, first.split)
    split = _for_runs(given, models)
    tables = []
    predicting = _Predicting(store, split, num_draws)
    with progress("predict", len(models)) as advance:
        # All that could be refused is refused before the test set is opened.
        for model in models:
            tables.append(predicting.validation(model))
            advance()
    without = predict_left_out(others, models, store, split)
    beside = _Beside.fit(store, split, models, progress, radiomics) if baselines else None
    with progress("test", len(models)) as advance:
        configurations = {model.name: model.configuration for model in models}
        tested = _what_is_tested(models, beside)
        urls = [model.url for model in models]
        access = open_test_set(
            first.split,
            purpose,
            tested,
            configurations,
            urls,
            split,
            primary=[as_text(pair) for pair in named],
        )
        for model in models:
            tables.append(predicting.test(model, access))
            advance()
    if beside is not None:
        with progress("features of test patients", len(split.test_ids)) as advance:
            tested_baselines = predict_test(beside.fitted, store, split, access, advance)
        tables += [beside.fitted.validation, tested_baselines]
    table = pd.concat([t for t in tables if len(t)], ignore_index=True)
    shortcuts = None
    if beside is not None:
        shortcuts = beside.shortcuts(store, split, table, access, progress, without)
    table = add_ensembles(validate_predictions(_with_configurations(table, models)))
    subgroups = find_subgroups(table, facts_of_split(store, split, access))
    saliency = None
    if num_salient:
        saliency = find_saliency(models, store, split, table, access, num_salient, progress)
    leak_checks = check_store(store, split, access, progress)
    leaks = [finding for check in leak_checks for finding in check.findings]
    log = read_test_log(first.split, urls)
    context = ReportContext(
        flow=describe_flow(store, split, models),
        facts=describe_runs(store, split, models),
        openings=log.records,
        log_problems=log.problems,
        test_parts=count_accesses(split, log.records),
        provenance=_provenance(models, store, split)
        | _provenance_of_others(others, without)
        | predicting.provenance(models)
        | ({"models without a network": dict(beside.fitted.features)} if beside else {}),
        warnings=(
            *log.problems,
            *leaks,
            *_notes_on_split(given, split, store, first.split),
            *subgroups.warnings,
            *_cautions(models),
            *(beside.fitted.notes if beside else ()),
        ),
        leak_checks=leak_checks,
        shortcuts=shortcuts,
        subgroups=subgroups,
        saliency=saliency,
        draws=predicting.all_draws,
        plan=plan_of_access(named, access.record, access.others),
        cohort=collection_of(store),
        generated_at=datetime.now(UTC).isoformat(timespec="minutes"),
    )
    return table, context


@dataclass(frozen=True)
class _Predicting:
    """Predicts with each model, and keeps what it gave for changed images."""

    store: Store
    split: Split
    num_draws: int
    draws: list[pd.DataFrame] = field(default_factory=list)

    def validation(self, model: Model) -> pd.DataFrame:
        if not self.num_draws:
            return model.validation(self.store, self.split)
        return self._augmented(model, "validation")

    def test(self, model: Model, access: TestAccess) -> pd.DataFrame:
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
        return pd.concat(self.draws, ignore_index=True) if self.draws else None

    def provenance(self, models: Sequence[Model]) -> dict[str, Any]:
        if not self.num_draws:
            return {}
        words = {model.name: describe_draws(model.config, self.num_draws) for model in models}
        return {"test-time augmentation": words}


def _for_runs(split: Split, models: Sequence[Model]) -> Split:
    """Return the split as models trained on it, or on one that it extends, are tested on it."""
    trained = {model.record.split_fingerprint: model.name for model in reversed(models)}
    if len(trained) > 1:
        raise InputError(
            f"runs {' and '.join(sorted(trained.values()))} were trained on different splits, expected one:"
            " evaluate those of one split together"
        )
    return split.for_runs_of(next(iter(trained)))


def _notes_on_split(given: Split, split: Split, store: Store, url: str) -> Iterator[str]:
    yield from notes_on(given, store, url)
    if given.fingerprint != split.fingerprint:
        num = len(given.development_ids) - len(split.development_ids)
        yield (
            f"The runs were trained before split {url} was extended: they are tested on all of its test"
            f" patients; {num} patients that were added to its folds neither trained nor validated them."
        )
    missing = find_lineage(url).missing
    if missing:
        yield (
            f"Split {url} extends {missing}, which is not there or holds another one: how often its patients"
            " were tested since it was extended is not known."
        )


def _with_configurations(table: pd.DataFrame, models: Sequence[Model]) -> pd.DataFrame:
    """Add which configuration and seed each run has; a promoted model chose its own."""
    configs = {model.name: model.config for model in models if model.promoted is None}
    seeds = {run: config.seed for run, config in configs.items()}
    names = name_configurations(configs)
    return table.assign(
        configuration=[names.get(run, "") for run in table["run"]],
        seed=pd.array([seeds.get(run) for run in table["run"]], dtype="Int64"),
    )


def _headlines_of(models: Sequence[Model]) -> pd.DataFrame:
    """Return a table of a made-up patient, to know what will get a headline before any is read."""
    rows = [
        {
            "run": model.name,
            "patient_id": "any",
            "target": target,
            "split": "test",
            "fold": None,
            "label": 0,
            "probability": 0.5,
        }
        for model in models
        for target in model.config.targets
    ]
    table = _with_configurations(pd.DataFrame(rows), models)
    return add_ensembles(validate_predictions(table))


@dataclass(frozen=True)
class _Beside:
    """Models without a network, and what the gate knows before the test set is opened."""

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
        radiomics: bool,
    ) -> _Beside:
        targets = tuple(dict.fromkeys(t for model in models for t in model.config.targets))
        ids = split.development_ids
        with progress("features", len(ids)) as advance:
            sets = read_sets(store, split, ids, radiomics=radiomics, on_patient=advance)
        with progress("baselines", count_baselines(targets, sets)) as advance:
            fitted = fit_baselines(store, split, targets, sets=sets, on_fitted=advance)
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
        name = self.known.scanner
        records = read_records(store, split, split.test_ids, access) if name else []
        scanners = {record.patient_id: scanner_of(record, name or "") for record in records}
        checked = validate_predictions(table)
        with progress("shortcuts", len(self.known.labels) + len(self.networks)) as advance:
            return find_shortcuts(self.known, self.networks, checked, scanners, advance, without)


def _what_is_tested(models: Sequence[Model], beside: _Beside | None) -> list[str]:
    """Name networks and baselines: to look at a baseline's test result is to look, too."""
    baselines = () if beside is None else beside.fitted.validation["run"]
    return list(dict.fromkeys([*(model.name for model in models), *map(str, baselines)]))


def _cautions(models: Sequence[Model]) -> Iterator[str]:
    names: dict[str, list[str]] = {}
    for model in (m for m in models if m.promoted is None and m.record.weights_digest):
        names.setdefault(str(model.record.weights_digest), []).append(model.name)
    for alike in (found for found in names.values() if len(found) > 1):
        yield (
            f"Runs {', '.join(alike)} are one: their weights are the same to the bit. That they agree"
            " says nothing, and they count several times in means over runs. Evaluate one of them."
        )
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


def _provenance_of_others(
    others: Sequence[Model], without: TrainedWithout | None
) -> dict[str, Any]:
    if without is None:
        return {}
    first = others[0]
    return {
        f"trained without one {without.folds_by} each": {
            "split": f"{first.config.split}, fingerprint {first.record.split_fingerprint}",
            "runs": [model.name for model in others],
        }
    }


def _provenance(models: Sequence[Model], store: Store, split: Split) -> dict[str, Any]:
    return {
        "store": f"{store.url}, patients of the split: fingerprint {split.patients_fingerprint}",
        "split": f"{models[0].config.split}, fingerprint {split.fingerprint}, seed {split.seed}",
        "preprocessing": dict(store.spec.settings),
        "software": dict(models[0].record.versions),
        **{
            f"model {model.name}": {"what": model.promoted.describe(split)} | asdict(model.promoted)
            for model in models
            if model.promoted is not None
        },
        **{f"run {model.name}": model.config.model_dump(mode="json") for model in models},
    }
