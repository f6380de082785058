"""Maps of where a network looks, against functions whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.saliency.attribution import (
    Explained,
    boxes_of,
    integrated_gradients,
    occlusion,
    pooled,
    replaced,
    with_random_weights,
)
from radiotrain.evaluation.saliency.pictures import draw
from radiotrain.evaluation.saliency.saliency_maps import choose_patients
from radiotrain.evaluation.saliency.saliency_results import (
    CLOSING,
    Mean,
    PatientSaliency,
    judge_saliency,
)
from radiotrain.evaluation.saliency.scores import (
    FRACTIONS,
    deletion_curve,
    likeness,
    mean_interval,
    points_inside,
    share_inside,
)
from radiotrain.networks.registry import NETWORKS, build_network

SHAPE = (2, 8, 8, 6)
NONE = torch.empty(1, 0)


class Linear(nn.Module):
    """A logit that is a weighted sum of voxels, and one that is its double."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, images: Tensor) -> Tensor:
        logit = (images * self.weights).flatten(1).sum(1)
        return torch.stack([logit, 2 * logit], dim=1)


@pytest.fixture
def weights() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def images() -> Tensor:
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def explained(*networks: nn.Module, target: int = 0) -> Explained:
    return Explained(tuple(n.eval() for n in networks), (NONE,) * len(networks), target)


def test_a_linear_function_is_attributed_exactly(weights: Tensor, images: Tensor) -> None:
    found = integrated_gradients(explained(Linear(weights), target=1), images, steps=3)
    np.testing.assert_allclose(found.values, (2 * weights * images).numpy(), rtol=1e-5)
    assert found.completeness_error < 1e-4
    np.testing.assert_allclose(
        found.saliency, (2 * weights * images).abs().sum(0).numpy(), rtol=1e-5
    )


def test_an_ensemble_is_the_mean_of_its_networks(weights: Tensor, images: Tensor) -> None:
    both = integrated_gradients(explained(Linear(weights), Linear(3 * weights)), images, steps=2)
    np.testing.assert_allclose(both.values, (2 * weights * images).numpy(), rtol=1e-5)


def test_hiding_a_box_of_a_linear_function_takes_its_attribution(
    weights: Tensor, images: Tensor
) -> None:
    function = explained(Linear(weights))
    found = integrated_gradients(function, images, steps=1)
    np.testing.assert_allclose(occlusion(function, images), pooled(found), atol=1e-4)
    assert likeness(pooled(found), occlusion(function, images)) == pytest.approx(1)


def test_boxes_cover_each_voxel_once() -> None:
    for shape in ((8, 8, 6), (5, 3, 1), (128, 128, 68)):
        count = np.zeros(shape, dtype=int)
        for box in boxes_of(shape):
            count[box] += 1
        assert (count == 1).all()
        assert len(boxes_of(shape)) <= 48


# The largest takes as long as all others together, and is built of the same blocks.
@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*NETWORKS} - {"EfficientNet-L2"}))
def test_attributions_of_each_network_add_up(name: str) -> None:
    side = max(16, NETWORKS[name].smallest_side)
    torch.manual_seed(0)
    network = build_network(name, 2, 1, (side, side, side)).eval()
    x = torch.randn(2, side, side, side)
    found = integrated_gradients(explained(network), x, steps=4)
    assert found.values.shape == tuple(x.shape)
    assert np.isfinite(found.values).all()
    assert found.saliency.any()


def test_more_steps_come_nearer_to_the_sum() -> None:
    torch.manual_seed(0)
    network = build_network("ResNet10-narrow", 2, 1, (16, 16, 16)).eval()
    x = torch.randn(2, 16, 16, 16)
    rough, fine = (integrated_gradients(explained(network), x, n) for n in (2, 64))
    assert fine.completeness_error < min(0.05, rough.completeness_error)


def blob(centre: tuple[int, int, int]) -> NDArray[np.bool_]:
    inside = np.zeros(SHAPE[1:], dtype=np.bool_)
    r, c, s = centre
    inside[r - 1 : r + 2, c - 1 : c + 2, s - 1 : s + 2] = True
    return inside


def test_a_network_that_looks_inside_only_has_all_of_its_map_there(images: Tensor) -> None:
    tumour, padding = blob((4, 4, 3)), np.zeros(SHAPE[1:], dtype=np.bool_)
    for seen, share in ((tumour, 1.0), (blob((1, 1, 1)), 0.0)):
        function = explained(Linear(torch.from_numpy(seen).float().expand(SHAPE).clone()))
        saliency = integrated_gradients(function, images, steps=1).saliency
        found, chance = share_inside(saliency, tumour, padding)
        assert found == pytest.approx(share)
        assert chance == pytest.approx(27 / (8 * 8 * 6))
        assert points_inside(saliency, tumour, padding) == bool(share)
        salient, random = deletion_curve(function, images, saliency, padding, seed=0)
        # All that counts is gone with the first tenth of the voxels.
        assert salient[FRACTIONS.index(0.1)] == pytest.approx(
            abs(function.logits(images[None])[0].item()), abs=1e-4
        )
        assert salient[2:4].mean() > random[2:4].mean()


def test_padding_counts_for_nothing(images: Tensor) -> None:
    tumour, padding = blob((4, 4, 3)), np.zeros(SHAPE[1:], dtype=np.bool_)
    padding[:, :, :1] = True
    saliency = np.ones(SHAPE[1:], dtype=np.float32)
    saliency[padding] = 1e6
    found, chance = share_inside(saliency, tumour, padding)
    assert found == pytest.approx(chance) == pytest.approx(27 / (8 * 8 * 5))
    assert not points_inside(np.where(padding, 1e6, 0).astype(np.float32), tumour, padding)
    for broken in (np.zeros_like(tumour), np.ones_like(tumour)):
        assert math.isnan(share_inside(saliency, broken, padding)[0])
    assert math.isnan(share_inside(np.zeros_like(saliency), tumour, padding)[0])


