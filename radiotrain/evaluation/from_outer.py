"""Predictions table of a cross-validated test.

Each part is evaluated as `from_runs` evaluates a single split: with its own test set, opened on its own
access log, its own validation patients and its own baseline models. What was trained with the same
configuration on each part is one run of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.evaluation.baselines.predict import (
    Baselines,
    fit_baselines,
    predict_test,
    read_sets,
)
from radiotrain.evaluation.family import (
    TestPlan,
    as_text,
    find_primary,
    headline_pairs,
    plan_of_access,
)
from radiotrain.evaluation.leak_checks import check_outer_parts, notes_on_covariates
from radiotrain.evaluation.model import Model
from radiotrain.evaluation.predicting import (
    Beside,
    Predicting,
    allowed_covariates,
    cautions_about,
    describe_runs,
)
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.published import collection_of
from radiotrain.evaluation.report.characteristics import describe_partitions
from radiotrain.evaluation.report.context import CohortFlow, LabelCounts, OuterCounts, ReportContext
from radiotrain.evaluation.saliency.saliency_maps import find_saliency
from radiotrain.evaluation.saliency.saliency_results import Saliency
from radiotrain.evaluation.shortcuts.shortcut_results import Shortcuts
from radiotrain.evaluation.stability.replicates import (
    add_ensembles,
    name_configurations,
    notes_on_scales,
)
from radiotrain.evaluation.subgroups.covariates import Facts
from radiotrain.evaluation.subgroups.subgroup_tests import find_subgroups
from radiotrain.evaluation.subgroups.variables import facts_of_split
from radiotrain.runs.locations import open_inputs
from radiotrain.runs.predict_run import describe_draws
from radiotrain.split.access_log import AccessRecord
from radiotrain.split.outer_folds import check_division
from radiotrain.split.split import OuterPart, Split, notes_on
from radiotrain.split.test_set_access import TestAccess, open_test_set, read_test_log


@dataclass
class _Part:
    """One outer part: its split, the models that were trained on it, and what is known of them."""

    outer: OuterPart
    url: str
    split: Split
    models: list[Model] = field(default_factory=list)
    baselines: Baselines | None = None
    access: TestAccess | None = None

    @property
    def number(self) -> int:
        return self.outer.number


def predict_outer(
    models: Sequence[Model],
    splits: Mapping[str, Split],
    store_url: str | None,
    purpose: str,
    progress: Callable[[str, int], Any],
    *,
    baselines: bool = True,
    num_draws: int = 0,
    num_salient: int = 0,
    radiomics: bool = False,
    primary: Sequence[str] = (),
) -> tuple[pd.DataFrame, ReportContext]:
    """Predict the validation and test patients of each outer part with the models trained on it.

    Parameters
    ----------
    models
        Of all parts of one division.
    splits
        Split of each model, by its URL.
    store_url, purpose, progress, baselines, num_draws, num_salient, radiomics, primary
        As of `from_runs.predict_runs`. Shortcuts and saliency are looked for in the first part.

    Raises
    ------
    InputError
        If a part is missing, or the models do not belong together; no test set is opened then.
    """
    _check_one_division(models, splits)
    store, parts = _open_parts(models, splits, store_url)
    notes = check_division([part.split for part in parts])
    known = _Names.of(models)
    _check_each_part_has_each(parts, known)
    confirmatory = find_primary(primary, headline_pairs(known.headlines(models))) if primary else ()
    tables: list[pd.DataFrame] = []
    predicting = {part.number: Predicting(store, part.split, num_draws) for part in parts}
    with progress("predict", len(models)) as advance:
        # All that could be refused is refused before the first test set is opened.
        for part in parts:
            for model in part.models:
                rows = predicting[part.number].validation(model)
                tables.append(known.renamed(rows, model, part.number))
                advance()
    named = [replace(model, name=known.run[model.url]) for model in parts[0].models]
    beside = Beside.fit(store, parts[0].split, named, progress, radiomics) if baselines else None
    if beside is not None:
        parts[0].baselines = beside.fitted
        _fit_baselines(store, parts[1:], models, progress, radiomics)
    with progress("test", len(models)) as advance:
        for part in parts:
            access = part.access = _open(part, purpose, confirmatory)
            for model in part.models:
                rows = predicting[part.number].test(model, access)
                tables.append(known.renamed(rows, model, part.number))
                advance()
            tables += _rows_of_baselines(part, store, access)
    table = pd.concat([t for t in tables if len(t)], ignore_index=True)
    table = add_ensembles(validate_predictions(known.with_configurations(table)))
    accesses = [part.access for part in parts if part.access is not None]
    facts = _facts(store, parts)
    leak_checks = check_outer_parts(store, [p.split for p in parts], accesses, progress)
    subgroups = find_subgroups(table, facts)
    logs = {p.url: read_test_log(p.url, [m.url for m in p.models]) for p in parts}
    problems = [f"{url}: {problem}" for url, log in logs.items() for problem in log.problems]
    shortcuts, saliency = _of_first_part(
        store, parts[0], named, beside, table, num_salient, progress
    )
    first = parts[0].split
    context = ReportContext(
        flow=_flow(store, parts, models),
        facts=describe_runs(store, first, named),
        openings=tuple(_by_time(log.records for log in logs.values())),
        log_problems=tuple(problems),
        provenance=_provenance(store, parts, known, num_draws),
        warnings=(
            *problems,
            *(finding for check in leak_checks for finding in check.findings),
            *notes,
            *notes_on(first, store, parts[0].url),
            *subgroups.warnings,
            *dict.fromkeys(cautions_about(models)),
            *notes_on_covariates({m.name: m.config.network for m in models}, store, first),
            *notes_on_scales(table),
            *_notes_of_baselines(parts),
            *_about_first_part(parts[0], shortcuts, saliency),
        ),
        leak_checks=leak_checks,
        shortcuts=shortcuts,
        subgroups=subgroups,
        saliency=saliency,
        plan=_plan(confirmatory, accesses),
        cohort=collection_of(store),
        # Every patient is in development and test, so that there is one column.
        characteristics=describe_partitions(
            {"All patients": sorted({i for part in parts for i in part.split.test_ids})},
            facts,
            tuple(dict.fromkeys(t for model in models for t in model.config.targets)),
        ),
        draws=_draws(parts, predicting, known),
        generated_at=datetime.now(UTC).isoformat(timespec="minutes"),
    )
    return table, context


def _check_one_division(models: Sequence[Model], splits: Mapping[str, Split]) -> None:
    """Refuse models of which some are of a single split, or of another division."""
    of_division: dict[str, str] = {}
    for model in models:
        outer = splits[model.config.split].outer
        if outer is None:
            inside = next(m for m in models if splits[m.config.split].outer is not None)
            raise InputError(
                f"{model.name} was trained on the single split {model.config.split}, but {inside.name} on an"
                " outer part of a cross-validated test: evaluate them one after the other"
            )
        if model.record.split_fingerprint != splits[model.config.split].fingerprint:
            raise InputError(
                f"{model.url} was trained on another split than {outer} in {model.config.split}: name the"
                " split that it was trained on, or the file that lists all of them"
            )
        of_division.setdefault(outer.division, model.name)
    if len(of_division) > 1:
        raise InputError(
            f"{' and '.join(of_division.values())} were trained on outer parts of {len(of_division)} divisions"
            " of the patients, expected one: evaluate those of one 'radiotrain split --outer' together"
        )


def _open_parts(
    models: Sequence[Model], splits: Mapping[str, Split], store_url: str | None
) -> tuple[Store, list[_Part]]:
    store: Store | None = None
    parts: dict[int, _Part] = {}
    for url in dict.fromkeys(model.config.split for model in models):
        mine = [model for model in models if model.config.split == url]
        opened, split = open_inputs(store_url or mine[0].config.store, url)
        if store is not None and opened.fingerprint != store.fingerprint:
            raise InputError(
                f"the models were trained with the stores {store.url} and {opened.url}, which differ,"
                " expected one: name it with --store"
            )
        store = store or opened
        outer = splits[url].outer
        if split.outer is None or outer is None:
            raise InputError(f"split {url} was replaced while it was read: evaluate again")
        if outer.number in parts and parts[outer.number].split.fingerprint != split.fingerprint:
            raise InputError(f"{url} and {parts[outer.number].url} are both {outer}: name one")
        part = parts.setdefault(outer.number, _Part(outer, url, split))
        part.models += mine
    if store is None:
        raise InputError("got no models, expected one of each outer part")
    return store, [parts[number] for number in sorted(parts)]


@dataclass(frozen=True)
class _Names:
    """What models of different parts are called together.

    Parameters
    ----------
    run
        Name in the table, of each model by its URL.
    configuration, seed, averaging
        By that name; those of a promoted model are its own.
    """

    run: Mapping[str, str]
    configuration: Mapping[str, str]
    seed: Mapping[str, int]
    averaging: Mapping[str, str]

    @classmethod
    def of(cls, models: Sequence[Model]) -> _Names:
        """Name trained runs by configuration, seed and inner fold, promoted models by their names."""
        trained = [model for model in models if model.promoted is None]
        configurations = name_configurations({model.url: model.config for model in trained})
        members: dict[str, set[tuple[int, int | None]]] = {}
        for model in trained:
            place = model.config.seed, model.config.fold
            members.setdefault(configurations[model.url], set()).add(place)
        run = {model.url: model.name for model in models if model.promoted is not None}
        configuration, seed, averaging = {}, {}, {}
        for model in trained:
            name = configurations[model.url]
            words = name + _distinguished(model, members[name])
            run[model.url] = words
            configuration[words], seed[words] = name, model.config.seed
            averaging[words] = model.config.averaging
        return cls(run, configuration, seed, averaging)

    def headlines(self, models: Sequence[Model]) -> pd.DataFrame:
        """Return a table of a made-up patient, to know what will get a headline before any is read."""
        pairs = dict.fromkeys((self.run[m.url], t) for m in models for t in m.config.targets)
        rows = [
            {
                "run": run,
                "patient_id": "any",
                "target": target,
                "split": "test",
                "fold": None,
                "label": 0,
                "probability": 0.5,
                "outer": 1,
            }
            for run, target in pairs
        ]
        return add_ensembles(validate_predictions(self.with_configurations(pd.DataFrame(rows))))

    def renamed(self, table: pd.DataFrame, model: Model, number: int) -> pd.DataFrame:
        """Return a model's rows under the common name, with the number of their outer part."""
        return table.assign(run=self.run[model.url], outer=number)

    def with_configurations(self, table: pd.DataFrame) -> pd.DataFrame:
        """Add which configuration and seed each run has."""
        return table.assign(
            configuration=[self.configuration.get(run, "") for run in table["run"]],
            seed=pd.array([self.seed.get(run) for run in table["run"]], dtype="Int64"),
            averaging=[self.averaging.get(run, "") for run in table["run"]],
            outer=table["outer"].astype("Int64"),
        )


