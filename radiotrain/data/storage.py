"""Voxels in memory: device, shared memory or streamed.

Locks are the system's: they end with their process, however it ends. Whoever leaves last removes
the copy; what a killed process left is used by the next run on the store, or removed by the next
run on another one (`remove_unused`).

Axis legend: M patients of the store, P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from preprocessing.common.errors import InputError
from preprocessing.images.clipping import find_limits
from preprocessing.processes import machine
from preprocessing.storage.files import make_own
from preprocessing.store import REGION_PADDING, Store

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


# Which intensities a network is given: ``plain``, as stored; or ``robust``, without voxels that are no
# tissue. A run's configuration has it (`train.normalisation`), and so has an exported model.
NormalisationRule = Literal["plain", "robust"]

# Farther from tissue, in the spreads of `preprocessing.images.clipping`, a voxel is set to the limit; it then
# enters no mean and deviation from here on. The farthest voxel of 796 real crops that
# were looked at lies 3.6 spreads beyond the 99th percentile (8-bit, windowed; docs/decisions/0041).
CLIP_MARGIN, COUNT_MARGIN = 10.0, 4.0


@dataclass(frozen=True)
class PatientVoxels:
    """One patient's images.

    Parameters
    ----------
    voxels
        int16 (P, R, C, S); padding holds the value that normalises to 0, so that a network
        sees no edge.
    gain, offset
        Normalised value = voxel × gain + offset. One pair for all phases, from the pre-contrast
        phase, so that enhancement keeps its meaning.
    """

    voxels: NDArray[np.int16]
    gain: np.float32
    offset: np.float32


def read_voxels(store: Store, index: int, rule: NormalisationRule) -> PatientVoxels:
    """Read the images of the store's patient `index`."""
    voxels, scale = store.read_images(index)
    return for_network(voxels, store.read_region(index), scale, rule)


def for_network(
    voxels: NDArray[np.int16], region: NDArray[np.uint8], scale: float, rule: NormalisationRule
) -> PatientVoxels:
    """Return images as networks are given them.

    Parameters
    ----------
    voxels
        int16 (P, R, C, S), as stored.
    region
        uint8 (R, C, S), as stored.
    scale
        Intensity of one step of the voxels.
    """
    padding = (region & REGION_PADDING) != 0
    kept = voxels
    if rule == "robust":
        voxels = _without_outliers(voxels, padding)
    found = normalisation(voxels[0], padding, scale, rule)
    gain, offset = (np.float32(value) for value in found)
    if padding.any():
        if voxels is kept:
            voxels = voxels.copy()
        voxels[:, padding] = round(-float(offset) / float(gain))
    return PatientVoxels(voxels, gain, offset)


def _without_outliers(voxels: NDArray[np.int16], padding: NDArray[np.bool_]) -> NDArray[np.int16]:
    """Return phases (P, R, C, S) with what is no tissue set to each phase's limits; see `NormalisationRule`."""
    inside = ~padding
    least, clipped = 0.0, None
    for n, phase in enumerate(voxels):
        limits = find_limits(phase, CLIP_MARGIN, counted=inside, least_spread=least)
        if n == 0:
            least = limits.spread
        if not limits.hold(phase):
            clipped = voxels.copy() if clipped is None else clipped
            clipped[n] = np.clip(phase, *_as_int16(limits.low, limits.high))
    return voxels if clipped is None else clipped


def _as_int16(low: float, high: float) -> tuple[int, int]:
    # Percentiles of integers are integers, and so are limits by a whole margin.
    return max(round(low), -32768), min(round(high), 32767)


def normalisation(
    pre_contrast: NDArray[np.int16],
    padding: NDArray[np.bool_],
    scale: float,
    rule: NormalisationRule,
) -> tuple[float, float]:
    """Return the gain and offset that give one patient's pre-contrast mean 0 and deviation 1.

    Parameters
    ----------
    pre_contrast
        int16 (R, C, S).
    padding
        bool (R, C, S); these voxels do not count.
    scale
        Intensity of one step of the int16 values. It cancels out, except that an image of
        one single value stays finite.
    rule
        ``robust`` leaves voxels that are no tissue out of mean and deviation, unless nothing else
        differs from the mean.

    Returns
    -------
    Gain and offset in units of int16 steps: ``voxel * gain + offset``.
    """
    inside = pre_contrast[~padding].astype(np.float64)
    if inside.size == 0:
        return 1.0, 0.0
    mean, deviation = float(inside.mean()), float(inside.std())
    if rule == "robust" and deviation > 0:
        limits = find_limits(pre_contrast, COUNT_MARGIN, counted=~padding)
        if not limits.hold(inside):
            tissue = inside[(inside >= limits.low) & (inside <= limits.high)]
            if tissue.size and np.ptp(tissue) > 0:
                mean, deviation = float(tissue.mean()), float(tissue.std())
    if deviation == 0:
        return scale, -mean * scale
    return 1.0 / deviation, -mean / deviation


