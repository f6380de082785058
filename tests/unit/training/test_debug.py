from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import matplotlib.image
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.networks import registry
from radiotrain.networks.registry import NetworkFamily
from radiotrain.split.split import load_split
from radiotrain.training import debug as module
from radiotrain.training.debug import DebugResult, debug
from tests.unit.training.synthetic import run_config

Debug = Callable[..., tuple[DebugResult, list[str]]]


@pytest.fixture
def run_debug(store: Store, split_url: str, tmp_path: Path) -> Debug:
    def run(
        *, num_patients: int = 8, max_steps: int = 150, max_seconds: float = 60.0, **changes: object
    ) -> tuple[DebugResult, list[str]]:
        lines: list[str] = []
        config: RunConfig = run_config(store, split_url, tmp_path / "run", **changes)
        result = debug(
            config,
            num_patients=num_patients,
            max_steps=max_steps,
            max_seconds=max_seconds,
            reporter=lines.append,
        )
        return result, lines

    return run


@pytest.fixture
def use_network(monkeypatch: pytest.MonkeyPatch) -> Callable[[nn.Module], None]:
    """Let ResNet10-narrow be another network."""

    def use(network: nn.Module) -> None:
        family = NetworkFamily(lambda num_phases, num_targets: network, 1, "for a test")
        monkeypatch.setitem(registry.NETWORKS, "ResNet10-narrow", family)

    return use


class Summary(nn.Module):
    """Logits from the mean of the images, changed by a function on the way."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change
        self.linear = nn.Linear(4, 1)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(self.change(images.mean((2, 3, 4))))
        return logits


def test_debug_draws_the_batch_beside_the_run_folder(run_debug: Debug, tmp_path: Path) -> None:
    result, lines = run_debug(max_steps=2)
    path = tmp_path / "run-debug" / "first_batch.png"
    assert result.picture == str(path)
    assert any(str(path) in line for line in lines)
    pixels = matplotlib.image.imread(path)
    assert min(pixels.shape[:2]) > 600
    assert len(np.unique(pixels)) > 50
    assert [p.name for p in tmp_path.iterdir()] == ["run-debug"]


def test_every_layers_shape_is_said_once(run_debug: Debug) -> None:
    _, lines = run_debug(max_steps=1)
    shapes = [line.split(":")[0] for line in lines if line.startswith("  ") and "(8, " in line]
    assert len(shapes) == len(set(shapes)) > 10


@pytest.mark.slow
def test_debug_does_the_same_each_time(run_debug: Debug) -> None:
    first, second = (run_debug(max_steps=3)[0] for _ in range(2))
    assert first == second


def test_several_targets_with_missing_labels_are_learned(run_debug: Debug) -> None:
    result, lines = run_debug(num_patients=14, targets=["HER2", "ER", "PR"], fold=3)
    assert result.reached
    counts = [line for line in lines if "missing" in line]
    assert len(counts) == 3
    assert any(not line.endswith(" 0 missing") for line in counts)


def test_one_process_and_no_thread_is_around_the_step(
    run_debug: Debug, use_network: Callable[[nn.Module], None]
) -> None:
    seen: list[tuple[threading.Thread, int]] = []

    def look(values: Tensor) -> Tensor:
        seen.append((threading.current_thread(), threading.active_count()))
        return values

    before = threading.active_count()
    use_network(Summary(look))
    run_debug(max_steps=2, speed={"compile": True})
    assert {thread for thread, _ in seen} == {threading.main_thread()}
    assert {count for _, count in seen} == {before}


def test_batch_that_cannot_be_learned_says_what_to_look_at(
    run_debug: Debug, use_network: Callable[[nn.Module], None]
) -> None:
    use_network(Summary(lambda values: values * 0))
    result, lines = run_debug(max_steps=15)
    assert not result.reached
    assert "was NOT overfitted" in lines[-1]
    assert "hardly fell: raise train.lr (0.003); look at " in lines[-1]


def test_time_that_ran_out_is_said(run_debug: Debug, monkeypatch: pytest.MonkeyPatch) -> None:
    train = {"epochs": 4, "batch_size": 8, "lr": 1e-4, "warmup_epochs": 1}
    # A clock by which every machine takes the same number of steps.
    clock = itertools.count(step=0.1)
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    result, lines = run_debug(max_seconds=1.5, max_steps=10_000, train=train)
    assert not result.reached
    assert 2 < result.num_steps < 16
    assert "time ran out" in lines[-1]


def test_gradient_that_is_no_number_names_its_operation(
    run_debug: Debug, use_network: Callable[[nn.Module], None]
) -> None:
    network = Summary(lambda values: values)
    # The root's gradient at 0 is infinite, and is multiplied by 0.
    network.change = lambda values: torch.sqrt(network.linear.weight.sum() * 0 + values * 0) * 0
    use_network(network)
    with pytest.raises(InputError, match=r"gradient SqrtBackward0, .*test_debug.py:\d+, is not"):
        run_debug()


def test_layer_whose_output_is_no_number_is_named(
    run_debug: Debug, use_network: Callable[[nn.Module], None]
) -> None:
    use_network(Summary(lambda values: values / 0))
    with pytest.raises(InputError, match=r"layer linear \(Linear\) gives values .* not finite"):
        run_debug()


def test_weights_that_are_lost_are_named(
    run_debug: Debug, use_network: Callable[[nn.Module], None]
) -> None:
    network = Summary(lambda values: values)
    network.linear.weight.data[0, 0] = float("nan")
    use_network(network)
    with pytest.raises(InputError, match=r"weights of layer linear .* no longer finite"):
        run_debug()


def test_batch_without_labels_is_refused(
    run_debug: Debug, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlabelled = replace(store, labels=np.full_like(store.labels, -1))
    monkeypatch.setattr(
        module, "open_inputs", lambda _, split: (unlabelled, load_split(split, store))
    )
    with pytest.raises(InputError, match="no patient of the batch has a label of ER"):
        run_debug()


def test_target_that_the_store_lacks_is_refused(run_debug: Debug) -> None:
    with pytest.raises(InputError, match="has no target 'ERR'"):
        run_debug(targets=["ERR"])
