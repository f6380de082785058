"""One plain sentence for each result: what the test set shows, and what it cannot show."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.leaks.results import LeakCheck
from radiotrain.evaluation.report.published import PublishedResult, published_for
from radiotrain.evaluation.results import ASSUMED_CORRELATION, Comparison, TargetResult
from radiotrain.evaluation.shortcuts.results import Shortcuts

VerdictKind = Literal["better", "unclear", "worse", "undefined"]

# p below which an AUC is no chance, and corrected p below which two runs differ.
_SHOWN = 0.05


@dataclass(frozen=True)
class Verdict:
    """What to make of a result: the kind colours the report, the sentences are for a person."""

    kind: VerdictKind
    headline: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class Alarm:
    """What makes results untrustworthy whatever they are, and the section that says more.

    Parameters
    ----------
    results
        (run, target) of those that it is about; None: all.
    """

    sentence: str
    anchor: str
    results: frozenset[tuple[str, str]] | None = None

    def is_about(self, result: TargetResult) -> bool:
        """Whether a result is not to be trusted for it."""
        return self.results is None or (result.run, result.target) in self.results


def alarms(checks: Sequence[LeakCheck], shortcuts: Shortcuts | None) -> Iterator[Alarm]:
    """Say above all results that a leak was found, or that the scanner is read."""
    leaks = [finding for check in checks for finding in check.findings if "Leak" in finding]
    if leaks:
        several = f"{len(leaks)} leaks were" if len(leaks) > 1 else "A leak was"
        yield Alarm(f"{several} found: test results below may be better than they should.", "leaks")
    failed = [v for v in shortcuts.verdicts if v.kind == "fail"] if shortcuts is not None else []
    for target in dict.fromkeys(v.target for v in failed):
        runs = [v.run for v in failed if v.target == target]
        yield Alarm(
            f"{target} is read from the scanner, at least in part, by run {', '.join(runs)}.",
            "shortcuts",
            frozenset((run, target) for run in runs),
        )


def judge(result: TargetResult, comparisons: Sequence[Comparison] = ()) -> Verdict:
    """Say in plain words whether the run reads the target better than chance.

    Parameters
    ----------
    comparisons
        Of all runs; those with models without a network are summed up.
    """
    kind = _kind(result)
    target = result.target
    headline = {
        "better": f"{target} status can be read from these images better than chance.",
        "unclear": f"This test set does not show that {target} status can be read.",
        "worse": f"{target} is called the wrong way round more often than chance would.",
        "undefined": f"Nothing can be said about {target}.",
    }[kind]
    beside = _beside_baselines(result, comparisons)
    details = (_numbers(result), _calls(result), beside, _beside_published(result))
    return Verdict(kind, headline, tuple(d for d in details if d))


def resolvable(result: TargetResult) -> str:
    """Say which differences of AUC this test set can show at all."""
    half = result.auc_half_width
    if half is None:
        why = result.reasons.get("auc_ci95", "the AUC has no interval")
        return f"No difference can be judged: {why}."
    return (
        f"With {result.num_patients} test patients, {result.num_positive} of them positive, the"
        f" 95 % interval reaches {half:.3f} to either side. An AUC that differs from a fixed value"
        f" by less than that is within the noise; so are two AUCs from two separate test sets of"
        f" this size that differ by less than about {half * math.sqrt(2):.3f}.{_power(result)}"
    )


def _power(result: TargetResult) -> str:
    """Say which AUC and which gain would be found in four of five such test sets."""
    if result.detectable_auc is None:
        return " No AUC, however high, would be told from a coin in four of five such test sets."
    coin = (
        f" Four of five test sets of this size tell a network from a coin if its true AUC is"
        f" {result.detectable_auc:.3f} or more"
    )
    if result.detectable_difference is None:
        return f"{coin}; no other network on these patients could be shown to be better."
    return (
        f"{coin}; they show another network on the same patients to be better if its true AUC is"
        f" higher by {result.detectable_difference:.3f} or more (if the two AUCs correlate by"
        f" {ASSUMED_CORRELATION})."
    )


def _kind(result: TargetResult) -> VerdictKind:
    """Tell on which side of 0.5 the AUC lies, where interval and permutation test agree on it.

    The interval may be too narrow with few patients of a class; the permutation test is exact.
    """
    interval = result.auc_ci95
    if interval is None:
        return "undefined"
    if _leaves_out_a_coin(result) and not _is_by_chance(result):
        return "better" if interval[0] > 0.5 else "worse"
    return "unclear"


def _leaves_out_a_coin(result: TargetResult) -> bool:
    interval = result.auc_ci95
    return interval is not None and not interval[0] <= 0.5 <= interval[1]


def _is_by_chance(result: TargetResult) -> bool:
    return result.permutation_p is not None and result.permutation_p >= _SHOWN


def _numbers(result: TargetResult) -> str:
    if result.auc is None:
        return f"AUC is not defined: {result.reasons['auc']}."
    if result.auc_ci95 is None:
        why = result.reasons["auc_ci95"]
        return f"AUC {result.auc:.3f} without an interval: {why}."
    low, high = result.auc_ci95
    numbers = (
        f"AUC {result.auc:.3f} (95 % CI {low:.3f} to {high:.3f}) on {result.num_patients}"
        " test patients."
    )
    if _leaves_out_a_coin(result) and _is_by_chance(result):
        numbers += (
            " The interval leaves out 0.5, but is too narrow with so few patients: of labels dealt"
            f" out at random {100 * (result.permutation_p or 0):.0f} % give an AUC as far from it."
        )
    return numbers


def _calls(result: TargetResult) -> str:
    if result.confusion is None or result.sensitivity is None or result.specificity is None:
        return ""
    c = result.confusion
    return (
        f"At the threshold chosen on validation it finds {c.tp} of {c.tp + c.fn} positive"
        f" tumours and clears {c.tn} of {c.tn + c.fp} negative ones."
    )


def _beside_baselines(result: TargetResult, comparisons: Sequence[Comparison]) -> str:
    """Say of how many models without a network it is shown to be better, or worse."""
    gains = [
        (c.difference if c.run == result.run else -c.difference, c.p_holm)
        for c in comparisons
        if c.target == result.target
        and c.difference is not None
        and c.p_holm is not None
        and result.run in (c.run, c.other)
        and is_baseline(c.other if c.run == result.run else c.run)
    ]
    if not gains or is_baseline(result.run):
        return ""
    shown = [gain for gain, p in gains if p < _SHOWN]
    num_better, num_worse = sum(g > 0 for g in shown), sum(g < 0 for g in shown)
    better = str(num_better) if num_better else "none"
    models = "1 model" if len(gains) == 1 else f"the {len(gains)} models"
    worse = f", and worse than {num_worse}" if num_worse else ""
    return f"Of {models} without a network it is shown to be better than {better}{worse}."


def _beside_published(result: TargetResult) -> str:
    rows = published_for(result.target)
    if not rows or result.auc_ci95 is None:
        return ""
    return _compare(result.auc_ci95, rows[0])


def _compare(interval: tuple[float, float], row: PublishedResult) -> str:
    published = f"The published {row.method} AUC of {row.auc:.3f} (other test patients)"
    low, high = interval
    if low <= row.auc <= high:
        return f"{published} lies inside this interval: the two cannot be told apart here."
    side = "below" if row.auc < low else "above"
    return f"{published} lies {side} this interval."
