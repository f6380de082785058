"""Leaks that show in a predictions table alone, whatever model made it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from radiotrain.evaluation.leaks.results import Finding, LeakCheck

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
