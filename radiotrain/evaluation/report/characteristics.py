"""Table 1 (CLAIM 2024, item 36), and counts of failures by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from radiotrain.evaluation.baselines.covariates import as_number
from radiotrain.evaluation.numbers import number
from radiotrain.evaluation.predictions import SPLITS
from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.subgroups.covariates import Facts
from radiotrain.evaluation.subgroups.subgroup_results import Group, Subgroups
from radiotrain.evaluation.subgroups.variables import UNKNOWN, candidates, is_continuous
from radiotrain.evaluation.withheld import withheld, withheld_text

_FEWEST_FOR_QUARTILES = 10


@dataclass(frozen=True)
class Characteristic:
    """One variable: a row for each of its values, a cell for each partition."""

    name: str
    rows: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Characteristics:
    """Patients of each partition.

    Parameters
    ----------
    partitions
        Names and numbers of patients.
    has_covariates
        Whether more is known than labels.
    hides_counts
        Whether a count below 5 is withheld, and with it the next larger one of its column.
    """

    partitions: tuple[tuple[str, int], ...]
    variables: tuple[Characteristic, ...]
    has_covariates: bool = False
    hides_counts: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return JSON values; a count that is withheld is its text."""
        return asdict(self)


def describe_partitions(
    partitions: Mapping[str, Sequence[str]], facts: Facts, targets: Sequence[str]
) -> Characteristics:
    """Count labels, and the values of what is known of patients, in each partition.

    Counts of covariates below 5 are withheld, and the next larger one with them, which subtracting
    from the total would give away. Counts of labels are those that all results rest on: they stay.

    Parameters
    ----------
    partitions
        Name to patient ids, in the order of the columns.
    facts
        Covariates and labels of these patients.
    targets
        Whose labels are counted.
    """
    everyone = list(dict.fromkeys(i for ids in partitions.values() for i in ids))
    labels = [
        Characteristic(f"{target} status", _count_labels(partitions, facts.labels[target]))
        for target in targets
        if target in facts.labels
    ]
    test = set(list(partitions.values())[-1]) if partitions else set()
    development = [i for i in everyone if i not in test] or everyone
    covariates: list[Characteristic] = []
    for found in candidates(facts, everyone, development):
        if isinstance(found.cut, str) or found.target in facts.labels:
            continue
        rows = _count(partitions, found.cut.groups, found.cut.group_of)
        if found.name is not None and is_continuous(facts, found.name, everyone):
            rows = (("median (quartiles)", _quartiles(partitions, facts, found.name)), *rows)
        covariates.append(Characteristic(found.label, rows))
    cells = [cell for c in covariates for _, row in c.rows for cell in row]
    return Characteristics(
        tuple((name, len(ids)) for name, ids in partitions.items()),
        (*labels, *covariates),
        has_covariates=bool(covariates),
        hides_counts=any(cell.startswith(("<", "≥")) for cell in cells),
    )


def describe_table(table: pd.DataFrame, facts: Facts | None) -> Characteristics:
    """Return the characteristics of the splits of a predictions table.

    Parameters
    ----------
    table
        A validated predictions table. A patient of several splits, by folds, counts in each.
    facts
        What else is known of its patients.
    """
    names = {"train": "Training", "validation": "Validation", "test": "Test"}
    partitions = {
        names[split]: sorted(set(table.loc[table["split"] == split, "patient_id"]))
        for split in SPLITS
    }
    labels = {
        str(target): dict(zip(rows["patient_id"], rows["label"].tolist(), strict=True))
        for target, rows in table.groupby("target", sort=False)
    }
    known = Facts({} if facts is None else facts.covariates, labels)
    return describe_partitions(
        {name: ids for name, ids in partitions.items() if ids}, known, tuple(labels)
    )


def _count_labels(
    partitions: Mapping[str, Sequence[str]], labels: Mapping[str, int]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    counts = [Counter(labels.get(i, -1) for i in ids) for ids in partitions.values()]
    totals = [len(ids) for ids in partitions.values()]
    return tuple(
        (name, tuple(_share(c[value], num) for c, num in zip(counts, totals, strict=True)))
        for name, value in (("positive", 1), ("negative", 0), ("missing", -1))
    )


def _count(
    partitions: Mapping[str, Sequence[str]], groups: Sequence[str], group_of: Mapping[str, str]
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    names = (*groups, UNKNOWN)
    columns = []
    for ids in partitions.values():
        counts = Counter(group_of.get(i, UNKNOWN) for i in ids)
        columns.append(_column([counts[name] for name in names], len(ids)))
    rows = zip(names, zip(*columns, strict=True), strict=True)
    return tuple(("missing" if name == UNKNOWN else name, cells) for name, cells in rows)


def _column(counts: Sequence[int], total: int) -> tuple[str, ...]:
    """Write the counts of one variable and partition; small ones are withheld."""
    hidden = withheld(counts)
    return tuple(
        withheld_text(num) if k in hidden else _share(num, total) for k, num in enumerate(counts)
    )


def _share(num: int, total: int) -> str:
    return f"{num} ({100 * num / total:.0f}%)" if total else "0"


def _quartiles(partitions: Mapping[str, Sequence[str]], facts: Facts, name: str) -> tuple[str, ...]:
    """Write median and quartiles of a number; a dash where few patients have one."""
    cells = []
    for ids in partitions.values():
        values = np.array([as_number(facts.covariates.get(i, {}).get(name)) for i in ids])
        values = values[np.isfinite(values)]
        if len(values) < _FEWEST_FOR_QUARTILES:
            cells.append("–")
        else:
            low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
            cells.append(f"{number(middle, 1)} ({number(low, 1)} to {number(high, 1)})")
    return tuple(cells)


@dataclass(frozen=True)
class GroupFailures:
    """The errors of one run and target in one group of test patients, at the operating point."""

    variable: str
    group: str
    num_positive: int
    false_negatives: int
    num_negative: int
    false_positives: int


@dataclass(frozen=True)
class Failures:
    """The errors of one run and target in all groups that may be shown.

    Parameters
    ----------
    withheld
        Variables of which no group may be shown: fewer than 5 patients of a class in each.
    """

    groups: tuple[GroupFailures, ...] = ()
    withheld: tuple[str, ...] = ()


def find_failures(result: TargetResult, subgroups: Subgroups | None) -> Failures:
    """Return false negatives and false positives by group; none without threshold or groups.

    Parameters
    ----------
    subgroups
        Measured at the same threshold; groups that are withheld there are withheld here.
    """
    if subgroups is None or result.confusion is None:
        return Failures()
    found: list[GroupFailures] = []
    withheld: list[str] = []
    for variable in subgroups.of(result.run, result.target):
        shown = [_failures(variable.variable, group) for group in variable.groups]
        known = [group for group in shown if group is not None]
        found += known
        if not known:
            withheld.append(variable.variable)
    return Failures(tuple(found), tuple(withheld))


def _failures(variable: str, group: Group) -> GroupFailures | None:
    if group.standing == "withheld" or group.sensitivity is None or group.specificity is None:
        return None
    num_negative = group.num_patients - group.num_positive
    return GroupFailures(
        variable,
        group.name,
        group.num_positive,
        round((1 - group.sensitivity) * group.num_positive),
        num_negative,
        round((1 - group.specificity) * num_negative),
    )
