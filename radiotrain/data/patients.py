"""Patients of a split in memory.

Axis legend: N patients, B patients of a batch, P phases, R rows, C columns, S slices, T targets.

A part of the split is read once and stays as int16; voxels become float32, and are normalised,
on the device, a batch at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from preprocessing.errors import InputError, nearest_hint
from preprocessing.store import REGION_PADDING, Store
from radiotrain.seal import TestAccess, check_sealed
from radiotrain.split import Split

Part = Literal["train", "validation", "test"]

_READERS = 8
# What is left to the network when images are kept in a GPU's memory.
_SHARE_OF_FREE_MEMORY = 0.5


@dataclass(frozen=True)
class Patients:
    """Some patients of a store, in memory.

    Parameters
    ----------
    images
        int16 (N, P, R, C, S), on the host or the device.
    gain, offset
        float32 (N,): normalised value = voxel × gain + offset. One pair for all phases of a
        patient, from the pre-contrast phase, so that enhancement keeps its meaning.
    labels
        int8 (N, T).
    """

    ids: tuple[str, ...]
    images: Tensor
    gain: Tensor
    offset: Tensor
    labels: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, rows: NDArray[np.int64], device: torch.device) -> tuple[Tensor, Tensor]:
        """Return some patients as normalised float32 (B, P, R, C, S) and int8 labels (B, T).

        int16 crosses the bus; the rest happens on the device.
        """
        index = torch.from_numpy(rows).to(self.images.device)
        voxels = self.images.index_select(0, index).to(device)
        shape = (-1, 1, 1, 1, 1)
        gain = self.gain.index_select(0, index).to(device).view(shape)
        offset = self.offset.index_select(0, index).to(device).view(shape)
        labels = torch.from_numpy(self.labels[rows]).to(device)
        return torch.addcmul(offset, voxels.float(), gain), labels

    def to(self, device: torch.device) -> Patients:
        """Return the same patients with their images on a device, if they fit there."""
        if device.type != "cuda":
            return self
        free, _ = torch.cuda.mem_get_info(device)
        if self.images.nbytes > free * _SHARE_OF_FREE_MEMORY:
            return self
        return Patients(
            self.ids,
            self.images.to(device),
            self.gain.to(device),
            self.offset.to(device),
            self.labels,
        )


def part_ids(split: Split, fold: int, part: Part) -> tuple[str, ...]:
    """Return the patients of a part of the split."""
    if part == "train":
        return split.train_ids(fold)
    return split.validation_ids(fold) if part == "validation" else split.test_ids


def load_patients(
    store: Store,
    split: Split,
    patient_ids: Sequence[str],
    targets: Sequence[str],
    access: TestAccess | None = None,
    advance: Callable[[], None] | None = None,
) -> Patients:
    """Read patients into memory.

    Parameters
    ----------
    targets
        Which of the store's targets become columns of `labels`, in this order.
    access
        Needed where a patient is in the test set.
    advance
        Called once for each patient read.

    Raises
    ------
    SealedTestSetError
        If a test patient is asked for without access.
    InputError
        If the store has no such target or patient.
    """
    check_sealed(split, patient_ids, access)
    columns = target_columns(store, targets)
    rows = [store.index_of(patient_id) for patient_id in patient_ids]
    images = torch.empty((len(rows), *store.image_shape), dtype=torch.int16)
    gain, offset = torch.empty(len(rows)), torch.empty(len(rows))

    def read(n: int) -> None:
        voxels, scale = store.read_images(rows[n])
        padding = (store.read_region(rows[n]) & REGION_PADDING) != 0
        gain[n], offset[n] = normalisation(voxels[0], padding, scale)
        images[n] = torch.from_numpy(voxels)
        # Padding becomes the value that normalises to 0: no edge for the network to see.
        images[n][:, torch.from_numpy(padding)] = round(-float(offset[n] / gain[n]))
        if advance is not None:
            advance()

    with ThreadPoolExecutor(_READERS) as pool:
        list(pool.map(read, range(len(rows))))
    labels = store.labels[np.ix_(rows, columns)]
    return Patients(tuple(patient_ids), images, gain, offset, labels)


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


def normalisation(
    pre_contrast: NDArray[np.int16], padding: NDArray[np.bool_], scale: float
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

    Returns
    -------
    Gain and offset in units of int16 steps: ``voxel * gain + offset``.
    """
    inside = pre_contrast[~padding].astype(np.float64)
    if inside.size == 0:
        return 1.0, 0.0
    mean, deviation = float(inside.mean()), float(inside.std())
    if deviation == 0:
        return scale, -mean * scale
    return 1.0 / deviation, -mean / deviation
