"""Probability, spread and call, against arithmetic by hand and networks whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import Tensor, nn

from preprocessing.common.config import PreprocessConfig
from preprocessing.store import PatientRecord
from radiotrain.config.run_config import AugmentConfig
from radiotrain.inference.model import Member, TrainedModel
from radiotrain.inference.operating_point import Rule, no_rule
from radiotrain.inference.out_of_range import TrainingImages
from radiotrain.inference.probability import ask, read_answer
from radiotrain.runs.predict_run import TrainedNetwork
from radiotrain.statistics.recalibration import PlattCurve

CURVE = PlattCurve(0.5, 1.0, 20, 12)
RECORD = PatientRecord(index=0, patient_id="patient", status="stored", spacing_mm=(1.0, 1.0, 2.0))


class MeanOf(nn.Module):
    """Two logits: the mean over half of the image, which a mirror changes, and its double."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain

    def forward(self, images: Tensor) -> Tensor:
        logit = self.gain * images[:, :, :, : images.shape[3] // 2].mean(dim=(1, 2, 3, 4))
        return torch.stack([logit, 2 * logit], dim=1)


def model(*gains: float, augmented: bool = False) -> TrainedModel:
    changes = AugmentConfig(enabled=augmented)
    members = tuple(
        Member(TrainedNetwork(MeanOf(gain).eval(), None), changes, 0, "auto") for gain in gains
    )
    return TrainedModel(
        normalisation="plain",
        name="model",
        members=members,
        rules=(no_rule("ER", "none"), no_rule("PR", "none")),
        preprocessing=PreprocessConfig(),
        images=TrainingImages(0, {}, {}, "extremes"),
        examinations=None,
        store_fingerprint="",
        about="",
        digest="",
        device=torch.device("cpu"),
    )


@pytest.fixture
def images() -> Tensor:
    return torch.randn((1, 2, 8, 8, 6), generator=torch.Generator().manual_seed(0))


def rule(threshold: float | None, calibration: PlattCurve | None = CURVE) -> Rule:
    return Rule("ER", calibration, "" if calibration else "why", threshold, "", None, None)


def test_each_network_is_asked_for_each_target(images: Tensor) -> None:
    found = ask(model(1.0, 3.0), images, RECORD, num_draws=0)
    mean = float(images[:, :, :, :4].mean())
    expected = expit([[[mean, 2 * mean]], [[3 * mean, 6 * mean]]])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_augmentation_the_other_view_is_the_mirror(images: Tensor) -> None:
    found = ask(model(1.0), images, RECORD, num_draws=5)
    assert found.shape == (1, 2, 2)
    other = float(images[:, :, :, 4:].mean())
    assert found[0, 1, 0] == pytest.approx(expit(other), rel=1e-4)


def test_draws_are_the_same_each_time(images: Tensor) -> None:
    one, other = (ask(model(1.0, augmented=True), images, RECORD, 3) for _ in range(2))
    assert one.shape == (1, 4, 2)
    assert (one == other).all()
    assert len(set(one[0, :, 0])) > 1


def test_the_probability_is_the_calibrated_mean_of_the_networks_on_the_image_itself() -> None:
    found = read_answer(rule(0.5), np.array([[0.6, 0.1], [0.8, 0.2], [0.4, 0.9]]))
    assert found.uncalibrated == pytest.approx(0.6)
    assert found.probability == pytest.approx(expit(0.5 * np.log(0.6 / 0.4) + 1))
    assert found.threshold == pytest.approx(expit(1.0))
    assert found.call == "at or above"


def test_the_spread_is_that_of_all_calibrated_predictions() -> None:
    raw = np.array([[0.6, 0.1], [0.8, 0.2], [0.4, 0.9]])
    spread = read_answer(rule(0.5), raw).spread
    each = expit(0.5 * np.log(raw / (1 - raw)) + 1).ravel()
    assert (spread.num_networks, spread.num_views, spread.num_predictions) == (3, 2, 6)
    assert spread.sd == pytest.approx(np.sqrt(((each - each.mean()) ** 2).sum() / 5))
    assert (spread.low, spread.high) == pytest.approx((each.min(), each.max()))
    # 0.6, 0.8 and 0.9 are at or above 0.5, as the mean is.
    assert spread.num_same_call == 3


def test_one_prediction_has_no_spread() -> None:
    spread = read_answer(rule(0.5), np.array([[0.6]])).spread
    assert (spread.sd, spread.low, spread.high) == (None, None, None)
    assert spread.num_same_call == 1


@pytest.mark.parametrize(("own", "call"), [(0.5, "at or above"), (np.nextafter(0.5, 0), "below")])
def test_at_the_threshold_is_called_positive(own: float, call: str) -> None:
    assert read_answer(rule(0.5), np.array([[own]])).call == call


def test_without_calibration_the_network_speaks_for_itself() -> None:
    found = read_answer(rule(0.3, None), np.array([[0.25]]))
    assert (found.probability, found.threshold, found.call) == (0.25, 0.3, "below")
    assert not found.is_calibrated


def test_without_a_threshold_nothing_is_called() -> None:
    found = read_answer(rule(None), np.array([[0.25, 0.3]]))
    assert (found.threshold, found.call, found.spread.num_same_call) == (None, None, None)
