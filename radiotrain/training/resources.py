"""Memory and time of a run, counted and measured.

Axis legend: B patients, P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from preprocessing.processes import machine
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig
from radiotrain.data.patients import few_patients, part_ids
from radiotrain.distributed import Worker
from radiotrain.networks.cost import network_cost
from radiotrain.split.split import Split, load_split
from radiotrain.training.trainer import Training

# A process with torch and MONAI before it has a network, and CUDA's own on a GPU.
_PROCESS_BYTES = 0.6e9
# Weights, their gradients and AdamW's two moments, float32.
_BYTES_PER_PARAMETER = 16
# A batch of images, and the same augmented while both are there.
_COPIES_OF_IMAGES = 3
# Where time is measured on a CPU, whose speed hardly depends on the batch.
_MOST_ON_CPU = 4
# Epochs of a few patients that take longer say enough the first time.
_LONG_ENOUGH_S = 5.0


@dataclass(frozen=True)
class Demand:
    """All of a run's configuration that says how much it asks for; many runs have the same.

    Parameters
    ----------
    num_at_a_time
        Patients that a worker computes together.
    """

    network: str
    num_targets: int
    num_at_a_time: int
    averages_weights: bool
    augments: bool
    checkpoints_activations: bool
    channels_last: bool
    precision: str


@dataclass(frozen=True)
class Timing:
    """How fast a run trains, measured.

    Parameters
    ----------
    device
        Its name.
    device_bytes
        Memory that it has: a GPU's own, or the host's.
    is_gpu
        Whether it is one.
    half_precision
        Whether activations had two bytes.
    train_s, validate_s
        Seconds a patient.
    peak_bytes
        Most of a GPU's memory in use; None where it is not measured.
    """

    device: str
    device_bytes: int
    is_gpu: bool
    half_precision: bool
    train_s: float
    validate_s: float
    peak_bytes: int | None


def demand_of(config: RunConfig, workers: int = 1) -> Demand:
    """Return what a run's demand depends on."""
    train, speed = config.train, config.speed
    share = math.ceil(train.batch_size / workers)
    return Demand(
        network=config.network.name,
        num_targets=len(config.targets),
        num_at_a_time=min(train.micro_batch_size or share, share),
        averages_weights=train.ema_decay is not None,
        augments=config.augment.enabled,
        checkpoints_activations=speed.activation_checkpointing,
        channels_last=speed.channels_last,
        precision=config.precision,
    )


def memory_bytes(
    demand: Demand, image_shape: tuple[int, int, int, int], *, half_precision: bool = False
) -> float:
    """Count what a worker keeps in its device's memory while it trains.

    Weights, gradients, AdamW's moments, activations, images of a batch, and the process itself.
    What libraries need in passing is not in it, nor patients, where they are kept there too.

    Parameters
    ----------
    image_shape
        (P, R, C, S).
    half_precision
        Whether the device has bfloat16, if the run wants it.
    """
    phases, rows, columns, slices = image_shape
    cost = network_cost(demand.network, phases, demand.num_targets, (rows, columns, slices))
    of_sample = cost.checkpointed_mb if demand.checkpoints_activations else cost.activation_mb
    size = 2 if half_precision and demand.precision != "float32" else 4
    per_parameter = _BYTES_PER_PARAMETER + 4 * demand.averages_weights
    activations = of_sample * 1e6 * size / 4
    images = _COPIES_OF_IMAGES * 4 * math.prod(image_shape)
    return (
        _PROCESS_BYTES
        + per_parameter * cost.num_parameters
        + demand.num_at_a_time * (activations + images)
    )


def time_run(config: RunConfig, workers: int = 1) -> Timing:
    """Train a few patients for an epoch or two as one of so many workers would; write nothing.

    On a CPU in smaller batches, which take as long a patient. Without torch.compile, which would take
    minutes first.

    Raises
    ------
    InputError
        If they do not fit into memory.
    """
    worker, store = Worker.single(config.device), Store.open(config.store)
    is_gpu = worker.device.type == "cuda"
    batch = demand_of(config, workers).num_at_a_time
    batch = batch if is_gpu else min(batch, _MOST_ON_CPU)
    few = few_patients(load_split(config.split, store), store, config, 2 * batch, batch)
    training = Training(_plain(config, batch), worker, store, few)
    training.run_epoch()
    if is_gpu or training.history[-1].seconds < _LONG_ENOUGH_S:
        # The first includes what is made once.
        training.run_epoch()
    metrics = training.history[-1]
    train_s = 1 / metrics.samples_per_s
    validation_s = metrics.seconds - train_s * len(training.patients)
    return Timing(
        device=_name(worker.device),
        device_bytes=device_bytes(worker.device),
        is_gpu=is_gpu,
        half_precision=training.dtype is not None,
        train_s=train_s,
        validate_s=max(0.0, validation_s) / max(1, len(training.validation)),
        peak_bytes=metrics.peak_memory_bytes,
    )


def needed_bytes(demand: Demand, timing: Timing, image_shape: tuple[int, int, int, int]) -> float:
    """Return the memory that a worker needs where it was timed: measured on a GPU, else counted."""
    if timing.peak_bytes is not None:
        return timing.peak_bytes
    return memory_bytes(demand, image_shape, half_precision=timing.half_precision)


def epoch_s(timing: Timing, split: Split, fold: int | None) -> float:
    """Return how long one worker takes for an epoch, its patients being ready."""
    num_train = len(part_ids(split, fold, "train"))
    num_validation = len(part_ids(split, fold, "validation"))
    return num_train * timing.train_s + num_validation * timing.validate_s


def device_bytes(device: torch.device) -> int:
    """Return the memory that a device has: a GPU's own, or the host's."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory)
    return machine.memory().total


def _plain(config: RunConfig, batch_size: int) -> RunConfig:
    train = {"batch_size": batch_size, "micro_batch_size": None}
    speed = {"placement": "device", "compile": False}
    return config.model_copy(
        update={
            "train": config.train.model_copy(update=train),
            "speed": config.speed.model_copy(update=speed),
        }
    )


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}"
