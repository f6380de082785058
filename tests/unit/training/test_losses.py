from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from radiotrain.config.run_config import TrainConfig
from radiotrain.data.sampler import balanced_order
from radiotrain.training.losses import LossWeights, masked_loss, masked_losses, positive_weights


def naive(logits, labels, weight, gamma=0.0) -> float:
    """Weighted binary cross-entropy or focal loss, one label at a time."""
    losses = []
    for row, values in zip(logits.tolist(), labels.tolist(), strict=True):
        for t, (logit, label) in enumerate(zip(row, values, strict=True)):
            if label == -1:
                continue
            probability = 1 / (1 + math.exp(-logit))
            p = probability if label == 1 else 1 - probability
            factor = float(weight[label, t]) * (1 - p) ** gamma
            losses.append(-math.log(p) * factor)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_loss_equals_a_naive_loop(gamma: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(7, 3)
    labels = torch.randint(-1, 2, (7, 3), dtype=torch.int8)
    weight = torch.tensor([[1.0, 0.3, 2.0], [0.5, 1.0, 4.0]])
    found = float(masked_loss(logits, labels, weight, focal_gamma=gamma))
    assert found == pytest.approx(naive(logits, labels, weight, gamma))


def test_focal_loss_of_sure_answers_stays_finite() -> None:
    logits = torch.tensor([[200.0], [-200.0]], requires_grad=True)
    for labels, expected in (([[1], [0]], 0.0), ([[0], [1]], 200.0)):
        loss = masked_loss(logits, torch.tensor(labels), torch.ones(2, 1), focal_gamma=2.0)
        assert float(loss.detach()) == pytest.approx(expected)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(gradient).all()


def test_shares_of_a_batch_add_up_to_the_whole() -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(6, 2), torch.randint(-1, 2, (6, 2), dtype=torch.int8)
    weight, count = torch.ones(2, 2), int((labels >= 0).sum())
    shares = [masked_loss(logits[r::2], labels[r::2], weight, count) for r in range(2)]
    assert float(sum(shares)) == pytest.approx(float(masked_loss(logits, labels, weight)))


def test_no_label_gives_zero_loss_with_a_gradient() -> None:
    logits = torch.full((2, 1), float("inf"), requires_grad=True)
    loss = masked_loss(logits, torch.full((2, 1), -1, dtype=torch.int8), torch.ones(2, 1))
    loss.backward()
    assert float(loss.detach()) == 0.0
    logits = torch.randn(2, 1, requires_grad=True)
    masked_loss(logits, torch.full((2, 1), -1, dtype=torch.int8), torch.ones(2, 1), 0).backward()
    assert torch.equal(logits.grad, torch.zeros(2, 1))


def test_positive_weights_balance_the_classes() -> None:
    labels = np.array([[1, 1, -1], [0, 1, -1], [0, 1, -1], [-1, 1, -1]], dtype=np.int8)
    assert positive_weights(labels).tolist() == [2.0, 1.0, 1.0]


def joint_labels(num_patients: int = 400) -> np.ndarray:
    """A common, a rare and a half-known target."""
    generator = np.random.default_rng(0)
    labels = (generator.random((num_patients, 3)) < (0.15, 0.75, 0.5)).astype(np.int8)
    labels[generator.random(num_patients) < 0.5, 2] = -1
    return labels


def losses_at_chance(labels: np.ndarray, train: TrainConfig, num_epochs: int = 200) -> np.ndarray:
    """Loss of each target and class over epochs that are really drawn: (3, 2)."""
    weights = torch.from_numpy(LossWeights.of(labels, train).training)
    gamma = train.focal_gamma if train.loss == "focal" else 0.0
    total = np.zeros((3, 2))
    for epoch in range(num_epochs):
        drawn = labels
        if train.sampling == "balanced":
            drawn = labels[balanced_order(0, epoch, labels[:, 0])]
        losses = masked_losses(torch.zeros(drawn.shape), torch.from_numpy(drawn), weights, gamma)
        for value in (0, 1):
            total[:, value] += (losses.numpy() * (drawn == value)).sum(0)
    return total / num_epochs


@pytest.mark.parametrize("sampling", ["once", "balanced"])
@pytest.mark.parametrize("loss", ["bce", "focal"])
def test_targets_share_a_joint_loss_by_their_labels_and_classes_have_half(sampling, loss) -> None:
    labels = joint_labels()
    found = losses_at_chance(labels, TrainConfig(sampling=sampling, loss=loss))
    num_known = (labels >= 0).sum(0)
    # Of the third target, balanced draws know somewhat more or fewer labels.
    expected = num_known / num_known.sum()
    assert found.sum(1) / found.sum() == pytest.approx(expected, abs=0.02)
    assert found[:, 0] / found.sum(1) == pytest.approx([0.5] * 3, abs=0.005)
    per_label = np.log(2) * (0.25 if loss == "focal" else 1)
    assert found[:2].sum(1) == pytest.approx(per_label * len(labels), rel=0.01)


def test_the_old_rule_balances_twice_and_is_kept_for_recorded_runs() -> None:
    labels = joint_labels()
    old = TrainConfig(sampling="balanced", class_weight_rule="patients")
    found = losses_at_chance(labels, old)
    assert found[0, 1] / found[0, 0] > 4
    weights = LossWeights.of(labels, old)
    assert weights.training[0].tolist() == [1, 1, 1]
    assert np.array_equal(weights.training[1], positive_weights(labels))
    assert np.array_equal(weights.training, weights.validation)


@pytest.mark.parametrize("class_weights", [True, False])
@pytest.mark.parametrize("sampling", ["once", "balanced"])
def test_validation_weighs_patients_as_training_does(class_weights, sampling) -> None:
    labels = joint_labels()
    train = TrainConfig(sampling=sampling, class_weights=class_weights)
    logits = torch.tensor([[0.3, -0.7, 1.1]])
    epochs = []
    for epoch in range(300):
        drawn = labels
        if sampling == "balanced":
            drawn = labels[balanced_order(1, epoch, labels[:, 0])]
        weights = torch.from_numpy(LossWeights.of(labels, train).training)
        epochs.append(masked_losses(logits.expand(len(drawn), 3), torch.from_numpy(drawn), weights))
    trained = torch.stack(epochs).mean(0).sum(0)
    weights = torch.from_numpy(LossWeights.of(labels, train).validation)
    validated = masked_losses(logits.expand(len(labels), 3), torch.from_numpy(labels), weights).sum(
        0
    )
    assert validated.numpy() == pytest.approx(trained.numpy(), rel=0.01)


def test_one_class_weighs_one() -> None:
    labels = np.array([[1, -1, 0], [1, -1, 1], [1, -1, -1]], dtype=np.int8)
    for sampling in ("once", "balanced"):
        weights = LossWeights.of(labels, TrainConfig(sampling=sampling))
        assert weights.training.tolist() == [[1, 1, 1], [1, 1, 1]]
        assert weights.validation.tolist() == [[1, 1, 1], [1, 1, 1]]
