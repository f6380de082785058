"""Patients of a split: ids, labels, covariates and voxels.

Axis legend: N patients, B patients of a batch, P phases, R rows, C columns, S slices, T targets,
K encoded covariates.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import InputError, nearest_hint
from preprocessing.store import PatientRecord, Store
from radiotrain.config.run_config import RunConfig
from radiotrain.data.storage import (
    READERS,
    SHARED_MEMORY,
    NormalisationRule,
    Placement,
    PlacementChoice,
    SharedCopy,
    choose_placement,
    measure_room,
    missing_bytes,
    read_voxels,
)
from radiotrain.data.to_device import copy_together
from radiotrain.split.split import Split
from radiotrain.split.test_set_access import TestAccess, check_sealed

Part = Literal["train", "validation", "test"]
Advance = Callable[[], None]


class VoxelSource(Protocol):
    """Some patients' voxels, wherever they are."""

    def take(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        """Return int16 (B, P, R, C, S), and gain and offset, float32 (B,), on one device."""

    @property
    def is_on_device(self) -> bool:
        """Whether taking voxels is the device's own work, with nothing to prepare ahead."""


@dataclass(frozen=True)
class Batch:
    """Some patients as a network is given them, on its device.

    Parameters
    ----------
    rows
        int64 (B,), which of the patients; on the host.
    images
        float32 (B, P, R, C, S), normalised.
    labels
        int8 (B, T) of 0, 1 or -1 (missing).
    covariates
        float32 (B, K).
    """

    rows: NDArray[np.int64]
    images: Tensor
    labels: Tensor
    covariates: Tensor


@dataclass(frozen=True)
class Patients:
    """Some patients of a store.

    Parameters
    ----------
    labels
        int8 (N, T), on the host.
    spacing_mm
        float32 (N, 3), along rows, columns and slices; 1 where it is not known.
    covariates
        float32 (N, K).
    placement, where
        Where the voxels are, and the same in words.
    """

    ids: tuple[str, ...]
    records: tuple[PatientRecord, ...]
    labels: NDArray[np.int8]
    spacing_mm: Tensor
    covariates: NDArray[np.float32]
    source: VoxelSource
    placement: Placement
    where: str

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def num_known(self) -> int:
        """Labels that are there, over all targets."""
        return int(np.sum(self.labels != MISSING_LABEL))

    def batch(self, rows: NDArray[np.int64], device: torch.device) -> Batch:
        """Return some patients, normalised on the device: what crosses the bus is int16."""
        return self.to_batch(rows, self.source.take(rows), device)

    def to_batch(
        self, rows: NDArray[np.int64], taken: tuple[Tensor, Tensor, Tensor], device: torch.device
    ) -> Batch:
        """Return a batch of what the source gave for `rows`."""
        voxels, gain, offset = taken
        voxels = voxels.to(device, non_blocking=True)
        labels = torch.from_numpy(self.labels[rows])
        covariates = torch.from_numpy(self.covariates[rows])
        gain, offset, labels, covariates = copy_together((gain, offset, labels, covariates), device)
        shape = (-1, 1, 1, 1, 1)
        images = torch.addcmul(offset.view(shape), voxels.float(), gain.view(shape))
        return Batch(rows, images, labels, covariates)


def part_ids(split: Split, fold: int | None, part: Part) -> tuple[str, ...]:
    """Return the patients of a part of the split."""
    if part == "train":
        return split.train_ids(fold)
    return split.validation_ids(fold) if part == "validation" else split.test_ids


def load_patients(
    store: Store,
    split: Split,
    patient_ids: Sequence[str],
    targets: Sequence[str],
    *,
    rule: NormalisationRule,
    placement: str = "stream",
    device: torch.device = torch.device("cpu"),  # noqa: B008 - a value, never changed
    access: TestAccess | None = None,
    advance: Advance = lambda: None,
) -> Patients:
    """Find patients in the store, and put their voxels where they are to be kept.

    Parameters
    ----------
    targets
        Which of the store's targets become columns of `labels`, in this order.
    rule
        How intensities are normalised: the run's `train.normalisation`.
    placement
        A `Placement`, or ``auto``.
    access
        Needed where a patient is in the test set.
    advance
        Called once for each patient read now; never where they are streamed.

    Raises
    ------
    SealedTestSetError
        If a test patient is asked for without access.
    InputError
        If the store has no such target or patient, or `placement` has no room.
    """
    check_sealed(split, patient_ids, access)
    columns = target_columns(store, targets)
    indices = [store.index_of(patient_id) for patient_id in patient_ids]
    source, chosen, where = _place(store, indices, rule, placement, device, advance)
    records = tuple(store.records[i] for i in indices)
    spacing = [record.spacing_mm or (1.0, 1.0, 1.0) for record in records]
    return Patients(
        ids=tuple(patient_ids),
        records=records,
        labels=store.labels[np.ix_(indices, columns)],
        spacing_mm=torch.tensor(spacing, dtype=torch.float32).view(-1, 3),
        covariates=np.empty((len(indices), 0), dtype=np.float32),
        source=source,
        placement=chosen,
        where=where,
    )


def target_columns(store: Store, targets: Sequence[str]) -> list[int]:
    """Return the columns of the store's labels that hold these targets."""
    for target in targets:
        if target not in store.targets:
            raise InputError(
                f"store {store.url} has no target {target!r}"
                f"{nearest_hint(target, store.targets)}, expected some of"
                f" {', '.join(store.targets)}"
            )
    return [store.targets.index(target) for target in targets]


class _Resident:
    """Voxels in memory of this process's own."""

    def __init__(self, voxels: Tensor, gain: Tensor, offset: Tensor) -> None:
        self._kept = (voxels, gain, offset)
        self.is_on_device = voxels.device.type == "cuda"

    @classmethod
    def read(
        cls,
        store: Store,
        indices: Sequence[int],
        rule: NormalisationRule,
        device: torch.device,
        advance: Advance,
    ) -> _Resident:
        """Read patients from the store."""
        voxels = torch.empty((len(indices), *store.image_shape), dtype=torch.int16, device=device)
        gain, offset = torch.empty(len(indices)), torch.empty(len(indices))

        def read(n: int) -> None:
            patient = read_voxels(store, indices[n], rule)
            gain[n], offset[n] = float(patient.gain), float(patient.offset)
            voxels[n] = torch.from_numpy(patient.voxels)
            advance()

        with ThreadPoolExecutor(READERS) as pool:
            list(pool.map(read, range(len(indices))))
        return cls(voxels, gain.to(device), offset.to(device))

    def take(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        index = torch.from_numpy(rows).to(self._kept[0].device)
        voxels, gain, offset = (kept.index_select(0, index) for kept in self._kept)
        return voxels, gain, offset


class _Shared:
    """Voxels in the host's shared memory."""

    is_on_device = False

    @classmethod
    def fill(
        cls, store: Store, indices: Sequence[int], rule: NormalisationRule, advance: Advance
    ) -> _Shared:
        """Put patients there that are not there yet."""
        copy = SharedCopy(store, SHARED_MEMORY, rule)
        try:
            copy.fill(indices, advance)
        except BaseException:
            copy.close()
            raise
        return cls(copy, indices)

    def __init__(self, copy: SharedCopy, indices: Sequence[int]) -> None:
        self._copy = copy
        self._indices = torch.tensor(list(indices), dtype=torch.int64)
        self._voxels = torch.from_numpy(copy.voxels)
        self._normalisation = torch.from_numpy(copy.normalisation)

    def take(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        index = self._indices[torch.from_numpy(rows)]
        pairs = self._normalisation.index_select(0, index)
        return self._voxels.index_select(0, index), pairs[:, 0], pairs[:, 1]


class _Streamed:
    """Voxels in the store."""

    is_on_device = False

    def __init__(self, store: Store, indices: Sequence[int], rule: NormalisationRule) -> None:
        self._store, self._indices, self._rule = store, list(indices), rule
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="store")

    def take(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor, Tensor]:
        found = list(
            self._pool.map(
                lambda row: read_voxels(self._store, self._indices[row], self._rule), rows
            )
        )
        return (
            torch.from_numpy(np.stack([patient.voxels for patient in found])),
            torch.tensor([float(patient.gain) for patient in found]),
            torch.tensor([float(patient.offset) for patient in found]),
        )


def _place(
    store: Store,
    indices: Sequence[int],
    rule: NormalisationRule,
    setting: str,
    device: torch.device,
    advance: Advance,
) -> tuple[VoxelSource, Placement, str]:
    """Return where voxels are, after putting them there, and where that is in words."""
    num_bytes = len(indices) * int(np.prod(store.image_shape)) * 2
    size = f"{num_bytes / 1e6:.0f} MB as int16"
    missing = missing_bytes(store, indices, SHARED_MEMORY, rule)
    choice = choose_placement(setting, num_bytes, missing, measure_room(device))
    if choice.placement is Placement.device:
        where = f"{size} in {device.type} memory ({choice.reason})"
        return _Resident.read(store, indices, rule, device, advance), choice.placement, where
    if choice.placement is Placement.shared:
        try:
            shared = _Shared.fill(store, indices, rule, advance)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            choice = PlacementChoice(Placement.stream, f"{SHARED_MEMORY} is full")
        else:
            where = f"{size} in shared memory, one copy for this host ({choice.reason})"
            return shared, choice.placement, where
    where = f"{size} streamed from the store ({choice.reason})"
    return _Streamed(store, indices, rule), choice.placement, where


def few_patients(
    split: Split, store: Store, config: RunConfig, num_train: int, num_validation: int = 0
) -> Split:
    """Return a split of which only so many patients train and validate a run, of both classes.

    All of them are patients that train it in `split`; where there are too few, fewer validate.
    """
    ids = np.array(split.train_ids(config.fold))
    column = target_columns(store, config.targets)[0]
    labels = store.labels[[store.index_of(i) for i in ids], column]
    chosen = ids[_interleave(labels)[: num_train + num_validation]].tolist()
    trains = next(k for k in range(split.num_folds) if k != config.fold)
    folds = {trains: tuple(chosen[:num_train])}
    if config.fold is not None:
        folds[config.fold] = tuple(chosen[num_train:])
    return replace(split, folds=tuple(folds.get(k, ()) for k in range(split.num_folds)))


def _interleave(labels: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return row numbers, a positive and a negative in turn, missing ones last."""
    within = np.zeros(len(labels), dtype=np.int64)
    for value in (0, 1, MISSING_LABEL):
        same = labels == value
        within[same] = np.arange(same.sum()) + (len(labels) if value == MISSING_LABEL else 0)
    return np.argsort(within, kind="stable")