READERS = 8


class SharedCopy:
    """A store's voxels in shared memory, and this process's hold on them.

    Attributes
    ----------
    voxels
        int16 (M, P, R, C, S), a private mapping: writing to it changes no file.
    normalisation
        float32 (M, 2).
    """

    def __init__(self, store: Store, memory: Path, rule: NormalisationRule) -> None:
        self._store, self._rule = store, rule
        self.folder = copy_folder(store, memory, rule)
        remove_unused(memory, keep=self.folder)
        self._users = _enter(self.folder)
        self._leave = weakref.finalize(self, _leave, self.folder, self._users)
        num = len(store.patient_ids)
        self.voxels = self._map("voxels", np.int16, (num, *store.image_shape))
        self.normalisation = self._map("normalisation", np.float32, (num, 2))

    def fill(self, indices: Sequence[int], advance: Callable[[], None]) -> None:
        """Put those of the store's patients there that are not there yet.

        Processes that need the same ones wait here until the first has put them.

        Raises
        ------
        OSError
            If there is no room (ENOSPC).
        """
        with _locked(self.folder / "filling"):
            done = self._map("done", np.uint8, (len(self._store.patient_ids),))
            missing = [i for i in indices if not done[i]]
            for _ in range(len(indices) - len(missing)):
                advance()
            with ThreadPoolExecutor(READERS) as pool:
                for _ in pool.map(self._put, missing):
                    advance()

    def close(self) -> None:
        """Let go of the copy; remove it if nobody else uses it."""
        self._leave()

    def _put(self, index: int) -> None:
        patient = read_voxels(self._store, index, self._rule)
        pair = np.array([patient.gain, patient.offset], dtype=np.float32)
        # Written, not assigned to a mapping: a full shared memory is then an error, not a signal.
        _write(self.folder / "voxels", index, patient.voxels)
        _write(self.folder / "normalisation", index, pair)
        _write(self.folder / "done", index, np.ones(1, dtype=np.uint8))

    def _map(self, name: str, dtype: type[Any], shape: tuple[int, ...]) -> NDArray[Any]:
        path = self.folder / name
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # Only ever to the same length: processes that do it at once agree.
            os.truncate(file, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        finally:
            os.close(file)
        return np.memmap(path, dtype, "c", shape=shape)


def copy_folder(store: Store, memory: Path, rule: NormalisationRule) -> Path:
    """Return where a user's copy of a store lies; each rule of normalisation has its own."""
    return memory / f"{_prefix()}{store.fingerprint}{'' if rule == 'plain' else f'-{rule}'}"


def missing_bytes(
    store: Store, indices: Sequence[int], memory: Path, rule: NormalisationRule
) -> int:
    """Return what shared memory would have to take to hold these of the store's patients."""
    try:
        done = np.fromfile(copy_folder(store, memory, rule) / "done", dtype=np.uint8)
    except FileNotFoundError:
        done = np.empty(0, dtype=np.uint8)
    patient_bytes = int(np.prod(store.image_shape)) * 2
    return sum(i >= len(done) or not done[i] for i in indices) * patient_bytes


def _prefix() -> str:
    return f"radiotrain-{os.getuid()}-"


def _write(path: Path, index: int, values: NDArray[Any]) -> None:
    content = np.ascontiguousarray(values).tobytes()
    with path.open("r+b", buffering=0) as file:
        file.seek(index * len(content))
        written = 0
        while written < len(content):
            written += file.write(content[written:])


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _enter(folder: Path) -> int:
    """Return the handle of a lock that holds the copy."""
    while True:
        make_own(folder, "the voxels are to be shared", "set speed.placement to stream")
        with suppress(FileNotFoundError):
            users = os.open(folder / "users", os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(users, fcntl.LOCK_SH)
            if _is_still_there(folder / "users", users):
                return users
            # Somebody who left last removed it meanwhile.
            os.close(users)


def _is_still_there(path: Path, handle: int) -> bool:
    try:
        return path.stat().st_ino == os.fstat(handle).st_ino
    except FileNotFoundError:
        return False


def _leave(folder: Path, users: int) -> None:
    _remove_if_unused(folder, users)
    os.close(users)


def _remove_if_unused(folder: Path, users: int) -> None:
    with suppress(OSError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # `users` last: as long as it is there, another process finds it locked.
        for path in sorted(folder.iterdir(), key=lambda p: p.name == "users"):
            path.unlink()
        folder.rmdir()


def remove_unused(memory: Path, keep: Path | None = None) -> None:
    """Remove this user's copies that nobody uses any more: killed processes left them behind."""
    for folder in memory.glob(f"{_prefix()}*"):
        if folder != keep and folder.is_dir():
            with suppress(FileNotFoundError):
                users = os.open(folder / "users", os.O_RDWR)
                _leave(folder, users)
            if not (folder / "users").exists():
                shutil.rmtree(folder, ignore_errors=True)
