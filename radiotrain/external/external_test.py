"""Run the external test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.store import Store
from radiotrain.evaluation.baselines.predict import count_baselines, fit_baselines, read_sets
from radiotrain.evaluation.external_results import CaseMixRow, External, RangeRow
from radiotrain.evaluation.family import as_text, find_primary, headline_pairs, plan_of_access
from radiotrain.evaluation.leak_checks import LeakCheck, notes_on_covariates
from radiotrain.evaluation.predicting import describe_runs
from radiotrain.evaluation.predictions import COLUMNS, validate_predictions
from radiotrain.evaluation.published import collection_of
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.shortcuts.shortcut_results import AcquisitionResult
from radiotrain.evaluation.stability.replicates import (
    add_ensembles,
    name_configurations,
    notes_on_scales,
)
from radiotrain.evaluation.subgroups.covariates import Facts
from radiotrain.evaluation.subgroups.subgroup_tests import find_subgroups
from radiotrain.evaluation.subgroups.variables import facts_of_patients
from radiotrain.external.access import LoggedAccess, access_cohort
from radiotrain.external.case_mix import case_mix, choose_sites, results_by_site
from radiotrain.external.cohort import (
    Cohort,
    MappedTargets,
    TrainingCohort,
    check_overlap,
    last_part,
    look_for_copies,
    map_targets,
    open_cohort,
    with_phases,
)
from radiotrain.external.external_baselines import cohort_models, predict_cohort, read_cohort_sets
from radiotrain.external.external_models import TestedModel, open_tested
from radiotrain.external.inputs_match import (
    check_covariates,
    check_shape,
    image_ranges,
    setting_differences,
    unseen_categories,
)
from radiotrain.external.transport import find_recalibrations, find_transports
from radiotrain.runs.locations import open_split, open_store
from radiotrain.runs.predict_run import check_run
from radiotrain.runs.provenance import measure_images

Progress = Callable[[str, int], Any]


@dataclass(frozen=True)
class Request:
    """What to test on which cohort.

    Parameters
    ----------
    models
        Folders of runs, promoted models and exports; runs of one split.
    external
        Store of the other cohort.
    out
        Of the report.
    store, splits
        Where the training store and split are now; see `radiotrain.runs.locations`.
    targets
        Target of the models to label of the cohort.
    phases
        Of the cohort that the networks read; empty: all, as they are.
    by
        Covariate that tells sites apart; None: found by its name.
    primary
        Results that are confirmatory, ``TARGET`` or ``RUN:TARGET``; see `family.find_primary`.
    """

    models: tuple[str, ...]
    external: str
    out: str
    store: str | None = None
    splits: tuple[str, ...] = ()
    targets: Mapping[str, str] | None = None
    phases: tuple[int, ...] = ()
    by: str | None = None
    purpose: str = "external evaluation"
    baselines: bool = True
    primary: tuple[str, ...] = ()


def predict_external(asked: Request, progress: Progress) -> tuple[pd.DataFrame, ReportContext]:
    """Predict all patients of another cohort; the access to it is logged.

    All that can be refused is refused before that.

    Returns
    -------
    Predictions table, in which the cohort's patients are part ``test``, and what the report can say beyond it.

    Raises
    ------
    InputError
        If the cohort shares patients with that of the models, or the models cannot read its images.
    """
    models = _open_models(asked)
    cohort = open_cohort(asked.external)
    if asked.phases:
        cohort = with_phases(cohort, asked.phases)
    training, notes = _open_training(asked, models)
    # Before anything else: the training store fits in every other respect.
    overlap = check_overlap(cohort, models, training)
    differences = tuple(_differences(cohort, models))
    targets = dict.fromkeys(target for model in models for target in model.targets)
    mapped = map_targets(
        tuple(targets),
        cohort.store.labels,
        cohort.store.targets,
        asked.targets or {},
        cohort.store.url,
    )
    named = find_primary(asked.primary, _headlines_of(models, mapped)) if asked.primary else ()
    sites = choose_sites(cohort.store.records, asked.by, cohort.store.url)
    networks = {m.name: m.model.config.network for m in models if m.model is not None}
    allowed = tuple(dict.fromkeys(n for c in networks.values() for n in c.allow_covariates))
    fitted = _fit_baselines(training, mapped, progress, allowed) if asked.baselines else None
    baselines = () if fitted is None else fitted.runs
    logged = _access(asked, cohort, models, mapped, baselines, named)
    tables = _predict(cohort, models, mapped, logged, progress)
    own: tuple[AcquisitionResult, ...] = ()
    if asked.baselines:
        of_cohort, own, found = _baselines(cohort, training, fitted, mapped, logged, progress)
        tables += [table for table in of_cohort if len(table)]
        notes += found
    where = (None, None) if training is None else (training.store, training.split)
    notes += notes_on_covariates(networks, *where)
    table = pd.concat(tables, ignore_index=True)
    table = add_ensembles(validate_predictions(_with_configurations(table, models)))
    notes += notes_on_scales(table)
    copies = look_for_copies(cohort, training, progress)
    external = _describe(cohort, training, models, mapped, table, sites, logged, asked)
    external = replace(
        external,
        differences=differences,
        cohort_models=own,
        notes=tuple(dict.fromkeys(notes)),
    )
    facts = _facts(cohort, training, mapped)
    subgroups = find_subgroups(table, facts[1] if facts[0] is None else facts[0].beside(facts[1]))
    context = _context(external, models, cohort, training, logged, (*overlap, copies), subgroups)
    return table, replace(
        context, plan=plan_of_access(named, logged.access.record, logged.access.others)
    )


def _open_models(asked: Request) -> tuple[TestedModel, ...]:
    models = tuple(open_tested(url, asked.splits) for url in asked.models)
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two models are both named {name!r}: evaluate them one by one")
    trained = {m.origin[1]: m.name for m in reversed(models) if m.model is not None}
    if len(trained) > 1:
        raise InputError(
            f"runs {' and '.join(sorted(trained.values()))} were trained on different splits, expected one:"
            " evaluate those of one split together"
        )
    return models


def _open_training(
    asked: Request, models: Sequence[TestedModel]
) -> tuple[TrainingCohort | None, list[str]]:
    """Return the training cohort as far as it is at hand, and sentences on what is missing."""
    notes = [note for model in models for note in model.notes]
    runs = [model.model for model in models if model.model is not None]
    if not runs:
        return None, notes
    config, fingerprint = runs[0].config, runs[0].record.split_fingerprint
    without = (
        "no baselines of the training cohort, no case-mix table, and patients of both cohorts were"
    )
    try:
        given = open_split(config.split)
    except MissingPathError:
        if asked.splits:
            raise
        notes.append(
            f"The split {last_part(config.split)} is not where the runs found it: {without} looked for among validation patients"
            " only. Name it with --split."
        )
        return None, notes
    if fingerprint not in (given.fingerprint, *(before.fingerprint for before in given.before)):
        raise InputError(
            f"split {config.split} is {given.fingerprint}, but run {runs[0].name} was trained on"
            f" {fingerprint}: name the run's with --split"
        )
    split = given.for_runs_of(fingerprint)
    try:
        store = open_store(asked.store or config.store)
    except MissingPathError:
        if asked.store:
            raise
        notes.append(
            f"The training store {last_part(config.store)} is not where the runs found it: {without} looked for by id and by the digests that"
            " runs keep. Name it with --store."
        )
        return TrainingCohort(split, None), notes
    for run in runs:
        for member in run.members:
            check_run(member, store, split)
    return TrainingCohort(split, store), notes


def _differences(cohort: Cohort, models: Sequence[TestedModel]) -> Iterator[str]:
    store = cohort.store
    names = next((r.phase_names for r in store.records if r.phase_names), ())
    for model in models:
        check_shape(model.name, model.image_shape, store.image_shape, store.url, names)
        yield from setting_differences(model.name, model.settings, store.spec.settings, store.url)
        yield from check_covariates(model.name, model.covariates, store.records, store.url)
        categories = {
            column.name: column.categories
            for member in model.members
            if member.trained.encoder is not None
            for column in member.trained.encoder.columns
            if column.categories
        }
        yield from unseen_categories(model.name, categories, store.records)


@dataclass(frozen=True)
class _Fitted:
    baselines: Any
    runs: tuple[str, ...]


def _fit_baselines(
    training: TrainingCohort | None,
    mapped: MappedTargets,
    progress: Progress,
    allowed: Sequence[str],
) -> _Fitted | None:
    if training is None or training.store is None:
        return None
    store, split = training.store, training.split
    targets = [t for t in mapped.label_of if t in store.targets]
    sets = read_sets(store, split, split.development_ids, allowed=allowed)
    with progress("baselines", count_baselines(targets, sets)) as advance:
        found = fit_baselines(store, split, targets, sets=sets, allowed=allowed, on_fitted=advance)
    return _Fitted(found, tuple(dict.fromkeys(map(str, found.validation["run"]))))


def _access(
    asked: Request,
    cohort: Cohort,
    models: Sequence[TestedModel],
    mapped: MappedTargets,
    baselines: Sequence[str],
    named: Sequence[tuple[str, str]],
) -> LoggedAccess:
    return access_cohort(
        cohort,
        asked.purpose,
        [*(model.name for model in models), *baselines],
        {model.name: model.configuration for model in models},
        [model.url for model in models if model.model is not None],
        mapped.tested,
        asked.out,
        asked.phases,
        [as_text(pair) for pair in named],
    )


def _headlines_of(
    models: Sequence[TestedModel], mapped: MappedTargets
) -> tuple[tuple[str, str], ...]:
    """Return what will get a headline, from a table of a made-up patient."""
    rows = [
        (model.name, "any", target, "test", None, 0, 0.5)
        for model in models
        for target in model.targets
        if target in mapped.label_of
    ]
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return headline_pairs(add_ensembles(validate_predictions(_with_configurations(table, models))))


def _predict(
    cohort: Cohort,
    models: Sequence[TestedModel],
    mapped: MappedTargets,
    logged: LoggedAccess,
    progress: Progress,
) -> list[pd.DataFrame]:
    tables = []
    with progress("test", len(models)) as advance:
        for model in models:
            if not set(model.targets) & set(mapped.label_of):
                advance()
                continue
            if model.validation is not None:
                rows = model.validation[model.validation["target"].isin(list(mapped.label_of))]
                tables.append(rows[list(COLUMNS)])
            tables.append(
                model.predict(cohort.store, cohort.sealed, mapped.label_of, logged.access)
            )
            advance()
    return tables


def _baselines(
    cohort: Cohort,
    training: TrainingCohort | None,
    fitted: _Fitted | None,
    mapped: MappedTargets,
    logged: LoggedAccess,
    progress: Progress,
) -> tuple[list[pd.DataFrame], tuple[AcquisitionResult, ...], list[str]]:
    store = None if training is None else training.store
    split = None if training is None else training.split
    allowed = () if fitted is None else fitted.baselines.allowed
    sets = read_cohort_sets(cohort, store, split, logged.access, allowed)
    tables, notes = [], list(sets.notes)
    if fitted is not None:
        tested, found = predict_cohort(fitted.baselines, sets, cohort, mapped.label_of)
        known = set(tested["run"])
        rows = fitted.baselines.validation
        tables = [rows[rows["run"].isin(known)], tested]
        notes += [*fitted.baselines.notes, *found]
    with progress("shortcuts", len(mapped.tested)) as advance:
        own = cohort_models(cohort, sets, mapped.label_of, logged.access, advance)
    return tables, own, notes


def _with_configurations(table: pd.DataFrame, models: Sequence[TestedModel]) -> pd.DataFrame:
    """Add which configuration and seed each run has, so that several folds of one become an ensemble."""
    configs = {
        m.name: m.model.config for m in models if m.model is not None and m.model.promoted is None
    }
    seeds = {run: config.seed for run, config in configs.items()}
    names = name_configurations(configs)
    return table.assign(
        configuration=[names.get(run, "") for run in table["run"]],
        seed=pd.array([seeds.get(run) for run in table["run"]], dtype="Int64"),
        averaging=[configs[run].averaging if run in configs else "" for run in table["run"]],
    )


def _facts(
    cohort: Cohort, training: TrainingCohort | None, mapped: MappedTargets
) -> tuple[Facts | None, Facts]:
    """Return what is known of development patients, and of the cohort, its labels called as the targets."""
    theirs = facts_of_patients(cohort.store, cohort.patient_ids)
    used = set(mapped.label_of.values()) | set(mapped.label_of)
    labels = {target: theirs.labels[label] for target, label in mapped.label_of.items()}
    labels |= {name: values for name, values in theirs.labels.items() if name not in used}
    theirs = Facts(theirs.covariates, labels, theirs.source)
    if training is None or training.store is None:
        return None, theirs
    ours = facts_of_patients(training.store, training.split.development_ids)
    # Labels of both cohorts as one mapping: `beside` takes the other's where both have a target.
    return Facts(ours.covariates, {}, ours.source), theirs


def _describe(
    cohort: Cohort,
    training: TrainingCohort | None,
    models: Sequence[TestedModel],
    mapped: MappedTargets,
    table: pd.DataFrame,
    sites: Sequence[str],
    logged: LoggedAccess,
    asked: Request,
) -> External:
    store = cohort.store
    points = {(m.name, target): found for m in models for target, found in m.points.items()}
    rows: tuple[CaseMixRow, ...] = ()
    if training is not None and training.store is not None:
        ours = facts_of_patients(training.store, training.split.development_ids)
        names = {
            t.target: t.target if t.label == t.target else f"{t.target} (here: {t.label})"
            for t in mapped.tested
        }
        rows = case_mix(ours, _facts(cohort, training, mapped)[1], names)
    images = next((m.images for m in models if m.images is not None), None)
    ranges: tuple[RangeRow, ...] = ()
    if images is not None:
        indices = [store.index_of(i) for i in cohort.patient_ids]
        numbers, properties = measure_images(store, indices)
        ranges = image_ranges(numbers, properties, images, store.spec.num_phases)
    return External(
        store=store.url,
        fingerprint=cohort.fingerprint,
        log=f"{logged.url}.openings",
        num_accesses=len(logged.log.records),
        num_patients=len(cohort.patient_ids),
        excluded=_excluded(store),
        targets=mapped.tested,
        left_out=mapped.left_out,
        phases=asked.phases,
        training="" if training is None or training.store is None else training.store.url,
        transports=find_transports(table, points),
        recalibrations=find_recalibrations(table),
        case_mix=rows,
        ranges=ranges,
        sites=results_by_site(table, store.records, sites),
    )


def _excluded(store: Store) -> dict[str, int]:
    counts: dict[str, int] = {}
    for record in store.excluded:
        counts[record.exclusion_code] = counts.get(record.exclusion_code, 0) + 1
    return counts


def _context(
    external: External,
    models: Sequence[TestedModel],
    cohort: Cohort,
    training: TrainingCohort | None,
    logged: LoggedAccess,
    checks: tuple[LeakCheck, ...],
    subgroups: Any,
) -> ReportContext:
    runs = [model.model for model in models if model.model is not None]
    facts = None
    if training is not None and training.store is not None:
        facts = describe_runs(training.store, training.split, runs)
    mapped = [
        f"{t.target} was tested on the label {t.label} of this cohort, as --targets says: the two need not be"
        " defined alike."
        for t in external.targets
        if t.label != t.target
    ]
    return ReportContext(
        facts=facts,
        openings=logged.log.records,
        log_problems=logged.log.problems,
        provenance=_provenance(external, models, cohort),
        warnings=(
            *logged.log.problems,
            *(finding for check in checks for finding in check.findings),
            *logged.notes,
            *mapped,
            *(f"{sentence}." for sentence in external.left_out),
            *external.differences,
            *external.notes,
            *subgroups.warnings,
        ),
        leak_checks=checks,
        subgroups=subgroups,
        external=external,
        # Published results are of the label that a target is named after.
        cohort="" if mapped else collection_of(cohort.store),
        generated_at=datetime.now(UTC).isoformat(timespec="minutes"),
    )


def _provenance(
    external: External, models: Sequence[TestedModel], cohort: Cohort
) -> dict[str, Any]:
    return {
        "external cohort": {
            "store": cohort.name,
            "store fingerprint": cohort.store.fingerprint,
            "patients fingerprint": external.fingerprint,
            "labels": {t.target: t.label for t in external.targets},
            "phases": list(external.phases) or "as in the store",
            "preprocessing": dict(cohort.store.spec.settings),
        },
        **{
            f"model {model.name}": {
                "configuration": model.configuration,
                "split": model.origin[1],
                "preprocessing": dict(model.settings),
            }
            for model in models
        },
    }
