"""Split: patient-wise, stratified, sealed, stored as JSON.

Patients are put in an order in which neighbours have similar labels over all targets, and are
then dealt out like cards. A reflected Gray code gives that order: from one combination of
labels to the next only one target changes. Every combination of labels is one contiguous run
of the order, so its count in the test set is within one patient of its share, and its counts
in any two folds differ by at most one; combinations too rare for that are dealt out together
with their nearest ones. (Systematic sampling from an ordered list, Cochran 1977, chapter 8; it
replaces iterative stratification, Sechidis 2011, which bounds neither.) Then `radiotrain.split.balance`
lets patients change places until single targets are even too. Splits from before that are made again
where their file is: it says how it was dealt.

A split belongs to its patients (`radiotrain.split.split`). Those that a store gets later are added
by `radiotrain.split.extend`, which moves none of the others: everything added stands at the end of
its part, so that each earlier split can be found again in the later one.

Other patients in the same store, and their order in it, decide nothing.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import (
    DamagedFileError,
    InputError,
    MissingPathError,
    SchemaError,
    nearest_hint,
)
from preprocessing.storage import files
from preprocessing.storage.digests import DIGEST_KEY, dump_with_digest, load_with_digest
from preprocessing.store import Store
from preprocessing.store.records import digest_settings
from radiotrain.split.balance import BALANCED, balance_parts, most_off

_MOST_NAMES = 5
_VALUES = {"0": "0", "1": "1", "?": "missing"}
_RESTORE = (
    "name the store that the split was made from, or make a new split with 'radiotrain split'"
)


@dataclass(frozen=True)
class SplitPatients:
    """The patients of a split as they were when it was made.

    Parameters
    ----------
    targets
        Of the store, in the order of the labels in `contents`.
    settings
        Digest of the settings of preprocessing.
    contents
        Patient to labels and digests; see `preprocessing.store.records.describe_content`.
    """

    targets: tuple[str, ...]
    settings: str
    contents: Mapping[str, str] = field(hash=False)

    @classmethod
    def of(cls, store: Store, patient_ids: Iterable[str]) -> SplitPatients:
        """Return what a store holds of some of its usable patients."""
        contents = {patient_id: store.contents[patient_id] for patient_id in patient_ids}
        return cls(store.targets, _settings(store), contents)

    def only(self, patient_ids: Iterable[str]) -> SplitPatients:
        """Return what is known of some of the patients."""
        return replace(self, contents={i: self.contents[i] for i in patient_ids})

    @property
    def fingerprint(self) -> str:
        """Short digest over everything known of the patients, whatever their order."""
        known = [self.targets, self.settings, sorted(self.contents.items())]
        return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]

    def check(self, store: Store, url: str) -> None:
        """Refuse a store in which one of the patients is changed or missing, by name.

        Parameters
        ----------
        url
            Of the split, for the message.

        Raises
        ------
        InputError
            If one is.
        """
        wrong = next(self._differences(store), None)
        if wrong is not None:
            raise InputError(f"split {url} does not fit store {store.url}, {wrong}: {_RESTORE}")

    def _differences(self, store: Store) -> Iterator[str]:
        found = store.contents
        missing = [i for i in self.contents if i not in found]
        if missing and len(missing) == len(self.contents):
            yield f"which has none of its {len(missing)} patients"
        if store.targets != self.targets:
            yield (
                f"whose targets are {', '.join(store.targets) or 'none'}, expected"
                f" {', '.join(self.targets) or 'none'}"
            )
        if self.settings != _settings(store):
            yield "which was preprocessed with other settings"
        changed = [i for i, text in self.contents.items() if found.get(i, text) != text]
        parts = []
        if missing:
            excluded = {r.patient_id: f" (excluded: {r.exclusion_code})" for r in store.excluded}
            named = _listed([f"{i}{excluded.get(i, ' (not in the store)')}" for i in missing])
            parts.append(f"{_count(missing, 'is', 'are')} missing there: {named}")
        if changed:
            named = _listed([f"{i} ({self._change(i, found[i])})" for i in changed])
            parts.append(f"{_count(changed, 'is', 'are')} changed there: {named}")
        if parts:
            yield "; ".join(parts)

    def _change(self, patient_id: str, now: str) -> str:
        """Say what of a patient differs from what the split knows."""
        before, after = self.contents[patient_id].split(" "), now.split(" ")
        words = [
            f"{target} {_VALUES[a]} → {_VALUES[b]}"
            for target, a, b in zip(self.targets, before[0], after[0], strict=True)
            if a != b
        ]
        names = ("voxels", "covariates or geometry")
        words += [n for n, a, b in zip(names, before[1:], after[1:], strict=True) if a != b]
        return ", ".join(words)


def was_made_of(store: Store, fingerprint: str, num_patients: int) -> bool:
    """Tell whether a store, or what it was before patients were appended, has a fingerprint.

    Splits of schema 1 know this of their patients and nothing else.

    Parameters
    ----------
    num_patients
        Of the split: the store had no fewer.
    """
    if store.fingerprint == fingerprint:
        return True
    records = sorted((*store.records, *store.excluded), key=lambda record: record.index)
    texts = [json.dumps((r.patient_id, r.status, r.checksums.get("images"))) for r in records]
    settings = json.dumps(dict(store.spec.settings), sort_keys=True)
    targets = json.dumps(store.targets)
    labels = [json.dumps(row) for row in store.spec.labels]
    for num in range(len(records) - 1, num_patients - 1, -1):
        attributes = (
            f'{{"labels": [{", ".join(labels[:num])}], "settings": {settings},'
            f' "targets": {targets}}}'
        )
        text = f"{attributes}\n[{', '.join(texts[:num])}]"
        if hashlib.sha256(text.encode()).hexdigest()[:16] == fingerprint:
            return True
    return False


def _settings(store: Store) -> str:
    return digest_settings(dict(store.spec.settings), store.spec.num_phases, store.spec.crop_shape)


def _count(patients: list[str], one: str, several: str) -> str:
    num = len(patients)
    return f"{num} patient{'' if num == 1 else 's'} of the split {one if num == 1 else several}"


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


SCHEMA_VERSION = 2
OUTER_KEY = "outer_splits"
"""In a file that lists splits; see `radiotrain.split.outer_folds`."""
_REMEDY = "restore it from a copy, since runs and the log of the test set refer to it"
_MIN_PATIENTS_PER_PART = 2
# What decides which patient is in which part, beside extensions.
_DIVISION = ("seed", "targets", "test_fraction", "test_ids", "folds", "folds_by", "groups")
# Keeps the random numbers of swaps apart from those of dealing, which a deal that is even keeps.
_SWAPS = 3
_MOST_DEALS = 6


@dataclass(frozen=True)
class Extension:
    """How large a split was before patients were added to it.

    Parameters
    ----------
    num_test
        Test patients.
    num_in_folds
        Patients of each fold.
    dealing
        How the added patients were dealt, as in `Split`.
    """

    num_test: int
    num_in_folds: tuple[int, ...]
    dealing: str = ""


@dataclass(frozen=True)
class OuterPart:
    """Which part of a cross-validated test a split's test set is; see `radiotrain.split.outer_folds`.

    Parameters
    ----------
    division
        Digest of which patients are in which part of all its parts.
    part, num_parts
        Counted from 1.
    repeat, num_repeats
        Counted from 1: all patients are divided again in each.
    """

    division: str
    part: int
    num_parts: int
    repeat: int = 1
    num_repeats: int = 1

    @property
    def number(self) -> int:
        """Number of the part over all repeats, from 1: ``outer`` in a predictions table."""
        return (self.repeat - 1) * self.num_parts + self.part

    def __str__(self) -> str:
        of = f" of repeat {self.repeat}" if self.num_repeats > 1 else ""
        return f"outer part {self.part} of {self.num_parts}{of}"


@dataclass(frozen=True)
class Split:
    """A frozen division of a store's patients.

    Parameters
    ----------
    seed
        Seed of the draws.
    targets
        Targets over which it is stratified.
    test_fraction
        Share of patients in the test set.
    test_ids
        Patients that only an evaluation may read.
    folds
        Validation patients of each fold; together all that are not test patients.
    patients
        What the patients were when they were divided; see `radiotrain.split.split`. None in a file of
        schema 1.
    warnings
        What a reader should know, e.g. a fold with no positive patient.
    folds_by, groups
        The covariate that the patients of a fold share, and each fold's value of it; empty where folds
        are dealt. See `radiotrain.evaluation.shortcuts.folds`.
    extensions
        Of each time that patients were added, oldest first; empty where they never were.
    extends
        File of the split that was extended last, by its name where it lies beside.
    store_fingerprint
        Of the store that a split of schema 1 was made from.
    outer
        Which part of a cross-validated test its test set is; None where it is the only one.
    dealing
        How its patients were dealt at first: `split_balance.BALANCED`, or nothing where no swaps evened
        single targets, as in splits of older versions.
    schema_version
        Version of the file's schema.
    """

    seed: int
    targets: tuple[str, ...]
    test_fraction: float
    test_ids: tuple[str, ...]
    folds: tuple[tuple[str, ...], ...]
    patients: SplitPatients | None = None
    warnings: tuple[str, ...] = ()
    folds_by: str = ""
    groups: tuple[str, ...] = ()
    extensions: tuple[Extension, ...] = ()
    extends: str = ""
    store_fingerprint: str = ""
    outer: OuterPart | None = None
    dealing: str = ""
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
        """Short digest of which patient is in which part, whatever the file is called or its schema."""
        extensions = [(e.num_test, e.num_in_folds) for e in self.extensions]
        values = [*(getattr(self, name) for name in _DIVISION), extensions]
        # Only where there is one: other splits keep the fingerprint that runs know.
        values += [asdict(self.outer)] if self.outer is not None else []
        text = json.dumps(values)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def patients_fingerprint(self) -> str:
        """Short digest of what its patients are: records, labels and voxels.

        A split of schema 1 has one as soon as it is read with its store.
        """
        return "" if self.patients is None else self.patients.only(self.patient_ids).fingerprint

    @property
    def patient_ids(self) -> tuple[str, ...]:
        """All patients of the split: of the test, then of the folds."""
        return (*self.test_ids, *(i for ids in self.folds for i in ids))

    @property
    def test_parts(self) -> tuple[tuple[str, ...], ...]:
        """Test patients that were sealed together, oldest first; one of them may be empty."""
        ends = [0, *(e.num_test for e in self.extensions), len(self.test_ids)]
        return tuple(self.test_ids[start:stop] for start, stop in pairwise(ends))

    @property
    def before(self) -> tuple[Split, ...]:
        """The splits that this one extends, oldest first."""
        return tuple(self._cut(k) for k in range(len(self.extensions)))

    def _cut(self, k: int) -> Split:
        sizes = self.extensions[k]
        num = len(sizes.num_in_folds)
        folds = zip(self.folds[:num], sizes.num_in_folds, strict=True)
        return replace(
            self,
            test_ids=self.test_ids[: sizes.num_test],
            folds=tuple(ids[:size] for ids, size in folds),
            groups=self.groups[:num],
            extensions=self.extensions[:k],
            extends="",
            warnings=(),
        )

    def extended_from(self, fingerprint: str) -> Split | None:
        """Return the split of this fingerprint that this one extends; None where it extends none."""
        return next((split for split in self.before if split.fingerprint == fingerprint), None)

    def for_runs_of(self, fingerprint: str) -> Split:
        """Return how runs of a split that this one extends are tested: their folds, all test patients.

        No patient was moved, so that none of the test patients trained them. Patients that were added to
        the folds have no part in it. Of any other fingerprint: this split as it is.
        """
        trained = self.extended_from(fingerprint)
        if trained is None:
            return self
        sizes = tuple(len(ids) for ids in trained.folds)
        extensions = tuple(
            e if k <= len(trained.extensions) else replace(e, num_in_folds=sizes)
            for k, e in enumerate(self.extensions)
        )
        return replace(self, folds=trained.folds, groups=trained.groups, extensions=extensions)

    def is_of_run(self, split_fingerprint: str, patients_fingerprint: str) -> bool:
        """Tell whether a run of these fingerprints was trained on these folds and these patients."""
        known = [self, *(s for s in self.before if s.folds == self.folds)]
        wanted = split_fingerprint, patients_fingerprint
        return any((s.fingerprint, s.patients_fingerprint) == wanted for s in known)

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
    dealing: str = BALANCED,
) -> Split:
    """Divide a store's usable patients into a test set and folds.

    Parameters
    ----------
    store
        A finished store.
    seed
        Same store and seed, same split.
    test_fraction
        Share of patients kept for the test.
    num_folds
        Folds over the other patients.
    targets
        Targets to stratify over; all of the store's by default.
    dealing
        How to deal, as `Split.dealing` says it; see `dealing_at`.

    Returns
    -------
    The split, stratified by patient; not written yet.

    Raises
    ------
    InputError
        If there are too few patients, or a target has one class only.
    """
    chosen, labels = stratified_over(store, targets, test_fraction, num_folds)
    test, folds = deal(
        labels, seed=seed, test_fraction=test_fraction, num_folds=num_folds, dealing=dealing
    )
    ids = store.patient_ids
    return Split(
        seed=seed,
        targets=chosen,
        test_fraction=test_fraction,
        test_ids=tuple(sorted(ids[i] for i in test)),
        folds=tuple(tuple(sorted(ids[i] for i in fold)) for fold in folds),
        patients=SplitPatients.of(store, ids),
        warnings=tuple(class_warnings(labels, chosen, test, folds)),
        dealing=dealing,
    )


def dealing_at(url: str) -> str:
    """Return how the split in a file was dealt, so that the same command makes it again.

    Where there is no split: how splits are dealt now.
    """
    return load_split(url).dealing if files.exists(files.absolute(url)) else BALANCED


def stratified_over(
    store: Store, targets: Sequence[str] | None, test_fraction: float, num_folds: int
) -> tuple[tuple[str, ...], NDArray[np.int8]]:
    """Return the targets to stratify over and their labels, int8 (N, T).

    Raises
    ------
    InputError
        If there are too few patients, or a target has one class only.
    """
    chosen = _check_targets(store, targets)
    _check_sizes(len(store.patient_ids), test_fraction, num_folds)
    labels = store.labels[:, [store.targets.index(t) for t in chosen]]
    _check_classes(labels, chosen)
    return chosen, labels


def deal(
    labels: NDArray[np.int8],
    *,
    seed: int,
    test_fraction: float,
    num_folds: int,
    dealing: str = BALANCED,
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Deal patients out to a test set and folds.

    Parameters
    ----------
    labels
        int8 (N, T) of 0, 1 or -1.
    dealing
        As in `make_split`.

    Returns
    -------
    Row numbers of the test patients, and of each fold's patients.
    """
    generator = np.random.default_rng([seed, len(labels)])
    num_test = max(1, round(len(labels) * test_fraction))
    if not dealing:
        test, rest = deal_test(labels, num_test, generator)
        return np.sort(test).astype(np.int64), deal_in_turn(rest, num_folds, generator)
    swaps = np.random.default_rng([seed, len(labels), _SWAPS])
    deals = []
    # With some test sets, no folds of the others are even: then another test set is dealt.
    for _ in range(_MOST_DEALS):
        test, folds, off = _deal_evenly(labels, num_test, num_folds, generator, swaps)
        deals.append((off, test, folds))
        if off < 1:
            break
    _, test, folds = min(deals, key=lambda found: found[0])
    return test, folds


