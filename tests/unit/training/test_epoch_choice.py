"""Which epoch is kept, and what of a run's files follows from it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from preprocessing.common.errors import InputError
from preprocessing.storage.digests import text_with_digest
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig, parse_config
from radiotrain.config.yaml_text import dump_yaml
from radiotrain.runs.early_stopping import Action, EpochChoice, decide, joint_epoch
from radiotrain.runs.epoch_metrics import EpochMetrics, auc_per_target, mean_auc
from radiotrain.runs.run_folder import RunFolder, open_run
from radiotrain.training.loop import RunResult, train
from tests.unit.training.synthetic import run_config

NAN, INF = math.nan, math.inf
MakeConfig = Callable[..., RunConfig]
SMOOTHED = ("smoothed_loss", "smoothed_auc")


@pytest.fixture(scope="module")
def make(store: Store, split_url: str) -> MakeConfig:
    def make(out: Path, epochs: int = 5, **changes: object) -> RunConfig:
        values = {"epochs": epochs, "batch_size": 16, "lr": 3e-3, "warmup_epochs": 1}
        return run_config(store, split_url, out, train=values, **changes)

    return make


def quiet(_: str) -> None:
    """Say nothing."""


def naive(aucs: Sequence[float], losses: Sequence[float], choose: str, window: int, warmup: float):
    """The best window after the warm-up by hand, all windows at once; the earliest of equals."""
    by_loss = choose == "smoothed_loss" or all(map(math.isnan, aucs))
    best, best_value = len(aucs) - 1, None
    for end in range(len(aucs)):
        begin = end - window + 1
        if begin < warmup:
            continue
        values = losses[begin : end + 1] if by_loss else aucs[begin : end + 1]
        value = float(np.mean(values)) * (-1 if by_loss else 1)
        if not math.isnan(value) and (best_value is None or value > best_value + 1e-12):
            best, best_value = end, value
    return best


@given(
    st.lists(st.tuples(st.integers(0, 97), st.integers(0, 96)), min_size=1, max_size=12),
    st.sampled_from(SMOOTHED),
    st.integers(1, 4),
    st.sampled_from([0.0, 1.0, 2.5]),
)
def test_smoothed_rules_match_a_naive_search(values, choose, window, warmup) -> None:
    # Losses that differ by powers of 2 leave no ties in the second key.
    aucs = [NAN if auc == 97 else auc / 96 for auc, _ in values]
    losses = [loss / 96 + 1 for _, loss in values]
    verdict = decide(aucs, losses, None, EpochChoice(choose, window, warmup))
    expected = naive(aucs, losses, choose, window, warmup)
    if choose == "smoothed_auc" and verdict.best_epoch != expected:
        # Equal AUCs: the smaller loss decides.
        begin, other = verdict.best_epoch - window + 1, expected - window + 1
        assert sum(aucs[begin : begin + window]) == pytest.approx(sum(aucs[other : other + window]))
        assert sum(losses[begin : begin + window]) < sum(losses[other : other + window])
    else:
        assert verdict.best_epoch == expected


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=15),
    st.sampled_from(["last", "best_auc", *SMOOTHED]),
    st.sampled_from([0.0, 0.1]),
)
def test_the_kept_epoch_only_ever_moves_to_the_newest(aucs, choose, min_delta) -> None:
    """Only the newest epoch's weights can be written."""
    choice = EpochChoice(choose, 3, 2, min_delta)
    kept = 0
    for num in range(1, len(aucs) + 1):
        losses = [1 - auc for auc in aucs[:num]]
        verdict = decide(aucs[:num], losses, None, choice)
        assert verdict.is_best == (verdict.best_epoch == num - 1)
        assert verdict.best_epoch in (kept, num - 1)
        kept = verdict.best_epoch


def test_one_lucky_epoch_and_the_warm_up_are_not_kept() -> None:
    aucs = [0.99, 0.9, 0.6, 0.62, 0.7, 0.72, 0.71, 0.5, 0.95, 0.4, 0.5]
    losses = [1 - auc for auc in aucs]
    assert decide(aucs, losses, None, EpochChoice("best_auc")).best_epoch == 0
    for choose in SMOOTHED:
        assert decide(aucs, losses, None, EpochChoice(choose, 3, 2)).best_epoch == 8
        assert decide(aucs[:8], losses, None, EpochChoice(choose, 3, 2)).best_epoch == 6
    assert decide(aucs, losses, None, EpochChoice("last")).best_epoch == 10


