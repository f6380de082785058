"""The order in which patients are trained on, and how a global batch is shared by workers.

It depends on seed and epoch only, so that any number of workers takes the same steps.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preprocessing.errors import InputError
from radiotrain.seeds import Purpose, seed_for


def epoch_order(seed: int, epoch: int, num_patients: int) -> NDArray[np.int64]:
    """Return the order of the training patients in an epoch: int64 (N,), a permutation."""
    return np.random.default_rng(seed_for(Purpose.ORDER, seed, epoch)).permutation(num_patients)


def global_batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Cut an order into batches of `batch_size` or somewhat fewer, none of them a remnant.

    Every patient is in one batch, and sizes differ by at most one: a last batch of one
    patient would break batch norm, and would count as much as a full one.
    """
    num_batches = -(-len(order) // batch_size)
    return list(np.array_split(order, num_batches))


def rank_share(values: NDArray[np.int64], rank: int, world_size: int) -> NDArray[np.int64]:
    """Return what one of `world_size` workers takes of a global batch: every so many'th."""
    return values[rank::world_size]


def check_batches(num_patients: int, batch_size: int, world_size: int) -> None:
    """Refuse batches that leave a worker with fewer than two patients: batch norm needs two."""
    num_batches = -(-num_patients // batch_size)
    smallest = num_patients // num_batches // world_size
    if smallest < 2:
        raise InputError(
            f"a batch of {batch_size} over {world_size} workers leaves one with {smallest} of"
            f" {num_patients} training patients, expected 2 or more: raise train.batch_size or"
            " use fewer workers"
        )
