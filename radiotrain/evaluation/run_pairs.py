"""Compare the runs of one target in pairs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from preprocessing.common.errors import InputError
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.leak_checks import plain_id
from radiotrain.evaluation.measure import (
    NO_BOOTSTRAP,
    Values,
    called_positive,
    effective_counts,
    null_range_of,
    paired,
    unpaired,
    why_not_comparable,
)
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.results import Comparison, TargetResult
from radiotrain.evaluation.stability.replicates import ensembles
from radiotrain.statistics.auc_comparison import (
    Difference,
    bootstrap_difference_interval,
    holm_adjusted,
)
from radiotrain.statistics.operating_point import compare_at_equal_rate, discordant, mcnemar_p_value
from radiotrain.statistics.power import smallest_difference

MOST_ALL_PAIRS = 10
"""Runs of a target, baselines not counted, up to which all pairs are compared."""

Pair = tuple[TargetResult, TargetResult]


@dataclass(frozen=True)
class ChosenPairs:
    """The pairs of one target.

    Parameters
    ----------
    num_left_out
        Pairs that would be compared as well if the runs were fewer.
    references
        The runs that all others are compared with; empty where all pairs are compared.
    why
        What makes the last of them a reference, in words.
    """

    target: str
    pairs: tuple[Pair, ...]
    num_left_out: int = 0
    references: tuple[str, ...] = ()
    why: str = ""

    @property
    def note(self) -> str:
        """A sentence for a person, empty where nothing was left out."""
        if not self.num_left_out:
            return ""
        num = self.num_left_out + len(self.pairs)
        return (
            f"{self.target}: {len(self.pairs):,} of {num:,} pairs of runs are compared. With more"
            f" than {MOST_ALL_PAIRS} runs of a target, each is compared with"
            f" {' and '.join(self.references)} only ({self.why}): every comparison costs the others"
            " power by the correction."
        )


def choose_pairs(
    table: pd.DataFrame,
    results: Sequence[TargetResult],
    primary: frozenset[tuple[str, str]] = frozenset(),
) -> tuple[ChosenPairs, ...]:
    """Return which pairs of runs are compared, for each target; no test result takes part.

    Not two baselines, nor two runs of one configuration or one of them with their mean: which of
    those is better is not asked. Of more than `MOST_ALL_PAIRS` runs, each is compared with the
    primary ones and with the best on validation; where no run has a validation AUC, with the
    first of the table in its place.

    Parameters
    ----------
    table
        A validated predictions table.
    results
        What was measured from it.
    primary
        (run, target) named as primary before the test.
    """
    configurations = _configurations(table)
    stand_ins = ensembles(table)
    found = []
    for target in dict.fromkeys(r.target for r in results):
        ours = [r for r in results if r.target == target]
        pairs = tuple(_sensible(ours, configurations))
        networks = [r for r in ours if not is_baseline(r.run)]
        if len(networks) <= MOST_ALL_PAIRS:
            found.append(ChosenPairs(target, pairs))
            continue
        named = [r.run for r in networks if (r.run, target) in primary]
        best, why = _best(networks, stand_ins, configurations)
        references = tuple(dict.fromkeys([*named, best]))
        kept = tuple(p for p in pairs if p[0].run in references or p[1].run in references)
        words = f"primary, and {why}" if named and best not in named else why
        if best in named:
            words = "primary"
        found.append(ChosenPairs(target, kept, len(pairs) - len(kept), references, words))
    return tuple(found)


def _sensible(ours: Sequence[TargetResult], configurations: dict[str, str]) -> Iterator[Pair]:
    for first, second in combinations(ours, 2):
        if is_baseline(first.run) and is_baseline(second.run):
            continue
        configuration = configurations.get(first.run)
        if configuration and configuration == configurations.get(second.run):
            continue
        yield first, second


def _best(
    networks: Sequence[TargetResult], stand_ins: dict[str, str], configurations: dict[str, str]
) -> tuple[str, str]:
    """Return the best run on validation, and why it is; an ensemble stands for its members."""
    with_mean = {stand_ins[r.run] for r in networks if r.run in stand_ins}
    chosen_from = [
        r for r in networks if r.run in stand_ins or configurations.get(r.run) not in with_mean
    ]
    known = [r for r in chosen_from if r.auc_validation is not None]
    if not known:
        return chosen_from[0].run, "the first of the table, as no run has a validation AUC"
    best = max(known, key=lambda r: r.auc_validation or 0.0)
    return best.run, f"the best on validation, AUC {best.auc_validation:.3f}"


def _configurations(table: pd.DataFrame) -> dict[str, str]:
    """Return each run's configuration, where the table says one."""
    if "configuration" not in table:
        return {}
    rows = table[["run", "configuration"]].drop_duplicates().to_numpy()
    return {str(run): str(name) for run, name in rows}


