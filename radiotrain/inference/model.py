"""Model for inference, whatever it was read from.

`radiotrain.inference.open_model` makes it of a run, a promoted model or an export; everything else here
works with it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from preprocessing.common.config import PreprocessConfig, with_added_settings
from preprocessing.common.errors import InputError
from radiotrain.config.run_config import AugmentConfig, Precision, parse_config
from radiotrain.data.storage import NormalisationRule
from radiotrain.inference.operating_point import Rule
from radiotrain.inference.out_of_range import TrainingImages
from radiotrain.runs.predict_run import TrainedNetwork
from radiotrain.statistics.member_scale import Scales, describe_scales

_DIGITS = 16


@dataclass(frozen=True)
class Member:
    """One network of a model, on its device.

    Parameters
    ----------
    augment
        What its training images were changed by, as the patient's will be.
    seed
        Of its training, and of those changes.
    precision
        That it was trained with.
    scales
        By target, by which its probabilities are calibrated before the mean; None: averaged as predicted.
    """

    trained: TrainedNetwork
    augment: AugmentConfig
    seed: int
    precision: Precision
    scales: Scales | None = None


@dataclass(frozen=True)
class Examinations:
    """By what an examination is recognised that a model's split holds: digests of its voxels."""

    development: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class TrainedModel:
    """A model that is ready to predict.

    Parameters
    ----------
    members
        Its networks, whose mean probability counts, each calibrated first where it has `Member.scales`.
    rules
        One a target, in the order of the networks' outputs.
    preprocessing
        How the images that it reads are made.
    normalisation
        Which of their intensities it was trained on.
    images
        How those of its training patients vary.
    examinations
        Of its development and test patients; None where they are not kept, so that nobody can be
        recognised.
    about
        What it is, in words, without places.
    digest
        From `digest_of`.
    """

    name: str
    members: tuple[Member, ...]
    rules: tuple[Rule, ...]
    preprocessing: PreprocessConfig
    normalisation: NormalisationRule
    images: TrainingImages
    examinations: Examinations | None
    store_fingerprint: str
    about: str
    digest: str
    device: torch.device

    @property
    def covariates(self) -> tuple[str, ...]:
        """Clinical columns that it reads beside images."""
        encoders = [m.trained.encoder for m in self.members if m.trained.encoder is not None]
        return tuple(dict.fromkeys(c.name for encoder in encoders for c in encoder.columns))


def digest_of(networks: Sequence[TrainedNetwork], scales: Sequence[Scales | None] = ()) -> str:
    """Return a digest over all that makes a model's mean, whatever file holds it.

    Parameters
    ----------
    networks
        Whose weights count, and what they make of covariates.
    scales
        Of each network, if they are calibrated before the mean.
    """
    found = hashlib.sha256()
    for trained in networks:
        for name, tensor in sorted(trained.network.state_dict().items()):
            found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
        if trained.encoder is not None:
            found.update(json.dumps(trained.encoder.to_json(), sort_keys=True).encode())
    for of_member in scales:
        if of_member is not None:
            curves = {t: (s.slope, s.intercept) for t, s in of_member.items()}
            found.update(json.dumps(curves, sort_keys=True).encode())
    return found.hexdigest()[:_DIGITS]


def preprocessing_of(settings: Mapping[str, Any], model: str) -> PreprocessConfig:
    """Return how the images that a model reads are made.

    Parameters
    ----------
    settings
        Of the store that it was trained on, as JSON has them; empty where nobody wrote them down.
    model
        What it is called in a sentence.

    Raises
    ------
    InputError
        If `settings` is empty or cannot be understood.
    """
    if not settings:
        raise InputError(
            f"{model} was trained on a store that 'radiotrain preprocess' did not make, so nobody knows how"
            " a new patient's images would have to be made: train on one that it made"
        )
    settings = with_added_settings(settings)
    return parse_config(PreprocessConfig, settings, f"preprocessing settings of {model}")


def describe_training(
    network: str,
    num_networks: int,
    num_patients: int,
    num_epochs: int,
    *,
    is_promoted: bool,
    scales: Sequence[Scales | None] = (),
) -> str:
    """Return what a model is, in words.

    Parameters
    ----------
    num_patients
        That its network was trained on; of several networks the most that one was.
    num_epochs
        Of the only network.
    scales
        Of each network, if they are calibrated before the mean.
    """
    if num_networks > 1:
        said = (
            f"mean of {num_networks} {network} networks, each trained on up to"
            f" {num_patients} patients"
        )
        if any(of_member is not None for of_member in scales):
            said += " and calibrated on its own validation patients before the mean"
        notes = [
            note.rstrip(".")
            for n, of_member in enumerate(scales)
            if of_member is not None
            for note in describe_scales(f"network {n + 1}", of_member)
        ]
        return "; ".join([said, *notes])
    epochs = f"{num_epochs} epoch{'s' * (num_epochs != 1)}"
    said = f"one {network} network, trained on {num_patients} patients for {epochs}"
    return f"{said}, as its sweep found best" if is_promoted else said
