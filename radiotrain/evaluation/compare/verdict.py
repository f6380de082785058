"""What to make of two runs beside each other, in words."""

from __future__ import annotations

from radiotrain.evaluation.compare.results import Pair, VerdictKind
from radiotrain.evaluation.report.numbers import between, number, p_text
from radiotrain.evaluation.statistics.power import ALPHA


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
    return f"({_interval(pair)}{p_text(p)}{corrected})"


def _resolution(pair: Pair) -> str:
    least = pair.comparison.detectable_difference
    if least is None:
        return ""
    return f" Minimum detectable difference: {number(least, 3)} (80% power)."


def _interval(pair: Pair) -> str:
    ends = pair.comparison.difference_ci95_delong
    if ends is None or pair.comparison.difference is None:
        return ""
    # Turned round where B is higher, as the sentence is.
    low, high = ends if pair.comparison.difference > 0 else (-ends[1], -ends[0])
    return f"95% CI, {between((low, high))}; "
