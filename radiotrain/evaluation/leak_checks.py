"""Leak checks: duplicates, covariates, store and table.

Axis legend: R rows, C columns, S slices of a crop; T shifts, K points that are compared.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from preprocessing.store import PatientRecord, Store
from radiotrain.config.run_config import NetworkConfig
from radiotrain.data.leaky_columns import reason_by_values, reason_to_refuse
from radiotrain.evaluation.tables import as_text
from radiotrain.split.split import Split
from radiotrain.split.test_set_access import TestAccess, check_sealed

Finding = tuple[str, tuple[str, ...]]
"""A sentence, and the patients that it is about."""

Outcome = Literal["clear", "found", "not done"]


@dataclass(frozen=True)
class LeakCheck:
    """One question that is asked each time a test set is opened or a table judged.

    Parameters
    ----------
    question
        What would be a leak.
    outcome
        ``not done`` where what it needs was not given.
    sentence
        What was looked at, or why nothing could be.
    findings
        A sentence for each thing found, the worst first; it names no patient.
    patients
        Of each finding, the ids that it is about: they go into ``leaks.csv`` and no page.
    """

    question: str
    outcome: Outcome
    sentence: str
    findings: tuple[str, ...] = ()
    patients: tuple[tuple[str, ...], ...] = ()

    @classmethod
    def of(cls, question: str, looked_at: str, found: Sequence[Finding]) -> LeakCheck:
        """Return a check that was done."""
        return cls(
            question,
            "found" if found else "clear",
            looked_at,
            tuple(sentence for sentence, _ in found),
            tuple(ids for _, ids in found),
        )

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without patients."""
        values = asdict(self)
        del values["patients"]
        return values


