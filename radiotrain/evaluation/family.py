"""Family of headline results, for correction of multiple tests.

A report with three targets and three networks tests nine hypotheses. Its headlines hold together:
p is corrected for all of them after Holm, so that with no signal at all at most one report in
twenty has a wrong one. `--primary` names results before the test set is read: then only these are
confirmatory, and all others are exploratory.

References
----------
Holm, Scandinavian Journal of Statistics 6 (1979) 65-70. Food and Drug Administration, Multiple
Endpoints in Clinical Trials, Guidance for Industry (2022): primary endpoints are named beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import pandas as pd

from preprocessing.common.errors import InputError, nearest_hint
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.results import ALPHA, Claim, Family, TargetResult
from radiotrain.evaluation.stability.replicates import ensembles, replicates
from radiotrain.split.access_log import AccessRecord
from radiotrain.statistics.auc_comparison import holm_adjusted
from radiotrain.statistics.pooled_auc import factor_of_sizes
from radiotrain.statistics.power import smallest_area_above

Pair = tuple[str, str]

_MOST_SHOWN = 6


@dataclass(frozen=True)
class TestPlan:
    """What is known of how a test was planned; the default is that nothing was.

    Parameters
    ----------
    primary
        (run, target) of the results named as primary.
    on_record
        Whether an access log says so.
    too_late
        Why naming them confirms nothing; empty where it does.
    num_earlier
        Other accesses to the same test patients that tested something else.
    """

    primary: tuple[Pair, ...] = ()
    on_record: bool = False
    too_late: str = ""
    num_earlier: int = 0


def headline_pairs(table: pd.DataFrame) -> tuple[Pair, ...]:
    """Return (run, target) of the results that get a headline, in the order of the table.

    Baseline models get none unless there is nothing else. Of the trainings of one configuration,
    their ensemble has it.

    Parameters
    ----------
    table
        A table from `predictions.validate_predictions`; its columns run, target and configuration
        are read.
    """
    pairs = [(str(run), str(target)) for run, target in _distinct(table, ["run", "target"])]
    known = replicates(table)
    members = {
        (run, target)
        for ensemble, name in ensembles(table).items()
        for other, target in pairs
        if other == ensemble
        for run in known.get(name, ())
    }
    networks = [pair for pair in pairs if not is_baseline(pair[0])]
    return tuple(pair for pair in networks or pairs if pair not in members)


def _distinct(table: pd.DataFrame, columns: list[str]) -> Iterable[Sequence[object]]:
    rows: Iterable[Sequence[object]] = table[columns].drop_duplicates().to_numpy()
    return rows


def find_primary(named: Sequence[str], headlines: Sequence[Pair]) -> tuple[Pair, ...]:
    """Return the results that ``--primary`` names, in the order of the headlines.

    Parameters
    ----------
    named
        ``TARGET`` (all headlines of it) or ``RUN:TARGET`` each.
    headlines
        From `headline_pairs`.

    Raises
    ------
    InputError
        If one names nothing that gets a headline, or can be read in two ways.
    """
    found: set[Pair] = set()
    for text in named:
        found.update(_named(text.strip(), headlines))
    return tuple(pair for pair in headlines if pair in found)


def _named(text: str, headlines: Sequence[Pair]) -> list[Pair]:
    # A run's name, and a target's, may hold ':', so whole names are compared.
    as_target = [pair for pair in headlines if pair[1] == text]
    as_result = [pair for pair in headlines if as_text(pair) == text]
    if len(as_result) + bool(as_target) > 1:
        raise InputError(
            f"--primary {text!r} can be read as more than one result: rename the run or the target"
        )
    if as_target or as_result:
        return as_target or as_result
    names = list(dict.fromkeys([*(p[1] for p in headlines), *map(as_text, headlines)]))
    shown = ", ".join(names[:_MOST_SHOWN])
    hint = "" if is_baseline(text) else nearest_hint(text, names)
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    raise InputError(
        f"--primary {text!r} names no result that gets a headline{hint}:"
        f" expected TARGET or RUN:TARGET, one of {shown}{more} (baseline models and the members of an"
        " ensemble get no headline)"
    )


def as_text(pair: Pair) -> str:
    """Return a result as ``--primary`` and the access log name it."""
    return ":".join(pair)


def plan_of_access(
    primary: Sequence[Pair], own: AccessRecord, others: Sequence[AccessRecord]
) -> TestPlan:
    """Return what the access log makes of the primary results.

    The same test again (the same networks by their configurations, the same primary results) is no
    second look: it cannot change what was named.

    Parameters
    ----------
    own, others
        The access of this evaluation, and the others to the same test patients.
    """
    different = [record for record in others if not _is_same_test(record, own)]
    too_late = ""
    if primary and different:
        others_named = sorted({r.primary for r in different if r.primary} - {own.primary})
        num = f"{len(different)} access{'' if len(different) == 1 else 'es'}"
        too_late = (
            f"another access to these test patients named another primary result, {others_named[0][0]}"
            if others_named
            else f"{num} to these test patients tested other models, or named no primary result"
        )
    return TestPlan(tuple(primary), True, too_late, len(different))


def _is_same_test(record: AccessRecord, own: AccessRecord) -> bool:
    return (
        bool(record.configurations)
        and record.configurations == own.configurations
        and record.primary == own.primary
        and record.split_fingerprint == own.split_fingerprint
        # Of an external cohort: its labels for the targets, and the phases.
        and record.cohort == own.cohort
    )


def correct_for_family(
    results: Sequence[TargetResult], headlines: Sequence[Pair], plan: TestPlan, num_resamples: int
) -> tuple[tuple[TargetResult, ...], Family]:
    """Return the results with their corrected p, and the family that it is corrected for.

    Parameters
    ----------
    headlines
        From `headline_pairs`.
    num_resamples
        Of the permutation test.
    """
    confirmatory = plan.primary if plan.primary and not plan.too_late else ()
    wanted = set(confirmatory or headlines)
    # A result without a p has nothing to correct, and does not count as a test.
    tested = [r for r in results if _pair(r) in wanted and r.permutation_p is not None]
    adjusted = holm_adjusted([float(r.permutation_p or 0) for r in tested])
    p_of = dict(zip(map(_pair, tested), adjusted, strict=True))
    family = Family(
        headlines=tuple(headlines),
        members=tuple(p_of),
        primary=plan.primary,
        on_record=plan.on_record,
        too_late=plan.too_late,
        num_earlier=plan.num_earlier,
        least_p_holm=_least_p_holm(tested, num_resamples),
    )
    return tuple(_corrected(r, p_of, family) for r in results), family


def _pair(result: TargetResult) -> Pair:
    return result.run, result.target


def _least_p_holm(tested: Sequence[TargetResult], num_resamples: int) -> float | None:
    """Return the least corrected p: as Holm's first step gives it to the smallest p."""
    if not tested:
        return None
    return min(1.0, len(tested) * min(least_p(r, num_resamples) for r in tested))


