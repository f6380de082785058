"""When memory runs out: told from other errors, and what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from preprocessing.common.errors import InputError
from radiotrain.networks.fusion import call_network
from radiotrain.training.losses import masked_loss

if TYPE_CHECKING:
    from radiotrain.training.training import Training

# torch on a CPU raises a plain RuntimeError.
_CPU_ALLOCATOR = ("can't allocate memory", "not enough memory")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that a device, or the host, has no memory left."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _CPU_ALLOCATOR)


def out_of_memory(num_patients: int, device: torch.device) -> InputError:
    """Return the sentence about `num_patients` that were too many to compute at a time."""
    advice = "set speed.activation_checkpointing to true or take a smaller network"
    if num_patients > 2:
        smaller = max(2, num_patients // 2)
        advice = (
            f"set train.micro_batch_size to {smaller} (the global batch stays as it is), give"
            " --auto-batch, or set speed.activation_checkpointing to true"
        )
    return InputError(
        f"{num_patients} patients at a time do not fit into the {_name(device)}'s memory: {advice}"
    )


def _name(device: torch.device) -> str:
    if device.type != "cuda":
        return "machine"
    total = torch.cuda.get_device_properties(device).total_memory
    return f"{torch.cuda.get_device_name(device)} ({total / 1e9:.0f} GB)"


def find_micro_batch(training: Training) -> int:
    """Halve what is computed at a time until a step fits into memory; return its size.

    Nothing is learned from the steps that are tried.
    """
    worker = training.worker
    largest = max(len(step.rows) for step in training.plan(0))
    share = -(-largest // worker.world_size)
    size = min(training.micro_batch_size or share, share)
    while worker.any(not fits(training, size)):
        if size <= 2:
            raise out_of_memory(size, worker.device)
        size = max(2, size // 2)
    training.micro_batch_size = None if size == share else size
    training.check_batches(len(training.patients))
    return size


def fits(training: Training, num_patients: int) -> bool:
    """Tell whether a forward and a backward pass of so many patients fit into memory."""
    network, device, dtype = training.network, training.worker.device, training.dtype
    before = {name: value.clone() for name, value in network.named_buffers()}
    batch = training.patients.batch(np.arange(num_patients), device)
    network.train()
    try:
        with torch.autocast(device.type, dtype, enabled=dtype is not None):
            logits = call_network(network, batch.images, batch.covariates)
        loss = masked_loss(logits, batch.labels, training.class_weights)
        loss.backward()  # type: ignore[no-untyped-call]
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return False
    finally:
        training.optimizer.zero_grad(set_to_none=True)
        with torch.no_grad():
            for name, value in network.named_buffers():
                value.copy_(before[name])
    return True