_OF_POSITIVES = ("positives_only_run", "positives_only_other", "sensitivity_p")
_OF_NEGATIVES = ("negatives_only_run", "negatives_only_other", "specificity_p")
_CORRECTED = ("p_holm", "sensitivity_p_holm", "specificity_p_holm", "equal_rate_p_holm")


def compare_runs(
    table: pd.DataFrame,
    results: Sequence[TargetResult],
    *,
    seed: int,
    num_resamples: int,
    primary: frozenset[tuple[str, str]] = frozenset(),
    equal_rate: float | None = None,
) -> tuple[Comparison, ...]:
    """Compare pairs of runs of each target on their test patients; `choose_pairs` says which.

    Parameters
    ----------
    table
        A validated predictions table.
    results
        What was measured from it: the thresholds.
    seed, num_resamples
        Of the bootstrap.
    primary
        (run, target) named as primary before the test.
    equal_rate
        Share of patients that both runs call positive where they are compared at an equal rate; None:
        as many as are positive.
    """
    found = []
    for chosen in choose_pairs(table, results, primary):
        target = chosen.target
        runs = {r.run for pair in chosen.pairs for r in pair}
        tested = {run: patient_scores(table, run, target, "test") for run in runs}
        for first, second in chosen.pairs:
            pair = tested[first.run], tested[second.run]
            found.append(_compare(first, second, *pair, seed, num_resamples, equal_rate))
    return _corrected(found)


def check_rate(rate: float) -> float:
    """Return a share of patients that can be called positive.

    Raises
    ------
    InputError
        If it is not a number above 0 and below 1.
    """
    if not 0 < rate < 1:
        raise InputError(
            f"equal rate is {rate:g}, expected a share of test patients above 0 and below 1, e.g. 0.3"
        )
    return rate


def _compare(
    first: TargetResult,
    second: TargetResult,
    a: PatientScores,
    b: PatientScores,
    seed: int,
    num_resamples: int,
    equal_rate: float | None,
) -> Comparison:
    values = Values()
    common = set(a.patient_ids) & set(b.patient_ids)
    if why := why_not_comparable(a, b):
        values.reasons |= dict.fromkeys(_VALUES, why)
    elif a.patient_ids == b.patient_ids and np.array_equal(a.labels, b.labels):
        values.defined["design"] = "paired"
        difference = paired(a, b)
        interval = math.nan, math.nan
        if not a.parts:
            interval = bootstrap_difference_interval(
                a.labels, a.scores, b.scores, seed=seed, num_resamples=num_resamples
            )
        why = _why_undefined(first, second, difference)
        values.put("difference_ci95_bootstrap", interval, NO_BOOTSTRAP if a.parts else why)
        chance = null_range_of(a, b, num_permutations=num_resamples, seed=seed)
        values.put("null_range95", chance, why)
        _put_difference(values, difference, why)
        _put_detectable(values, first, second, a, difference, why)
        _put_calls(values, first, second, a, b)
        _put_equal_rate(values, a, b, equal_rate)
    elif not common and _are_respelt(a.patient_ids, b.patient_ids):
        for name in _VALUES:
            values.reasons[name] = "the runs write the ids of the same test patients differently"
    elif not common:
        values.defined["design"] = "unpaired"
        difference = unpaired(a, b)
        _put_difference(values, difference, _why_undefined(first, second, difference))
        separate = "the runs were tested on different patients"
        paired_only = ("difference_ci95_bootstrap", "null_range95", "detectable_difference")
        for name in (*paired_only, *_OF_POSITIVES, *_OF_NEGATIVES, "equal_rate"):
            values.reasons[name] = separate
    else:
        alike = a.patient_ids == b.patient_ids
        what = "labels" if alike else "patients"
        for name in _VALUES:
            values.reasons[name] = f"the runs were tested on partly different {what}"
    note = ""
    if values.defined.get("p") == 1 and values.defined.get("standard_error") == 0:
        note = "Both rank the patients alike, so nothing tells them apart."
    return Comparison(
        first.target, first.run, second.run, note=note, reasons=values.reasons, **values.defined
    )


def _are_respelt(ids: Sequence[str], others: Sequence[str]) -> bool:
    """Tell whether patients are in both, as ``001`` and ``1``: such runs are not independent."""
    return not {plain_id(i) for i in ids}.isdisjoint(plain_id(i) for i in others)


_VALUES = tuple(
    name
    for name in Comparison.__dataclass_fields__
    if name not in {"target", "run", "other", "note", "reasons", *_CORRECTED}
)


