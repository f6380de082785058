"""Who trains, who validates, who is kept for the test: patient-wise, stratified, frozen in JSON.

Patients are put in an order in which neighbours have similar labels over all targets, and are
then dealt out like cards. A reflected Gray code gives that order: from one combination of
labels to the next only one target changes. Every combination of labels is one contiguous run
of the order, so its count in the test set is within one patient of its share, and its counts
in any two folds differ by at most one; combinations too rare for that are dealt out together
with their nearest ones. (Systematic sampling from an ordered list, Cochran 1977, chapter 8; it
replaces iterative stratification, Sechidis 2011, which bounds neither.)
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing import files
from preprocessing.cohort import MISSING_LABEL
from preprocessing.errors import InputError, MissingPathError, SchemaError, nearest_hint
from preprocessing.store import Store

SCHEMA_VERSION = 1
_MIN_PATIENTS_PER_PART = 2
_OF_GROUPS = ("folds_by", "groups")


@dataclass(frozen=True)
class Split:
    """A frozen division of a store's patients.

    Parameters
    ----------
    targets
        Targets over which it is stratified.
    test_ids
        Patients that only an evaluation may read.
    folds
        Validation patients of each fold; together all that are not test patients.
    warnings
        What a reader should know, e.g. a fold with no positive patient.
    folds_by, groups
        The covariate that the patients of a fold share, and each fold's value of it; empty where folds
        are dealt. See `radiotrain.evaluation.shortcuts.folds`.
    """

    seed: int
    store_fingerprint: str
    targets: tuple[str, ...]
    test_fraction: float
    test_ids: tuple[str, ...]
    folds: tuple[tuple[str, ...], ...]
    warnings: tuple[str, ...] = ()
    folds_by: str = ""
    groups: tuple[str, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def num_folds(self) -> int:
        """Number of folds."""
        return len(self.folds)

    @property
    def fold_names(self) -> tuple[str, ...]:
        """What each fold is called in tables."""
        groups = self.groups or ("",) * self.num_folds
        return tuple(f"fold {k}" + f": {name}" * bool(name) for k, name in enumerate(groups))

    @property
    def fingerprint(self) -> str:
        """Short digest over everything in the split."""
        return hashlib.sha256(json.dumps(_as_json(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def development_ids(self) -> tuple[str, ...]:
        """Patients of all folds, which are all but the test patients, in the order of their ids."""
        return tuple(sorted(i for ids in self.folds for i in ids))

    def validation_ids(self, fold: int | None) -> tuple[str, ...]:
        """Return the patients that validate fold `fold`: nobody where it is None."""
        if fold is None:
            return ()
        self._check_fold(fold)
        return self.folds[fold]

    def train_ids(self, fold: int | None) -> tuple[str, ...]:
        """Return the patients that train fold `fold`, in the order of their ids: all if it is None."""
        if fold is None:
            return self.development_ids
        self._check_fold(fold)
        others = (ids for k, ids in enumerate(self.folds) if k != fold)
        return tuple(sorted(i for ids in others for i in ids))

    def _check_fold(self, fold: int) -> None:
        if not 0 <= fold < self.num_folds:
            raise InputError(
                f"fold is {fold}, expected 0 to {self.num_folds - 1}: the split has"
                f" {self.num_folds} folds"
            )


def make_split(
    store: Store,
    *,
    seed: int = 0,
    test_fraction: float = 0.2,
    num_folds: int = 5,
    targets: Sequence[str] | None = None,
) -> Split:
    """Divide a store's usable patients into a test set and folds.

    Parameters
    ----------
    seed
        Same store and seed, same split.
    test_fraction
        Share of patients kept for the test.
    num_folds
        Folds over the other patients.
    targets
        Targets to stratify over; all of the store's by default.

    Raises
    ------
    InputError
        If there are too few patients, or a target has one class only.
    """
    chosen = _check_targets(store, targets)
    _check_sizes(len(store.patient_ids), test_fraction, num_folds)
    labels = store.labels[:, [store.targets.index(t) for t in chosen]]
    _check_classes(labels, chosen)
    test, folds = deal(labels, seed=seed, test_fraction=test_fraction, num_folds=num_folds)
    ids = store.patient_ids
    return Split(
        seed=seed,
        store_fingerprint=store.fingerprint,
        targets=chosen,
        test_fraction=test_fraction,
        test_ids=tuple(sorted(ids[i] for i in test)),
        folds=tuple(tuple(sorted(ids[i] for i in fold)) for fold in folds),
        warnings=tuple(class_warnings(labels, chosen, test, folds)),
    )


def deal(
    labels: NDArray[np.int8], *, seed: int, test_fraction: float, num_folds: int
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Deal patients out to a test set and folds.

    Parameters
    ----------
    labels
        int8 (N, T) of 0, 1 or -1.

    Returns
    -------
    Row numbers of the test patients, and of each fold's patients.
    """
    generator = np.random.default_rng([seed, len(labels)])
    shuffled = generator.permutation(len(labels))
    order = shuffled[np.argsort(_gray_rank(labels[shuffled]), kind="stable")]
    # Rows where the running count of due test patients steps up: evenly spread, from a random
    # start. The start keeps the total at the nearest whole number of patients.
    num_test = max(1, round(len(order) * test_fraction))
    start = generator.random()
    due = np.floor(np.arange(len(order) + 1) * num_test / len(order) + start)
    is_test = np.diff(due) > 0
    rest = order[~is_test]
    first = generator.permutation(num_folds)
    folds = [np.sort(rest[k::num_folds]).astype(np.int64) for k in first]
    return np.sort(order[is_test]).astype(np.int64), folds


