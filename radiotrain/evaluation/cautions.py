"""What a careful reader should know before believing a result."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from radiotrain.evaluation.baselines.names import BASELINE_PREFIX, is_baseline
from radiotrain.evaluation.patients import patient_scores
from radiotrain.evaluation.report.published import LEAK_SUSPECT_AUC, LEAK_SUSPECT_TARGETS
from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.stability.replicates import about_ensembles
from radiotrain.evaluation.statistics.operating_point import youden_threshold

FEW_OF_A_CLASS = 10
"""With fewer positives or negatives, one patient moves sensitivity or specificity by over 10 %."""


def find_cautions(table: pd.DataFrame, results: Sequence[TargetResult]) -> tuple[str, ...]:
    """Return the sentences to print above the results, gravest first.

    Parameters
    ----------
    table
        A validated predictions table.
    results
        What was computed from it.
    """
    found: list[str] = []
    for result in results:
        if not is_baseline(result.run):
            found += _about_leaks(result)
    found += _about_leaks_of_baselines([r for r in results if is_baseline(r.run)])
    # Of baselines, what the networks' own cautions say of the same test set is not said again.
    networks = [r for r in results if not is_baseline(r.run)] or results
    for about in (_about_test_set, _about_threshold, _about_folds):
        found += _together([(r, about(table, r)) for r in networks])
    found += _about_comparing_runs(table, results)
    found += about_ensembles(table)
    return tuple(found)


def _name(result: TargetResult) -> str:
    return f"{result.target}, run {result.run}"


def _together(said: Sequence[tuple[TargetResult, Iterable[str]]]) -> Iterator[str]:
    """Say once what holds for several runs of a target."""
    runs: dict[tuple[str, str], list[str]] = {}
    for result, sentences in said:
        for sentence in sentences:
            runs.setdefault((result.target, sentence), []).append(result.run)
    for (target, sentence), names in runs.items():
        whom = f"run {names[0]}" if len(names) == 1 else f"runs {', '.join(names)}"
        yield f"{target}, {whom}: {sentence}"


def _about_leaks(result: TargetResult) -> Iterator[str]:
    if _is_suspect(result):
        yield (
            f"{_name(result)}: AUC {result.auc:.3f} is above {LEAK_SUSPECT_AUC:.2f}, more than"
            " images of this cohort have given anyone. Look for a leak before believing it:"
            " patients on both sides of the split, or a label that shows in the image."
        )
    if _is_turned(result):
        yield (
            f"{_name(result)}: the AUC is below 0.5 beyond chance. Check whether labels or"
            " probabilities are turned round."
        )
    if _is_overfitted(result):
        yield (
            f"{_name(result)}: the validation AUC {result.auc_validation:.3f} lies above the test interval."
            " Choices were fitted to the validation patients, or the test patients are different."
        )


def _about_leaks_of_baselines(results: Sequence[TargetResult]) -> Iterator[str]:
    """Say of each target once what holds for several baselines: there are many of them."""
    for is_so, what, then in (
        (
            _is_suspect,
            f"an AUC above {LEAK_SUSPECT_AUC:.2f}, more than anyone has got from this cohort",
            "Look for a leak before believing it",
        ),
        (
            _is_turned,
            "an AUC below 0.5 beyond chance",
            "Check whether labels or probabilities are turned round",
        ),
        (
            _is_overfitted,
            "a validation AUC above the test interval",
            "Choices were fitted to the validation patients, or the test patients are different",
        ),
    ):
        for target in dict.fromkeys(result.target for result in results):
            of_target = [r for r in results if r.target == target]
            runs = [r for r in of_target if is_so(r)]
            if runs:
                named = ", ".join(
                    f"{r.run.removeprefix(BASELINE_PREFIX)} {r.auc:.3f}" for r in runs
                )
                yield (
                    f"{target}, {len(runs)} of {len(of_target)} models without a network"
                    f" {'has' if len(runs) == 1 else 'have'} {what} ({named}). {then}."
                )


def _is_suspect(result: TargetResult) -> bool:
    if result.target.strip().upper() not in LEAK_SUSPECT_TARGETS:
        return False
    return result.auc is not None and result.auc > LEAK_SUSPECT_AUC


def _is_turned(result: TargetResult) -> bool:
    """Below 0.5 by interval and permutation test: the interval alone is too narrow for few patients."""
    interval, p = result.auc_ci95, result.permutation_p
    return interval is not None and interval[1] < 0.5 and p is not None and p < 0.05


def _is_overfitted(result: TargetResult) -> bool:
    interval, validation = result.auc_ci95, result.auc_validation
    return interval is not None and validation is not None and validation > interval[1]


def _about_test_set(table: pd.DataFrame, result: TargetResult) -> Iterator[str]:
    num_negative = result.num_patients - result.num_positive
    few = min(result.num_positive, num_negative)
    counts = f"{result.num_positive} positive and {num_negative} negative"
    if result.num_patients == 0:
        yield "no test patient with a known label, so nothing was tested."
    elif few == 0:
        yield f"no AUC, {result.reasons['auc']}: {counts}."
    elif few == 1:
        yield (
            f"a test set of {counts}: an AUC without an interval, as one patient shows no spread."
        )
    elif few < FEW_OF_A_CLASS:
        yield (
            f"a small test set, {counts}. Intervals are wide, and their 95 % is approximate with"
            f" fewer than {FEW_OF_A_CLASS} of a class."
        )


def _about_threshold(table: pd.DataFrame, result: TargetResult) -> Iterator[str]:
    if result.threshold is None:
        yield f"no operating point, {result.reasons['threshold']}."
        return
    num_negative = result.num_validation - result.num_validation_positive
    if min(result.num_validation_positive, num_negative) < FEW_OF_A_CLASS:
        yield (
            f"the threshold rests on few validation patients, {result.num_validation_positive}"
            f" positive and {num_negative} negative. Another draw of patients would move it."
        )
    validation = patient_scores(table, result.run, result.target, "validation")
    if youden_threshold(validation.labels, validation.scores) == validation.scores.min():
        yield (
            "no threshold does better on validation than calling everyone positive, so sensitivity"
            " and specificity say nothing here."
        )


def _about_folds(table: pd.DataFrame, result: TargetResult) -> Iterator[str]:
    test = patient_scores(table, result.run, result.target, "test")
    if test.fewest_predictions != test.most_predictions:
        yield (
            f"test patients have {test.fewest_predictions} to {test.most_predictions} predictions"
            " each; the mean is taken over those there are."
        )


def _about_comparing_runs(table: pd.DataFrame, results: Sequence[TargetResult]) -> Iterator[str]:
    compared: list[str] = []
    for target in dict.fromkeys(r.target for r in results):
        runs = [r.run for r in results if r.target == target and r.num_patients]
        tested = [set(_test_ids(table, run, target)) for run in runs]
        if any(ids != tested[0] for ids in tested[1:]):
            yield (
                f"{target}: the runs were tested on different patients, so their AUCs do not"
                " compare."
            )
        chosen_from = [run for run in runs if not is_baseline(run)]
        if len(chosen_from) > 1:
            compared.append(f"{len(chosen_from)} runs for {target}")
    if compared:
        yield (
            f"Several runs were tested on the same question ({', '.join(compared)}). The best of"
            " several looks better than it is: choose between runs on validation."
        )


def _test_ids(table: pd.DataFrame, run: str, target: str) -> Iterable[str]:
    return patient_scores(table, run, target, "test").patient_ids