def test_patience_counts_from_the_kept_epoch_and_never_within_the_warm_up() -> None:
    falling = [0.9 - 0.01 * epoch for epoch in range(12)]
    losses = [1 - auc for auc in falling]
    for choose in SMOOTHED:
        choice = EpochChoice(choose, 2, 3)
        actions = [decide(falling[:n], losses[:n], 3, choice).action for n in range(1, 9)]
        # Epoch 4 ends the first window after the warm-up; three more are not better.
        assert actions == [Action.CONTINUE] * 7 + [Action.STOP]
    assert decide(falling, losses, 1, EpochChoice("last")).action is Action.CONTINUE


def test_a_fold_of_one_class_stops_by_its_loss() -> None:
    undefined, losses = [NAN] * 6, [0.9, 0.5, 0.4, 0.6, 0.7, 0.8]
    verdict = decide(undefined, losses, 3, EpochChoice("smoothed_auc", 1))
    assert (verdict.action, verdict.best_epoch) == (Action.STOP, 2)
    # No validation set: neither is defined, and nothing stops.
    verdict = decide([NAN] * 6, [NAN] * 6, 1, EpochChoice("smoothed_auc", 1))
    assert (verdict.action, verdict.best_epoch) == (Action.CONTINUE, 5)


@pytest.mark.parametrize("choose", ["last", *SMOOTHED])
def test_an_epoch_whose_predictions_are_not_finite_is_not_kept(choose: str) -> None:
    for loss in (NAN, INF):
        verdict = decide([0.6, 0.7, NAN], [0.7, 0.6, loss], None, EpochChoice(choose, 1))
        assert verdict.best_epoch == 1


def test_the_joint_epoch_is_that_of_the_mean_curve() -> None:
    rng = np.random.default_rng(0)
    aucs, losses = rng.random((5, 20)), rng.random((5, 20))
    for choose in ("last", *SMOOTHED):
        choice = EpochChoice(choose, 3, 2)
        means = list(aucs.mean(0)), list(losses.mean(0))
        assert joint_epoch(aucs.tolist(), losses.tolist(), choice) == (
            decide(*means, None, choice).best_epoch
        )
    # A fold that ended sooner, and one without an AUC.
    choice = EpochChoice("smoothed_auc", 1)
    folds = [[0.5, 0.9, 0.7, 0.99], [0.5, 0.6, 0.95], [NAN] * 3]
    assert joint_epoch(folds, [[1.0] * 4, [1.0] * 3, [1.0] * 3], choice) == 2


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_target_that_is_not_finite_leaves_no_mean_over_the_others(bad: float) -> None:
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (30, 3)).astype(np.int8)
    scores = rng.normal(size=(30, 3)).astype(np.float32)
    names = ("ER", "PR", "HER2")

    def mean(labels: np.ndarray, scores: np.ndarray) -> float:
        return mean_auc(labels, scores, auc_per_target(labels, scores, names))

    wanted = np.mean([roc_auc_score(labels[:, i], scores[:, i]) for i in range(3)])
    assert mean(labels, scores) == pytest.approx(wanted)
    # One class only: left out, whatever the epoch.
    one_class = labels.copy()
    one_class[:, 1] = 1
    wanted = np.mean([roc_auc_score(labels[:, i], scores[:, i]) for i in (0, 2)])
    assert mean(one_class, scores) == pytest.approx(wanted)
    broken = scores.copy()
    broken[4, 2] = bad
    assert math.isnan(mean(labels, broken))
    assert math.isnan(mean(one_class, broken))
    # Of a patient without the label nothing is measured.
    missing = labels.copy()
    missing[4, 2] = -1
    assert math.isfinite(mean(missing, broken))


