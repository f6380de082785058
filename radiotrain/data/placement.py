"""Where patients are kept while a network trains: a decision on sizes, made once and said aloud."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import torch

from preprocessing.common.errors import InputError
from preprocessing.processes import machine

SHARED_MEMORY = Path(os.environ.get("RADIOTRAIN_SHARED_MEMORY", "/dev/shm"))

# What is left to the network where images are kept in a GPU's memory.
_SHARE_OF_DEVICE = 0.5
# What is left to processes where images are kept in the host's.
_SHARE_OF_HOST = 0.7


class Placement(StrEnum):
    """Where the voxels are, all as int16.

    - ``device``: the memory of what computes; on a CPU that of the process;
    - ``shared``: the host's shared memory, one copy for all processes on it;
    - ``stream``: in the store; read anew each epoch, a few batches ahead.
    """

    device = "device"
    shared = "shared"
    stream = "stream"


@dataclass(frozen=True)
class Room:
    """Bytes that are free.

    Parameters
    ----------
    device
        Of the GPU's memory; None where the device is the CPU.
    host
        Of the host's memory.
    shared
        Of the host's shared memory; what others already hold of this store is not counted.
    """

    device: int | None
    host: int
    shared: int


@dataclass(frozen=True)
class PlacementChoice:
    """A decision, with its reason in words."""

    placement: Placement
    reason: str


def choose_placement(
    setting: str, device_bytes: int, shared_bytes: int, room: Room
) -> PlacementChoice:
    """Decide where to keep patients.

    Parameters
    ----------
    setting
        ``auto`` or a placement's name, as configured.
    device_bytes
        What this worker needs in its own memory.
    shared_bytes
        What is not in shared memory yet.

    Returns
    -------
    The first of device (GPU only), shared, device (CPU) and stream that has room. A CPU computes
    from shared memory as fast as from its process's own, and several runs then need one copy.

    Raises
    ------
    InputError
        If a place is asked for by name that has no room.
    """
    on_device = _fits(device_bytes, _device_room(room))
    shared = _fits(shared_bytes, min(room.shared, _SHARE_OF_HOST * room.host))
    if setting == Placement.stream:
        return PlacementChoice(Placement.stream, "as configured")
    if setting == Placement.device:
        _demand(on_device, setting, device_bytes, _device_room(room))
        return PlacementChoice(Placement.device, "as configured")
    if setting == Placement.shared:
        _demand(shared, setting, shared_bytes, room.shared)
        return PlacementChoice(Placement.shared, "as configured")
    if on_device and room.device is not None:
        return PlacementChoice(Placement.device, f"{_gb(room.device)} of it free")
    if shared:
        return PlacementChoice(Placement.shared, f"{_gb(room.shared)} of it free")
    if on_device:
        return PlacementChoice(Placement.device, f"shared memory has {_gb(room.shared)} free")
    return PlacementChoice(
        Placement.stream, f"too large for memory, of which {_gb(room.host)} are free"
    )


def measure_room(device: torch.device) -> Room:
    """Return what is free on this machine now."""
    on_device = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    shared = shutil.disk_usage(SHARED_MEMORY).free if SHARED_MEMORY.is_dir() else 0
    return Room(on_device, machine.memory().available, shared)


def _device_room(room: Room) -> float:
    if room.device is not None:
        return _SHARE_OF_DEVICE * room.device
    return _SHARE_OF_HOST * room.host


def _fits(num_bytes: int, room: float) -> bool:
    return num_bytes <= room


def _demand(fits: bool, setting: str, num_bytes: int, room: float) -> None:
    if not fits:
        raise InputError(
            f"speed.placement is {setting}, but the patients take {_gb(num_bytes)} and there is room"
            f" for {_gb(room)}: set speed.placement to auto or stream"
        )


def _gb(num_bytes: float) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