def _distinguished(model: Model, places: set[tuple[int, int | None]]) -> str:
    """Return what tells trainings of one configuration apart: seed and inner fold, where they differ."""
    words = ""
    if len({seed for seed, _ in places}) > 1:
        words += f", seed {model.config.seed}"
    if len({fold for _, fold in places}) > 1:
        words += f", fold {'none' if model.config.fold is None else model.config.fold}"
    return words


def _check_each_part_has_each(parts: Sequence[_Part], known: _Names) -> None:
    """Refuse a run that not every part has once: its patients would not all be tested by it."""
    for name in dict.fromkeys(known.run.values()):
        for part in parts:
            mine = [model for model in part.models if known.run[model.url] == name]
            if len(mine) > 1:
                raise InputError(
                    f"{mine[0].url} and {mine[1].url} are both {name!r} of {part.outer}, expected one:"
                    " leave one out, or train it with another seed"
                )
            if not mine:
                others = [p.outer.part for p in parts for m in p.models if known.run[m.url] == name]
                raise InputError(
                    f"{name!r} was given for outer part{'s' * (len(others) > 1)}"
                    f" {', '.join(map(str, others))} but not for {part.outer}, expected one of each part with"
                    " the same settings, or models that 'radiotrain promote' gave the same name"
                )


