"""Each run of one report with each of another, corrected for how many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import InputError, nearest_hint
from radiotrain.evaluation.compare.calls import call_differences
from radiotrain.evaluation.compare.cautions import find_cautions
from radiotrain.evaluation.compare.margin import judge_margins, measure_margin
from radiotrain.evaluation.compare.report_folder import Report
from radiotrain.evaluation.compare.results import Pair, ReportComparison
from radiotrain.evaluation.compare.settings import (
    differing_run_settings,
    differing_settings,
)
from radiotrain.evaluation.compare.verdict import judge_pair
from radiotrain.evaluation.measure import measure
from radiotrain.evaluation.patients import patient_scores
from radiotrain.evaluation.predictions import COLUMNS
from radiotrain.evaluation.run_pairs import check_rate, compare_runs, corrected_p_values
from radiotrain.evaluation.statistics.noninferiority import check_margin

Chosen = tuple[str, str, str]
"""Target, run of the first report, run of the second."""


def compare_reports(
    first: Report,
    second: Report,
    runs: Sequence[str] = (),
    *,
    seed: int = 0,
    num_resamples: int = 10_000,
    margin: float | None = None,
    equal_rate: float | None = None,
    on_pair: Callable[[], None] = lambda: None,
) -> ReportComparison:
    """Compare two reports.

    Parameters
    ----------
    runs
        A run of each; empty for every pair of runs that are no baselines.
    seed, num_resamples
        Of the bootstrap.
    margin
        By how much the AUC of A may be lower than that of B; None: non-inferiority is not asked.
    equal_rate
        Share of patients that both runs call positive where they are compared at an equal rate; None:
        as many as are positive.
    on_pair
        Called after each pair of `choose_pairs`.

    Raises
    ------
    InputError
        If there is no such run or no common target, labels disagree, or the margin or the rate is none.
    """
    if margin is not None:
        check_margin(margin)
    if equal_rate is not None:
        check_rate(equal_rate)
    chosen = choose_pairs(first, second, runs)
    for target, run, other in chosen:
        _check_labels(first, run, second, other, target)
    pairs = []
    for pair in chosen:
        pairs.append(_compare(first, second, pair, seed, num_resamples, margin, equal_rate))
        on_pair()
    warnings = tuple(find_cautions(first, second, chosen, margin, equal_rate))
    return ReportComparison(
        first.name,
        second.name,
        tuple(_judged(pairs, margin)),
        differing_settings(first, second),
        warnings,
        seed,
        num_resamples,
        margin,
        equal_rate,
    )


def choose_pairs(first: Report, second: Report, runs: Sequence[str] = ()) -> tuple[Chosen, ...]:
    """Return which runs are compared for which target.

    Raises
    ------
    InputError
        If there is no such run, or no common target.
    """
    if runs and len(runs) != 2:
        raise InputError(
            f"--run is given {len(runs)} time{'s' * (len(runs) > 1)}, expected two: a run of the"
            " first report, then one of the second"
        )
    for report, run in zip((first, second), runs, strict=False):
        if run not in report.all_runs:
            raise InputError(
                f"report {report.name} has no run {run!r}{nearest_hint(run, report.all_runs)}:"
                f" expected one of {', '.join(report.all_runs)}"
            )
    found = [
        (target, run, other)
        for target in first.targets
        if target in second.targets
        for run in _runs(first, target, runs[:1])
        for other in _runs(second, target, runs[1:])
    ]
    if not found:
        of = [f"{r.name} has {', '.join(r.targets) or 'none'}" for r in (first, second)]
        which = " of these runs" if runs else ""
        raise InputError(
            f"the reports share no tested target{which}: {'; '.join(of)}; give two reports on the"
            " same question"
        )
    return tuple(found)


def _runs(report: Report, target: str, wanted: Sequence[str]) -> tuple[str, ...]:
    if not wanted:
        return report.runs(target)
    table = report.table
    is_here = (table["run"] == wanted[0]) & (table["target"] == target) & (table["split"] == "test")
    return tuple(wanted) if is_here.any() else ()


def _check_labels(first: Report, run: str, second: Report, other: str, target: str) -> None:
    """Refuse reports that disagree about a patient whom both know."""
    ours, theirs = _labels(first, run, target), _labels(second, other, target)
    for patient in sorted(set(ours) & set(theirs)):
        if ours[patient] != theirs[patient]:
            raise InputError(
                f"patient {patient!r} has the {target!r} label {ours[patient]} in {first.name} and"
                f" {theirs[patient]} in {second.name}, expected one: the reports are of different"
                " cohorts, or a table was corrected; evaluate both with the same labels"
            )


def _labels(report: Report, run: str, target: str) -> dict[str, int]:
    table = report.table
    rows = table[(table["run"] == run) & (table["target"] == target)]
    known = rows[rows["label"] != MISSING_LABEL]
    return dict(zip(known["patient_id"], known["label"].tolist(), strict=True))


def _compare(
    first: Report,
    second: Report,
    pair: Chosen,
    seed: int,
    num_resamples: int,
    margin: float | None,
    equal_rate: float | None,
) -> Pair:
    target, run, other = pair
    names = f"A ({run})", f"B ({other})"
    table = pd.concat(
        [_rows(first, run, target, names[0]), _rows(second, other, target, names[1])],
        ignore_index=True,
    )
    results = [measure(table, n, target, seed=seed, num_resamples=num_resamples) for n in names]
    (comparison,) = compare_runs(
        table, results, seed=seed, num_resamples=num_resamples, equal_rate=equal_rate
    )
    a, b = (patient_scores(table, name, target, "test") for name in names)
    is_same = a.patient_ids == b.patient_ids and np.array_equal(a.labels, b.labels)
    values = call_differences(results[0], results[1], a, b, comparison.design)
    return Pair(
        target,
        replace(results[0], run=run),
        replace(results[1], run=other),
        replace(comparison, run=run, other=other),
        is_identical=is_same and np.array_equal(a.scores, b.scores),
        settings=differing_run_settings(first, run, second, other),
        non_inferiority=None if margin is None else measure_margin(comparison, a, b, margin),
        reasons=values.reasons,
        **values.defined,
    )


def _rows(report: Report, run: str, target: str, name: str) -> pd.DataFrame:
    table = report.table
    rows = table[(table["run"] == run) & (table["target"] == target)]
    # Trainings of one configuration are not compared within a report; of two reports they are.
    columns = [*COLUMNS, *(["outer"] if "outer" in rows else [])]
    return rows[columns].assign(run=name)


def _judged(pairs: Sequence[Pair], margin: float | None) -> Iterator[Pair]:
    """Correct p values for all pairs, and judge."""
    if margin is not None:
        pairs = judge_margins(pairs, margin)
    found = [pair.comparison for pair in pairs]
    num = sum(comparison.p is not None for comparison in found)
    for pair, p_values in zip(pairs, corrected_p_values(found), strict=True):
        known = replace(pair, comparison=replace(pair.comparison, **p_values.defined))
        kind, sentence = judge_pair(known, num)
        yield replace(known, verdict=kind, sentence=sentence)
