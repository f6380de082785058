"""A run, or a model of ``radiotrain promote``, as a model that predicts new patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from preprocessing import files
from preprocessing.errors import InputError, MissingPathError
from radiotrain.distributed import choose_device
from radiotrain.evaluation.model import Model, open_models
from radiotrain.export.meaning import NOBODY_VALIDATED
from radiotrain.inputs import Span, TrainingInputs, read_inputs
from radiotrain.new_patient.operating_point import Rule, make_rule, no_rule
from radiotrain.new_patient.out_of_range import TrainingImages
from radiotrain.new_patient.trained_model import (
    Examinations,
    Member,
    TrainedModel,
    describe_training,
    digest_of,
    preprocessing_of,
)
from radiotrain.predict import load_network
from radiotrain.runs import open_run


def load_run_model(url: str, device: str = "auto") -> TrainedModel:
    """Load a run's network, or the networks of a promoted model.

    Raises
    ------
    MissingPathError
        If there is neither at `url`, or it does not say how its images were made.
    InputError
        If it is not finished, or was not trained on a store of ``radiotrain preprocess``.
    """
    model = _open(url)
    chosen = choose_device(device)
    networks = [load_network(member) for member in model.members]
    digest = digest_of(networks)
    members, each = [], []
    for member, trained in zip(model.members, networks, strict=True):
        trained.network.to(chosen).requires_grad_(False)
        _, config, record = open_run(member)
        members.append(Member(trained, config.augment, config.seed, config.precision))
        each.append(read_inputs(member, record))
    inputs = merge_inputs(each)
    return TrainedModel(
        name=model.name,
        members=tuple(members),
        rules=_rules(model),
        preprocessing=preprocessing_of(inputs.settings, f"model {model.url}"),
        images=TrainingImages(inputs.num_patients, inputs.spans, inputs.counts, "extremes"),
        examinations=Examinations(inputs.development, inputs.test),
        store_fingerprint=inputs.store_fingerprint,
        about=describe_training(
            model.config.network.name,
            len(members),
            inputs.num_patients,
            model.record.num_epochs,
            is_promoted=model.promoted is not None,
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


def _rules(model: Model) -> tuple[Rule, ...]:
    targets = model.config.targets
    if model.promoted is None and model.config.fold is None:
        return tuple(no_rule(target, NOBODY_VALIDATED) for target in targets)
    table = model.kept_predictions()
    return tuple(make_rule(table, model.name, target) for target in targets)
