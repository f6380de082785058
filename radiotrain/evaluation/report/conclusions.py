"""One sentence per result: what the test set shows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from radiotrain.evaluation.baselines.names import BASELINE_PREFIX, is_baseline
from radiotrain.evaluation.cautions import FEW_OF_A_CLASS, is_suspect
from radiotrain.evaluation.leak_checks import LeakCheck
from radiotrain.evaluation.numbers import auc_text, number, p_text
from radiotrain.evaluation.published import PublishedResult, published_for
from radiotrain.evaluation.results import (
    ALPHA,
    ASSUMED_CORRELATION,
    Comparison,
    Evaluation,
    Family,
    TargetResult,
)
from radiotrain.evaluation.shortcuts.shortcut_results import Shortcuts

VerdictKind = Literal["better", "unclear", "worse", "undefined"]


@dataclass(frozen=True)
class Conclusion:
    """What to make of a result: the kind colours the report, the sentences are for a person.

    Parameters
    ----------
    headline
        The verdict, and the strongest of the caveats.
    caveats
        What speaks against it, strongest first.
    """

    kind: VerdictKind
    headline: str
    details: tuple[str, ...]
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True)
class Alarm:
    """What makes results untrustworthy whatever they are, and the section that says more.

    Parameters
    ----------
    caveat
        The same as a clause for a headline.
    results
        (run, target) of those that it is about; None: all.
    """

    sentence: str
    anchor: str
    caveat: str
    results: frozenset[tuple[str, str]] | None = None

    def is_about(self, result: TargetResult) -> bool:
        """Whether a result is not to be trusted for it."""
        return self.results is None or (result.run, result.target) in self.results


def alarms(checks: Sequence[LeakCheck], shortcuts: Shortcuts | None) -> Iterator[Alarm]:
    """Say above all results that a leak was found, or that the scanner is read."""
    leaks = [finding for check in checks for finding in check.findings if "Leak" in finding]
    if leaks:
        several = f"{len(leaks)} leaks were" if len(leaks) > 1 else "A leak was"
        yield Alarm(
            f"{several} found: test results below may be better than they should.",
            "leaks",
            f"{several[0].lower()}{several[1:]} found, so this result may be too good",
        )
    failed = [v for v in shortcuts.verdicts if v.kind == "fail"] if shortcuts is not None else []
    for target in dict.fromkeys(v.target for v in failed):
        runs = [v.run for v in failed if v.target == target]
        yield Alarm(
            f"{target} is predicted from the scanner, at least in part, by run {', '.join(runs)}.",
            "shortcuts",
            "an acquisition shortcut explains it, at least in part",
            frozenset((run, target) for run in runs),
        )


def judge(
    result: TargetResult,
    comparisons: Sequence[Comparison] = (),
    family: Family | None = None,
    concerns: Sequence[Alarm] = (),
    cohort: str = "",
) -> Conclusion:
    """Say in plain words whether the run predicts the target better than chance.

    Parameters
    ----------
    comparisons
        Of all runs; those with baseline models are summed up.
    family
        Of the headlines: p is corrected for it.
    concerns
        Alarms of the whole report; those that are about this result are caveats.
    cohort
        Collection of the patients, where it is known.
    """
    family = family or Family()
    kind = _kind(result)
    caveats = tuple(_caveats(result, comparisons, family, concerns))
    headline = _headline(result, kind)
    # A tiny class stands in the headline, whatever is graver.
    tiny = _tiny_class(result)
    leading = tuple(dict.fromkeys([*caveats[:1], *([tiny] if tiny else [])]))
    others = [caveat for caveat in caveats if caveat not in leading]
    if leading and kind != "undefined":
        headline = f"{headline} Caveat{'s' * (len(leading) > 1)}: {'; '.join(leading)}."
    details = (
        _numbers(result, family),
        _about_claim(result, family),
        _operating_point(result),
        _beside_baselines(result, comparisons),
        _beside_published(result, cohort),
        f"Further caveat{'s' * (len(others) > 1)}: {'; '.join(others)}." if others else "",
    )
    return Conclusion(kind, headline, tuple(d for d in details if d), caveats)


def judge_all(evaluation: Evaluation, concerns: Sequence[Alarm] = ()) -> tuple[Conclusion, ...]:
    """Return the verdict on each result of an evaluation, in their order."""
    return tuple(
        judge(r, evaluation.comparisons, evaluation.family, concerns, evaluation.cohort)
        for r in evaluation.results
    )


def resolvable(result: TargetResult, family: Family | None = None) -> str:
    """Say which AUC and which differences of AUC this test set can show at all."""
    half = result.auc_half_width
    if half is None:
        why = result.reasons.get("auc_ci95", "the AUC has no interval")
        return f"No difference can be judged: {why}."
    return (
        f"With {result.num_patients} test patients, {result.num_positive} of them positive, the 95% CI"
        f" half-width of the AUC is {half:.3f}. Smaller differences from a fixed value are within the"
        f" noise, as are differences below about {half * math.sqrt(2):.3f} between two separate test"
        f" sets of this size. {_power(result, family or Family())}"
    )


def _power(result: TargetResult, family: Family) -> str:
    """Say which AUC and which gain four of five such test sets show, and what correction costs."""
    if result.detectable_auc is None:
        return "No AUC, however high, differs from 0.5 significantly with 80% power."
    words = (
        f"Minimum detectable AUC (80% power, two-sided 5%, one test): {result.detectable_auc:.3f}"
    )
    if family.size > 1 and result.permutation_p_holm is not None:
        least = result.detectable_auc_corrected
        number = "none, not even 1" if least is None else f"{least:.3f}"
        words += (
            f"; corrected for {family.size} results (two-sided {100 * ALPHA / family.size:.2g}%):"
            f" {number}"
        )
    if result.detectable_difference is None:
        return f"{words}. No other model on these patients could be shown to be better."
    return (
        f"{words}. Minimum detectable difference from another model on the same patients:"
        f" {result.detectable_difference:.3f} (if the two AUCs correlate by {ASSUMED_CORRELATION})."
    )


def _kind(result: TargetResult) -> VerdictKind:
    """Tell on which side of 0.5 the AUC lies, where interval and corrected p agree on it.

    The interval may be too narrow with few patients of a class; the permutation test is exact.
    An exploratory result is never more than unclear.
    """
    interval = result.auc_ci95
    if interval is None:
        return "undefined"
    p = result.permutation_p_holm
    if result.claim != "exploratory" and _excludes_chance(result) and p is not None and p < ALPHA:
        return "better" if interval[0] > 0.5 else "worse"
    return "unclear"


def _headline(result: TargetResult, kind: VerdictKind) -> str:
    target, p = result.target, result.permutation_p
    if kind == "better":
        return f"{target} status is predicted better than chance."
    if kind == "worse":
        return f"{target} status is predicted worse than chance: the AUC is below 0.5."
    if kind == "undefined":
        return f"No conclusion about {target} is possible."
    better = f"{target} status is predicted better than chance"
    if result.claim == "exploratory":
        return f"Exploratory, not a primary result: no conclusion whether {better}."
    if _excludes_chance(result) and p is not None and p < ALPHA:
        return f"Exploratory: after correction for multiple testing, it is not shown that {better}."
    return f"This test set does not show that {better}."


def _excludes_chance(result: TargetResult) -> bool:
    interval = result.auc_ci95
    return interval is not None and not interval[0] <= 0.5 <= interval[1]


def _caveats(
    result: TargetResult,
    comparisons: Sequence[Comparison],
    family: Family,
    concerns: Sequence[Alarm],
) -> Iterator[str]:
    """Yield what speaks against a result, strongest first."""
    yield from (alarm.caveat for alarm in concerns if alarm.is_about(result))
    if is_suspect(result):
        yield "the AUC is so high that a leak is suspected"
    if tiny := _tiny_class(result):
        yield tiny
    if gains := _gains(result, comparisons):
        yield from _about_gains(gains, _excludes_chance(result))
    if result.claim == "primary" and not family.on_record:
        yield "not on record before the test: the primary result was named together with the table"
    if family.too_late:
        yield f"not confirmatory, as {family.too_late}"
    elif family.num_earlier:
        num = family.num_earlier
        yield (
            f"not confirmatory, as the log has {num} other access{'' if num == 1 else 'es'} to these"
            " test patients, which no p is corrected for"
        )


def _tiny_class(result: TargetResult) -> str:
    few = min(result.num_positive, result.num_patients - result.num_positive)
    if result.auc is None or few >= FEW_OF_A_CLASS:
        return ""
    kind = "positive" if result.num_positive == few else "negative"
    return f"only {few} {kind} test patient{'' if few == 1 else 's'}"


def _about_gains(gains: Sequence[_Gain], excludes_chance: bool) -> Iterator[str]:
    """Say which baseline models are better, or not beaten by a result that seems to be one."""
    better = [gain.other for gain in gains if gain.is_shown and gain.value < 0]
    if better:
        verb = "is" if len(better) == 1 else "are"
        yield f"{_names(better)} {verb} better"
    elif not excludes_chance:
        return
    elif not any(gain.is_shown for gain in gains):
        models = "the baseline model" if len(gains) == 1 else f"any of {len(gains)} baseline models"
        yield f"not shown to be better than {models}"
    elif open_ := [gain.other for gain in gains if not gain.is_shown]:
        yield f"not shown to be better than {_names(open_)}"


def _names(runs: Sequence[str]) -> str:
    """Name one or two baseline models, of more only how many."""
    names = [run.removeprefix(BASELINE_PREFIX) for run in runs]
    if len(names) > 2:
        return f"{len(names)} baseline models"
    return f"baseline model{'' if len(names) == 1 else 's'} {' and '.join(names)}"


def _numbers(result: TargetResult, family: Family) -> str:
    if result.auc is None:
        return f"AUC is not defined: {result.reasons['auc']}."
    if result.auc_ci95 is None:
        why = result.reasons["auc_ci95"]
        return f"AUC {number(result.auc)} without an interval: {why}."
    words = f"AUC {auc_text(result)} on {result.num_patients} test patients"
    p, corrected = result.permutation_p, result.permutation_p_holm
    if p is not None:
        words += f"; permutation test, {p_text(p)}"
        if corrected is not None and family.size > 1:
            words += f", corrected for {family.size} results {p_text(corrected)}"
    words += "."
    if _excludes_chance(result) and p is not None and p >= ALPHA:
        words += (
            " The interval excludes 0.5, but is too narrow with so few patients: the permutation"
            " test decides."
        )
    elif corrected is not None and corrected >= ALPHA:
        words += _about_least_p(family)
    return words


def _about_least_p(family: Family) -> str:
    least = family.least_p_holm
    if least is None or least < ALPHA:
        return ""
    return (
        f" With so few resamples or patients the least{' corrected' if family.size > 1 else ''} p"
        f" possible is {least:.3f}: nothing could have been significant."
    )


def _about_claim(result: TargetResult, family: Family) -> str:
    """Say of an exploratory result why it is none of those that confirm."""
    named = ", ".join(f"{target} of run {run}" for run, target in family.primary)
    if result.claim == "primary":
        when = "before the test set was opened" if family.on_record else "with the table"
        return f"Primary result, named {when}."
    if result.claim != "exploratory":
        return ""
    if family.too_late:
        return f"{named} was named as primary too late: {family.too_late}. All results are exploratory."
    return f"Primary is {named}; this result is exploratory, and its p is not corrected."


def _operating_point(result: TargetResult) -> str:
    if result.confusion is None or result.sensitivity is None or result.specificity is None:
        return ""
    c = result.confusion
    return (
        f"At the threshold chosen on validation: sensitivity {_share(c.tp, c.tp + c.fn)},"
        f" specificity {_share(c.tn, c.tn + c.fp)}."
    )


def _share(num: int, of: int) -> str:
    return f"{num}/{of} ({100 * num / of:.0f}%)"


@dataclass(frozen=True)
class _Gain:
    """AUC of a run less that of a baseline model, and whether that is shown."""

    other: str
    value: float
    is_shown: bool


def _gains(result: TargetResult, comparisons: Sequence[Comparison]) -> list[_Gain]:
    if is_baseline(result.run):
        return []
    found = []
    for c in comparisons:
        if c.target != result.target or c.difference is None or c.p_holm is None:
            continue
        if result.run in (c.run, c.other):
            other, sign = (c.other, 1) if c.run == result.run else (c.run, -1)
            if is_baseline(other):
                found.append(_Gain(other, sign * c.difference, c.p_holm < ALPHA))
    return found


def _beside_baselines(result: TargetResult, comparisons: Sequence[Comparison]) -> str:
    """Say of how many baseline models it is shown to be better, or worse."""
    gains = _gains(result, comparisons)
    if not gains:
        return ""
    num_better = sum(gain.is_shown and gain.value > 0 for gain in gains)
    num_worse = sum(gain.is_shown and gain.value < 0 for gain in gains)
    worse = f", and worse than {num_worse}" if num_worse else ""
    return (
        f"Shown to be better than {num_better} of {len(gains)} baseline"
        f" model{'' if len(gains) == 1 else 's'}{worse}."
    )


def _beside_published(result: TargetResult, cohort: str) -> str:
    rows = published_for(result.target, cohort)
    if not rows or result.auc_ci95 is None:
        return ""
    return _compare(result.auc_ci95, rows[0])


def _compare(interval: tuple[float, float], row: PublishedResult) -> str:
    published = f"The published {row.method} AUC of {row.auc:.3f} (other test patients)"
    low, high = interval
    if low <= row.auc <= high:
        return f"{published} lies inside this interval: no difference is shown."
    side = "below" if row.auc < low else "above"
    return f"{published} lies {side} this interval."