def _put_difference(values: Values, difference: Difference, why: str) -> None:
    values.put("difference", difference.value, why)
    values.put("standard_error", difference.standard_error, why)
    values.put("difference_ci95_delong", difference.interval, why)
    values.put("p", difference.p_value, why)
    values.put("correlation", difference.correlation, why)


def _put_detectable(
    values: Values,
    first: TargetResult,
    second: TargetResult,
    tested: PatientScores,
    difference: Difference,
    why: str,
) -> None:
    least = math.nan
    if first.auc is not None and second.auc is not None and not math.isnan(difference.correlation):
        lower = min(first.auc, second.auc)
        least = smallest_difference(lower, *effective_counts(tested), difference.correlation)
        why = "no difference that AUCs can have"
    values.put("detectable_difference", least, why)


def _put_calls(
    values: Values, first: TargetResult, second: TargetResult, a: PatientScores, b: PatientScores
) -> None:
    """Compare sensitivities and specificities, each run at its own thresholds."""
    called = []
    for result, scores in ((first, a), (second, b)):
        points = result.operating_points
        own = called_positive(points[0], scores) if points else None
        if own is None or not a.num_patients:
            why = result.reasons.get("threshold", "no test patient with a known label")
            for name in (*_OF_POSITIVES, *_OF_NEGATIVES):
                values.reasons[name] = f"run {result.run} has no threshold: {why}"
            return
        called.append(own)
    num_negative = a.num_patients - a.num_positive
    for names, found, num, label in zip(
        (_OF_POSITIVES, _OF_NEGATIVES),
        discordant(a.labels, called[0], called[1]),
        (a.num_positive, num_negative),
        ("positive", "negative"),
        strict=True,
    ):
        numbers = found.only_first, found.only_second
        for name, value in zip(names, (*numbers, mcnemar_p_value(*numbers)), strict=True):
            why = f"no {label} test patient"
            values.put(name, value if num else None, why)


def _put_equal_rate(values: Values, a: PatientScores, b: PatientScores, rate: float | None) -> None:
    if a.parts:
        values.reasons["equal_rate"] = (
            "the probabilities of different outer parts are not on one scale"
        )
        return
    num = None if rate is None else round(rate * a.num_patients)
    found = compare_at_equal_rate(a.labels, a.scores, b.scores, num)
    if found is not None:
        values.defined["equal_rate"] = found
    elif a.num_positive in (0, a.num_patients):
        values.reasons["equal_rate"] = "only one class among the test patients"
    else:
        values.reasons["equal_rate"] = (
            "tied probabilities leave no number of patients that both runs can call positive"
        )


def _why_undefined(first: TargetResult, second: TargetResult, difference: Difference) -> str:
    """Say why something of a difference is not defined, if something is."""
    for result in (first, second):
        if result.auc is None:
            return f"run {result.run} has no AUC: {result.reasons['auc']}"
    if difference.value == 0 and difference.standard_error == 0:
        return "both rank the patients alike, so these patients show no spread to build it from"
    few = min(min(r.num_positive, r.num_patients - r.num_positive) for r in (first, second))
    if few < 2:
        return "one patient of a class only, whose spread cannot be seen"
    return "these patients show no spread to build it from"


def _corrected(comparisons: Sequence[Comparison]) -> tuple[Comparison, ...]:
    return tuple(
        replace(comparison, reasons={**comparison.reasons, **p.reasons}, **p.defined)
        for comparison, p in zip(comparisons, corrected_p_values(comparisons), strict=True)
    )


def corrected_p_values(comparisons: Sequence[Comparison]) -> tuple[Values, ...]:
    """Return the p values of each comparison corrected for all, in three families.

    The AUCs; sensitivities and specificities at the runs' own thresholds, together; and runs where
    both call equally many patients positive.
    """
    areas = _adjusted([c.p for c in comparisons])
    at_own = _adjusted([p for c in comparisons for p in (c.sensitivity_p, c.specificity_p)])
    at_equal = _adjusted([c.equal_rate.p if c.equal_rate else None for c in comparisons])
    found = []
    columns = zip(comparisons, areas, at_own[::2], at_own[1::2], at_equal, strict=True)
    for comparison, *p_values in columns:
        values = Values()
        uncorrected = ("p", "sensitivity_p", "specificity_p", "equal_rate")
        for name, source, p in zip(_CORRECTED, uncorrected, p_values, strict=True):
            values.put(name, p, comparison.reasons.get(source, ""))
        found.append(values)
    return tuple(found)


def _adjusted(p_values: Sequence[float | None]) -> tuple[float, ...]:
    return holm_adjusted([math.nan if p is None else p for p in p_values])