def leaks_csv(checks: Sequence[LeakCheck]) -> str:
    """Return a table with a line for each patient of each finding; empty where nothing was found."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("question", "finding", "patient_id"))
    rows = [
        (check.question, finding, patient)
        for check in checks
        for finding, ids in zip(check.findings, check.patients, strict=False)
        for patient in ids
    ]
    writer.writerows(tuple(map(as_text, row)) for row in rows)
    return buffer.getvalue() if rows else ""


# In voxels of the crop. Two readers' boxes round one tumour lie this far apart; slices are thicker.
_REACH, _REACH_SLICES = 8, 2
_STEP = 2
_GRID, _GRID_SLICES = 4, 2
# More of the grid's points tell no more, and cost time for every pair.
_MOST_POINTS = 2000
# With fewer points two breasts look alike; then only a crop at the same place is compared.
_ENOUGH_POINTS = 1000
# Of 134 real crops no two patients came above 0.51, and a crop that was shifted by up to 8 voxels,
# rescaled and made noisy not below 0.92.
_SIMILAR, _SAME = 0.9, 0.99
# In cohorts that are more alike, such as phantoms, a duplicate is this many times closer to 1 than all
# but a tenth of the pairs.
_TIMES_CLOSER, _ORDINARY = 3, 0.9
_ENOUGH_PAIRS = 100


@dataclass(frozen=True)
class Duplicate:
    """Two patients with what looks like one examination.

    Parameters
    ----------
    similarity
        Correlation of their pre-contrast crops without slow changes, at most 1.
    """

    first: str
    second: str
    similarity: float


class CropComparer:
    """Compares pre-contrast crops of one shape, each with all before it."""

    def __init__(self, crop_shape: tuple[int, int, int]) -> None:
        rows, columns, slices = crop_shape
        reach = min(_REACH, min(rows, columns) // 8 // _STEP * _STEP)
        points = _grid(rows, columns, slices, reach, _REACH_SLICES)
        self._least = _SIMILAR
        if len(points) < _ENOUGH_POINTS:
            points, reach = _grid(rows, columns, slices, 0, 0), 0
            self._least = _SAME
        keep = np.random.default_rng(0).permutation(len(points))[:_MOST_POINTS]
        self._points = points[np.sort(keep)]
        self._shifts = _shifts(reach, _REACH_SLICES if reach else 0)
        self._seen: list[NDArray[np.float32]] = []

    def add(self, pre: NDArray[np.int16]) -> NDArray[np.float32]:
        """Take up a patient; return how similar the ones before are: (patients before,), at most 1.

        Parameters
        ----------
        pre
            (R, C, S).
        """
        shifted = self._fingerprints(pre)
        found = np.zeros(0, dtype=np.float32)
        if self._seen:
            found = np.minimum((np.stack(self._seen) @ shifted.T).max(axis=1), 1)
        self._seen.append(shifted[len(self._shifts) // 2])
        return found

    def threshold(self, similarities: NDArray[np.float32]) -> float:
        """Return from which similarity on two crops show one examination, given that of all pairs."""
        if len(similarities) < _ENOUGH_PAIRS:
            return self._least
        ordinary = float(np.quantile(similarities, _ORDINARY))
        return max(self._least, 1 - (1 - ordinary) / _TIMES_CLOSER)

    def _fingerprints(self, pre: NDArray[np.int16]) -> NDArray[np.float32]:
        """Return, for each shift, what is seen at the points: (T, K), mean 0 and length 1."""
        fine = _without_slow_changes(pre)
        rows = np.stack([fine[tuple((self._points + shift).T)] for shift in self._shifts])
        rows -= rows.mean(axis=1, keepdims=True)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        # A crop without any contrast is like none.
        unit: NDArray[np.float32] = np.divide(
            rows, length, out=np.zeros_like(rows), where=length > 0
        )
        return unit


def find_duplicates(
    crop_shape: tuple[int, int, int], crops: Iterable[tuple[str, NDArray[np.int16]]]
) -> tuple[Duplicate, ...]:
    """Return all pairs of patients whose crops show one examination, the most similar first.

    Parameters
    ----------
    crops
        Patient id and pre-contrast crop (R, C, S) of each patient.
    """
    comparer, ids = CropComparer(crop_shape), list[str]()
    rows = []
    for patient_id, pre in crops:
        rows.append(comparer.add(pre))
        ids.append(patient_id)
    if not rows:
        return ()
    threshold = comparer.threshold(np.concatenate(rows))
    found = [
        Duplicate(ids[first], ids[second], float(row[first]))
        for second, row in enumerate(rows)
        for first in np.flatnonzero(row >= threshold)
    ]
    return tuple(sorted(found, key=lambda pair: (-pair.similarity, pair.first, pair.second)))


def _without_slow_changes(pre: NDArray[np.int16]) -> NDArray[np.float32]:
    """Return a crop between two scales: neither its noise nor the coil's and the breast's shading."""
    images = pre.astype(np.float32)
    fine = gaussian_filter(images, (_GRID / 2, _GRID / 2, _GRID_SLICES / 2), truncate=3)
    slow = gaussian_filter(images, (1.5 * _GRID, 1.5 * _GRID, 1.5 * _GRID_SLICES), truncate=2)
    difference: NDArray[np.float32] = fine - slow
    return difference


def _grid(rows: int, columns: int, slices: int, reach: int, reach_slices: int) -> NDArray[np.intp]:
    """Return the points of a crop that stay inside it wherever they are shifted: (K, 3)."""
    axes = (
        range(reach, rows - reach, _GRID),
        range(reach, columns - reach, _GRID),
        range(
            min(reach_slices, slices // 2),
            max(slices - reach_slices, slices // 2 + 1),
            _GRID_SLICES,
        ),
    )
    return np.array(list(itertools.product(*axes)), dtype=np.intp)


def _shifts(reach: int, reach_slices: int) -> Sequence[tuple[int, int, int]]:
    """Return all shifts, none being in the middle."""
    in_plane = range(-reach, reach + 1, _STEP)
    return list(itertools.product(in_plane, in_plane, range(-reach_slices, reach_slices + 1)))


def notes_on_covariates(
    networks: Mapping[str, NetworkConfig], store: Store | None, split: Split | None
) -> tuple[str, ...]:
    """Return sentences on covariates that tell a target, and on those that were allowed by name.

    Parameters
    ----------
    networks
        By run.
    store, split
        Of which values are judged on development patients; None where only names can be.
    """
    records: Sequence[PatientRecord] = ()
    labels: dict[str, NDArray[np.integer]] = {}
    if store is not None and split is not None:
        rows = [store.index_of(patient_id) for patient_id in split.development_ids]
        records = [store.records[row] for row in rows]
        labels = dict(zip(store.targets, store.labels[rows].T, strict=True))
    runs: dict[tuple[str, bool], list[str]] = {}
    for run, network in networks.items():
        for name in network.covariates:
            runs.setdefault((name, name in network.allow_covariates), []).append(run)
    return tuple(
        sentence
        for (name, is_allowed), of in runs.items()
        for sentence in _covariate_sentences(name, is_allowed, of, _reason(name, records, labels))
    )


def _reason(
    name: str, records: Sequence[PatientRecord], labels: Mapping[str, NDArray[np.integer]]
) -> str | None:
    by_name = reason_to_refuse(name)
    if by_name is not None or not records:
        return by_name
    found = reason_by_values([record.covariates.get(name) for record in records], labels)
    return None if found is None else f"{found} in development"


def _covariate_sentences(
    name: str, is_allowed: bool, runs: Sequence[str], reason: str | None
) -> Iterator[str]:
    reads = f"Run{'s' * (len(runs) > 1)} {', '.join(runs)} read{'s' * (len(runs) == 1)} {name}"
    if is_allowed and reason is None:
        yield f"{reads}, which network.allow_covariates allows by name."
    elif is_allowed:
        yield (
            f"{reads}, which network.allow_covariates allows by name, although {reason}: what the network"
            " reaches may be this column's."
        )
    elif reason is not None:
        yield (
            f"{reads}, which is refused now, as {reason}: what the network reaches may be this column's. It"
            " was trained before this was asked, and is evaluated by its own rules."
        )


# A pair, and why it is thought to be one examination.
_Pair = tuple[str, str, str]


def check_store(
    store: Store, split: Split, access: TestAccess, progress: Callable[[str, int], Any]
) -> tuple[LeakCheck, ...]:
    """Look at all patients of a split, those of the test set too.

    Parameters
    ----------
    progress
        See `preprocessing.common.progress`.
    """
    check_sealed(split, split.test_ids, access)
    return _check_parts(store, [split], _sides(split), progress)


def check_outer_parts(
    store: Store,
    splits: Sequence[Split],
    accesses: Sequence[TestAccess],
    progress: Callable[[str, int], Any],
) -> tuple[LeakCheck, ...]:
    """Look at all patients of a cross-validated test, each of whom is a test patient of some part.

    Parameters
    ----------
    splits, accesses
        Of each outer part.
    """
    for split, access in zip(splits, accesses, strict=True):
        check_sealed(split, split.test_ids, access)
    sides = LeakCheck.of(
        "A patient in two parts of a split",
        f"{len(splits[0].patient_ids)} patients, each a test patient of one of the outer parts of a repeat and in none of"
        " that part's folds; all runs were trained on the split of their part",
        [
            finding
            for split in splits
            for sides in [_sides(split)]
            for finding in zip(sides.findings, sides.patients, strict=True)
        ],
    )
    return _check_parts(store, splits, sides, progress)


def _check_parts(
    store: Store,
    splits: Sequence[Split],
    sides: LeakCheck,
    progress: Callable[[str, int], Any],
) -> tuple[LeakCheck, ...]:
    ids = (*splits[0].development_ids, *splits[0].test_ids)
    records = [store.records[store.index_of(patient_id)] for patient_id in ids]
    same = _same_volumes(records)
    with progress("look for duplicates", len(ids)) as advance:
        alike = find_duplicates(store.image_shape[1:], _crops(store, ids, advance))
    return (sides, _studies(records, same, splits), _images(alike, same, len(ids), splits))


def _sides(split: Split) -> LeakCheck:
    parts = [*split.folds, split.test_ids]
    crossing = [i for a, b in combinations(parts, 2) for i in set(a) & set(b)]
    return LeakCheck.of(
        "A patient in two parts of the split",
        f"{len(split.test_ids)} test patients against {len(split.development_ids)} development"
        f" patients in {split.num_folds} folds; all runs were trained on this very split",
        [("Leak: a patient is in two parts of the split.", (i,)) for i in sorted(crossing)],
    )


def _same_volumes(records: Sequence[PatientRecord]) -> tuple[tuple[str, str], ...]:
    """Return pairs of patients whose whole pre-contrast volumes are equal."""
    known: dict[str, list[str]] = {}
    for record in records:
        digest = record.details.get("volume_digest")
        if digest is not None:
            known.setdefault(digest, []).append(record.patient_id)
    return tuple(pair for ids in known.values() for pair in combinations(ids, 2))


def _studies(
    records: Sequence[PatientRecord], same: Sequence[tuple[str, str]], splits: Sequence[Split]
) -> LeakCheck:
    question = "One examination under two ids, by its whole pre-contrast volume"
    num = sum("volume_digest" in record.details for record in records)
    if not num:
        why = "the store has no digests of volumes: it was made without N4, or by an older version"
        return LeakCheck(question, "not done", why)
    pairs = [(*pair, "the voxels that N4 was fitted to are the same") for pair in same]
    return LeakCheck.of(
        question,
        f"digests of the volumes of {num} of {len(records)} patients",
        list(_sentences(pairs, splits)),
    )


def _images(
    alike: Sequence[Duplicate], same: Sequence[tuple[str, str]], num: int, splits: Sequence[Split]
) -> LeakCheck:
    named = {frozenset(pair) for pair in same}
    pairs = [
        (pair.first, pair.second, f"similarity of their crops {pair.similarity:.2f}")
        for pair in alike
        if {pair.first, pair.second} not in named
    ]
    others = f"; {len(same)} with equal volumes not said again" if same else ""
    return LeakCheck.of(
        "One examination under two ids, by how the crops look",
        f"{num} pre-contrast crops, each with each, shifted and rescaled copies too{others}",
        list(_sentences(pairs, splits)),
    )


def _crops(
    store: Store, ids: tuple[str, ...], advance: Callable[[], object]
) -> Iterator[tuple[str, NDArray[np.int16]]]:
    for patient_id in ids:
        yield patient_id, store.read_images(store.index_of(patient_id))[0][0]
        advance()


def _sentences(pairs: Iterable[_Pair], splits: Sequence[Split]) -> Iterator[Finding]:
    """Say what each pair means, those that spoil the test first."""
    tests = [set(split.test_ids) for split in splits]

    def sides_of(first: str, second: str) -> set[bool]:
        """Return where the two are, in a split that parts them if there is one, else where one is tested."""
        found = [{first in test, second in test} for test in tests]
        return max(found, key=lambda sides: (len(sides), True in sides))

    for first, second, why in sorted(pairs, key=lambda pair: len(sides_of(pair[0], pair[1])) == 1):
        sides = sides_of(first, second)
        what = f"two ids look like one examination ({why})"
        if len(sides) == 2:
            sentence = f"Leak: {what}, one of them tested and the other trained on. Remove one."
        elif sides == {True}:
            sentence = f"Among test patients, {what}, so that one counts twice. Remove one."
        else:
            sentence = f"In development, {what}: validation may be optimistic."
        yield sentence, (first, second)


# So many test rows that equal validation rows are no coincidence, if they are this share of the test.
_FEWEST_REPEATS, _REPEATED_SHARE = 5, 0.5


def check_table(table: pd.DataFrame) -> tuple[LeakCheck, ...]:
    """Ask of a validated predictions table whether test patients were seen before.

    A patient on two sides within one run and target never comes here: such a table is refused by
    `predictions.validate_predictions`.
    """
    return (_crossing(table), _spelling(table), _repeated(table))


def _crossing(table: pd.DataFrame) -> LeakCheck:
    tested = table[table["split"] == "test"]
    num = tested["patient_id"].nunique()
    return LeakCheck.of(
        "A patient tested by one run, and trained or validated on by another",
        f"{_count(num, 'test patient')}, {_count(table['run'].nunique(), 'run')},"
        f" {_count(table['target'].nunique(), 'target')}; within a run such a table is refused",
        tuple(dict.fromkeys(_runs_that_cross(table, tested))),
    )


def _runs_that_cross(table: pd.DataFrame, tested: pd.DataFrame) -> Iterator[Finding]:
    # Each outer part by itself: between them, patients of a cross-validated test change sides.
    if "outer" in table:
        for _, part in table.groupby("outer", dropna=False):
            without = part.drop(columns="outer")
            yield from _runs_that_cross(without, without[without["split"] == "test"])
        return
    seen = _ids_of_runs(table[table["split"] != "test"])
    for run, mine in _ids_of_runs(tested).items():
        found: dict[frozenset[str], frozenset[str]] = {}
        for other, ids in seen.items():
            if ids not in found:  # most runs are of one split
                found[ids] = mine & ids
            common = found[ids]
            if common and other != run:
                yield (
                    (
                        f"Leak: run {other} was trained or validated on"
                        f" {_count(len(common), 'test patient')} of run {run}."
                        " The two are of different splits: do not compare them, nor take their mean."
                    ),
                    tuple(sorted(common)),
                )
            elif common:
                yield (
                    (
                        f"Run {run}: {_are(len(common), 'patient')} tested for one target but used in"
                        " training or validation for another. If one network reads both targets, it has"
                        " seen its test patients."
                    ),
                    tuple(sorted(common)),
                )


def _ids_of_runs(rows: pd.DataFrame) -> dict[str, frozenset[str]]:
    """Return the patients of each run; equal sets are one object, so that they are compared once."""
    kept: dict[frozenset[str], frozenset[str]] = {}
    found = {}
    for run, ids in rows.groupby("run", sort=False)["patient_id"]:
        own = frozenset(ids.unique().tolist())
        found[str(run)] = kept.setdefault(own, own)
    return found


def _spelling(table: pd.DataFrame) -> LeakCheck:
    """Find ids that differ in capitals, blanks, signs or leading zeros only."""
    tested = table["split"] == "test"
    sides = [sorted(set(table.loc[rows, "patient_id"])) for rows in (tested, ~tested)]
    others = _by_plain_id(sides[1])
    pairs = [(i, j) for i in sides[0] for j in others.get(plain_id(i), []) if i != j]
    findings: list[Finding] = []
    if pairs:
        num = len({tested for tested, _ in pairs})
        findings.append(
            (
                (
                    f"Leak: {_are(num, 'test patient')} trained or validated on under another spelling"
                    " of the id: capitals, signs and leading zeros make no other patient."
                ),
                tuple(dict.fromkeys(i for pair in pairs for i in pair)),
            )
        )
    twice = [ids for ids in _by_plain_id(sides[0]).values() if len(ids) > 1]
    if twice:
        findings.append(
            (
                (
                    f"{_are(len(twice), 'test patient')} in the table under two spellings of an id, and"
                    " counted as two patients. Write ids alike, or make them differ in more than capitals,"
                    " signs and leading zeros."
                ),
                tuple(i for ids in twice for i in ids),
            )
        )
    return LeakCheck.of(
        "One patient under two spellings of an id, on both sides or tested twice",
        f"{len(sides[0])} ids of test patients against {len(sides[1])} others and each other",
        findings,
    )


def _by_plain_id(ids: Iterable[str]) -> dict[str, list[str]]:
    """Return ids by what they are without their spelling."""
    found: dict[str, list[str]] = {}
    for patient_id in ids:
        found.setdefault(plain_id(patient_id), []).append(patient_id)
    return found


def plain_id(patient_id: str) -> str:
    """Return an id without what people write now so, now so; numbers stay apart.

    ``001``, ``1`` and ``1.0`` (as pandas writes whole numbers beside empty cells) are one.
    """
    plain = re.sub(r"^(\d+)\.0+$", r"\1", patient_id.strip())
    words = re.findall(r"[^\W\d_]+|\d+", plain.casefold())
    return " ".join(word.lstrip("0") or "0" for word in words)


def _repeated(table: pd.DataFrame) -> LeakCheck:
    question = "The threshold chosen on the patients that are tested, under other ids"
    if not (table["split"] == "validation").any():
        return LeakCheck(question, "not done", "no validation rows, so no threshold was chosen")
    findings: list[Finding] = []
    for (run, target), rows in table.groupby(["run", "target"], sort=False):
        test_rows = rows[rows["split"] == "test"]
        tested, validated = _distinct(test_rows), _distinct(rows[rows["split"] == "validation"])
        # Of all, as a model of few levels, such as trees, gives many patients the same probability.
        num, num_tested = len(tested & validated), len(test_rows)
        if num >= _FEWEST_REPEATS and num >= _REPEATED_SHARE * num_tested:
            findings.append(
                (
                    (
                        f"Leak: {target}, run {run}: {num} of {num_tested} test predictions are those of"
                        " validation patients, to the last digit. Threshold and result seem to come from"
                        " the same patients."
                    ),
                    (),
                )
            )
    return LeakCheck.of(question, "each run's test predictions against its validation's", findings)


def _distinct(rows: pd.DataFrame) -> set[tuple[int, float]]:
    """Return (label, probability) of patients whom no other shares it with."""
    labels, probabilities = rows["label"].to_numpy(), rows["probability"].to_numpy()
    found = set()
    for label in np.unique(labels).tolist():
        of_label = probabilities[(labels == label) & (probabilities > 0) & (probabilities < 1)]
        values, counts = np.unique(of_label, return_counts=True)
        found |= {(int(label), p) for p in values[counts == 1].tolist()}
    return found


def _are(num: int, noun: str) -> str:
    return f"{_count(num, noun)} {'is' if num == 1 else 'are'}"


def _count(num: int, noun: str) -> str:
    return f"{num} {noun}" if num == 1 else f"{num} {noun}s"
