"""Pure decisions: learning rate, early stopping, seeds, metrics."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from radiotrain.runs.early_stopping import Action, EpochChoice, decide
from radiotrain.runs.epoch_metrics import EpochMetrics, auc, mean_defined
from radiotrain.seeds import Purpose, seed_for
from radiotrain.training.trainer import learning_rate_factor

NAN = math.nan


def test_learning_rate_rises_then_falls() -> None:
    factors = [
        learning_rate_factor(step, num_warmup_steps=4, num_steps=13, final_fraction=0.1)
        for step in range(13)
    ]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert factors[8] == pytest.approx(0.55)
    assert factors[-1] == pytest.approx(0.1)
    assert factors[4:] == sorted(factors[4:], reverse=True)


def test_learning_rate_without_warmup_or_of_one_step() -> None:
    assert learning_rate_factor(0, num_warmup_steps=0, num_steps=1, final_fraction=0.0) == 1.0


@pytest.mark.parametrize(
    ("aucs", "losses", "patience", "min_delta", "action", "best", "is_best"),
    [
        ([0.5], None, 1, 0.0, "continue", 0, True),
        ([0.5, 0.6], None, 1, 0.0, "continue", 1, True),
        ([0.6, 0.5], None, 1, 0.0, "stop", 0, False),
        ([0.6, 0.5], None, 2, 0.0, "continue", 0, False),
        ([0.6, 0.6], None, 1, 0.0, "stop", 0, False),
        ([0.6, 0.6], [2.0, 1.0], 1, 0.0, "continue", 1, True),
        ([0.6, 0.605, 0.61], None, 2, 0.02, "stop", 0, False),
        ([0.6, 0.5, 0.5, 0.5], None, None, 0.0, "continue", 0, False),
        ([NAN, NAN, NAN], None, 1, 0.0, "continue", 2, True),
        ([NAN, 0.3, NAN], None, 2, 0.0, "continue", 1, False),
        ([NAN, 0.3, NAN, NAN], None, 2, 0.0, "stop", 1, False),
    ],
)
def test_the_best_single_auc(aucs, losses, patience, min_delta, action, best, is_best) -> None:
    verdict = decide(
        aucs, losses or [1.0] * len(aucs), patience, EpochChoice("best_auc", min_delta=min_delta)
    )
    assert (verdict.action, verdict.best_epoch, verdict.is_best) == (Action(action), best, is_best)


def test_seeds_of_different_purposes_and_times_differ() -> None:
    seeds = [
        seed_for(purpose, seed, *when)
        for purpose in Purpose
        for seed in range(3)
        for when in ((1,), (2,), (1, 1), (2, 1))
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= s < 2**63 for s in seeds)


def test_auc_skips_missing_labels_and_is_nan_without_both_classes() -> None:
    labels = np.array([0, 1, -1, 1], dtype=np.int8)
    scores = np.array([0.1, 0.9, 0.5, 0.05], dtype=np.float32)
    assert auc(labels, scores) == 0.5
    assert math.isnan(auc(labels[:1], scores[:1]))
    assert math.isnan(auc(labels, np.full(4, np.nan, dtype=np.float32)))
    assert mean_defined([NAN, 0.4, 0.6]) == 0.5
    assert math.isnan(mean_defined([NAN]))


def test_metrics_are_valid_json_with_null_for_nan() -> None:
    metrics = EpochMetrics(0, 2, 0.7, 0.6, NAN, {"ER": NAN, "PR": 0.5}, 1e-3, True, 10.0, 1.0)
    text = json.dumps(metrics.to_json(), allow_nan=False)
    assert '"validation_auc": null' in text
    assert repr(EpochMetrics.from_json(json.loads(text), "x", "y")) == repr(metrics)
