"""Whether a run of A is non-inferior to one of B, within a margin that the user gives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from radiotrain.evaluation.compare.results import NonInferiority, Pair
from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.ranking import paired, unpaired
from radiotrain.evaluation.report.numbers import p_text, signed
from radiotrain.evaluation.results import Comparison
from radiotrain.evaluation.statistics.comparison import holm_adjusted
from radiotrain.evaluation.statistics.noninferiority import ONE_SIDED_ALPHA, against_margin

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
