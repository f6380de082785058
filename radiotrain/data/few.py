"""A split of a few patients, for what need not be done with all of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.store import Store
from radiotrain.config import RunConfig
from radiotrain.data.patients import target_columns
from radiotrain.split import Split


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
