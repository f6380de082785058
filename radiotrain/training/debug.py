"""Debug mode: one process, a few patients, breakpoints.

Axis legend: B patients, P phases, R rows, C columns, S slices, T targets.
"""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import InputError
from preprocessing.storage import files
from radiotrain.config.run_config import RunConfig
from radiotrain.data import augmentation
from radiotrain.data.patients import Batch, few_patients
from radiotrain.distributed import Worker
from radiotrain.networks.fusion import call_network
from radiotrain.runs.locations import open_inputs
from radiotrain.seeds import Purpose, seed_for
from radiotrain.tracking.pictures import batch_picture, png_bytes
from radiotrain.training.loop import Reporter, print_line
from radiotrain.training.losses import masked_loss
from radiotrain.training.trainer import Training

_NEAR_ZERO = 0.05
_STEPS_BETWEEN_LINES, _SECONDS_BETWEEN_LINES = 10, 5.0
_STILL_FALLING = 0.9
_BAD_GRADIENT = re.compile(r"Function '(\w+)' returned nan values")
_PLACE = re.compile(r'File "([^"]+)", line (\d+), in forward')


@dataclass(frozen=True)
class DebugResult:
    """Whether one batch was overfitted.

    Parameters
    ----------
    reached
        Whether the loss fell to near zero: if not, the network does not see the labels, or
        learns too slowly.
    picture
        URL of the picture of the batch.
    """

    first_loss: float
    last_loss: float
    num_steps: int
    reached: bool
    picture: str


def debug(
    config: RunConfig,
    *,
    num_patients: int = 8,
    max_steps: int = 150,
    max_seconds: float = 60.0,
    reporter: Reporter = print_line,
) -> DebugResult:
    """Overfit one batch of a few training patients; leave the run folder alone.

    Runs deterministically, and with anomaly detection. Prints every layer's output shape once,
    and draws the batch, before and after augmentation, into the folder ``<out>-debug``. Neither
    thread nor process is between a breakpoint and the step.

    Raises
    ------
    InputError
        If no patient is labelled, or a value is not finite: its sentence names the images, the
        layer or the operation that it came from.
    """
    config = _plain(config)
    with _deterministic(), torch.autograd.set_detect_anomaly(True):
        training = _training(config, num_patients)
        batch, spacing_mm = _first_batch(training)
        _report_batch(training, batch, reporter)
        picture = _draw_batch(training, batch, spacing_mm)
        reporter(f"the batch before and after augmentation: {picture}")
        _report_shapes(training, batch, reporter)
        return _learn_by_heart(training, batch, picture, max_steps, max_seconds, reporter)


def _plain(config: RunConfig) -> RunConfig:
    """Return the configuration without what would be between a breakpoint and the network."""
    speed = {"compile": False, "activation_checkpointing": False, "placement": "device"}
    train = {"micro_batch_size": None, "ema_decay": None, "sync_batch_norm": False}
    return config.model_copy(
        update={
            "speed": config.speed.model_copy(update=speed),
            "train": config.train.model_copy(update=train),
        }
    )


def _training(config: RunConfig, num_patients: int) -> Training:
    store, split = open_inputs(config.store, config.split)
    few = few_patients(split, store, config, num_patients)
    training = Training(config, Worker.single(config.device), store, few)
    torch.manual_seed(seed_for(Purpose.DROPOUT, config.seed))
    return training


def _first_batch(training: Training) -> tuple[Batch, Tensor]:
    """Return all patients, and their spacing, float32 (B, 3)."""
    rows = np.arange(len(training.patients))
    return training.patients.batch(rows, training.worker.device), training.patients.spacing_mm


def _report_batch(training: Training, batch: Batch, reporter: Reporter) -> None:
    """Say what is in the batch, and what in it makes learning it mean little."""
    config, labels = training.config, batch.labels.cpu().numpy()
    reporter(
        f"one batch of {len(batch.images)} patients: images {tuple(batch.images.shape)},"
        f" mean {float(batch.images.mean()):.3f}, deviation {float(batch.images.std()):.3f};"
        f" seed {config.seed}, {batch.images.device.type}, deterministic"
    )
    if np.all(labels == MISSING_LABEL):
        raise InputError(
            f"no patient of the batch has a label of {', '.join(config.targets)}: choose another"
            " target or fold"
        )
    for target, column in zip(config.targets, labels.T, strict=True):
        counts = [int(np.sum(column == value)) for value in (1, 0, MISSING_LABEL)]
        reporter("  {}: {} positive, {} negative, {} missing".format(target, *counts))
        if 0 in counts[:2]:
            reporter(f"  {target} has not both classes here: to learn it, images are not needed")
    bad = ~torch.isfinite(batch.images).flatten(1).all(1).cpu().numpy()
    if bad.any():
        names = ", ".join(np.array(training.patients.ids)[bad])
        raise InputError(f"the images of {names} are not finite: look at them with 'radiotrain qc'")


def _draw_batch(training: Training, batch: Batch, spacing_mm: Tensor) -> str:
    """Write the picture of the batch beside the run folder; return its URL."""
    config, after = training.config, batch.images
    if config.augment.enabled:
        drawn = augmentation.draw(
            config.augment, len(batch.images), seed=config.seed, epoch=0, step=0
        )
        after = augmentation.apply(batch.images, drawn, spacing_mm)
    said = {0: "−", 1: "+", MISSING_LABEL: "?"}
    titles = [
        "\n".join(
            [name, " ".join(f"{t}{said[v]}" for t, v in zip(config.targets, row, strict=True))]
        )
        for name, row in zip(training.patients.ids, batch.labels.tolist(), strict=True)
    ]
    pixels = batch_picture(titles, batch.images.cpu().numpy(), after.cpu().numpy())
    url = files.join(f"{config.out}-debug", "first_batch.png")
    files.write_bytes(url, png_bytes(pixels))
    return url


