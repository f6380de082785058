"""Model for inference from a run or a promoted model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.storage import files
from radiotrain.data.storage import NormalisationRule
from radiotrain.distributed import choose_device
from radiotrain.evaluation.model import Model, open_models
from radiotrain.evaluation.stability.replicates import (
    name_configurations,
    on_one_scale,
    scales_of_runs,
)
from radiotrain.export.describe import NOBODY_VALIDATED
from radiotrain.inference.model import (
    Examinations,
    Member,
    TrainedModel,
    describe_training,
    digest_of,
    preprocessing_of,
)
from radiotrain.inference.operating_point import Rule, make_rule, no_rule
from radiotrain.inference.out_of_range import TrainingImages
from radiotrain.runs.predict_run import load_network
from radiotrain.runs.provenance import Span, TrainingInputs, read_inputs
from radiotrain.runs.run_folder import open_run
from radiotrain.statistics.member_scale import Scales


def load_run_models(urls: Sequence[str], device: str = "auto") -> tuple[TrainedModel, ...]:
    """Load runs and promoted models; runs of one configuration become one model, their mean.

    Such runs differ in seed and fold only. Their mean has the name that ``radiotrain evaluate`` gives it, and
    its rules come from the validation patients of all of them, each predicted by networks that had not seen it.

    Raises
    ------
    MissingPathError
        If there is neither at a URL, or it does not say how its images were made.
    InputError
        If one is not finished, or was not trained on a store of ``radiotrain preprocess``; if runs of one
        configuration are of different splits, or the same network.
    """
    models = [_open(url) for url in urls]
    names = name_configurations({m.url: m.config for m in models if m.promoted is None})
    groups: dict[str, list[Model]] = {}
    for model in models:
        groups.setdefault(names.get(model.url, model.url), []).append(model)
    found = []
    for name, group in groups.items():
        if len(group) > 1:
            _check_replicates(group)
            found.append(_load(group, f"{name}, mean of {len(group)}", f"model {name}", device))
        else:
            found.append(_load(group, group[0].name, f"model {group[0].url}", device))
    return tuple(found)


def _check_replicates(group: Sequence[Model]) -> None:
    """Refuse runs whose mean would not be that of several networks of one cross-validation."""
    names = ", ".join(model.name for model in group)
    if len({model.record.split_fingerprint for model in group}) > 1:
        raise InputError(
            f"runs {names} have one configuration but were trained on different splits, so that some may have"
            " trained on the others' test patients: predict by those of one split"
        )
    weights = [model.record.weights_digest for model in group]
    if len(set(weights)) < len(weights):
        raise InputError(
            f"of runs {names} two have the same weights, so that one network would count twice: name each once"
        )


def _load(models: Sequence[Model], name: str, what: str, device: str) -> TrainedModel:
    """Load the mean of all networks of some models of one configuration."""
    first = models[0]
    chosen = choose_device(device)
    urls = [member for model in models for member in model.members]
    networks = [load_network(member) for member in urls]
    table = _validation_table(models)
    scales = _scales(models, table)
    digest = digest_of(networks, scales)
    members, each = [], []
    rules: set[NormalisationRule] = set()
    for member, trained, of_member in zip(urls, networks, scales, strict=True):
        trained.network.to(chosen).requires_grad_(False)
        _, config, record = open_run(member)
        members.append(Member(trained, config.augment, config.seed, config.precision, of_member))
        each.append(read_inputs(member, record))
        rules.add(config.train.normalisation)
    if len(rules) > 1:
        raise InputError(
            f"networks of {what} were trained with different train.normalisation, so that no one image is right"
            " for all: predict by those of one"
        )
    inputs = merge_inputs(each)
    return TrainedModel(
        name=name,
        members=tuple(members),
        rules=_rules(models, table, name),
        preprocessing=preprocessing_of(inputs.settings, what),
        normalisation=rules.pop(),
        images=TrainingImages(inputs.num_patients, inputs.spans, inputs.counts, "extremes"),
        examinations=Examinations(inputs.development, inputs.test),
        store_fingerprint=inputs.store_fingerprint,
        about=describe_training(
            first.config.network.name,
            len(members),
            inputs.num_patients,
            first.record.num_epochs,
            is_promoted=first.promoted is not None,
            scales=scales,
        ),
        digest=digest,
        device=chosen,
    )


def merge_inputs(each: Sequence[TrainingInputs]) -> TrainingInputs:
    """Return the inputs of an ensemble: what any of its networks has seen.

    Raises
    ------
    InputError
        If their images were made in different ways.
    """
    first = each[0]
    if any(other.settings != first.settings for other in each):
        raise InputError(
            "the model's networks were trained on images made in different ways: promote again"
        )
    spans: dict[str, Span] = {}
    for other in each:
        for name, span in other.spans.items():
            known = spans.get(name, span)
            spans[name] = Span(
                low=min(known.low, span.low),
                median=(known if known.num_known >= span.num_known else span).median,
                high=max(known.high, span.high),
                num_known=max(known.num_known, span.num_known),
            )
    names = dict.fromkeys(name for other in each for name in other.counts)
    counts: dict[str, dict[str, int]] = {name: {} for name in names}
    for other in each:
        for name, values in other.counts.items():
            for value, num in values.items():
                counts[name][value] = max(num, counts[name].get(value, 0))
    return replace(
        first,
        spans=spans,
        counts=counts,
        num_patients=max(other.num_patients for other in each),
        development=tuple(sorted({digest for other in each for digest in other.development})),
        test=tuple(sorted({digest for other in each for digest in other.test})),
    )


def _open(url: str) -> Model:
    try:
        (model,) = open_models([url])
    except MissingPathError:
        promoted = files.list_names(files.join(files.absolute(url), "promoted"))
        if promoted:
            raise InputError(
                f"{files.absolute(url)} is a sweep, expected a model: name one of"
                f" {', '.join(f'promoted/{name}' for name in promoted)} in it"
            ) from None
        raise MissingPathError(
            f"no model at {files.absolute(url)}: name a folder of 'radiotrain promote', a run folder of"
            " 'radiotrain train', or what 'radiotrain export --format safetensors' wrote"
        ) from None
    return model


def _validation_table(models: Sequence[Model]) -> pd.DataFrame | None:
    """Return what is kept of the models' validation patients; None where no fold validated any of them."""
    validated = [m for m in models if m.promoted is not None or m.config.fold is not None]
    if not validated:
        return None
    # Two runs in different folders may have one name.
    kept = [m.kept_predictions().assign(run=m.url, averaging=m.config.averaging) for m in validated]
    return pd.concat(kept, ignore_index=True)


def _scales(models: Sequence[Model], table: pd.DataFrame | None) -> list[Scales | None]:
    """Return the scales of all networks: a promoted model's own, of several runs those of their mean."""
    if len(models) == 1:
        return list(models[0].scales)
    found = {} if table is None else scales_of_runs(table, [m.url for m in models])
    return [found.get(m.url) for m in models]


def _rules(models: Sequence[Model], table: pd.DataFrame | None, name: str) -> tuple[Rule, ...]:
    targets = models[0].config.targets
    if table is None:
        return tuple(no_rule(target, NOBODY_VALIDATED) for target in targets)
    if len(models) > 1:
        table = on_one_scale(table)
    return tuple(make_rule(table.assign(run=name), name, target) for target in targets)