def _deal_evenly(
    labels: NDArray[np.int8],
    num_test: int,
    num_folds: int,
    generator: np.random.Generator,
    swaps: np.random.Generator,
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]], float]:
    """Return the rows of the test set and of folds, and by how many patients a fold is off at most."""
    test, rest = deal_test(labels, num_test, generator)
    share = num_test / len(labels)
    is_rest = np.ones(len(labels), dtype=np.int64)
    is_rest[test] = 0
    is_rest = balance_parts(labels, is_rest, np.array([share, 1 - share]), swaps)
    rest = ordered_rows(labels, rest, is_rest == 1)
    folds = deal_parts(labels, rest, num_folds, generator, swaps)
    fold_of = np.full(len(labels), -1)
    for number, fold in enumerate(folds):
        fold_of[fold] = number
    shares = np.full(num_folds, 1 / num_folds)
    off = most_off(labels[is_rest == 1], fold_of[is_rest == 1], shares)
    return np.flatnonzero(is_rest == 0), folds, off


def deal_parts(
    labels: NDArray[np.int8],
    ordered: NDArray[np.int64],
    num_parts: int,
    generator: np.random.Generator,
    swaps: np.random.Generator | None,
) -> list[NDArray[np.int64]]:
    """Return the row numbers of each part.

    Parameters
    ----------
    labels
        int8 (N, T) of 0, 1 or -1.
    ordered
        Row numbers of the patients to deal, in the order of their labels.
    swaps
        Gives the random numbers of swaps; None for no swaps, as in splits of older versions.
    """
    parts = deal_in_turn(ordered, num_parts, generator)
    if swaps is None:
        return parts
    rows = np.sort(ordered)
    part_of = np.empty(len(labels), dtype=np.int64)
    for number, part in enumerate(parts):
        part_of[part] = number
    shares = np.full(num_parts, 1 / num_parts)
    found = balance_parts(labels[rows], part_of[rows], shares, swaps)
    return [rows[found == number] for number in range(num_parts)]


