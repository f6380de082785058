"""Compare the runs of two reports."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL
from preprocessing.common.errors import InputError, nearest_hint
from radiotrain.evaluation.compare.compare_results import (
    NonInferiority,
    Pair,
    ReportComparison,
    VerdictKind,
)
from radiotrain.evaluation.compare.report_folder import (
    Report,
    differing_run_settings,
    differing_settings,
    has_configuration,
)
from radiotrain.evaluation.measure import Values, called_positive, measure, paired, unpaired
from radiotrain.evaluation.numbers import between, number, p_text, signed
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.predictions import COLUMNS
from radiotrain.evaluation.report.places import last_name
from radiotrain.evaluation.results import Comparison, TargetResult
from radiotrain.evaluation.run_pairs import check_rate, compare_runs, corrected_p_values
from radiotrain.statistics.auc import Interval
from radiotrain.statistics.auc_comparison import (
    ONE_SIDED_ALPHA,
    against_margin,
    check_margin,
    holm_adjusted,
)
from radiotrain.statistics.operating_point import wilson_interval
from radiotrain.statistics.power import ALPHA

_NONE = (math.nan, math.nan)


def unpaired_share_interval(hits: int, num: int, other_hits: int, other_num: int) -> Interval:
    """Return the 95 % interval of the first share less the second, of different patients.

    (NaN, NaN) without patients in either.

    References
    ----------
    Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10.
    """
    if not num or not other_num:
        return _NONE
    return _combined(hits / num, wilson_interval(hits, num),
                     other_hits / other_num, wilson_interval(other_hits, other_num), 0.0)  # fmt: skip


def paired_share_interval(both: int, only_first: int, only_second: int, neither: int) -> Interval:
    """Return the 95 % interval of the first share less the second, of the same patients.

    Parameters
    ----------
    both, only_first, only_second, neither
        Patients who are hits of which.

    Returns
    -------
    (NaN, NaN) without patients.

    References
    ----------
    Newcombe, Statistics in Medicine 17 (1998) 2635-2650, method 10.
    """
    num = both + only_first + only_second + neither
    if not num:
        return _NONE
    hits, other = both + only_first, both + only_second
    product = both * neither - only_first * only_second
    # The correlation counts half a patient less where it is positive, down to none.
    covariance = max(product - num / 2, 0.0) if product > 0 else float(product)
    margins = hits * (num - hits) * other * (num - other)
    correlation = covariance / math.sqrt(margins) if margins else 0.0
    return _combined(hits / num, wilson_interval(hits, num),
                     other / num, wilson_interval(other, num), correlation)  # fmt: skip


def _combined(
    share: float, of_first: Interval, other: float, of_second: Interval, correlation: float
) -> Interval:
    """Square and add the ends' distances from the shares."""
    down = share - of_first[0], of_second[1] - other
    up = of_first[1] - share, other - of_second[0]
    low, high = (math.sqrt(max(0.0, a**2 - 2 * correlation * a * b + b**2)) for a, b in (down, up))
    return share - other - low, share - other + high


def call_differences(
    first: TargetResult,
    second: TargetResult,
    a: PatientScores,
    b: PatientScores,
    design: str | None,
) -> Values:
    """Return how sensitivity and specificity differ, each run at its own threshold.

    Parameters
    ----------
    first, second
        What was measured, with thresholds.
    a, b
        Their test patients; the same ones where `design` is ``paired``.
    design
        As in `results.Comparison`.
    """
    values = Values()
    calls, other_calls = _calls(first, a), _calls(second, b)
    is_same = np.array_equal(a.scores, b.scores) and np.array_equal(calls, other_calls)
    for name, label in (("sensitivity", 1), ("specificity", 0)):
        both = f"{name}_difference", f"{name}_difference_ci95"
        if why := _why_undefined(first, second, name, design):
            values.reasons |= dict.fromkeys(both, why)
            continue
        ours = (calls == label)[a.labels == label]
        theirs = (other_calls == label)[b.labels == label]
        interval = _interval(ours, theirs, design == "paired")
        values.put(both[0], float(ours.mean() - theirs.mean()), "")
        values.put(both[1], None if is_same else interval, "both are identical")
    return values


def _calls(result: TargetResult, patients: PatientScores) -> NDArray[np.bool_]:
    """Return which patients are called positive; none where there is no threshold, which is said then."""
    found = [called_positive(point, patients) for point in result.operating_points[:1]]
    called = found[0] if found else None
    return np.zeros(patients.num_patients, dtype=bool) if called is None else called


