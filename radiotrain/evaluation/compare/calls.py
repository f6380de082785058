"""How sensitivity and specificity of two runs differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from radiotrain.evaluation.compare.proportions import (
    paired_share_interval,
    unpaired_share_interval,
)
from radiotrain.evaluation.measure import Values
from radiotrain.evaluation.measure_outer import called_positive
from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.results import TargetResult


def call_differences(
    first: TargetResult,
    second: TargetResult,
    a: PatientScores,
    b: PatientScores,
    design: str | None,
) -> Values:
    """Return how sensitivity and specificity differ, each run at its own threshold.

    Parameters
    ----------
    first, second
        What was measured, with thresholds.
    a, b
        Their test patients; the same ones where `design` is ``paired``.
    design
        As in `results.Comparison`.
    """
    values = Values()
    calls, other_calls = _calls(first, a), _calls(second, b)
    is_same = np.array_equal(a.scores, b.scores) and np.array_equal(calls, other_calls)
    for name, label in (("sensitivity", 1), ("specificity", 0)):
        both = f"{name}_difference", f"{name}_difference_ci95"
        if why := _why_undefined(first, second, name, design):
            values.reasons |= dict.fromkeys(both, why)
            continue
        ours = (calls == label)[a.labels == label]
        theirs = (other_calls == label)[b.labels == label]
        interval = _interval(ours, theirs, design == "paired")
        values.put(both[0], float(ours.mean() - theirs.mean()), "")
        values.put(both[1], None if is_same else interval, "both are identical")
    return values


def _calls(result: TargetResult, patients: PatientScores) -> NDArray[np.bool_]:
    """Return which patients are called positive; none where there is no threshold, which is said then."""
    found = [called_positive(point, patients) for point in result.operating_points[:1]]
    called = found[0] if found else None
    return np.zeros(patients.num_patients, dtype=bool) if called is None else called


def _why_undefined(first: TargetResult, second: TargetResult, name: str, design: str | None) -> str:
    if design is None:
        return "the reports were tested on partly different patients"
    for which, result in (("A", first), ("B", second)):
        if getattr(result, name) is None:
            return f"{which} has no {name}: {result.reasons[name]}"
    return ""


def _interval(
    ours: NDArray[np.bool_], theirs: NDArray[np.bool_], is_paired: bool
) -> tuple[float, float]:
    """Return the interval of the difference of two shares of right calls."""
    hits, other_hits = int(ours.sum()), int(theirs.sum())
    if not is_paired:
        return unpaired_share_interval(hits, len(ours), other_hits, len(theirs))
    both = int((ours & theirs).sum())
    neither = int((~ours & ~theirs).sum())
    return paired_share_interval(both, hits - both, other_hits - both, neither)