def _fit_baselines(
    store: Store,
    parts: Sequence[_Part],
    models: Sequence[Model],
    progress: Callable[[str, int], Any],
    radiomics: bool,
) -> None:
    targets = tuple(dict.fromkeys(t for model in models for t in model.config.targets))
    allowed = allowed_covariates(models)
    with progress("baselines", len(parts)) as advance:
        for part in parts:
            ids = part.split.development_ids
            sets = read_sets(store, part.split, ids, radiomics=radiomics, allowed=allowed)
            part.baselines = fit_baselines(store, part.split, targets, sets=sets, allowed=allowed)
            advance()


def _rows_of_baselines(part: _Part, store: Store, access: TestAccess) -> Iterator[pd.DataFrame]:
    if part.baselines is not None:
        yield part.baselines.validation.assign(outer=part.number)
        yield predict_test(part.baselines, store, part.split, access).assign(outer=part.number)


def _notes_of_baselines(parts: Sequence[_Part]) -> tuple[str, ...]:
    """Return each note once, with the parts that it is about."""
    about: dict[str, list[int]] = {}
    for part in parts:
        for note in part.baselines.notes if part.baselines is not None else ():
            about.setdefault(note, []).append(part.number)
    return tuple(
        note if len(numbers) == len(parts) else f"Outer part {', '.join(map(str, numbers))}: {note}"
        for note, numbers in about.items()
    )