def test_patience_where_the_last_epoch_is_kept_is_refused() -> None:
    paths = {"store": "a", "split": "b", "out": "c"}
    with pytest.raises(InputError, match="patience is 3 and choose is last, which trains all"):
        parse_config(RunConfig, paths | {"early_stopping": {"patience": 3}}, "run.yaml")


@pytest.fixture(scope="module")
def finished(make: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return train(make(tmp_path_factory.mktemp("runs") / "run"), reporter=quiet)


def test_the_last_epoch_is_kept_by_default(finished: RunResult) -> None:
    folder, _, record = open_run(finished.run_url)
    assert (record.best_epoch, record.num_epochs) == (4, 5)
    assert record.validation_auc == finished.history[-1].validation_auc
    assert [m.is_best for m in folder.read_metrics()] == [True] * 5
    newest = max(Path(folder.checkpoints).glob("epoch-*.pt"))
    weights = torch.load(newest, weights_only=True)["network"]
    kept = torch.load(folder.best_weights, weights_only=True)["weights"]
    assert all(torch.equal(weights[name], kept[name]) for name in kept)


@pytest.mark.slow
@pytest.mark.parametrize("choose", ["last", *SMOOTHED])
@pytest.mark.parametrize("until", [1, 3, 4])
def test_a_resumed_run_keeps_the_same_epoch_to_the_bit(
    make: MakeConfig, tmp_path: Path, choose: str, until: int
) -> None:
    stopping = {"choose": choose, "window": 2}
    whole = train(make(tmp_path / "whole", early_stopping=stopping), reporter=quiet)
    config = make(tmp_path / "cut", early_stopping=stopping)
    train(config, until_epoch=until, reporter=quiet)
    if until == 3:
        # Killed between the checkpoint and what follows from it.
        folder = RunFolder(config.out)
        Path(folder.best_weights).unlink()
        if not folder.read_metrics()[-1].is_best:
            pytest.skip("the kept epoch is another one, whose weights were written before")
    cut = train(config, reporter=quiet)
    assert [replace(m, seconds=0, samples_per_s=0) for m in cut.history] == [
        replace(m, seconds=0, samples_per_s=0) for m in whole.history
    ]
    assert cut.best_epoch == whole.best_epoch
    first, second = (
        torch.load(RunFolder(r.run_url).best_weights, weights_only=True)["weights"]
        for r in (whole, cut)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_that_was_recorded_without_the_rule_goes_on_by_the_old_one(
    make: MakeConfig, tmp_path: Path
) -> None:
    old = make(tmp_path / "run", early_stopping={"choose": "best_auc"})
    train(old, until_epoch=2, reporter=quiet)
    folder = RunFolder(old.out)
    values = old.model_dump(mode="json")
    del values["early_stopping"]["choose"], values["early_stopping"]["window"]
    path = Path(folder.url, "config.yaml")
    path.write_text(text_with_digest(dump_yaml(values)))
    # As it was recorded: the digest in run.json does not know the keys.
    _, read, record = open_run(folder.url)
    assert (read.early_stopping.choose, read.identity()) == ("best_auc", old.identity())
    assert "choose" not in old.identity()["early_stopping"]
    with pytest.raises(InputError, match="choose is best_auc there and last now"):
        train(make(tmp_path / "run"), reporter=quiet)
    resumed = train(read, reporter=quiet)
    whole = train(make(tmp_path / "whole", early_stopping={"choose": "best_auc"}), reporter=quiet)
    assert resumed.best_epoch == whole.best_epoch
    assert (
        record.best_epoch
        == decide(
            [m.validation_auc for m in whole.history[:2]],
            [m.validation_loss for m in whole.history[:2]],
            None,
        ).best_epoch
    )


def test_an_epoch_line_says_that_predictions_are_not_finite() -> None:
    metrics = EpochMetrics(0, 2, 0.7, NAN, NAN, {"ER": NAN, "PR": 0.5}, 1e-3, True, 10.0, 1.0)
    assert "undefined because predictions are not finite" in metrics.describe()
    assert "no validation set" in metrics.describe(has_validation=False)
    read = EpochMetrics.from_json(json.loads(json.dumps(metrics.to_json())), "x", "y")
    assert repr(read) == repr(metrics)
