"""Outer folds of a cross-validated test.

All patients are divided into outer parts as `radiotrain.split.split` divides the others into folds: each
combination of labels has within one patient as many in any two parts, and so has each label of a target
wherever that can be. Each part is the sealed test set
of an ordinary split, whose folds are stratified over all other patients, with an access log of its own.
So tuning, choosing an epoch and thresholds lie inside each part (nested cross-validation: Varma and
Simon, BMC Bioinformatics 7 (2006) 91), and no command has to know of the others but ``evaluate``.
Repeats divide all patients again by other random numbers.

One more file lists the splits. It decides nothing: each split says itself which part it is of what.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from preprocessing.common.errors import InputError, MissingPathError, SchemaError
from preprocessing.storage import files
from preprocessing.storage.digests import dump_with_digest, load_with_digest
from preprocessing.store import Store
from radiotrain.split.balance import BALANCED
from radiotrain.split.split import (
    OUTER_KEY,
    OuterPart,
    Split,
    SplitPatients,
    class_warnings,
    deal_parts,
    in_order_of_labels,
    load_split,
    save_split,
    stratified_over,
)

INDEX_SCHEMA_VERSION = 1
_REMEDY = "restore it from a copy, or name the splits themselves"
# Keeps the random numbers apart from those of `split.deal` and of extensions.
_OUTER, _SWAPS = 2, 6


@dataclass(frozen=True)
class OuterSplits:
    """All splits of a cross-validated test, in the order of `OuterPart.number`."""

    splits: tuple[Split, ...]

    @property
    def num_parts(self) -> int:
        """Number of parts of each repeat."""
        return _part(self.splits[0]).num_parts

    @property
    def num_repeats(self) -> int:
        """How often all patients are divided."""
        return _part(self.splits[0]).num_repeats


def make_outer_splits(
    store: Store,
    *,
    num_parts: int,
    num_repeats: int = 1,
    seed: int = 0,
    num_folds: int = 5,
    targets: Sequence[str] | None = None,
    dealing: str = BALANCED,
) -> OuterSplits:
    """Divide a store's usable patients into outer test parts, the others of each into folds.

    Parameters
    ----------
    num_parts
        Of each repeat; each patient is a test patient of one.
    num_repeats
        How often all patients are divided.
    seed, num_folds, targets, dealing
        As in `radiotrain.split.split.make_split`.

    Raises
    ------
    InputError
        If a number is too small, there are too few patients, or a target has one class only.
    """
    for name, number, least in (("outer parts", num_parts, 2), ("repeats", num_repeats, 1)):
        if number < least:
            raise InputError(f"number of {name} is {number}, expected {least} or more")
    if len(store.patient_ids) < 2 * num_parts:
        raise InputError(
            f"store has {len(store.patient_ids)} usable patients, expected {2 * num_parts} or more for"
            f" {num_parts} outer parts: use fewer parts"
        )
    chosen, labels = stratified_over(store, targets, 1 / num_parts, num_folds)
    ids = store.patient_ids
    made = []
    for repeat in range(num_repeats):
        generator = np.random.default_rng([seed, len(labels), _OUTER, repeat])
        swaps = np.random.default_rng([seed, len(labels), _SWAPS, repeat]) if dealing else None
        every = in_order_of_labels(labels, generator)
        parts = deal_parts(labels, every, num_parts, generator, swaps)
        for number, test in enumerate(parts, start=1):
            rest = np.setdiff1d(np.arange(len(labels)), test)
            ordered = rest[in_order_of_labels(labels[rest], generator)]
            folds = deal_parts(labels, ordered, num_folds, generator, swaps)
            split = Split(
                seed=seed,
                targets=chosen,
                test_fraction=1 / num_parts,
                test_ids=tuple(sorted(ids[i] for i in test)),
                folds=tuple(tuple(sorted(ids[i] for i in fold)) for fold in folds),
                patients=SplitPatients.of(store, ids),
                warnings=tuple(class_warnings(labels, chosen, test, folds)),
                outer=OuterPart("", number, num_parts, repeat + 1, num_repeats),
                dealing=dealing,
            )
            made.append(split)
    division = digest_division(made)
    return OuterSplits(
        tuple(replace(split, outer=replace(_part(split), division=division)) for split in made)
    )


def digest_division(splits: Sequence[Split]) -> str:
    """Return the digest of which patients are in which part; it is that of all splits together."""
    parts = sorted((_part(split).number, sorted(split.test_ids)) for split in splits)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def dealing_of_outer_at(index_url: str) -> str:
    """Return how the splits that a file lists were dealt; where there is none, how they are now."""
    listed = read_outer_index(index_url) if files.exists(files.absolute(index_url)) else None
    return load_split(listed[0]).dealing if listed else BALANCED


def split_names(index_url: str, splits: OuterSplits) -> tuple[str, ...]:
    """Return the names of the splits' files, which lie beside the one that lists them."""
    stem = files.absolute(index_url).rpartition("/")[2].removesuffix(".json")
    parts = (_part(split) for split in splits.splits)
    return tuple(outer_name(stem, p.part, p.num_parts, p.repeat, p.num_repeats) for p in parts)


