"""What a run will ask of its device, against what it asked."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.data.patients import few_patients
from radiotrain.networks.cost import network_cost
from radiotrain.networks.registry import build_network
from radiotrain.split.split import Split
from radiotrain.training.loop import train
from radiotrain.training.resources import demand_of, memory_bytes, time_run
from tests.unit.training.synthetic import run_config


def a_run(store: Store, split_url: str, tmp_path: Path, **changes: object) -> RunConfig:
    return run_config(store, split_url, tmp_path / "run", **changes)


@pytest.mark.parametrize(
    ("batch_size", "micro_batch_size", "workers", "expected"),
    [(16, None, 1, 16), (16, None, 3, 6), (16, 4, 1, 4), (16, 4, 8, 2)],
)
def test_patients_at_a_time(
    store: Store,
    split_url: str,
    tmp_path: Path,
    batch_size: int,
    micro_batch_size: int | None,
    workers: int,
    expected: int,
) -> None:
    train = {"batch_size": batch_size, "micro_batch_size": micro_batch_size}
    run = a_run(store, split_url, tmp_path, train=train)
    assert demand_of(run, workers).num_at_a_time == expected


def test_runs_that_differ_in_what_they_learn_ask_for_the_same(
    store: Store, split_url: str, tmp_path: Path
) -> None:
    one = a_run(store, split_url, tmp_path, seed=3, targets=["ER"], train={"lr": 0.1})
    other = a_run(store, split_url, tmp_path, fold=2, targets=["PR"], train={"loss": "focal"})
    larger = a_run(store, split_url, tmp_path, targets=["ER", "PR"])
    assert demand_of(one) == demand_of(other) != demand_of(larger)


def test_memory_is_the_sum_of_its_parts(store: Store, split_url: str, tmp_path: Path) -> None:
    """Weights, gradients and two moments, counted on the optimiser's own state."""
    images = (4, 32, 32, 17)
    run = a_run(store, split_url, tmp_path)
    network = build_network("ResNet10-narrow", 4, 1, images[1:])
    optimizer = torch.optim.AdamW(network.parameters())
    network(torch.zeros(2, *images)).sum().backward()
    optimizer.step()
    moments = [v for state in optimizer.state.values() for v in state.values() if v.dim()]
    parameters = list(network.parameters())
    gradients = [p.grad for p in parameters if p.grad is not None]
    fixed = sum(t.nbytes for t in [*parameters, *gradients, *moments])
    activations = network_cost("ResNet10-narrow", 4, 1, images[1:]).activation_mb * 1e6
    of_batch = [
        memory_bytes(
            demand_of(
                run.model_copy(update={"train": run.train.model_copy(update={"batch_size": b})})
            ),
            images,
        )
        for b in (8, 16)
    ]
    assert of_batch[1] - of_batch[0] == pytest.approx(8 * (activations + 3 * 4 * math.prod(images)))
    assert 2 * of_batch[0] - of_batch[1] - fixed == pytest.approx(0.6e9, rel=0.01)


def test_half_precision_halves_activations_alone(
    store: Store, split_url: str, tmp_path: Path
) -> None:
    images = (4, 32, 32, 17)
    demand = demand_of(a_run(store, split_url, tmp_path))
    activations = network_cost("ResNet10-narrow", 4, 1, images[1:]).activation_mb * 1e6
    saved = memory_bytes(demand, images) - memory_bytes(demand, images, half_precision=True)
    assert saved == pytest.approx(8 * activations / 2)
    exact = demand_of(a_run(store, split_url, tmp_path, precision="float32"))
    assert memory_bytes(exact, images, half_precision=True) == memory_bytes(demand, images)


@pytest.mark.parametrize("name", ["ResNet18", "SEResNet50", "DenseNet121", "EfficientNet-b0"])
def test_forgotten_activations_are_fewer_but_not_none(name: str) -> None:
    cost = network_cost(name, 4, 1, (64, 64, 34))
    images_mb = 4 * 4 * 64 * 64 * 34 / 1e6
    assert images_mb < cost.checkpointed_mb < 0.9 * cost.activation_mb


def test_time_is_that_of_a_real_run(store: Store, split_url: str, tmp_path: Path) -> None:
    run = a_run(
        store,
        split_url,
        tmp_path,
        logging={"tensorboard": False},
        train={"epochs": 4, "batch_size": 4},
    )
    timing = time_run(run)
    assert not Path(run.out).exists()
    assert (timing.is_gpu, timing.half_precision, timing.peak_bytes) == (False, False, None)
    history = train(run, reporter=lambda _: None).history[1:]
    real = min(1 / metrics.samples_per_s for metrics in history)
    # Other tests may have the same core at one of the times.
    assert real / 4 < timing.train_s < real * 4
    assert 0 < timing.validate_s < timing.train_s


def test_few_patients_are_training_patients_of_both_classes(
    store: Store, split: Split, split_url: str, tmp_path: Path
) -> None:
    run = a_run(store, split_url, tmp_path, fold=1)
    few = few_patients(split, store, run, 4, 2)
    assert (len(few.train_ids(1)), len(few.validation_ids(1))) == (4, 2)
    assert not {*few.train_ids(1)} & {*few.validation_ids(1)}
    assert {*few.train_ids(1), *few.validation_ids(1)} <= {*split.train_ids(1)}
    labels = [store.labels[store.index_of(i), 0] for i in few.train_ids(1)]
    assert sorted(labels) == [0, 0, 1, 1]
    assert few.test_ids == split.test_ids
