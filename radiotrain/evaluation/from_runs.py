"""Predictions table and analyses of trained runs.

The only place where a test set is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.evaluation.baselines.predict import (
    predict_test,
)
from radiotrain.evaluation.baselines.radiomics import check_installed
from radiotrain.evaluation.family import (
    as_text,
    find_primary,
    headline_pairs,
    plan_of_access,
)
from radiotrain.evaluation.from_outer import predict_outer
from radiotrain.evaluation.leak_checks import check_store, notes_on_covariates
from radiotrain.evaluation.model import Model, open_model
from radiotrain.evaluation.predicting import (
    Beside,
    Predicting,
    cautions_about,
    describe_flow,
    describe_runs,
    partitions_of,
)
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.published import collection_of
from radiotrain.evaluation.report.characteristics import describe_partitions
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.places import last_name
from radiotrain.evaluation.saliency.saliency_maps import find_saliency
from radiotrain.evaluation.shortcuts.left_out import TrainedWithout, predict_left_out, set_aside
from radiotrain.evaluation.stability.replicates import (
    add_ensembles,
    name_configurations,
    notes_on_scales,
)
from radiotrain.evaluation.subgroups.subgroup_tests import find_subgroups
from radiotrain.evaluation.subgroups.variables import facts_of_split
from radiotrain.runs.locations import open_inputs, open_split
from radiotrain.split.extend import find_lineage
from radiotrain.split.split import Split, notes_on
from radiotrain.split.test_set_access import count_accesses, open_test_set, read_test_log


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
        Folders of runs and promoted models, all of one split, or of all outer parts of a cross-validated
        test (`from_outer`); beside those of one split such of a split with the same
        test patients whose folds are scanners. These are not tested: they show what is left on a scanner
        that a network was not trained on.
    store_url
        Where the store is now; None: where the runs found it.
    purpose
        Goes into the access log.
    progress
        See `preprocessing.common.progress`.
    baselines
        Whether to append the rows of baseline models, fitted to the development patients
        of the same split, and to look for shortcuts.
    radiomics
        Whether radiomic features are among the baselines; they are kept beside the store.
    num_draws
        Random changes of each image over which runs' probabilities are averaged; 0: none.
    num_salient
        Test patients of each model and target to look at where the network looks; 0: none.
    splits
        Where the runs' splits are now; see `radiotrain.runs.locations.split_of_run`.
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
    opened = [open_model(url, splits) for url in urls]
    of_models = {url: open_split(url) for url in dict.fromkeys(m.config.split for m in opened)}
    if any(split.outer is not None for split in of_models.values()):
        return predict_outer(
            opened,
            of_models,
            store_url,
            purpose,
            progress,
            baselines=baselines,
            num_draws=num_draws,
            num_salient=num_salient,
            radiomics=radiomics,
            primary=primary,
        )
    models, others = set_aside(opened)
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
    predicting = Predicting(store, split, num_draws)
    with progress("predict", len(models)) as advance:
        # All that could be refused is refused before the test set is opened.
        for model in models:
            tables.append(predicting.validation(model))
            advance()
    without = predict_left_out(others, models, store, split)
    beside = Beside.fit(store, split, models, progress, radiomics) if baselines else None
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
    facts = facts_of_split(store, split, access)
    subgroups = find_subgroups(table, facts)
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
        | ({"baseline models": dict(beside.fitted.features)} if beside else {}),
        warnings=(
            *log.problems,
            *leaks,
            *_notes_on_split(given, split, store, first.split),
            *subgroups.warnings,
            *cautions_about(models),
            *notes_on_covariates({m.name: m.config.network for m in models}, store, split),
            *notes_on_scales(table),
            *_note_on_draws(num_draws),
            *(beside.fitted.notes if beside else ()),
        ),
        leak_checks=leak_checks,
        shortcuts=shortcuts,
        subgroups=subgroups,
        saliency=saliency,
        draws=predicting.all_draws,
        plan=plan_of_access(named, access.record, access.others),
        cohort=collection_of(store),
        characteristics=describe_partitions(
            partitions_of(split, models),
            facts,
            tuple(dict.fromkeys(t for model in models for t in model.config.targets)),
        ),
        generated_at=datetime.now(UTC).isoformat(timespec="minutes"),
    )
    return table, context


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
        averaging=[configs[run].averaging if run in configs else "" for run in table["run"]],
    )


def _note_on_draws(num_draws: int) -> Iterator[str]:
    if num_draws:
        yield (
            f"Probabilities are means over {num_draws} changed views of each image, which 'radiotrain predict' does"
            ' not average: the calibration "as deployed" is that of such means.'
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


def _what_is_tested(models: Sequence[Model], beside: Beside | None) -> list[str]:
    """Name networks and baselines: to look at a baseline's test result is to look, too."""
    baselines = () if beside is None else beside.fitted.validation["run"]
    return list(dict.fromkeys([*(model.name for model in models), *map(str, baselines)]))


def _provenance_of_others(
    others: Sequence[Model], without: TrainedWithout | None
) -> dict[str, Any]:
    if without is None:
        return {}
    first = others[0]
    return {
        f"trained without one {without.folds_by} each": {
            "split": f"{last_name(first.config.split)}, fingerprint {first.record.split_fingerprint}",
            "runs": [model.name for model in others],
        }
    }


def _provenance(models: Sequence[Model], store: Store, split: Split) -> dict[str, Any]:
    return {
        "store": f"{last_name(store.url)}, patients of the split: fingerprint {split.patients_fingerprint}",
        "split": f"{last_name(models[0].config.split)}, fingerprint {split.fingerprint}, seed {split.seed}",
        "fingerprints": {"store": split.patients_fingerprint, "split": split.fingerprint},
        "preprocessing": dict(store.spec.settings),
        "software": dict(models[0].record.versions),
        **{
            f"model {model.name}": {"what": model.promoted.describe(split)} | asdict(model.promoted)
            for model in models
            if model.promoted is not None
        },
        **{f"run {model.name}": model.config.model_dump(mode="json") for model in models},
    }