def test_what_is_removed_is_the_baseline(images: Tensor) -> None:
    mask = blob((4, 4, 3))
    changed = replaced(images, mask)
    assert (changed[:, torch.from_numpy(mask)] == 0).all()
    assert torch.equal(changed[:, torch.from_numpy(~mask)], images[:, torch.from_numpy(~mask)])


def test_other_weights_draw_another_map_and_leave_the_network_alone() -> None:
    torch.manual_seed(0)
    network = build_network("ResNet10-narrow", 2, 1, (16, 16, 16))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    function, x = explained(network), torch.randn(2, 16, 16, 16)
    original = integrated_gradients(function, x, 8).saliency
    state = torch.get_rng_state()
    others = [with_random_weights(function, last_layer_only=last, seed=1) for last in (True, False)]
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    changed = [
        sum(
            not torch.equal(a, b)
            for a, b in zip(other.networks[0].parameters(), network.parameters(), strict=True)
        )
        for other in others
    ]
    assert 0 < changed[0] <= 2 < changed[1]
    assert likeness(original, integrated_gradients(others[1], x, 8).saliency) < 0.9


def test_likeness_is_the_correlation_of_ranks() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 5, 40).astype(float), rng.random(40)
    assert likeness(a, b) == pytest.approx(np.corrcoef(rankdata(a), rankdata(b))[0, 1])
    assert math.isnan(likeness(np.ones(5), np.arange(5.0)))


def test_means_leave_out_what_is_not_defined() -> None:
    value, interval = mean_interval(np.array([1.0, math.nan, 2.0, 3.0]), seed=0)
    assert value == 2
    assert interval is not None
    assert 1 <= interval[0] < 2 < interval[1] <= 3
    assert mean_interval(np.array([1.0, 2.0]), seed=0)[1] is None
    assert math.isnan(mean_interval(np.array([math.nan]), seed=0)[0])


def test_surest_right_and_wrong_patients_come_in_turn() -> None:
    labels = np.array([1, 1, 0, 0, 1])
    scores = np.array([0.9, 0.6, 0.1, 0.95, 0.2])
    known = PatientScores(("a", "b", "c", "d", "e"), labels, scores, 0, 1, 1)
    assert choose_patients(known, 0.5, 4) == ("a", "d", "c", "e")
    assert choose_patients(known, 0.5, 99) == ("a", "d", "c", "e", "b")
    nobody = PatientScores((), labels[:0], scores[:0], 0, 0, 0)
    assert choose_patients(nobody, 0.5, 3) == ()


HIGH, LOW, OPEN = Mean(1.0, (0.5, 1.5)), Mean(-0.1, (-0.3, -0.01)), Mean(0.2, (-0.1, 0.5))


@pytest.mark.parametrize(
    ("deletion", "occlusion", "picture", "boxes", "kind"),
    [
        (HIGH, 0.8, 0.1, 0.1, "supported"),
        (HIGH, 0.1, 0.1, 0.1, "doubtful"),
        (HIGH, 0.8, 0.9, 0.1, "doubtful"),
        (OPEN, 0.8, 0.1, 0.1, "doubtful"),
        (LOW, 0.8, 0.1, 0.1, "unsupported"),
        (HIGH, 0.8, 0.1, 0.9, "unsupported"),
        (Mean(None, None), None, None, None, "doubtful"),
    ],
)
def test_verdicts(
    deletion: Mean, occlusion: float | None, picture: float | None, boxes: float | None, kind: str
) -> None:
    found, sentences = judge_saliency(
        HIGH,
        deletion,
        Mean(occlusion, None),
        picture=Mean(picture, None),
        boxes=Mean(boxes, None),
    )
    assert found == kind
    assert sentences[-1] == CLOSING
    assert any("similar with random weights" in s for s in sentences) == (picture == 0.9)
    assert any("the images alone" in s for s in sentences) == (boxes == 0.9)


@pytest.mark.parametrize(
    ("ratio", "words"),
    [
        (Mean(2.0, (1.5, 2.5)), "more of the map than expected: 2.0 times"),
        (Mean(0.5, (0.3, 0.8)), "less of the map than expected"),
        (Mean(1.1, (0.8, 1.4)), "is not shown"),
        (Mean(1.1, None), "is not shown"),
        (Mean(None, None), "is not defined"),
    ],
)
def test_where_the_map_lies_is_said_but_does_not_count(ratio: Mean, words: str) -> None:
    low = Mean(0.1, None)
    kind, sentences = judge_saliency(ratio, HIGH, Mean(0.8, None), picture=low, boxes=low)
    assert kind == "supported"
    assert words in sentences[0]


@pytest.mark.parametrize("phases", [1, 3])
def test_a_picture_is_small_and_names_no_patient(phases: int) -> None:
    rng = np.random.default_rng(0)
    found = PatientSaliency("<P1>", 1, 0.9, True, 0.5, 0.1, True, 0.1, 0.2, 0.3, 0.4, 0.5, 0.01)
    picture = draw(
        rng.normal(size=(phases, 64, 64, 8)).astype(np.float32),
        rng.random((64, 64, 8)).astype(np.float32),
        np.pad(np.ones((8, 8, 2), dtype=np.bool_), ((20, 36), (20, 36), (3, 3))),
        found,
        "ER",
    )
    assert picture.uri.startswith("data:image/jpeg;base64,")
    assert len(picture.uri) < 90_000
    assert picture.caption == "ER-positive test patient, correctly classified"
    assert "P1" not in picture.alt