def save_split(split: Split, url: str) -> None:
    """Write a split as JSON.

    Raises
    ------
    InputError
        If another split is there: runs and openings of the test set refer to it.
    """
    url = files.absolute(url)
    if files.exists(url):
        if load_split(url) == split:
            return
        raise InputError(
            f"{url} holds another split, which runs may refer to: name a new file or remove it"
        )
    files.write_text(url, json.dumps(_as_json(split), indent=1) + "\n")


def load_split(url: str, store: Store | None = None) -> Split:
    """Read a split, and check it against the store where one is given.

    Raises
    ------
    MissingPathError
        If there is none.
    SchemaError
        If it is of another schema, or a patient is in two parts.
    InputError
        If it was made from another store.
    """
    url = files.absolute(url)
    try:
        values = json.loads(files.read_text(url))
    except FileNotFoundError:
        raise MissingPathError(f"no split at {url}: make one with 'radiotrain split'") from None
    except (ValueError, IsADirectoryError):
        raise SchemaError(f"{url} is no split: make one with 'radiotrain split'") from None
    split = _from_json(url, values)
    if store is not None:
        check_split(split, store, url)
    return split


def check_split(split: Split, store: Store, url: str = "given") -> None:
    """Refuse a split that was not made from this store."""
    if split.store_fingerprint != store.fingerprint:
        raise InputError(
            f"split {url} was made from a store with fingerprint {split.store_fingerprint}, but"
            f" {store.url} has {store.fingerprint}: make a new split with 'radiotrain split', or"
            " name the store it was made from"
        )
    unknown = {*split.test_ids, *(i for f in split.folds for i in f)} - {*store.patient_ids}
    if unknown:
        raise InputError(
            f"split {url} names patient {min(unknown)!r}, which is not in store {store.url}:"
            " make a new split"
        )


def count_table(split: Split, store: Store) -> list[dict[str, Any]]:
    """Count patients, and positive/labelled ones per target, in each part of a split."""
    index = {patient_id: i for i, patient_id in enumerate(store.patient_ids)}
    parts = {"test": split.test_ids}
    parts |= dict(zip(split.fold_names, split.folds, strict=True))
    rows = []
    for name, ids in parts.items():
        row: dict[str, Any] = {"part": name, "patients": len(ids)}
        for target in split.targets:
            values = store.labels[[index[i] for i in ids], store.targets.index(target)]
            row[target] = (int(np.sum(values == 1)), int(np.sum(values != MISSING_LABEL)))
        rows.append(row)
    return rows


