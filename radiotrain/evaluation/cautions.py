"""Cautions about results.

Validation and test patients are different ones, so this is a test of two independent AUCs. Within a
fold one network gave all probabilities, so that folds are not pooled: their AUCs are averaged.

A mean over networks varies less than the probability of one network, so that its positives lie
closer together. A threshold for a sensitivity of 0.90, chosen on single networks' validation
probabilities, reached 0.95 on average where five folds were averaged (`benchmarks/inference.py`).

Axis legend: K folds, m positives, n negatives.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import t

from preprocessing.cohort.cohort import MISSING_LABEL
from radiotrain.evaluation.baselines.names import BASELINE_PREFIX, is_baseline
from radiotrain.evaluation.family import least_p
from radiotrain.evaluation.numbers import p_text
from radiotrain.evaluation.patients import PatientScores, fold_scores, patient_scores
from radiotrain.evaluation.published import DUKE, LEAK_SUSPECT_AUC, LEAK_SUSPECT_TARGETS
from radiotrain.evaluation.results import ALPHA, Family, TargetResult
from radiotrain.evaluation.stability.replicates import ensembles, replicates
from radiotrain.statistics.auc import placement_counts, split_by_label
from radiotrain.statistics.auc_comparison import holm_adjusted
from radiotrain.statistics.degrees_of_freedom import Part, combined
from radiotrain.statistics.operating_point import youden_threshold


@dataclass(frozen=True)
class ValidationGap:
    """Validation AUC beside the test AUC.

    Parameters
    ----------
    validation
        Mean of the AUCs of the folds with two patients of each class or more.
    p
        One-sided, of the hypothesis that the validation AUC is not higher; NaN where it is not
        defined.
    """

    validation: float
    test: float
    p: float


@dataclass(frozen=True)
class _MeanArea:
    """A mean of AUCs, and the parts of its variance: of the positives and of the negatives."""

    value: float
    parts: tuple[Part, ...]


def validation_gap(table: pd.DataFrame, run: str, target: str) -> ValidationGap:
    """Compare the mean validation AUC of a run's folds with its test AUC.

    DeLong's variances of the two are added, degrees of freedom are Satterthwaite's. A patient who
    validates in several folds (repeated cross-validation) adds one contribution, the sum over
    them. Where folds' patients are different ones this is DeLong's variance of each fold, divided
    by the square of their number. Not defined in a cross-validated test, whose validation patients are
    test patients, too.

    Parameters
    ----------
    table
        A table from `predictions.validate_predictions`.

    References
    ----------
    DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837-845. Satterthwaite, Biometrics
    Bulletin 2 (1946) 110-114.
    """
    validation = _mean_area(fold_scores(table, run, target, "validation"))
    tested = patient_scores(table, run, target, "test")
    if tested.parts:
        # The validation patients of one outer part are the test patients of others.
        return ValidationGap(math.nan, math.nan, math.nan)
    test = _mean_area([tested])
    if validation is None or test is None:
        return ValidationGap(math.nan, math.nan, math.nan)
    total, freedom = combined([*validation.parts, *test.parts])
    if not total > 0:
        return ValidationGap(validation.value, test.value, math.nan)
    p = float(t.sf((validation.value - test.value) / math.sqrt(total), freedom))
    return ValidationGap(validation.value, test.value, p)


def _mean_area(folds: Sequence[PatientScores]) -> _MeanArea | None:
    judged = [f for f in folds if min(f.num_positive, f.num_patients - f.num_positive) >= 2]
    if not judged:
        return None
    parts: tuple[dict[str, float], ...] = (defaultdict(float), defaultdict(float))
    areas = []
    for fold in judged:
        positive, negative = split_by_label(fold.labels, fold.scores)
        m, n = len(positive), len(negative)
        above, below = placement_counts(positive, negative)
        areas.append(float(above.sum()) / (m * n))
        for by_patient, label, placements in ((parts[0], 1, above / n), (parts[1], 0, below / m)):
            own = _contributions(placements) / len(judged)
            ids = [i for i, y in zip(fold.patient_ids, fold.labels, strict=True) if y == label]
            for patient, value in zip(ids, own, strict=True):
                by_patient[patient] += value
    variances = tuple(
        Part(sum(value**2 for value in of.values()), max(1, len(of) - len(judged))) for of in parts
    )
    return _MeanArea(float(np.mean(areas)), variances)


def _contributions(placements: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what each patient adds to the AUC, so that the squares add up to DeLong's variance."""
    num = len(placements)
    own: NDArray[np.float64] = (placements - placements.mean()) / math.sqrt(num * (num - 1))
    return own


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


def with_threshold_cautions(
    table: pd.DataFrame, results: Sequence[TargetResult]
) -> tuple[TargetResult, ...]:
    """Return the results with a sentence where thresholds come from means over fewer networks.

    Parameters
    ----------
    table
        A table from `predictions.validate_predictions`.
    """
    known = replicates(table)
    members = {run: known.get(name, ()) for run, name in ensembles(table).items()}
    return tuple(
        replace(r, threshold_caution=_caution(table, r, members.get(r.run, ()))) for r in results
    )


def _caution(table: pd.DataFrame, result: TargetResult, members: Sequence[str]) -> str:
    if not any(p.threshold is not None or p.thresholds for p in result.operating_points):
        return ""
    if not result.num_patients:
        return ""
    least, most = _averaged(table, result, members, "validation")
    _, tested = _averaged(table, result, members, "test")
    if least >= tested:
        return ""
    num = f"{least}" if least == most else f"{least} to {most}"
    return (
        f"Thresholds come from validation probabilities averaged over {num}"
        f" prediction{'' if most == 1 else 's'} per patient, but are used on means over {tested}."
        " Means over more predictions vary less, so sensitivity and specificity can lie far from"
        " those chosen on validation: a sensitivity of 0.90 may become 0.95 or more. Calibration is affected"
        " as well (probabilities of the mean lie too near the prevalence, slope above 1); the AUC is not."
    )


def _averaged(
    table: pd.DataFrame, result: TargetResult, members: Sequence[str], split: str
) -> tuple[int, int]:
    """Return over how many predictions a patient's probability is a mean: fewest and most."""
    # The ensemble of a table that does not have its members is a run like any other.
    runs = members or (result.run,)
    chosen = (table["target"] == result.target) & (table["split"] == split)
    rows = table[chosen & table["run"].isin(runs) & (table["label"] != MISSING_LABEL)]
    # In a cross-validated test, each outer part has models of its own.
    counts = rows[["patient_id", *(["outer"] if "outer" in rows else [])]].value_counts(
        dropna=False
    )
    return int(counts.min()), int(counts.max())