def least_p(result: TargetResult, num_resamples: float = math.inf) -> float:
    """Return the least p of a permutation test of these patients.

    Of all ways to assign the labels two, all positives above or below all negatives, are as far
    from 0.5 as can be; and the labels found count as one of the permutations.
    """
    ways = math.comb(result.num_patients, result.num_positive)
    return max(1 / (1 + num_resamples), min(1.0, 2 / ways))


def _corrected(result: TargetResult, p_of: dict[Pair, float], family: Family) -> TargetResult:
    claim = _claim(result, family)
    p = p_of.get(_pair(result))
    reasons = dict(result.reasons)
    least: float | None = None
    if p is None:
        why = _why_not_corrected(result, claim)
        reasons |= dict.fromkeys(("permutation_p_holm", "detectable_auc_corrected"), why)
    else:
        num_negative = result.num_patients - result.num_positive
        alpha = ALPHA / family.size
        # As many as in a single test set that shows as much.
        factor = factor_of_sizes([o.num_patients for o in result.outer], result.num_patients)
        counts = round(result.num_positive / factor), round(num_negative / factor)
        found = smallest_area_above(0.5, *counts, alpha=alpha)
        least = None if math.isnan(found) else found
        if least is None:
            corrected = f", corrected for {family.size} results" if family.size > 1 else ""
            reasons["detectable_auc_corrected"] = (
                f"no AUC up to 1 would do with {result.num_positive} positive, {num_negative}"
                f" negative{corrected}"
            )
    return replace(
        result, claim=claim, permutation_p_holm=p, detectable_auc_corrected=least, reasons=reasons
    )


def _claim(result: TargetResult, family: Family) -> Claim:
    if _pair(result) not in family.headlines:
        return "none"
    if not family.primary:
        return "corrected"
    if family.too_late or _pair(result) not in family.primary:
        return "exploratory"
    return "primary"


def _why_not_corrected(result: TargetResult, claim: Claim) -> str:
    if result.permutation_p is None:
        return result.reasons.get("permutation_p", "no permutation test")
    if claim == "exploratory":
        return "not a primary result, so it is exploratory and not corrected"
    if is_baseline(result.run):
        return "a baseline model, which gets no headline"
    return "a member of an ensemble, which gets the headline"