def _why_undefined(first: TargetResult, second: TargetResult, name: str, design: str | None) -> str:
    if design is None:
        return "the reports were tested on partly different patients"
    for which, result in (("A", first), ("B", second)):
        if getattr(result, name) is None:
            return f"{which} has no {name}: {result.reasons[name]}"
    return ""


def _interval(
    ours: NDArray[np.bool_], theirs: NDArray[np.bool_], is_paired: bool
) -> tuple[float, float]:
    """Return the interval of the difference of two shares of right calls."""
    hits, other_hits = int(ours.sum()), int(theirs.sum())
    if not is_paired:
        return unpaired_share_interval(hits, len(ours), other_hits, len(theirs))
    both = int((ours & theirs).sum())
    neither = int((~ours & ~theirs).sum())
    return paired_share_interval(both, hits - both, other_hits - both, neither)


_FEW_OF_A_CLASS = 10
"""Below this, intervals of differences hold the truth less often than they say (docs/statistics.md)."""


def measure_margin(
    comparison: Comparison, a: PatientScores, b: PatientScores, margin: float
) -> NonInferiority:
    """Return the one-sided test of A − B against the margin, not corrected and not judged."""
    names = ("lower_limit", "p", "p_holm")
    if comparison.difference_ci95_delong is None:
        why = comparison.reasons.get("difference_ci95_delong", "there is no interval")
        return NonInferiority(reasons=dict.fromkeys(names, why))
    difference = paired(a, b) if comparison.design == "paired" else unpaired(a, b)
    found = against_margin(difference, margin)
    return NonInferiority(found.lower_limit, found.p_value)


def judge_margins(pairs: Sequence[Pair], margin: float) -> list[Pair]:
    """Correct the p values of non-inferiority for all pairs, and judge."""
    found = [pair.non_inferiority or NonInferiority() for pair in pairs]
    adjusted = holm_adjusted([math.nan if f.p is None else f.p for f in found])
    num = sum(f.p is not None for f in found)
    judged = []
    for pair, tested, p in zip(pairs, found, adjusted, strict=True):
        known = tested if tested.p is None else replace(tested, p_holm=p)
        is_shown = known.p_holm is not None and known.p_holm < ONE_SIDED_ALPHA
        sentence = _sentence(pair, known, margin, num, is_shown)
        verdict = replace(
            known, verdict="non-inferior" if is_shown else "not shown", sentence=sentence
        )
        judged.append(replace(pair, non_inferiority=verdict))
    return judged


def _sentence(
    pair: Pair, found: NonInferiority, margin: float, num_pairs: int, is_shown: bool
) -> str:
    both = f"A ({pair.first.run}) to B ({pair.second.run})"
    if found.lower_limit is None or found.p_holm is None:
        return (
            f"{pair.target}: non-inferiority of {both} within {margin:g} is not shown:"
            f" {found.reasons['p']}."
        )
    corrected = f", corrected for {num_pairs} comparisons" if num_pairs > 1 else ""
    limit = f"lower one-sided 97.5% confidence limit of A − B, {signed(found.lower_limit)}"
    numbers = f"{limit}; one-sided {p_text(found.p_holm)}{corrected}"
    if not is_shown:
        return (
            f"{pair.target}: non-inferiority of {both} within {margin:g} is not shown ({numbers})."
        )
    words = f"{pair.target}: A ({pair.first.run}) is non-inferior to B ({pair.second.run}) within {margin:g}"
    return f"{words} ({numbers}).{_limits(pair, margin)}"


def _limits(pair: Pair, margin: float) -> str:
    """Return what keeps non-inferiority from meaning what it seems to mean."""
    said = []
    low = pair.second.auc_ci95
    if low is None or low[0] - margin <= 0.5:
        said.append(
            " B is not shown to exceed chance by more than the margin: a model that learned nothing"
            " might be non-inferior to it, too."
        )
    few = min(
        min(r.num_positive, r.num_patients - r.num_positive) for r in (pair.first, pair.second)
    )
    if few < _FEW_OF_A_CLASS:
        said.append(
            f" The rarer class has {few} patients: with so few, limits of differences are too narrow"
            " at high AUCs."
        )
    return "".join(said)


