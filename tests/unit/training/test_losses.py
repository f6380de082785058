from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from radiotrain.training.losses import masked_loss, positive_weights


def naive(logits, labels, weight, gamma=0.0) -> float:
    """Weighted binary cross-entropy or focal loss, one label at a time."""
    losses = []
    for row, values in zip(logits.tolist(), labels.tolist(), strict=True):
        for t, (logit, label) in enumerate(zip(row, values, strict=True)):
            if label == -1:
                continue
            probability = 1 / (1 + math.exp(-logit))
            p = probability if label == 1 else 1 - probability
            factor = (float(weight[t]) if label == 1 else 1.0) * (1 - p) ** gamma
            losses.append(-math.log(p) * factor)
    return sum(losses) / len(losses)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_loss_equals_a_naive_loop(gamma: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(7, 3)
    labels = torch.randint(-1, 2, (7, 3), dtype=torch.int8)
    weight = torch.tensor([0.5, 1.0, 4.0])
    found = float(masked_loss(logits, labels, weight, focal_gamma=gamma))
    assert found == pytest.approx(naive(logits, labels, weight, gamma))


def test_focal_loss_of_sure_answers_stays_finite() -> None:
    logits = torch.tensor([[200.0], [-200.0]], requires_grad=True)
    for labels, expected in (([[1], [0]], 0.0), ([[0], [1]], 200.0)):
        loss = masked_loss(logits, torch.tensor(labels), torch.ones(1), focal_gamma=2.0)
        assert float(loss.detach()) == pytest.approx(expected)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(gradient).all()


def test_shares_of_a_batch_add_up_to_the_whole() -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(6, 2), torch.randint(-1, 2, (6, 2), dtype=torch.int8)
    weight, count = torch.ones(2), int((labels >= 0).sum())
    shares = [masked_loss(logits[r::2], labels[r::2], weight, count) for r in range(2)]
    assert float(sum(shares)) == pytest.approx(float(masked_loss(logits, labels, weight)))


def test_no_label_gives_zero_loss_with_a_gradient() -> None:
    logits = torch.full((2, 1), float("inf"), requires_grad=True)
    loss = masked_loss(logits, torch.full((2, 1), -1, dtype=torch.int8), torch.ones(1))
    loss.backward()
    assert float(loss.detach()) == 0.0
    logits = torch.randn(2, 1, requires_grad=True)
    masked_loss(logits, torch.full((2, 1), -1, dtype=torch.int8), torch.ones(1), 0).backward()
    assert torch.equal(logits.grad, torch.zeros(2, 1))


def test_positive_weights_balance_the_classes() -> None:
    labels = np.array([[1, 1, -1], [0, 1, -1], [0, 1, -1], [-1, 1, -1]], dtype=np.int8)
    assert positive_weights(labels).tolist() == [2.0, 1.0, 1.0]