def ordered_rows(
    labels: NDArray[np.int8], ordered: NDArray[np.int64], wanted: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return the wanted rows in the order of their labels, those of `ordered` as they are there."""
    kept = ordered[wanted[ordered]]
    rows = np.concatenate([kept, np.setdiff1d(np.flatnonzero(wanted), kept)])
    return rows[np.argsort(_gray_rank(labels[rows]), kind="stable")]


def deal_in_turn(
    ordered: NDArray[np.int64], num_parts: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return the row numbers of each part, in turn from patients in the order of their labels."""
    first = generator.permutation(num_parts)
    return [np.sort(ordered[k::num_parts]).astype(np.int64) for k in first]


def in_order_of_labels(
    labels: NDArray[np.int8], generator: np.random.Generator
) -> NDArray[np.int64]:
    """Return row numbers in an order in which neighbours have similar labels, at random among equals.

    Parameters
    ----------
    labels
        int8 (N, T) of 0, 1 or -1.
    """
    shuffled = generator.permutation(len(labels))
    return shuffled[np.argsort(_gray_rank(labels[shuffled]), kind="stable")]


def deal_test(
    labels: NDArray[np.int8], num_test: int, generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Deal so many of some patients out to a test set.

    Parameters
    ----------
    labels
        int8 (N, T) of 0, 1 or -1.

    Returns
    -------
    Row numbers of the test patients and of the others, each in the order of their labels.
    """
    order = in_order_of_labels(labels, generator)
    # Rows where the running count of due test patients steps up: evenly spread, from a random
    # start. The start keeps the total at that number of patients.
    start = generator.random()
    due = np.floor(np.arange(len(order) + 1) * num_test / max(len(order), 1) + start)
    is_test = np.diff(due) > 0
    return order[is_test], order[~is_test]


def save_split(split: Split, url: str) -> None:
    """Write a split as JSON.

    Parameters
    ----------
    split
        The split.
    url
        File to write, on a folder or an object store; the same split may be there already.

    Raises
    ------
    InputError
        If another split is there: runs and openings of the test set refer to it.
    """
    url = files.absolute(url)
    if files.exists(url):
        found = load_split(url)
        known = found.patients or split.patients
        if (found.fingerprint, known) == (split.fingerprint, split.patients):
            return
        raise InputError(
            f"{url} holds another split, which runs may refer to: name a new file with --out, and"
            f" '--extend {url}' to add patients that the store got since"
        )
    try:
        files.write_new(url, dump_with_digest(_as_json(split)))
    except FileExistsError:
        if not files.exists(url):
            raise
        # Another process has just written one; on an object store it may have been this one.
        save_split(split, url)


def load_split(url: str, store: Store | None = None) -> Split:
    """Read a split, and check it against the store where one is given.

    Parameters
    ----------
    url
        JSON file, on a folder or an object store.
    store
        The store whose patients the split divides; None: not checked.

    Returns
    -------
    The split.

    Raises
    ------
    MissingPathError
        If there is none.
    SchemaError
        If it is of another schema, or a patient is in two parts.
    InputError
        If one of its patients is changed or missing in the store.
    """
    url = files.absolute(url)
    try:
        values = json.loads(text := files.read_text(url))
        # Of schema 1, some carry no checksum.
        if isinstance(values, dict) and (DIGEST_KEY in values or values.get("schema_version") != 1):
            values = load_with_digest(text, url, _REMEDY)
    except DamagedFileError:
        raise
    except FileNotFoundError:
        raise MissingPathError(f"no split at {url}: make one with 'radiotrain split'") from None
    except (ValueError, IsADirectoryError):
        raise SchemaError(
            f"{url} is no split, or is damaged: restore it from a copy, or make one with 'radiotrain"
            " split'"
        ) from None
    split = _from_json(url, values)
    return split if store is None else check_split(split, store, url)


def check_split(split: Split, store: Store, url: str = "given") -> Split:
    """Return a split whose patients are all in the store, as they were when it was made.

    Other patients of the store do not matter. A split of schema 1 knows the store that it was made
    from, and gets to know its patients here.

    Raises
    ------
    InputError
        If one is changed or missing.
    """
    if split.patients is not None:
        split.patients.check(store, url)
        return split
    ids = split.patient_ids
    if not {*ids} <= {*store.patient_ids} or not was_made_of(
        store, split.store_fingerprint, len(ids)
    ):
        raise InputError(
            f"split {url}, of an older version, was made from a store with fingerprint"
            f" {split.store_fingerprint}, but {store.url} has {store.fingerprint} and had no other"
            " before patients were appended: name the store that it was made from, or make a new"
            " split with 'radiotrain split'"
        )
    return replace(split, patients=SplitPatients.of(store, ids), schema_version=SCHEMA_VERSION)


def not_in_split(split: Split, store: Store) -> tuple[str, ...]:
    """Return the usable patients of a store that a split does not have, in the store's order."""
    known = {*split.patient_ids}
    return tuple(i for i in store.patient_ids if i not in known)


def notes_on(split: Split, store: Store, url: str) -> tuple[str, ...]:
    """Return a sentence on patients that are left out as the split does not have them, if there are any."""
    num = len(not_in_split(split, store))
    if not num:
        return ()
    are, them = ("patient is", "it") if num == 1 else ("patients are", "them")
    note = (
        f"{num} {are} in store {store.url} but not in split {url}, and left out: add {them} with"
        f" 'radiotrain split {store.url} --extend {url} --out NEW'"
    )
    return (note,)


def count_table(split: Split, store: Store) -> list[dict[str, Any]]:
    """Count patients, and positive/labelled ones per target, in each part of a split."""
    index = {patient_id: i for i, patient_id in enumerate(store.patient_ids)}
    parts = {"test": split.test_ids}
    if len(named_parts(split)) > 1:
        parts |= {f"test, part {n}": ids for n, ids in named_parts(split)}
    parts |= dict(zip(split.fold_names, split.folds, strict=True))
    rows = []
    for name, ids in parts.items():
        row: dict[str, Any] = {"part": name, "patients": len(ids)}
        for target in split.targets:
            values = store.labels[[index[i] for i in ids], store.targets.index(target)]
            row[target] = (int(np.sum(values == 1)), int(np.sum(values != MISSING_LABEL)))
        rows.append(row)
    return rows


def named_parts(split: Split) -> list[tuple[int, tuple[str, ...]]]:
    """Return the parts of the test set that have patients, numbered from 1."""
    return list(enumerate((ids for ids in split.test_parts if ids), start=1))


def _as_json(split: Split) -> dict[str, Any]:
    values = asdict(split)
    optional = (
        "folds_by",
        "groups",
        "extensions",
        "extends",
        "store_fingerprint",
        "outer",
        "dealing",
    )
    values = {k: v for k, v in values.items() if v or k not in optional}
    for extension in values.get("extensions", ()):
        if not extension["dealing"]:
            del extension["dealing"]
    return values


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
    others: Mapping[str, NDArray[np.int64]] = MappingProxyType({}),
) -> list[str]:
    """Name the parts of a split, given as row numbers, in which a target has one class only."""
    parts = {"the test set": test, **others}
    parts |= {f"fold {k}": rows for k, rows in enumerate(folds)}
    return [
        f"{part} has no {word} patient of {target}: its AUC is undefined there"
        for part, rows in parts.items()
        for t, target in enumerate(targets)
        for value, word in ((1, "positive"), (0, "negative"))
        if not np.any(labels[rows, t] == value)
    ]


def _from_json(url: str, values: Any) -> Split:
    if isinstance(values, dict) and OUTER_KEY in values:
        raise InputError(
            f"{url} lists the splits of a cross-validated test, expected one of them: name"
            f" {_first_listed(values[OUTER_KEY])} or another that it lists"
        )
    found = values.get("schema_version") if isinstance(values, dict) else None
    if found not in (1, SCHEMA_VERSION):
        raise SchemaError(
            f"split {url} has schema {str(found)[:50]}, expected {SCHEMA_VERSION}: make it again with"
            " 'radiotrain split'"
        )
    try:
        split = Split(
            **{
                **values,
                "targets": tuple(values["targets"]),
                "test_ids": tuple(values["test_ids"]),
                "folds": tuple(tuple(ids) for ids in values["folds"]),
                "patients": _patients_from_json(values["patients"]) if found > 1 else None,
                "warnings": tuple(values["warnings"]),
                "groups": tuple(values.get("groups", ())),
                "dealing": str(values.get("dealing", "")),
                "outer": OuterPart(**values["outer"]) if values.get("outer") else None,
                "extensions": tuple(
                    Extension(e["num_test"], tuple(e["num_in_folds"]), str(e.get("dealing", "")))
                    for e in values.get("extensions", ())
                ),
            }
        )
        _check_whole(split)
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise SchemaError(f"split {url} is damaged ({error}): make it again") from None
    repeated = sorted(i for i, num in Counter(split.patient_ids).items() if num > 1)
    if repeated:
        raise SchemaError(
            f"split {url} has patient {repeated[0]!r} in two parts: make it again with"
            " 'radiotrain split'"
        )
    return split


def _first_listed(listed: Any) -> str:
    try:
        return str(listed[0]["file"])
    except (IndexError, KeyError, TypeError):
        return "a split"


def _patients_from_json(values: Any) -> SplitPatients:
    return SplitPatients(tuple(values["targets"]), values["settings"], dict(values["contents"]))


def _check_whole(split: Split) -> None:
    """Raise ValueError where a split's members do not fit together."""
    if split.outer is not None:
        _check_outer(split)
    if split.patients is not None and {*split.patients.contents} != {*split.patient_ids}:
        raise ValueError("its parts and its patients differ")
    if split.groups and len(split.groups) != split.num_folds:
        raise ValueError("its groups and its folds differ in number")
    sizes = [*split.extensions, Extension(len(split.test_ids), tuple(map(len, split.folds)))]
    for earlier, later in pairwise(sizes):
        shrunk = [a > b for a, b in zip(earlier.num_in_folds, later.num_in_folds, strict=False)]
        fewer_folds = len(earlier.num_in_folds) > len(later.num_in_folds)
        if earlier.num_test > later.num_test or fewer_folds or any(shrunk):
            raise ValueError("it was larger before it was extended")


def _check_outer(split: Split) -> None:
    outer = split.outer
    if outer is None or split.extensions or split.folds_by:
        raise ValueError("it is part of a cross-validated test, and was changed since")
    counts = (outer.part, outer.num_parts), (outer.repeat, outer.num_repeats)
    whole = all(isinstance(n, int) and not isinstance(n, bool) for pair in counts for n in pair)
    if not isinstance(outer.division, str) or not whole:
        raise ValueError("its part of a cross-validated test is no number")
    if any(not 1 <= number <= of for number, of in counts):
        raise ValueError("it has no such part of a cross-validated test")
