"""Check that configuration, store and split fit together.

``docs/training-options.md`` has every pair. Runs that are recorded go on by the rules that they have.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from preprocessing.common.errors import InputError
from preprocessing.store import Store
from radiotrain.config.run_config import RunConfig, TrainConfig
from radiotrain.data.patients import part_ids, target_columns
from radiotrain.data.sampler import check_batches
from radiotrain.networks.registry import build_network
from radiotrain.runs.locations import open_inputs
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import Split


def check_options(config: RunConfig, labels: NDArray[np.int8]) -> None:
    """Refuse options of a new run that contradict each other, or of which one would do nothing.

    Parameters
    ----------
    labels
        int8 (N, T) of the training patients.

    Raises
    ------
    InputError
        About the first such pair.
    """
    train = config.train
    _check_loss(train)
    _check_batches(config)
    if train.sampling != "balanced":
        return
    if train.class_weights and train.class_weight_rule == "patients":
        raise InputError(
            "train.class_weight_rule is patients and train.sampling is balanced, which would weigh"
            " rare labels twice: set train.class_weight_rule to draws"
        )
    missing = [
        name for value, name in ((0, "negative"), (1, "positive")) if value not in labels[:, 0]
    ]
    if missing:
        raise InputError(
            f"train.sampling is balanced, but no training patient is {missing[0]} in"
            f" {config.targets[0]}, expected both classes: set train.sampling to once or use another"
            " fold"
        )


def _check_loss(train: TrainConfig) -> None:
    default = TrainConfig.model_fields["focal_gamma"].default
    if train.loss == "bce" and train.focal_gamma != default:
        raise InputError(
            f"train.focal_gamma is {train.focal_gamma:g} and train.loss is bce, which has no gamma:"
            " set train.loss to focal or leave train.focal_gamma out"
        )


def _check_batches(config: RunConfig) -> None:
    train, micro = config.train, config.train.micro_batch_size
    if micro is not None and micro > train.batch_size:
        raise InputError(
            f"train.micro_batch_size is {micro} and train.batch_size is {train.batch_size}, expected"
            " no more than that: leave train.micro_batch_size out or raise train.batch_size"
        )
    if not train.sync_batch_norm:
        return
    if micro is not None and micro < train.batch_size:
        raise InputError(
            f"train.sync_batch_norm is true and train.micro_batch_size is {micro}, but batch norm cannot"
            " normalise by a whole batch that is computed in parts: leave one of them out"
        )
    if config.speed.auto_batch:
        raise InputError(
            "train.sync_batch_norm is true and speed.auto_batch may compute a batch in parts, by which"
            " batch norm would normalise: leave one of them out"
        )


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
