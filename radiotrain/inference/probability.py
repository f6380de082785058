"""Probabilities of one patient, their spread and classification.

Axis legend: M networks, V views (the image as it is, then random changes of it), T targets, P phases,
R rows, C columns, S slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preprocessing.store import PatientRecord
from radiotrain.data import augmentation
from radiotrain.distributed import autocast_dtype
from radiotrain.inference.model import Member, TrainedModel
from radiotrain.inference.operating_point import Rule
from radiotrain.networks.fusion import call_network
from radiotrain.runs.predict_run import draw_changes
from radiotrain.statistics.member_scale import on_one_scale

Floats = NDArray[np.float64]
Call = Literal["at or above", "below"]


@dataclass(frozen=True)
class Spread:
    """How far apart the predictions of a patient lie, after calibration.

    Parameters
    ----------
    num_networks, num_views
        Whose product is how many predictions there are.
    sd, low, high
        Of them; None where there is one only.
    num_same_call
        Predictions on the same side of the threshold as the probability; None without a threshold.
    """

    num_networks: int
    num_views: int
    sd: float | None
    low: float | None
    high: float | None
    num_same_call: int | None

    @property
    def num_predictions(self) -> int:
        """How many there are."""
        return self.num_networks * self.num_views


@dataclass(frozen=True)
class Answer:
    """What a model says of one target.

    Parameters
    ----------
    probability
        Of the mean network on the image as it is, calibrated where there is a calibration.
    uncalibrated
        The networks' mean, before the calibration of the mean.
    threshold
        On the scale of `probability`; None where there is none.
    call
        Which side of the threshold the probability is on.
    """

    target: str
    probability: float
    uncalibrated: float
    is_calibrated: bool
    threshold: float | None
    call: Call | None
    spread: Spread


def ask(model: TrainedModel, images: Tensor, record: PatientRecord, num_draws: int) -> Floats:
    """Return the probability that each network gives each view, float64 (M, V, T), as their mean takes it.

    Parameters
    ----------
    images
        float32 (1, P, R, C, S), normalised, on the CPU.
    record
        Of the patient: covariates, and voxel size for the changes.
    num_draws
        Random changes of the image, as in training, beside the image itself; of a run that was
        trained without any, the left-right mirror instead, once.
    """
    images = images.to(model.device)
    targets = [rule.target for rule in model.rules]
    spacing_mm = torch.tensor([record.spacing_mm or (1.0, 1.0, 1.0)])
    answers = []
    for member in model.members:
        views = [images]
        for draw in draw_changes(member.augment, member.seed, 1, num_draws):
            views.append(augmentation.apply(images, draw.rows(0, 1), spacing_mm))
        covariates = encode(member, record).to(model.device)
        each = [_probabilities(member, view, covariates) for view in views]
        answers.append(on_one_scale(each, targets, member.scales))
    return np.array(answers, dtype=np.float64)


def encode(member: Member, record: PatientRecord) -> Tensor:
    """Return a patient's covariates as a network reads them, float32 (1, K); K is 0 for none."""
    encoder = member.trained.encoder
    if encoder is None:
        return torch.empty((1, 0))
    return torch.from_numpy(encoder.transform([record]))


def read_answer(rule: Rule, probabilities: Floats) -> Answer:
    """Put one target's probabilities right and call it.

    Parameters
    ----------
    probabilities
        float64 (M, V), the first view being the image as it is.
    """
    own = float(probabilities[:, 0].mean())
    calibrated, each, threshold = own, probabilities, rule.threshold
    if rule.calibration is not None:
        calibrated = float(rule.calibration.apply(own))
        each = rule.calibration.apply(probabilities)
        threshold = None if threshold is None else float(rule.calibration.apply(threshold))
    call: Call | None = None
    num_same = None
    # Compared before the calibration of the mean, as the test of the model does.
    if rule.threshold is not None:
        call = "at or above" if own >= rule.threshold else "below"
        num_same = int(((probabilities >= rule.threshold) == (call == "at or above")).sum())
    several = each.size > 1
    return Answer(
        target=rule.target,
        probability=calibrated,
        uncalibrated=own,
        is_calibrated=rule.calibration is not None,
        threshold=threshold,
        call=call,
        spread=Spread(
            num_networks=each.shape[0],
            num_views=each.shape[1],
            sd=float(np.std(each, ddof=1)) if several else None,
            low=float(each.min()) if several else None,
            high=float(each.max()) if several else None,
            num_same_call=num_same,
        ),
    )


def _probabilities(member: Member, view: Tensor, covariates: Tensor) -> list[float]:
    network, device = member.trained.network, view.device
    dtype = autocast_dtype(member.precision, device)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype is not None):
        logits = call_network(network, view, covariates).float()[0].cpu().double()
    return [float(p) for p in torch.sigmoid(logits)]
