"""Distributed worker: rank, device and communication.

The process group is made by the caller (Ray Train, torchrun, a test); one worker needs none.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn

from preprocessing.common.errors import InputError
from preprocessing.processes.machine import num_cpus


@dataclass(frozen=True)
class Worker:
    """A place in the group of workers that train one network.

    Parameters
    ----------
    rank
        From 0; the worker of rank 0 is the only one that writes.
    device
        What it computes on.
    """

    rank: int
    world_size: int
    device: torch.device

    @classmethod
    def single(cls, device: str = "auto") -> Worker:
        """Return the only worker, on a device named as in the configuration."""
        return cls(0, 1, choose_device(device))

    @classmethod
    def of_group(cls, device: torch.device) -> Worker:
        """Return this process's place in the process group that is running."""
        return cls(distributed.get_rank(), distributed.get_world_size(), device)

    @property
    def is_writer(self) -> bool:
        """Whether this worker writes the run folder."""
        return self.rank == 0

    def wrap(self, network: nn.Module) -> nn.Module:
        """Return the network as DDP has it, or as it is where there is one worker."""
        if self.world_size == 1:
            return network
        ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(
            network, device_ids=ids, gradient_as_bucket_view=True
        )

    def no_sync(self, wrapped: nn.Module) -> AbstractContextManager[None]:
        """Let this worker's gradients add up by themselves in the block."""
        if isinstance(wrapped, nn.parallel.DistributedDataParallel):
            context: AbstractContextManager[None] = wrapped.no_sync()
            return context
        return nullcontext()

    def sum_tensor(self, value: Tensor) -> Tensor:
        """Return a tensor summed over all workers, without waiting for a device."""
        if self.world_size > 1:
            value = value.clone()
            distributed.all_reduce(value)
        return value

    def sum(self, value: Tensor) -> float:
        """Return a scalar summed over all workers."""
        return float(self.sum_tensor(value))

    def any(self, flag: bool) -> bool:
        """Tell whether any worker says so; all hear the same answer."""
        return self.sum(torch.tensor(float(flag), device=self.device)) > 0

    def gather(self, value: Any) -> list[Any]:
        """Return every worker's value, in order of rank, to all of them."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        distributed.all_gather_object(values, value)
        return values

    def share_buffers(self, network: nn.Module) -> None:
        """Give all workers rank 0's buffers (running means), so that they predict alike."""
        if self.world_size > 1:
            for buffer in network.buffers():
                distributed.broadcast(buffer, 0)


def choose_device(name: str) -> torch.device:
    """Return the device that ``auto``, ``cpu`` or ``cuda`` stands for on this machine.

    PyTorch then computes on no more threads than this process has processors for, and float32 with all
    its digits until `autocast_dtype` allows less.

    Raises
    ------
    InputError
        If a GPU is asked for and there is none.
    """
    _limit_threads()
    _allow_tf32(False)
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device is cuda, but torch finds no GPU here: set device to cpu or auto")
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _limit_threads() -> None:
    """Let no more threads compute than the container has processors' time for.

    PyTorch knows what a process is bound to, not what a control group is given. Others would
    only wait.
    """
    allowed = num_cpus()
    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > allowed:
        torch.set_num_threads(allowed)


def autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """Set how float32 is computed on a GPU; return the dtype of mixed precision, or None.

    None is float32 throughout: with all its digits, unless `precision` is ``tf32``. PyTorch by itself lets
    convolutions drop 13 of 23 binary digits. Called before each training and prediction, as the setting
    belongs to the process.
    """
    if device.type == "cuda":
        _allow_tf32(precision == "tf32")
    if precision in ("float32", "tf32") or device.type != "cuda":
        return None
    if torch.cuda.is_bf16_supported():
        return torch.bfloat16
    if precision == "bfloat16":
        raise InputError("precision is bfloat16, but this GPU has none: set precision to float32")
    return None


def _allow_tf32(allowed: bool) -> None:
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
