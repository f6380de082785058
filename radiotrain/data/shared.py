"""One copy of a store's voxels in a host's shared memory, for all processes that train on it.

Axis legend: M patients of the store, P phases, R rows, C columns, S slices.

===================  =====================================================================
``voxels``           int16 (M, P, R, C, S); takes memory only where patients were put
``normalisation``    float32 (M, 2): gain and offset
``done``             uint8 (M,): 1 where a patient was put, set after its voxels
``filling``          locked by the process that puts patients there
``users``            locked, shared, by every process that uses the copy
===================  =====================================================================

Locks are the system's: they end with their process, however it ends. Whoever leaves last removes
the copy; what a killed process left is used by the next run on the store, or removed by the next
run on another one (`remove_unused`).
"""

from __future__ import annotations

import fcntl
import os
import shutil
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.storage.files import make_own
from preprocessing.store import Store
from radiotrain.data.voxels import NormalisationRule, read_voxels

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
