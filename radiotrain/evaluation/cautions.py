"""What a careful reader should know before believing a result."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import pandas as pd

from radiotrain.evaluation.baselines.names import BASELINE_PREFIX, is_baseline
from radiotrain.evaluation.family import least_p
from radiotrain.evaluation.patients import patient_scores
from radiotrain.evaluation.report.numbers import p_text
from radiotrain.evaluation.report.published import DUKE, LEAK_SUSPECT_AUC, LEAK_SUSPECT_TARGETS
from radiotrain.evaluation.results import ALPHA, Family, TargetResult
from radiotrain.evaluation.statistics.comparison import holm_adjusted
from radiotrain.evaluation.statistics.operating_point import youden_threshold
from radiotrain.evaluation.validation_gap import validation_gap

FEW_OF_A_CLASS = 10
"""With fewer positives or negatives, one patient moves sensitivity or specificity by over 10 %."""

_MOST_CLASSES = 2
_FEWEST_PROBABILITIES = 4
"""Up to so many predictions two different values are no sign of classes."""

_CHECK_LABELS = "Check whether labels or probabilities are inverted."


def find_cautions(
    table: pd.DataFrame,
    results: Sequence[TargetResult],
    *,
    family: Family | None = None,
    cohort: str = "",
    num_resamples: int = 10_000,
) -> tuple[str, ...]:
    """Return the sentences to print above the results, gravest first.

    Those that rest on a test are corrected for all results of the report: with exchangeable
    validation and test patients at most one report in twenty has a false one.

    Parameters
    ----------
    table
        A validated predictions table.
    results
        What was computed from it.
    family
        Of the headlines.
    cohort
        Collection of the patients, where it is known.
    num_resamples
        Of the permutation test.
    """
    networks = [r for r in results if not is_baseline(r.run)]
    baselines = [r for r in results if is_baseline(r.run)]
    turned, higher = _turned(networks), _higher_on_validation(table, networks)
    found: list[str] = []
    for result in networks:
        if is_suspect(result):
            found.append(f"{_name(result)}: {_about_suspect([result], cohort)}")
        found += [
            f"{_name(result)}: {said[_pair(result)]}"
            for said in (turned, higher)
            if _pair(result) in said
        ]
    found += _about_leaks_of_baselines(baselines, cohort)
    # Of baselines, what the networks' own cautions say of the same test set is not said again.
    for about in (_about_test_set, _about_classes, _about_threshold, _about_folds):
        found += _together([(r, about(table, r)) for r in networks or results])
    found += _about_comparing_runs(table, results)
    found += _about_power(results, family, num_resamples)
    return tuple(found)


def _name(result: TargetResult) -> str:
    return f"{result.target}, run {result.run}"


def _pair(result: TargetResult) -> tuple[str, str]:
    return result.run, result.target


def _together(said: Sequence[tuple[TargetResult, Iterable[str]]]) -> Iterator[str]:
    """Say once what holds for several runs of a target."""
    runs: dict[tuple[str, str], list[str]] = {}
    for result, sentences in said:
        for sentence in sentences:
            runs.setdefault((result.target, sentence), []).append(result.run)
    for (target, sentence), names in runs.items():
        subject = f"run {names[0]}" if len(names) == 1 else f"runs {', '.join(names)}"
        yield f"{target}, {subject}: {sentence}"


def is_suspect(result: TargetResult) -> bool:
    """Tell whether an AUC is so high for its target that a leak is likely."""
    if result.target.strip().upper() not in LEAK_SUSPECT_TARGETS:
        return False
    return result.auc is not None and result.auc > LEAK_SUSPECT_AUC


def _about_suspect(results: Sequence[TargetResult], cohort: str) -> str:
    """Say that AUCs are suspiciously high; published results are named for their own cohort only."""
    areas = ", ".join(f"{r.auc:.3f}" for r in results)
    verb = "AUC {} is" if len(results) == 1 else "AUCs {} are"
    target = results[0].target
    than = (
        f"higher than any published imaging result for {target} on {DUKE}"
        if cohort == DUKE
        else f"unusually high if {target} is receptor status predicted from breast MRI"
    )
    chance = ""
    intervals = [r.auc_ci95 for r in results if r.auc_ci95 is not None]
    if intervals and min(low for low, _ in intervals) <= LEAK_SUSPECT_AUC:
        chance = f" The 95% CI includes {LEAK_SUSPECT_AUC:.2f}, so chance may explain it."
    return (
        f"{verb.format(areas)} above {LEAK_SUSPECT_AUC:.2f}, {than}. Check for a leak: patients on both"
        f" sides of the split, or a label visible in the image.{chance}"
    )


def _turned(results: Sequence[TargetResult]) -> dict[tuple[str, str], str]:
    """Return a sentence for each AUC below 0.5 beyond chance, by interval and corrected p.

    p is two-sided and this is one side of it: the false alarms are half the level.
    """
    tested = [r for r in results if r.permutation_p is not None]
    p_values = holm_adjusted([float(r.permutation_p or 0) for r in tested])
    return {
        _pair(r): (
            f"the AUC {r.auc:.3f} is below 0.5 beyond chance ({p_text(p)}, corrected for"
            f" {len(tested)} result{'' if len(tested) == 1 else 's'}). {_CHECK_LABELS}"
        )
        for r, p in zip(tested, p_values, strict=True)
        if p < ALPHA and r.auc_ci95 is not None and r.auc_ci95[1] < 0.5
    }


def _higher_on_validation(
    table: pd.DataFrame, results: Sequence[TargetResult]
) -> dict[tuple[str, str], str]:
    """Return a sentence for each validation AUC that is higher than the test AUC beyond chance."""
    gaps = [validation_gap(table, r.run, r.target) for r in results]
    p_values = holm_adjusted([gap.p for gap in gaps])
    num = sum(not math.isnan(p) for p in p_values)
    return {
        _pair(r): (
            f"the validation AUC {gap.validation:.3f} is higher than the test AUC {gap.test:.3f} by"
            f" more than expected by chance alone (one-sided {p_text(p)}, corrected for"
            f" {num} result{'' if num == 1 else 's'}). Possible reasons: model selection on"
            " validation, or different patients."
        )
        for r, gap, p in zip(results, gaps, p_values, strict=True)
        if p < ALPHA
    }


def _about_leaks_of_baselines(results: Sequence[TargetResult], cohort: str) -> Iterator[str]:
    """Say of each target once what holds for several baselines: there are many of them."""
    turned = _turned(results)
    for target in dict.fromkeys(result.target for result in results):
        of_target = [r for r in results if r.target == target]
        suspect = [r for r in of_target if is_suspect(r)]
        if suspect:
            yield f"{_some(suspect, of_target)}: {_about_suspect(suspect, cohort)}"
        inverted = [r for r in of_target if _pair(r) in turned]
        if inverted:
            yield (
                f"{_some(inverted, of_target)}: AUC below 0.5 beyond chance"
                f" ({', '.join(f'{r.auc:.3f}' for r in inverted)}). {_CHECK_LABELS}"
            )


def _some(some: Sequence[TargetResult], of_target: Sequence[TargetResult]) -> str:
    names = ", ".join(r.run.removeprefix(BASELINE_PREFIX) for r in some)
    models = f"{len(of_target)} baseline model{'' if len(of_target) == 1 else 's'}"
    return f"{some[0].target}, {len(some)} of {models} ({names})"


def _about_power(
    results: Sequence[TargetResult], family: Family | None, num_resamples: int
) -> Iterator[str]:
    """Say where no corrected p can be below the level, whatever the probabilities are."""
    if family is None or family.least_p_holm is None or family.least_p_holm < ALPHA:
        return
    size = family.size
    tested = [r for r in results if _pair(r) in family.members]
    many = f"any of the {size} results that are tested together"
    remedy = "There are too few test patients of a class, whatever the number of resamples."
    if size * min(least_p(r) for r in tested) < ALPHA:
        remedy = f"The permutation test has {num_resamples} resamples: use --resamples {math.ceil(size / ALPHA)} or more."
    yield (
        f"No p of {'the result' if size == 1 else many} can be below {ALPHA:.2f}: the least one"
        f" possible is {family.least_p_holm:.3f}{'' if size == 1 else ' after correction'}. {remedy}"
    )


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


def _about_classes(table: pd.DataFrame, result: TargetResult) -> Iterator[str]:
    """Say where a table has classes in the place of probabilities; a mean of folds hides them."""
    is_here = (table["run"] == result.run) & (table["target"] == result.target)
    given = table.loc[is_here & (table["split"] == "test"), "probability"]
    values = sorted(set(given))
    if len(given) <= _FEWEST_PROBABILITIES or len(values) > _MOST_CLASSES:
        return
    if len(values) == 1:
        yield (
            f"all test probabilities are {values[0]:g}, so patients are not ranked and nothing was tested."
        )
        return
    yield (
        f"test probabilities are {values[0]:g} or {values[1]:g} only, as classes are (hard labels). The"
        " AUC is then the mean of one sensitivity and one specificity; calibration, Brier score and net"
        " benefit do not apply. Give probabilities."
    )


def _about_threshold(table: pd.DataFrame, result: TargetResult) -> Iterator[str]:
    if result.threshold_caution:
        yield result.threshold_caution
    if any(part.threshold is not None for part in result.outer):
        return  # each part's own; see `report.templates.outer`
    if result.threshold is None:
        yield f"no operating point, {result.reasons['threshold']}."
        return
    num_negative = result.num_validation - result.num_validation_positive
    if min(result.num_validation_positive, num_negative) < FEW_OF_A_CLASS:
        yield (
            f"the threshold rests on few validation patients, {result.num_validation_positive}"
            f" positive and {num_negative} negative. Other patients would give another one."
        )
    validation = patient_scores(table, result.run, result.target, "validation")
    if youden_threshold(validation.labels, validation.scores) == validation.scores.min():
        yield (
            "no threshold does better on validation than treating all as positive, so sensitivity"
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
