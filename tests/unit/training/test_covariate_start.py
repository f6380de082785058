"""Where late fusion starts, from the fit to what a run makes of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from sklearn.metrics import roc_auc_score

from preprocessing.common.errors import InputError
from preprocessing.store import PatientTensor, Store, StoreWriter
from radiotrain.distributed import Worker
from radiotrain.runs.predict_run import predict_run
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import Split, load_split, make_split, save_split
from radiotrain.training.loop import train
from radiotrain.training.losses import LossWeights, draws_of
from radiotrain.training.setup import CovariateStart, fit_start
from radiotrain.training.trainer import Training
from tests.unit.training.synthetic import run_config


def start(x: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> CovariateStart:
    labels = labels.reshape(len(labels), -1).astype(np.int8)
    plain = np.ones((2, labels.shape[1]), dtype=np.float32)
    return fit_start(
        x.astype(np.float32), labels, np.ones(len(x)), plain if weights is None else weights
    )


def patients(num: int, num_columns: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(num, num_columns)), (generator.random(num) < 0.4).astype(int)


def test_it_minimises_a_penalised_loss_by_the_weights_of_the_network() -> None:
    """Whatever penalty is chosen, the solution has to be that of a plain minimiser."""
    x, y = patients(120, 3)
    x[:, 0] += 1.2 * y
    draws = np.random.default_rng(1).uniform(0.5, 2, len(y))
    weights = np.array([[0.8], [1.4]], dtype=np.float32)
    found = fit_start(x.astype(np.float32), y[:, None].astype(np.int8), draws, weights)
    weight = draws * weights[y, 0]

    def objective(values: np.ndarray, inverse: float) -> float:
        losses = np.logaddexp(0, (1 - 2 * y) * (x @ values[:3] + values[3]))
        return float(weight @ losses + values[:3] @ values[:3] / (2 * inverse))

    solutions = [
        minimize(objective, np.zeros(4), args=(inverse,), tol=1e-10).x
        for inverse in np.logspace(-4, 2, 13)
    ]
    ours = np.append(found.weights[0], found.intercept[0])
    assert min(np.abs(ours - solution).max() for solution in solutions) < 2e-3
    assert found.weights[0, 0] > 0.5


@pytest.mark.parametrize("seed", range(5))
def test_a_moderate_covariate_gets_about_its_own_area(seed: int) -> None:
    x, y = patients(2000, 4, seed)
    x[:, 1] += 0.545 * y
    found = start(x[:150], y[:150])
    assert roc_auc_score(y[150:], x[150:] @ found.weights[0]) > 0.58


def test_useless_columns_of_few_patients_stay_small() -> None:
    """Over 40 draws of 20 patients and 15 columns, the logits of others hardly move."""
    spreads = []
    for seed in range(40):
        x, y = patients(220, 15, seed)
        found = start(x[:20], y[:20])
        assert np.isfinite(found.weights).all()
        spreads.append(np.std(x[20:] @ found.weights[0]))
    assert np.median(spreads) < 0.25


def test_perfectly_separable_columns_have_bounded_weights() -> None:
    x, y = patients(100, 2)
    x[:, 0] = (y - y.mean()) / y.std()
    found = start(x, y)
    logits = x @ found.weights[0] + found.intercept[0]
    assert roc_auc_score(y, logits) == 1
    assert 1 < np.abs(found.weights).max() < 20


def test_constant_columns_weigh_nothing() -> None:
    x, y = patients(80, 3)
    x[:, 0] += 2 * y
    x[:, 2] = 1
    found = start(x, y)
    assert found.weights[0, 0] > 0.5
    assert abs(found.weights[0, 2]) < 1e-3


def test_missing_labels_are_left_out_of_their_target_only() -> None:
    x, y = patients(90, 2)
    x[:, 0] += y
    other = np.where(np.arange(90) < 30, -1, 1 - y)
    joint = start(x, np.stack([y, other], axis=1))
    assert np.array_equal(joint.weights[:1], start(x, y).weights)
    assert np.array_equal(joint.weights[1:], start(x[30:], 1 - y[30:]).weights)


@pytest.mark.parametrize(
    ("labels", "intercept"),
    [
        ([1] * 8, 0.0),
        ([-1] * 8, 0.0),
        ([1] + [0] * 7, np.log(1 / 7)),
        ([1, -1, -1, -1, 0, 0, 0, 0], np.log(1 / 4)),
    ],
)
def test_a_target_with_too_few_of_a_class_starts_without_covariates(labels, intercept) -> None:
    found = start(np.random.default_rng(0).normal(size=(8, 3)), np.array(labels))
    assert not found.weights.any()
    assert found.weights.shape == (1, 3)
    assert found.intercept == pytest.approx([intercept], abs=1e-6)


def test_balanced_weights_have_an_intercept_of_an_even_chance() -> None:
    x, y = patients(200, 1)
    y[:] = np.arange(200) < 20
    weights = LossWeights.of(y[:, None].astype(np.int8), run_train()).training
    found = start(np.zeros_like(x), y, weights)
    assert found.intercept == pytest.approx([0], abs=1e-6)


def run_train(**changes):
    from radiotrain.config.run_config import TrainConfig

    return TrainConfig(**changes)


@pytest.fixture(scope="module")
def told(store: Store, tmp_path_factory) -> tuple[Store, str]:
    """The same patients with noise for images, a column that is the label and one that is noise."""
    folder = tmp_path_factory.mktemp("told")
    writer = StoreWriter.create_or_resume(str(folder / "store"), store.spec, {})
    for i, record in enumerate(store.records):
        generator = np.random.default_rng(i)
        shape = store.read_images(i)[0].shape
        covariates = {
            "answer": float(store.labels[i, 0]),
            "noise": None if i % 5 == 0 else float(generator.normal()),
        }
        writer.write(
            replace(record, covariates=covariates, scale=None, checksums={}),
            PatientTensor(
                generator.normal(100, 10, shape).astype(np.float32), store.read_region(i)
            ),
        )
    made = writer.finish()
    save_split(make_split(made, seed=3, num_folds=4), str(folder / "splits.json"))
    return made, str(folder / "splits.json")


def config_of(told, out: Path, covariate_start: str = "logistic", **changes: object):
    store, split_url = told
    network = {
        "name": "ResNet10-narrow",
        "covariates": ["answer", "noise"],
        "covariate_start": covariate_start,
        "allow_covariates": ["answer"],
    }
    # The defaults' rate and decay, by which weights that start at 0 do not move.
    options = {"epochs": 3, "batch_size": 8, "warmup_epochs": 1, **dict(changes.pop("train", {}))}
    return run_config(store, split_url, out, network=network, train=options, **changes)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"ema_decay": 0.99},
        {"sampling": "balanced"},
        {"weight_decay": 0.5, "loss": "focal"},
        {"class_weights": False},
    ],
    ids=str,
)
def test_a_perfect_covariate_is_learned_with_every_option(told, tmp_path, options) -> None:
    result = train(config_of(told, tmp_path / "run", train=options), reporter=lambda _: None)
    assert result.validation_auc_per_target["ER"] >= 0.95
    for epoch in result.history:
        assert epoch.validation_auc_per_target["ER"] >= 0.95


def test_from_zero_a_perfect_covariate_is_not_learned(told, tmp_path) -> None:
    """What the start is for."""
    training = _trained(config_of(told, tmp_path / "run", "zero"), told)
    assert float(training.network.linear.weight.detach().abs().max()) < 0.01


def test_joint_targets_without_validation(told, tmp_path) -> None:
    training = _trained(config_of(told, tmp_path / "run", fold=None, targets=["ER", "HER2"]), told)
    weights = training.network.linear.weight.detach()
    assert weights.shape == (2, 3)
    assert float(weights[0, 0]) > 1
    assert float(weights[1].abs().max()) < float(weights[0, 0])


def test_every_worker_starts_at_the_same_bits(told, tmp_path) -> None:
    one, other = (_training(config_of(told, tmp_path / "run"), told) for _ in range(2))
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name


def test_covariates_have_a_group_without_decay_and_old_runs_two_groups(told, tmp_path) -> None:
    new = _training(config_of(told, tmp_path / "new"), told)
    old = _training(config_of(told, tmp_path / "old", "zero"), told)
    linear = new.network.linear.weight
    assert [len(t.optimizer.param_groups) for t in (new, old)] == [3, 2]
    assert new.optimizer.param_groups[2]["params"] == [linear]
    assert new.optimizer.param_groups[2]["weight_decay"] == 0
    for training in (new, old):
        grouped = [id(p) for group in training.optimizer.param_groups for p in group["params"]]
        assert sorted(grouped) == sorted(id(p) for p in training.network.parameters())


@pytest.mark.parametrize("covariate_start", ["logistic", "zero"])
def test_a_run_that_is_resumed_has_the_same_bits(told, tmp_path, covariate_start) -> None:
    options = {"ema_decay": 0.9, "sampling": "balanced"}
    whole = config_of(told, tmp_path / "whole", covariate_start, train=options)
    parts = config_of(told, tmp_path / "parts", covariate_start, train=options)
    train(whole, reporter=lambda _: None)
    train(parts, until_epoch=1, reporter=lambda _: None)
    train(parts, reporter=lambda _: None)
    states = []
    for config in (whole, parts):
        training = _training(config, told)
        assert training.resume(RunFolder(config.out))
        states.append(training.evaluated.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_predictions_are_those_that_were_recorded(told, tmp_path) -> None:
    store, split_url = told
    config = config_of(told, tmp_path / "run")
    train(config, reporter=lambda _: None)
    recorded = RunFolder(config.out).read_predictions()
    split = load_split(split_url, store)
    again = predict_run(config.out, store, split, "validation", device="cpu")
    assert np.allclose(recorded["probability"], again["probability"], atol=1e-6)


def test_a_run_from_zero_goes_on_only_by_its_own_rule(told, tmp_path) -> None:
    config = config_of(told, tmp_path / "run", "zero")
    train(config, until_epoch=1, reporter=lambda _: None)
    assert "covariate_start" not in RunFolder(config.out).read_config().identity()["network"]
    now = config_of(told, tmp_path / "run")
    with pytest.raises(InputError, match=r"network.covariate_start is zero there and logistic now"):
        train(now, reporter=lambda _: None)
    assert train(config, reporter=lambda _: None).status == "finished"


def test_the_fit_has_the_weights_of_the_loss(told, tmp_path) -> None:
    config = config_of(told, tmp_path / "run", train={"sampling": "balanced"}, targets=["HER2"])
    training = _training(config, told)
    labels = training.patients.labels
    expected = fit_start(
        training.patients.covariates,
        labels,
        draws_of(labels, config.train),
        LossWeights.of(labels, config.train).training,
    )
    assert np.array_equal(training.network.linear.weight.detach().numpy(), expected.weights)


def _split(told) -> Split:
    return load_split(told[1], told[0])


def _training(config, told) -> Training:
    return Training(config, Worker.single("cpu"), told[0], _split(told))


def _trained(config, told) -> Training:
    training = _training(config, told)
    for _ in range(config.train.epochs):
        training.run_epoch()
    return training
