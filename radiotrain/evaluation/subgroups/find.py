"""All groups of all runs and targets, tested, and corrected for how many were looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preprocessing.common.errors import InputError
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.leaks.in_table import plain_id
from radiotrain.evaluation.measure import Values, operating_points
from radiotrain.evaluation.measure_outer import called_positive
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.ranking import area_of, interval_of
from radiotrain.evaluation.stability.replicates import ensembles, replicates
from radiotrain.evaluation.statistics.comparison import holm_adjusted
from radiotrain.evaluation.statistics.power import ALPHA
from radiotrain.evaluation.subgroups.cuts import UNKNOWN
from radiotrain.evaluation.subgroups.facts import Facts
from radiotrain.evaluation.subgroups.heterogeneity import (
    Heterogeneity,
    detectable_difference,
    equal_auc_test,
)
from radiotrain.evaluation.subgroups.measure import measure_group
from radiotrain.evaluation.subgroups.results import (
    FEWEST_JUDGED,
    Group,
    Overall,
    Subgroups,
    VariableResult,
)
from radiotrain.evaluation.subgroups.variables import Variable, choose_variables
from radiotrain.evaluation.subgroups.verdict import judge_subgroups


@dataclass(frozen=True)
class _Tested:
    """One variable of one run and target, before the correction."""

    result: VariableResult
    test: Heterogeneity | None


def find_subgroups(table: pd.DataFrame, facts: Facts) -> Subgroups:
    """Measure every run but baselines in groups of test patients.

    Of several trainings of one configuration their mean is measured, which stands for them: each
    test costs the others power by the correction.

    Who is known and not tested counts as a development patient; by them numbers are cut.

    Parameters
    ----------
    table
        A validated predictions table.
    facts
        Covariates and labels of its patients.
    """
    strangers = tuple(_strangers(table, facts))
    facts = _labels_of(table).beside(facts)
    is_test = table["split"] == "test"
    tested = sorted(set(table.loc[is_test, "patient_id"]))
    development = sorted({*facts.covariates, *_labelled(facts)} - set(tested))
    variables, notes = choose_variables(facts, tested, development)
    found, overall = [], []
    members = _members(table)
    for run, target in table[["run", "target"]].drop_duplicates().to_numpy():
        if is_baseline(str(run)) or str(run) in members:
            continue
        test = patient_scores(table, str(run), str(target), "test")
        validation = patient_scores(table, str(run), str(target), "validation")
        called = called_positive(operating_points(test, validation)[0], test)
        overall.append(_overall(str(run), str(target), test))
        for variable in variables:
            if (variable.target or "").lower() != str(target).lower():
                found.append(_test(overall[-1], variable, test, called))
    results, num_tests = _corrected(found)
    verdicts = tuple(
        judge_subgroups(o, [r for r in results if _is_of(r, o)], num_tests) for o in overall
    )
    return Subgroups(results, tuple(overall), verdicts, num_tests, (*notes, *strangers))


def _members(table: pd.DataFrame) -> set[str]:
    """Return runs whose mean is a run of the table too."""
    with_mean = set(ensembles(table).values())
    return {run for name, runs in replicates(table).items() if name in with_mean for run in runs}


def _test(
    of: Overall, variable: Variable, test: PatientScores, called: NDArray[np.bool_] | None
) -> _Tested:
    names = np.array([variable.cut.group_of.get(i, UNKNOWN) for i in test.patient_ids], dtype=str)
    groups = tuple(_groups(variable, names, test, called))
    parts = [
        test.only(names == g.name) for g in groups if g.standing == "judged" and not g.is_unknown
    ]
    result = VariableResult(of.run, of.target, variable.label, variable.cut.about, groups)
    if len(parts) < 2:
        return _Tested(result, None)
    return _Tested(result, equal_auc_test(parts))


def _groups(
    variable: Variable,
    names: NDArray[np.str_],
    test: PatientScores,
    called: NDArray[np.bool_] | None,
) -> Iterator[Group]:
    for name in (*variable.cut.groups, UNKNOWN):
        mine = names == name
        if not mine.any():
            continue
        others = ~mine & (names != UNKNOWN)
        yield measure_group(
            name,
            test.only(mine),
            test.only(others),
            None if called is None else called[mine],
            is_unknown=name == UNKNOWN,
        )


def _corrected(found: Sequence[_Tested]) -> tuple[tuple[VariableResult, ...], int]:
    """Put p values in, corrected for all of them; return also how many there are."""
    p_values = [math.nan if t.test is None else t.test.p_value for t in found]
    corrected = holm_adjusted(p_values)
    num_tests = sum(not math.isnan(p) for p in p_values)
    return tuple(
        _filled(tested, p_holm, num_tests) for tested, p_holm in zip(found, corrected, strict=True)
    ), num_tests


def _filled(tested: _Tested, p_holm: float, num_tests: int) -> VariableResult:
    names = ("q", "degrees_of_freedom", "p", "p_holm", "detectable_difference")
    if tested.test is None:
        why = f"fewer than two groups with {FEWEST_JUDGED} positive and {FEWEST_JUDGED} negative"
        return replace(tested.result, reasons=dict.fromkeys(names, f"too few to say: {why}"))
    values = Values()
    least = detectable_difference(tested.test, ALPHA / num_tests)
    numbers = (tested.test.q, tested.test.degrees_of_freedom, tested.test.p_value, p_holm, least)
    for name, value in zip(names, numbers, strict=True):
        values.put(name, value, "")
    return replace(tested.result, **values.defined)


def _overall(run: str, target: str, test: PatientScores) -> Overall:
    values = Values()
    values.put("auc", area_of(test), "one class")
    values.put("auc_ci95", interval_of(test), "no spread")
    return Overall(run, target, values.defined.get("auc"), values.defined.get("auc_ci95"))


def _is_of(result: VariableResult, overall: Overall) -> bool:
    return (result.run, result.target) == (overall.run, overall.target)


def _labelled(facts: Facts) -> set[str]:
    return {patient for labels in facts.labels.values() for patient in labels}


def _labels_of(table: pd.DataFrame) -> Facts:
    """Return what the table itself says: a patient's labels of the other targets."""
    labels: dict[str, dict[str, int]] = {}
    for target, rows in table.groupby("target", sort=False):
        labels[str(target)] = dict(zip(rows["patient_id"], rows["label"].tolist(), strict=True))
    return Facts({}, labels if len(labels) > 1 else {}, "the predictions table")


def _strangers(table: pd.DataFrame, facts: Facts) -> Iterator[str]:
    """Say how many test patients nothing is known of.

    Raises
    ------
    InputError
        If it is all of them, and some are known under another spelling.
    """
    tested = set(table.loc[table["split"] == "test", "patient_id"])
    known = {*facts.covariates, *_labelled(facts)}
    unknown = sorted(tested - known)
    if not unknown:
        return
    spelt = {plain_id(i): i for i in sorted(known - tested)}
    respelt = [(i, spelt[plain_id(i)]) for i in unknown if plain_id(i) in spelt]
    if respelt and len(unknown) == len(tested):
        first = f"{respelt[0][0]!r} here, {respelt[0][1]!r} there"
        raise InputError(
            f"no test patient is in {facts.source}, but {len(respelt)} of {len(tested)} are under"
            f" another spelling (first: {first}), expected the same ids in both: write them alike"
        )
    beside = f", {len(respelt)} of them under another spelling" if respelt else ""
    yield f"{len(unknown)} of {len(tested)} test patients are not in {facts.source}{beside}."
