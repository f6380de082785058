"""Options of `train` that would not be right together: refused where a run begins.

``docs/training-options.md`` has every pair. Runs that are recorded go on by the rules that they have.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from preprocessing.common.errors import InputError
from radiotrain.config import RunConfig, TrainConfig


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
