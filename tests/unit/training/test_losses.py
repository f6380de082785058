from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from radiotrain.training.losses import masked_bce, positive_weights


def naive(logits, labels, weight) -> float:
    """Weighted binary cross-entropy, one label at a time."""
    losses = []
    for row, values in zip(logits.tolist(), labels.tolist(), strict=True):
        for t, (logit, label) in enumerate(zip(row, values, strict=True)):
            if label == -1:
                continue
            probability = 1 / (1 + math.exp(-logit))
            p = probability if label == 1 else 1 - probability
            losses.append(-math.log(p) * (float(weight[t]) if label == 1 else 1.0))
    return sum(losses) / len(losses)


def test_loss_equals_a_naive_loop() -> None:
    torch.manual_seed(0)
    logits = torch.randn(7, 3)
    labels = torch.randint(-1, 2, (7, 3), dtype=torch.int8)
    weight = torch.tensor([0.5, 1.0, 4.0])
    assert float(masked_bce(logits, labels, weight)) == pytest.approx(naive(logits, labels, weight))


def test_shares_of_a_batch_add_up_to_the_whole() -> None:
    torch.manual_seed(1)
    logits, labels = torch.randn(6, 2), torch.randint(-1, 2, (6, 2), dtype=torch.int8)
    weight, count = torch.ones(2), int((labels >= 0).sum())
    shares = [masked_bce(logits[r::2], labels[r::2], weight, count) for r in range(2)]
    assert float(sum(shares)) == pytest.approx(float(masked_bce(logits, labels, weight)))


def test_no_label_gives_zero_loss_with_a_gradient() -> None:
    logits = torch.full((2, 1), float("inf"), requires_grad=True)
    loss = masked_bce(logits, torch.full((2, 1), -1, dtype=torch.int8), torch.ones(1))
    loss.backward()
    assert float(loss.detach()) == 0.0
    logits = torch.randn(2, 1, requires_grad=True)
    masked_bce(logits, torch.full((2, 1), -1, dtype=torch.int8), torch.ones(1), 0).backward()
    assert torch.equal(logits.grad, torch.zeros(2, 1))


def test_positive_weights_balance_the_classes() -> None:
    labels = np.array([[1, 1, -1], [0, 1, -1], [0, 1, -1], [-1, 1, -1]], dtype=np.int8)
    assert positive_weights(labels).tolist() == [2.0, 1.0, 1.0]