def judge_pair(pair: Pair, num_pairs: int) -> tuple[VerdictKind, str]:
    """Return the kind of verdict and its sentence.

    Parameters
    ----------
    pair
        With p values corrected.
    num_pairs
        How many they are corrected for.
    """
    found = pair.comparison
    both = f"A ({pair.first.run}) and B ({pair.second.run})"
    if pair.is_identical:
        said = f"identical, {both} give every test patient the same probability"
        return "identical", f"{pair.target}: {said}."
    if found.difference is None or found.p_holm is None:
        why = found.reasons["difference" if found.difference is None else "p"]
        if found.design is None:
            why += ": evaluate both on the same patients, or on patients of whom none is in both"
        return "not comparable", f"{pair.target}: {both} are not compared, {why}."
    if found.difference == 0:
        said = f"{both} have the same AUC, which does not mean that they are alike"
        return "not shown", f"{pair.target}: {said}.{_resolution(pair)}"
    a, b = f"A ({pair.first.run})", f"B ({pair.second.run})"
    high, low = (a, b) if found.difference > 0 else (b, a)
    higher = f"the AUC of {high} is higher than that of {low} by {number(abs(found.difference), 3)}"
    sure = _how_sure(pair, num_pairs)
    if found.p_holm < ALPHA:
        return "first" if found.difference > 0 else "second", f"{pair.target}: {higher} {sure}."
    said = f"no difference was shown; {higher}, which is compatible with chance {sure}"
    return "not shown", f"{pair.target}: {said}.{_resolution(pair)}"


def _how_sure(pair: Pair, num_pairs: int) -> str:
    corrected = f", corrected for {num_pairs} comparisons" if num_pairs > 1 else ""
    p = pair.comparison.p_holm or 0.0
    return f"({_interval_text(pair)}{p_text(p)}{corrected})"


def _resolution(pair: Pair) -> str:
    least = pair.comparison.detectable_difference
    if least is None:
        return ""
    return f" Minimum detectable difference: {number(least, 3)} (80% power)."


def _interval_text(pair: Pair) -> str:
    ends = pair.comparison.difference_ci95_delong
    if ends is None or pair.comparison.difference is None:
        return ""
    # Turned round where B is higher, as the sentence is.
    low, high = ends if pair.comparison.difference > 0 else (-ends[1], -ends[0])
    return f"95% CI, {between((low, high))}; "


def find_cautions(
    first: Report,
    second: Report,
    chosen: Sequence[tuple[str, str, str]],
    margin: float | None = None,
    equal_rate: float | None = None,
) -> Iterator[str]:
    """Yield sentences.

    Parameters
    ----------
    chosen
        Target, run of the first report and run of the second, of each pair.
    margin, equal_rate
        As they were given.
    """
    yield from _about_reports(first, second)
    yield from _about_pairs(first, second, chosen)
    if margin is not None:
        yield (
            f"The margin of {margin:g} counts only if it was fixed before any result was seen; no record"
            " here shows when it was."
        )
    if equal_rate is not None:
        yield (
            f"The rate of {100 * equal_rate:g}% counts only if it was fixed before any result was seen:"
            " one that was chosen for its P value is exploratory."
        )


def _about_reports(first: Report, second: Report) -> Iterator[str]:
    for report in (first, second):
        if not report.provenance:
            yield (
                f"How the predictions of {last_name(report.name)} were made is not known, so settings and"
                " splits cannot be compared."
            )
    if not first.provenance or not second.provenance:
        return
    for what, why in (
        (
            "split",
            "patients tested by one may have trained the other, where one cohort is behind both",
        ),
        ("store", "the images, or what was made of them, differ as well as the networks"),
    ):
        ours, theirs = first.fingerprint(what), second.fingerprint(what)
        if ours != theirs:
            yield f"The {what}s differ (fingerprints {ours} and {theirs}): {why}."
    if first.provenance.get("preprocessing") != second.provenance.get("preprocessing"):
        yield "The preprocessing differs: what is compared is not the networks alone."


def _about_pairs(
    first: Report, second: Report, chosen: Sequence[tuple[str, str, str]]
) -> Iterator[str]:
    per_target = [target for target, _, _ in chosen]
    if any(per_target.count(target) > 1 for target in per_target):
        yield (
            f"{len(chosen)} pairs of runs are compared. The best of several looks better than it is:"
            " choose runs on validation, and name them with --run."
        )
    silent = {run for _, run, _ in chosen if first.provenance and not has_configuration(first, run)}
    silent |= {o for _, _, o in chosen if second.provenance and not has_configuration(second, o)}
    if silent:
        yield f"No configuration is known of: {', '.join(sorted(silent))}."


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