def outer_name(stem: str, part: int, num_parts: int, repeat: int, num_repeats: int) -> str:
    """Return the name of the file of one part's split, from that of the file that lists them."""
    of_repeat = f"-repeat-{repeat}" if num_repeats > 1 else ""
    return f"{stem}{of_repeat}-{part}-of-{num_parts}.json"


def save_outer_splits(splits: OuterSplits, index_url: str) -> tuple[str, ...]:
    """Write the splits, and then the file that lists them.

    Returns
    -------
    Where the splits are.

    Raises
    ------
    InputError
        If another split is in the place of one: nothing is written then.
    """
    index_url = files.absolute(index_url)
    folder = index_url.rpartition("/")[0]
    names = split_names(index_url, splits)
    urls = tuple(files.join(folder, name) for name in names)
    text = _index(splits, names)
    if files.exists(index_url) and files.read_text(index_url) != text:
        raise InputError(
            f"{index_url} holds something else than these {len(urls)} splits, which runs may refer to:"
            " name a new file with --out"
        )
    for url, split in zip(urls, splits.splits, strict=True):
        if files.exists(url) and load_split(url).fingerprint != split.fingerprint:
            raise InputError(
                f"{url} holds another split, which runs may refer to: name a new file with --out"
            )
    for url, split in zip(urls, splits.splits, strict=True):
        save_split(split, url)
    files.write_text(index_url, text)
    return urls


def _index(splits: OuterSplits, names: Sequence[str]) -> str:
    outer = _part(splits.splits[0])
    listed = [
        {
            "file": name,
            "fingerprint": split.fingerprint,
            "part": _part(split).part,
            "repeat": _part(split).repeat,
            "num_test": len(split.test_ids),
        }
        for name, split in zip(names, splits.splits, strict=True)
    ]
    values = {
        "schema_version": INDEX_SCHEMA_VERSION,
        "division": outer.division,
        "num_parts": outer.num_parts,
        "num_repeats": outer.num_repeats,
        OUTER_KEY: listed,
    }
    return dump_with_digest(values, in_order=True)


