"""Order of patients in an epoch, and each worker's share.

It depends on seed and epoch only, so that any number of workers takes the same steps.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import InputError
from radiotrain.seeds import Purpose, seed_for


def epoch_order(seed: int, epoch: int, num_patients: int) -> NDArray[np.int64]:
    """Return the order of the training patients in an epoch: int64 (N,), a permutation."""
    return np.random.default_rng(seed_for(Purpose.ORDER, seed, epoch)).permutation(num_patients)


def balanced_order(seed: int, epoch: int, labels: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return as many draws as there are patients, positives and negatives equally often.

    Parameters
    ----------
    labels
        int8 (N,) of 0, 1 or -1 (missing). Patients without a label are drawn as often as in
        an order without weights.

    Returns
    -------
    int64 (N,): within a class everybody is drawn once before anybody is drawn again.
    """
    generator = np.random.default_rng(seed_for(Purpose.ORDER, seed, epoch))
    classes = [rows for value in (0, 1) if len(rows := np.flatnonzero(labels == value))]
    missing = np.flatnonzero((labels != 0) & (labels != 1))
    drawn = [missing]
    for part, rows in enumerate(classes):
        wanted = _num_draws(len(labels) - len(missing), part, len(classes))
        rounds = [generator.permutation(rows) for _ in range(-(-wanted // len(rows)))]
        drawn.append(np.concatenate(rounds)[:wanted])
    return generator.permutation(np.concatenate(drawn))


def expected_draws(labels: NDArray[np.int8]) -> NDArray[np.float64]:
    """Return how often `balanced_order` draws each patient in an epoch, on average: float64 (N,)."""
    draws = np.ones(len(labels))
    classes = [rows for value in (0, 1) if len(rows := np.flatnonzero(labels == value))]
    num_known = sum(len(rows) for rows in classes)
    for part, rows in enumerate(classes):
        draws[rows] = _num_draws(num_known, part, len(classes)) / len(rows)
    return draws


def _num_draws(num_known: int, part: int, num_classes: int) -> int:
    """Return how often an epoch draws from a class; of an odd number, positives have one more."""
    return (num_known + part) // num_classes


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


def micro_batches(
    num_patients: int, rank: int, world_size: int, largest: int | None
) -> list[slice]:
    """Cut a worker's share of a global batch into what it computes at a time.

    Parameters
    ----------
    num_patients
        Of the global batch.
    largest
        Most patients at a time; None for the whole share.

    Returns
    -------
    Slices of the share, whose sizes differ by at most one. Every worker has as many of them:
    what workers do together in a forward pass, they must do equally often.
    """
    largest_share = -(-num_patients // world_size)
    count = 1 if largest is None else -(-largest_share // largest)
    share = len(range(rank, num_patients, world_size))
    edges = [share * k // count for k in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(edges)]


def check_batches(
    num_patients: int, batch_size: int, world_size: int, micro_batch_size: int | None = None
) -> None:
    """Refuse batches of which anything is computed alone: batch norm needs two patients.

    Raises
    ------
    InputError
        If a worker's share, or a part of it, would have fewer.
    """
    num_batches = -(-num_patients // batch_size)
    smallest = num_patients // num_batches
    share = smallest // world_size
    if share < 2:
        raise InputError(
            f"a batch of {batch_size} over {world_size} workers leaves one with {share} of"
            f" {num_patients} training patients, expected 2 or more: raise train.batch_size or"
            " use fewer workers"
        )
    alone = any(
        part.stop - part.start < 2
        for size in {smallest, -(-num_patients // num_batches)}
        for rank in (0, world_size - 1)
        for part in micro_batches(size, rank, world_size, micro_batch_size)
    )
    if alone:
        raise InputError(
            f"train.micro_batch_size is {micro_batch_size}, which leaves one patient of a worker's"
            f" {share} or so alone, expected 2 or more: raise it by one"
        )