def _as_json(split: Split) -> dict[str, Any]:
    values = asdict(split)
    # Splits from before there were groups keep their fingerprints, to which runs refer.
    return values if split.folds_by else {k: v for k, v in values.items() if k not in _OF_GROUPS}


def _gray_rank(labels: NDArray[np.int8]) -> NDArray[np.int64]:
    """Return each row's place in the reflected Gray order of base-3 digits (missing is 2)."""
    digits = np.where(labels == MISSING_LABEL, 2, labels).astype(np.int64)
    rank = np.zeros(len(digits), dtype=np.int64)
    for column in digits.T:
        # Within an odd place the next digit runs backwards: that is the reflection.
        rank = rank * 3 + np.where(rank % 2 == 0, column, 2 - column)
    return rank


def _check_targets(store: Store, targets: Sequence[str] | None) -> tuple[str, ...]:
    chosen = tuple(store.targets if targets is None else targets)
    for target in chosen:
        if target not in store.targets:
            raise InputError(
                f"store {store.url} has no target {target!r}"
                f"{nearest_hint(target, store.targets)}, expected some of"
                f" {', '.join(store.targets)}"
            )
    return chosen


def _check_sizes(num_patients: int, test_fraction: float, num_folds: int) -> None:
    if not 0 < test_fraction < 1:
        raise InputError(f"test fraction is {test_fraction:g}, expected between 0 and 1")
    if num_folds < 2:
        raise InputError(f"number of folds is {num_folds}, expected 2 or more")
    smallest = min(test_fraction, (1 - test_fraction) / num_folds)
    needed = math.ceil(_MIN_PATIENTS_PER_PART / smallest)
    if num_patients < needed:
        raise InputError(
            f"store has {num_patients} usable patients, expected {needed} or more for"
            f" {num_folds} folds and a test fraction of {test_fraction:g}: use fewer folds"
        )


def _check_classes(labels: NDArray[np.int8], targets: Sequence[str]) -> None:
    for target, values in zip(targets, labels.T, strict=True):
        num_positive, num_negative = int(np.sum(values == 1)), int(np.sum(values == 0))
        if min(num_positive, num_negative) == 0:
            raise InputError(
                f"target {target} has {num_positive} positive and {num_negative} negative patients,"
                " expected some of both: leave it out with --targets"
            )


def class_warnings(
    labels: NDArray[np.int8],
    targets: Sequence[str],
    test: NDArray[np.int64],
    folds: Sequence[NDArray[np.int64]],
) -> list[str]:
    """Name the parts of a split, given as row numbers, in which a target has one class only."""
    parts = {"the test set": test} | {f"fold {k}": rows for k, rows in enumerate(folds)}
    return [
        f"{part} has no {word} patient of {target}: its AUC is undefined there"
        for part, rows in parts.items()
        for t, target in enumerate(targets)
        for value, word in ((1, "positive"), (0, "negative"))
        if not np.any(labels[rows, t] == value)
    ]


def _from_json(url: str, values: Any) -> Split:
    found = values.get("schema_version") if isinstance(values, dict) else None
    if found != SCHEMA_VERSION:
        raise SchemaError(
            f"split {url} has schema {found}, expected {SCHEMA_VERSION}: make it again with"
            " 'radiotrain split'"
        )
    try:
        split = Split(
            **{
                **values,
                "targets": tuple(values["targets"]),
                "test_ids": tuple(values["test_ids"]),
                "folds": tuple(tuple(ids) for ids in values["folds"]),
                "warnings": tuple(values["warnings"]),
                "groups": tuple(values.get("groups", ())),
            }
        )
    except (TypeError, KeyError) as error:
        raise SchemaError(f"split {url} is damaged ({error}): make it again") from None
    everyone = [*split.test_ids, *(i for ids in split.folds for i in ids)]
    repeated = sorted({i for i in everyone if everyone.count(i) > 1})
    if repeated:
        raise SchemaError(
            f"split {url} has patient {repeated[0]!r} in two parts: make it again with"
            " 'radiotrain split'"
        )
    return split
