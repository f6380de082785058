"""Locations of a run's store and split, also after a move."""

from __future__ import annotations

from collections.abc import Sequence

from preprocessing.common.errors import MissingPathError
from preprocessing.store import Store
from radiotrain.split.outer_folds import listed_splits
from radiotrain.split.split import Split, load_split


def open_store(url: str) -> Store:
    """Open the store of a run; where there is none, the error names the option for one that moved."""
    try:
        return Store.open(url)
    except MissingPathError as error:
        raise MissingPathError(f"{error}; if it has moved, name it with --store") from None


def open_split(url: str, store: Store | None = None) -> Split:
    """Read the split of a run; where there is none, the error names the option for one that moved."""
    try:
        return load_split(url, store)
    except MissingPathError as error:
        raise MissingPathError(f"{error}; if it has moved, name it with --split") from None


def open_inputs(store_url: str, split_url: str) -> tuple[Store, Split]:
    """Open both."""
    store = open_store(store_url)
    return store, open_split(split_url, store)


def split_of_run(recorded: str, fingerprint: str, given: Sequence[str]) -> str:
    """Return the URL of a run's split.

    Parameters
    ----------
    recorded, fingerprint
        Of the split that it was trained with.
    given
        URLs of splits that are to be read instead, or of files that list them. One of that fingerprint, or that extends such a one, is the run's; else a single
        one is every run's, but that runs whose folds are scanners keep theirs beside one whose folds are
        not: see `radiotrain.evaluation.shortcuts.left_out`.
    """
    splits = {url: open_split(url) for url in listed_splits(given)}
    for url, split in splits.items():
        if fingerprint in (split.fingerprint, *(before.fingerprint for before in split.before)):
            return url
    if len(splits) != 1:
        return recorded
    ((url, split),) = splits.items()
    try:
        keeps = bool(load_split(recorded).folds_by) != bool(split.folds_by)
    except MissingPathError:
        keeps = False
    return recorded if keeps else url
