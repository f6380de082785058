"""What groups show, in words: that a difference was not shown never means that there is none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from radiotrain.evaluation.statistics.power import ALPHA
from radiotrain.evaluation.subgroups.results import (
    FEWEST_JUDGED,
    Group,
    Overall,
    SubgroupVerdict,
    VariableResult,
)


def judge_subgroups(
    overall: Overall, results: Sequence[VariableResult], num_tests: int
) -> SubgroupVerdict:
    """Judge one run and target by its variables.

    Parameters
    ----------
    overall
        All test patients.
    results
        Of this run and target, p values corrected.
    num_tests
        Tests of the whole report, which they are corrected for.
    """
    run, target = overall.run, overall.target
    tests = [r for r in results if r.p_holm is not None]
    differing = [r for r in tests if r.p_holm is not None and r.p_holm < ALPHA]
    details = tuple(_details(overall, results, tests, num_tests))
    if differing:
        sentence = f"The AUC for {target} differs between groups, {'; '.join(map(_by, differing))}."
        return SubgroupVerdict(run, target, "differ", sentence, details)
    if tests:
        sentence = f"No difference of the AUC for {target} between groups was shown."
        return SubgroupVerdict(run, target, "no difference shown", sentence, details)
    sentence = f"Too few patients to test whether the AUC for {target} differs between groups."
    return SubgroupVerdict(run, target, "too few to say", sentence, details)


def _by(result: VariableResult) -> str:
    groups = sorted(result.judged, key=lambda g: g.auc or 0.0)
    low, high = groups[0], groups[-1]
    return f"by {result.variable}: {_of(low)}, {_of(high)}"


def _of(group: Group) -> str:
    return f"{group.auc:.2f} in {group.name!r}"


def _details(
    overall: Overall,
    results: Sequence[VariableResult],
    tests: Sequence[VariableResult],
    num_tests: int,
) -> Iterator[str]:
    known = [(r.detectable_difference, r.variable) for r in tests if r.detectable_difference]
    if known:
        (least, easiest), (most, hardest) = min(known), max(known)
        up_to = f", up to {most:.2f} for {hardest}" if hardest != easiest else ""
        yield (
            "Minimum detectable difference (80% power): an AUC of one group lower than that of the"
            f" others by {least:.2f} for {easiest}{up_to}."
        )
        if overall.auc is not None and overall.auc - least < 0.5:
            yield (
                "That is an AUC below chance (0.5): with so few patients no plausible difference could"
                " have been shown."
            )
        were = "variables were" if len(tests) > 1 else "variable was"
        corrected = f"; p is corrected for all {num_tests} tests of this report"
        yield f"{len(tests)} {were} tested here{corrected if num_tests > 1 else ''}."
    untested = [r.variable for r in results if r.p_holm is None]
    if untested:
        yield (
            f"Not tested, as fewer than two groups have {FEWEST_JUDGED} positive and"
            f" {FEWEST_JUDGED} negative patients: {', '.join(untested)}."
        )
    if not results:
        yield "No variable that is known of these patients divides them."