def _of_first_part(
    store: Store,
    part: _Part,
    models: Sequence[Model],
    beside: Beside | None,
    table: pd.DataFrame,
    num_salient: int,
    progress: Callable[[str, int], Any],
) -> tuple[Shortcuts | None, Saliency | None]:
    """Return what is looked for in one part only: its patients are most of all, its networks like the others."""
    if part.access is None:
        raise InputError(f"the test set of {part.outer} is sealed")
    mine = table[table["outer"] == part.number].drop(columns="outer")
    shortcuts = None
    if beside is not None:
        shortcuts = beside.shortcuts(store, part.split, mine, part.access, progress, None)
    if not num_salient:
        return shortcuts, None
    found = find_saliency(models, store, part.split, mine, part.access, num_salient, progress)
    return shortcuts, found


def _about_first_part(
    part: _Part, shortcuts: Shortcuts | None, saliency: Saliency | None
) -> Iterator[str]:
    looked = [
        what
        for what, found in (("shortcuts", shortcuts), ("saliency", saliency))
        if found is not None
    ]
    if looked:
        yield (
            f"The sections on {' and '.join(looked)} are about {part.outer}: its networks, its"
            f" {len(part.split.development_ids)} development and {len(part.split.test_ids)} test patients."
        )


def _open(part: _Part, purpose: str, primary: Sequence[tuple[str, str]]) -> TestAccess:
    """Open the test set of one part, on its own log."""
    names = [model.name for model in part.models]
    beside = () if part.baselines is None else part.baselines.validation["run"]
    return open_test_set(
        part.url,
        purpose,
        list(dict.fromkeys([*names, *map(str, beside)])),
        {model.name: model.configuration for model in part.models},
        [model.url for model in part.models],
        part.split,
        primary=[as_text(pair) for pair in primary],
    )


def _plan(primary: Sequence[tuple[str, str]], accesses: Sequence[TestAccess]) -> TestPlan:
    """Return what all parts' logs make of the primary results: the least favourable."""
    plans = [plan_of_access(primary, access.record, access.others) for access in accesses]
    return TestPlan(
        tuple(primary),
        all(plan.on_record for plan in plans),
        next((plan.too_late for plan in plans if plan.too_late), ""),
        max(plan.num_earlier for plan in plans),
    )


