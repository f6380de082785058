"""All that predicting a new patient takes: networks, calibration, threshold, how images are made.

`load_model` reads it from a run or from a model of ``radiotrain promote``. Whoever keeps a model in
another form makes the same value of it, and everything else here works with that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from preprocessing import files
from preprocessing.config import PreprocessConfig
from preprocessing.errors import InputError, MissingPathError
from radiotrain.config import RunConfig, parse_config
from radiotrain.distributed import choose_device
from radiotrain.evaluation.model import Model, open_models
from radiotrain.inputs import Span, TrainingInputs, read_inputs
from radiotrain.new_patient.operating_point import Rule, make_rule, no_rule
from radiotrain.predict import TrainedNetwork, load_network
from radiotrain.runs import RunFolder

_DIGITS = 16


@dataclass(frozen=True)
class Member:
    """One network of a model, on its device.

    Parameters
    ----------
    config
        That it was trained with: its augmentation and precision count here.
    """

    trained: TrainedNetwork
    config: RunConfig


@dataclass(frozen=True)
class TrainedModel:
    """A model that is ready to predict.

    Parameters
    ----------
    members
        Its networks, whose mean probability counts.
    rules
        One a target, in the order of the networks' outputs.
    preprocessing
        How the images that it reads are made.
    inputs
        How those of its training patients vary.
    about
        What it is, in words, without places.
    digest
        Over the networks' weights.
    """

    name: str
    members: tuple[Member, ...]
    rules: tuple[Rule, ...]
    preprocessing: PreprocessConfig
    inputs: TrainingInputs
    about: str
    digest: str
    device: torch.device

    @property
    def covariates(self) -> tuple[str, ...]:
        """Clinical columns that it reads beside images."""
        return tuple(dict.fromkeys(c for m in self.members for c in m.config.network.covariates))


def load_model(url: str, device: str = "auto") -> TrainedModel:
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
    members, digest = [], hashlib.sha256()
    for member in model.members:
        folder = RunFolder(member)
        trained = load_network(folder.best_weights)
        trained.network.to(chosen).requires_grad_(False)
        config = folder.read_config()
        assert config is not None
        members.append(Member(trained, config))
        digest.update(files.read_bytes(folder.best_weights))
    inputs = merge_inputs([read_inputs(member) for member in model.members])
    return TrainedModel(
        name=model.name,
        members=tuple(members),
        rules=_rules(model),
        preprocessing=_preprocessing(model.url, inputs.settings),
        inputs=inputs,
        about=_about(model, inputs),
        digest=digest.hexdigest()[:_DIGITS],
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
            f"no model at {files.absolute(url)}: name a folder of 'radiotrain promote', or a run folder"
            " of 'radiotrain train'"
        ) from None
    return model


def _rules(model: Model) -> tuple[Rule, ...]:
    targets = model.config.targets
    if model.promoted is None and model.config.fold is None:
        why = "the run was trained on all development patients, so none could validate it"
        return tuple(no_rule(target, why) for target in targets)
    table = RunFolder(model.url).read_predictions().assign(run=model.name)
    return tuple(make_rule(table, model.name, target) for target in targets)


def _preprocessing(url: str, settings: Mapping[str, Any]) -> PreprocessConfig:
    if not settings:
        raise InputError(
            f"model {url} was trained on a store that 'radiotrain preprocess' did not make, so nobody"
            " knows how a new patient's images would have to be made: train on one that it made"
        )
    return parse_config(PreprocessConfig, settings, f"preprocessing settings of {url}")


def _about(model: Model, inputs: TrainingInputs) -> str:
    network = model.config.network.name
    trained = f"trained on {inputs.num_patients} patients"
    if len(model.members) > 1:
        return (
            f"mean of {len(model.members)} {network} networks of a cross-validation, each"
            f" {trained.replace('trained on', 'trained on up to')}"
        )
    epochs = f"{model.record.num_epochs} epoch{'s' * (model.record.num_epochs != 1)}"
    if model.promoted is not None:
        return f"one {network} network, {trained} for {epochs}, as its sweep found best"
    return f"one {network} network, {trained} for {epochs}"
