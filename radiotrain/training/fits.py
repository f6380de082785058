"""Whether a configuration, a store and a split fit together: known before anything is started."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from preprocessing.store import Store
from radiotrain.config import RunConfig
from radiotrain.data.order import check_batches
from radiotrain.data.patients import part_ids, target_columns
from radiotrain.networks.registry import build_network
from radiotrain.places import open_inputs
from radiotrain.runs import RunFolder
from radiotrain.split import Split
from radiotrain.training.options import check_options


def check_fits(
    config: RunConfig,
    workers: int | tuple[int, int] = 1,
    inputs: tuple[Store, Split] | None = None,
) -> None:
    """Find out what a worker would refuse, before any is started.

    Parameters
    ----------
    workers
        How many, or the fewest and the most: each number of workers has to fit.
    inputs
        The run's store and split, where they are open already.

    Raises
    ------
    InputError
        With the worker's own words.
    """
    store, split = inputs or open_inputs(config.store, config.split)
    folder = RunFolder(config.out)
    folder.check_same_run(config, split)
    columns = target_columns(store, config.targets)
    ids = part_ids(split, config.fold, "train")
    num_patients = len(ids)
    if folder.read_record() is None:
        indices = [store.index_of(patient_id) for patient_id in ids]
        check_options(config, store.labels[np.ix_(indices, columns)])
    fewest, most = (workers, workers) if isinstance(workers, int) else workers
    for count in range(most, fewest - 1, -1):
        check_batches(num_patients, config.train.batch_size, count, config.train.micro_batch_size)
    _check_network(
        config.network.name, store.spec.num_phases, len(config.targets), store.spec.crop_shape
    )


@lru_cache(maxsize=256)
def _check_network(
    name: str, num_phases: int, num_targets: int, crop_shape: tuple[int, int, int]
) -> None:
    with torch.device("meta"):  # nothing is computed or kept
        build_network(name, num_phases, num_targets, crop_shape)