def _report_shapes(training: Training, batch: Batch, reporter: Reporter) -> None:
    """Say the output shape of every layer, once, however often it is used."""
    said: set[str] = set()

    def say(name: str, layer: nn.Module, output: Tensor) -> None:
        if name not in said:
            said.add(name)
            reporter(f"  {name or 'network'} ({type(layer).__name__}): {tuple(output.shape)}")

    with torch.no_grad(), _watching_layers(training.network, say):
        _forward(training, batch)


def _learn_by_heart(
    training: Training,
    batch: Batch,
    picture: str,
    max_steps: int,
    max_seconds: float,
    reporter: Reporter,
) -> DebugResult:
    losses: list[float] = []
    start = said = time.monotonic()
    training.network.train()
    with _watching_layers(training.network, _check_finite):
        while len(losses) < max_steps and time.monotonic() - start < max_seconds:
            losses.append(_step(training, batch, len(losses)))
            slow = time.monotonic() - said > _SECONDS_BETWEEN_LINES
            if slow or (len(losses) - 1) % _STEPS_BETWEEN_LINES == 0:
                said = time.monotonic()
                reporter(f"step {len(losses) - 1}: loss {losses[-1]:.4f}")
            if losses[-1] < _NEAR_ZERO:
                break
    reached = losses[-1] < _NEAR_ZERO
    fell = (
        f"loss {losses[0]:.4f} to {losses[-1]:.4f} in {len(losses)} steps,"
        f" {time.monotonic() - start:.0f} s"
    )
    if reached:
        reporter(f"one batch was overfitted: {fell}")
    else:
        advice = _advice(losses, len(losses) < max_steps, training.config, picture)
        reporter(f"one batch was NOT overfitted: {fell}; {advice}")
    return DebugResult(losses[0], losses[-1], len(losses), reached, picture)


def _step(training: Training, batch: Batch, number: int) -> float:
    """Take one step; return the loss before it."""
    training.optimizer.zero_grad(set_to_none=True)
    logits = _forward(training, batch)
    loss = masked_loss(logits, batch.labels, training.class_weights)
    with _named_gradients(number):
        loss.backward()  # type: ignore[no-untyped-call]
    training.optimizer.step()
    return float(loss.detach())


def _forward(training: Training, batch: Batch) -> Tensor:
    kind, dtype = training.worker.device.type, training.dtype
    with torch.autocast(kind, dtype, enabled=dtype is not None):
        return call_network(training.network, batch.images, batch.covariates)


def _advice(losses: list[float], out_of_time: bool, config: RunConfig, picture: str) -> str:
    """Say what to look at when a batch could not be learned."""
    lr = f"train.lr ({config.train.lr:g})"
    if losses[-1] > 2 * losses[0]:
        return f"the loss rose: lower {lr}"
    if min(losses) < _STILL_FALLING * losses[0]:
        if out_of_time:
            return "time ran out while it fell: use a GPU, a smaller network or smaller crops"
        return f"it fell, but too slowly: try another {lr}; 0.001 is a common start"
    return (
        f"it hardly fell: raise {lr}; look at {picture}, whether tumours are in the images and"
        " images of both classes differ; then whether the network's last layers still see"
        " anything (shapes above)"
    )


def _check_finite(name: str, layer: nn.Module, output: Tensor) -> None:
    if bool(torch.isfinite(output).all()):
        return
    kind = type(layer).__name__
    if not all(bool(torch.isfinite(p).all()) for p in layer.parameters()):
        raise InputError(
            f"the weights of layer {name} ({kind}) are no longer finite: lower train.lr"
        )
    raise InputError(
        f"layer {name} ({kind}) gives values that are not finite though its weights are: lower"
        " train.lr, set precision to float32, or look at what the layer divides by"
    )


@contextmanager
def _watching_layers(network: nn.Module, look: Any) -> Iterator[None]:
    """Call `look` with name, layer and output whenever one of the innermost layers is used."""

    def hook(name: str) -> Any:
        def seen(layer: nn.Module, inputs: Any, output: Any) -> None:
            if isinstance(output, Tensor):
                look(name, layer, output)

        return seen

    handles = [
        layer.register_forward_hook(hook(name))
        for name, layer in network.named_modules()
        if not list(layer.children())
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _named_gradients(number: int) -> Iterator[None]:
    """Turn what anomaly detection says, an error and a warning of many lines, into one sentence."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            yield
        except RuntimeError as error:
            found = _BAD_GRADIENT.search(str(error))
            if found is None:
                raise
            places = _PLACE.findall(" ".join(str(w.message) for w in caught))
            where = f", of the operation at {places[-1][0]}:{places[-1][1]}," if places else ""
            raise InputError(
                f"in step {number} the gradient {found[1]}{where} is not a number: look for a"
                " division, root or logarithm of zero there, or lower train.lr"
            ) from error


@contextmanager
def _deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    # Without it CUDA's matrix products are not deterministic; read when CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
