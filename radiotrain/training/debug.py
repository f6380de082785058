"""Debug mode: no Ray, one process, a few patients; breakpoints work, and it says what it sees."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from preprocessing.store import Store
from radiotrain.config import RunConfig
from radiotrain.distributed import Worker
from radiotrain.split import Split, load_split
from radiotrain.training.loop import Reporter, print_line
from radiotrain.training.losses import masked_bce
from radiotrain.training.training import Training

_NEAR_ZERO = 0.05
_STEPS_BETWEEN_LINES = 10


@dataclass(frozen=True)
class DebugResult:
    """Whether one batch could be learned by heart.

    Parameters
    ----------
    reached
        Whether the loss fell to near zero: if not, the network does not see the labels, or
        learns too slowly.
    """

    first_loss: float
    last_loss: float
    num_steps: int
    reached: bool


def debug(
    config: RunConfig,
    *,
    num_patients: int = 8,
    max_steps: int = 150,
    max_seconds: float = 60.0,
    reporter: Reporter = print_line,
) -> DebugResult:
    """Learn one batch of a few training patients by heart; write nothing.

    Runs deterministically and with anomaly detection, which names the operation that made a
    NaN. Prints every layer's output shape once.
    """
    worker = Worker.single(config.device)
    store = Store.open(config.store)
    split = load_split(config.split, store)
    few = _few_patients(split, store, config, num_patients)
    with _deterministic(), torch.autograd.set_detect_anomaly(True):
        training = Training(config, worker, store, few)
        images, labels = training.patients.batch(np.arange(len(training.patients)), worker.device)
        reporter(
            f"one batch of {len(training.patients)} patients: images {tuple(images.shape)},"
            f" mean {float(images.mean()):.3f}, labels {labels.tolist()}"
        )
        _report_shapes(training.network, images, reporter)
        return _learn_by_heart(training, images, labels, max_steps, max_seconds, reporter)


def _learn_by_heart(
    training: Training,
    images: Tensor,
    labels: Tensor,
    max_steps: int,
    max_seconds: float,
    reporter: Reporter,
) -> DebugResult:
    losses: list[float] = []
    start = time.monotonic()
    training.network.train()
    for step in range(max_steps):
        training.optimizer.zero_grad(set_to_none=True)
        loss = masked_bce(training.network(images), labels, training.positive_weight)
        loss.backward()  # type: ignore[no-untyped-call]
        training.optimizer.step()
        losses.append(float(loss.detach()))
        if step % _STEPS_BETWEEN_LINES == 0:
            reporter(f"step {step}: loss {losses[-1]:.4f}")
        if losses[-1] < _NEAR_ZERO or time.monotonic() - start > max_seconds:
            break
    reached = losses[-1] < _NEAR_ZERO
    verb = "was learned by heart" if reached else "was NOT learned by heart"
    reporter(f"one batch {verb}: loss {losses[0]:.4f} to {losses[-1]:.4f} in {len(losses)} steps")
    return DebugResult(losses[0], losses[-1], len(losses), reached)


def _few_patients(split: Split, store: Store, config: RunConfig, num_patients: int) -> Split:
    """Return a split of which only a few patients train and validate, of both classes."""
    ids = np.array(split.train_ids(config.fold))
    rows = [store.index_of(i) for i in ids]
    labels = store.labels[rows, store.targets.index(config.targets[0])]
    chosen = tuple(ids[_interleave(labels)[:num_patients]].tolist())
    return replace(split, folds=tuple(chosen if k != config.fold else () for k in range(2)))


def _interleave(labels: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return row numbers, a positive and a negative in turn, missing ones last."""
    within = np.zeros(len(labels), dtype=np.int64)
    for value in (0, 1, -1):
        same = labels == value
        within[same] = np.arange(same.sum()) + (len(labels) if value == -1 else 0)
    return np.argsort(within, kind="stable")


def _report_shapes(network: nn.Module, images: Tensor, reporter: Reporter) -> None:
    """Say the output shape of every layer, once."""

    def hook(name: str) -> Any:
        def say(module: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                kind = type(module).__name__
                reporter(f"  {name or 'network'} ({kind}): {tuple(output.shape)}")

        return say

    handles = [
        module.register_forward_hook(hook(name))
        for name, module in network.named_modules()
        if not list(module.children())
    ]
    with torch.no_grad():
        network(images)
    for handle in handles:
        handle.remove()


@contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