def _facts(store: Store, parts: Sequence[_Part]) -> Facts:
    """Return what is known of all patients; each split has them all."""
    first = parts[0]
    if first.access is None:
        raise InputError(f"the test set of {first.outer} is sealed")
    return facts_of_split(store, first.split, first.access)


def _by_time(logs: Iterator[Sequence[AccessRecord]]) -> list[AccessRecord]:
    return sorted((record for log in logs for record in log), key=lambda record: record.time)


def _draws(
    parts: Sequence[_Part], predicting: Mapping[int, Predicting], known: _Names
) -> pd.DataFrame | None:
    """Return probabilities of changed images under the common names of the runs."""
    found = []
    for part in parts:
        drawn = predicting[part.number].all_draws
        if drawn is not None:
            names = {model.name: known.run[model.url] for model in part.models}
            found.append(drawn.assign(run=drawn["run"].map(names)))
    return pd.concat(found, ignore_index=True) if found else None


def _flow(store: Store, parts: Sequence[_Part], models: Sequence[Model]) -> CohortFlow:
    """Return who came in, and that all who stayed are tested."""
    split = parts[0].split
    reasons = {r.patient_id: next(f for f in r.findings if f.excludes) for r in store.excluded}
    excluded = [(i, finding.code, finding.message) for i, finding in reasons.items()]
    in_split = {*split.patient_ids}
    excluded += [
        (i, "not_in_split", "it is in the store, but not in the splits of the runs")
        for i in store.patient_ids
        if i not in in_split
    ]
    targets = dict.fromkeys(t for model in models for t in model.config.targets)
    labels = []
    for target in targets:
        column = store.labels[:, store.spec.targets.index(target)]
        found = [int(column[store.index_of(i)]) for i in split.patient_ids]
        labels.append(LabelCounts(target, "test", found.count(1), found.count(0), found.count(-1)))
    sizes = sorted({len(part.split.test_ids) for part in parts})
    size = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    outer = parts[0].outer
    repeats = (
        ""
        if len(parts) == outer.num_parts
        else f" in each of {len(parts) // outer.num_parts} repeats"
    )
    return CohortFlow(
        num_patients=len(store.spec.patient_ids),
        excluded=tuple(excluded),
        num_train=0,
        num_validation=0,
        num_test=len(split.patient_ids),
        note=(
            f"Cross-validated test: every patient is a test patient once{repeats}, in one of"
            f" {outer.num_parts} outer parts of {size} patients; for each part all other patients were"
            f" divided into {split.num_folds} folds for training and validation, stratified jointly over"
            f" {', '.join(split.targets)}."
        ),
        labels=tuple(labels),
        outer=tuple(
            OuterCounts(p.number, str(p.outer), len(p.split.test_ids), len(p.split.development_ids))
            for p in parts
        ),
    )


def _provenance(
    store: Store, parts: Sequence[_Part], known: _Names, num_draws: int
) -> dict[str, Any]:
    first = parts[0]
    found: dict[str, Any] = {
        "store": f"{store.url}, patients of the splits: fingerprint {first.split.patients_fingerprint}",
        "split": f"division {first.outer.division} into outer parts, seed {first.split.seed}",
        **{
            f"split of {part.outer}": f"{part.url}, fingerprint {part.split.fingerprint}"
            for part in parts
        },
        "fingerprints": {
            "store": first.split.patients_fingerprint,
            **{f"split of {part.outer}": part.split.fingerprint for part in parts},
        },
        "preprocessing": dict(store.spec.settings),
        "software": dict(first.models[0].record.versions),
    }
    for part in parts:
        for model in part.models:
            name = f"{known.run[model.url]}, {part.outer}"
            if model.promoted is not None:
                about = {"what": model.promoted.describe(part.split)} | asdict(model.promoted)
                found[f"model {name}"] = about
            found[f"run {name}"] = model.config.model_dump(mode="json")
        if num_draws:
            found[f"test-time augmentation, {part.outer}"] = {
                model.name: describe_draws(model.config, num_draws) for model in part.models
            }
    if first.baselines is not None:
        found["baseline models"] = dict(first.baselines.features)
    return found