def read_outer_index(url: str) -> tuple[str, ...] | None:
    """Return where the splits are that a file lists; None where it lists none.

    Raises
    ------
    MissingPathError
        If there is no such file.
    SchemaError, DamagedFileError
        If another version wrote it, or it is not what was written.
    """
    url = files.absolute(url)
    try:
        text = files.read_text(url)
    except FileNotFoundError:
        raise MissingPathError(f"no split at {url}: make one with 'radiotrain split'") from None
    except (IsADirectoryError, UnicodeDecodeError):
        return None
    if f'"{OUTER_KEY}"' not in text:
        return None
    values = load_with_digest(text, url, _REMEDY)
    found = values.get("schema_version") if isinstance(values, dict) else None
    if found != INDEX_SCHEMA_VERSION:
        raise SchemaError(
            f"{url} has schema {str(found)[:50]}, expected {INDEX_SCHEMA_VERSION}: {_REMEDY}"
        )
    try:
        names = [str(one["file"]) for one in values[OUTER_KEY]]
    except (KeyError, TypeError):
        raise SchemaError(f"{url} is damaged: {_REMEDY}") from None
    return tuple(files.join(url.rpartition("/")[0], name) for name in names)


def check_outer_index(url: str) -> None:
    """Refuse a file whose splits are missing, or others than it lists.

    Raises
    ------
    RadiotrainError
        If one is.
    """
    urls = read_outer_index(url)
    values = json.loads(files.read_text(files.absolute(url)))
    for place, listed in zip(urls or (), values.get(OUTER_KEY, ()), strict=True):
        if load_split(place).fingerprint != listed["fingerprint"]:
            raise InputError(f"{place} is another split than {url} lists: {_REMEDY}")


def listed_splits(urls: Sequence[str]) -> tuple[str, ...]:
    """Return URLs of splits; those of files that list splits are replaced by what they list."""
    return tuple(one for url in urls for one in (read_outer_index(url) or (url,)))


def check_division(splits: Sequence[Split]) -> tuple[str, ...]:
    """Check that each patient is tested once a repeat by these splits, and return notes.

    Parameters
    ----------
    splits
        One of each outer part, of one division.

    Raises
    ------
    InputError
        If a part is missing, or a patient is not in exactly one part of a repeat.
    """
    outer = _part(splits[0])
    given = {_part(split).number for split in splits}
    every = range(1, outer.num_repeats + 1)
    missing = {
        r: [p for p in range(1, outer.num_parts + 1) if (r - 1) * outer.num_parts + p not in given]
        for r in every
    }
    begun = [r for r in every if len(missing[r]) < outer.num_parts]
    gaps = [f"{_parts(missing[r])}{_of(r, outer)}" for r in begun if missing[r]]
    if gaps:
        raise InputError(
            f"of the {outer.num_parts} outer parts no model was given for {'; '.join(gaps)}, expected"
            " one of each, so that every patient is tested: train on the splits of these parts, and"
            " evaluate all together"
        )
    wanted = {*splits[0].patient_ids}
    for repeat in begun:
        times = Counter(i for s in splits if _part(s).repeat == repeat for i in s.test_ids)
        twice = sorted(i for i, num in times.items() if num > 1)
        if twice or {*times} != wanted or any({*s.patient_ids} != wanted for s in splits):
            one = (twice or sorted({*times} ^ wanted) or ["one"])[0]
            raise InputError(
                f"patient {one!r} is in {times[one]} outer test parts{_of(repeat, outer)}, expected one:"
                " the splits are not those that 'radiotrain split --outer' wrote; make them again"
            )
    if len(begun) == outer.num_repeats and digest_division(splits) != outer.division:
        raise InputError(
            "the splits' test patients are not those of the division that the splits name: they are not"
            " what 'radiotrain split --outer' wrote; make them again"
        )
    if len(begun) < outer.num_repeats:
        note = (
            f"Of {outer.num_repeats} repeats of the cross-validated test {len(begun)} were evaluated"
            f" (repeat {', '.join(map(str, begun))})."
        )
        return (note,)
    return ()


def _parts(numbers: Sequence[int]) -> str:
    return f"part{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _of(repeat: int, outer: OuterPart) -> str:
    return f" of repeat {repeat}" if outer.num_repeats > 1 else ""


def _part(split: Split) -> OuterPart:
    if split.outer is None:
        raise InputError("the split is no part of a cross-validated test")
    return split.outer
