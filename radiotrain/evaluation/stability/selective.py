"""Selective prediction: the most certain patients only, the others deferred.

Patients are deferred by the entropy of their mean probability, the highest first. Deferring at
random leaves the AUC as it is, on average, so that the AUC of all is what to compare with.

Axis legend: N patients from the surest on, m positives, n negatives, B resamples, G coverages.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from radiotrain.evaluation.stability.results import Selective, SelectivePoint
from radiotrain.evaluation.statistics.auc import Interval
from radiotrain.evaluation.statistics.large_samples import num_resamples_for
from radiotrain.evaluation.statistics.operating_point import confusion

COVERAGES = tuple(round(1 - 0.05 * step, 2) for step in range(15))
"""From all patients to 30 % of them."""

JUDGED_COVERAGE = 0.8
_MOST_UNDEFINED = 0.05

Counts = NDArray[np.int64]


def num_kept(coverage: float, num_patients: int) -> int:
    """Return how many patients a coverage keeps: rounded, at least one."""
    return max(1, math.floor(coverage * num_patients + 0.5 + 1e-9))


def selective_aucs(
    labels: ArrayLike, scores: ArrayLike, uncertainty: ArrayLike, counts: Counts,
    coverages: Sequence[float] = COVERAGES,
) -> NDArray[np.float64]:  # fmt: skip
    """Return the AUC of the surest patients at each coverage, (B, G); NaN with one class.

    Parameters
    ----------
    labels, scores, uncertainty
        (N,) each. Patients of equal uncertainty are kept in the order given.
    counts
        (B, N), how often each patient was drawn; ones for the patients as they are.
    """
    order = np.argsort(np.asarray(uncertainty), kind="stable")
    y, x = np.asarray(labels)[order], np.asarray(scores, dtype=np.float64)[order]
    drawn = counts[:, order]
    before = np.cumsum(drawn, axis=1) - drawn
    positive, negative = np.flatnonzero(y == 1), np.flatnonzero(y == 0)
    negative = negative[np.argsort(x[negative], kind="stable")]
    below = np.searchsorted(x[negative], x[positive], side="left")
    below_or_tied = np.searchsorted(x[negative], x[positive], side="right")
    num = int(counts[0].sum())
    columns = []
    for coverage in coverages:
        kept = np.clip(num_kept(coverage, num) - before, 0, drawn)
        up = kept[:, positive]
        down = np.pad(np.cumsum(kept[:, negative], axis=1), ((0, 0), (1, 0)))
        pairs = up.sum(axis=1) * down[:, -1]
        # Twice the Mann-Whitney count, as whole numbers: a tie counts 1.
        won = np.einsum("bm,bm->b", up, down[:, below] + down[:, below_or_tied]) / 2
        columns.append(np.divide(won, pairs, out=np.full(len(kept), np.nan), where=pairs > 0))
    return np.stack(columns, axis=1)


def selective_prediction(
    run: str,
    target: str,
    labels: ArrayLike,
    scores: ArrayLike,
    uncertainty: ArrayLike,
    threshold: float | None,
    *,
    num_resamples: int = 2_000,
    seed: int = 0,
) -> Selective:
    """Return what deferring the least sure patients does, with a paired bootstrap on patients.

    Parameters
    ----------
    labels, scores, uncertainty
        (N,) each, of patients with a known label.
    threshold
        From validation; None where there is none.

    References
    ----------
    El-Yaniv, Wiener, JMLR 11 (2010) 1605-1641: risk against coverage.
    """
    y = np.asarray(labels)
    if len(np.unique(y)) < 2:
        why = f"only one class among {len(y)} test patients" if len(y) else "no test patient"
        return Selective(
            run, target, (), None, None, f"Not defined: {why}.",
            {"area": why, "area_ci95": why},
        )  # fmt: skip
    ones = np.ones((1, len(y)), dtype=np.int64)
    found = selective_aucs(y, scores, uncertainty, ones)[0]
    num = num_resamples_for(len(y), num_resamples)
    drawn = selective_aucs(y, scores, uncertainty, _resample(y, num, seed))
    points = tuple(
        _point(g, y, np.asarray(scores), np.asarray(uncertainty), threshold, found, drawn)
        for g in range(len(COVERAGES))
    )
    few = "some coverage leaves only one class"
    area = float((found[1:] - found[0]).mean())
    interval = _interval((drawn[:, 1:] - drawn[:, :1]).mean(axis=1))
    reasons = {
        name: few
        for name, value in (("area", area), ("area_ci95", interval))
        if value is None or np.isnan(value).any()
    }
    return Selective(
        run, target, points, None if math.isnan(area) else area, interval,
        _verdict(points), reasons,
    )  # fmt: skip


def _resample(labels: NDArray[np.int64], num: int, seed: int) -> Counts:
    """Return how often each patient is drawn, within each class: (B, N)."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((num, len(labels)), dtype=np.int64)
    for kind in (1, 0):
        at = np.flatnonzero(labels == kind)
        counts[:, at] = rng.multinomial(len(at), np.full(len(at), 1 / len(at)), size=num)
    return counts


def _interval(values: NDArray[np.float64]) -> Interval | None:
    """Return percentiles; None where more than a few resamples have no value, or all are one."""
    defined = values[~np.isnan(values)]
    if len(defined) < (1 - _MOST_UNDEFINED) * len(values) or defined.min() == defined.max():
        return None
    low, high = np.quantile(defined, [0.025, 0.975])
    return float(low), float(high)


def _point(
    g: int,
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    uncertainty: NDArray[np.float64],
    threshold: float | None,
    found: NDArray[np.float64],
    drawn: NDArray[np.float64],
) -> SelectivePoint:
    kept = np.argsort(uncertainty, kind="stable")[: num_kept(COVERAGES[g], len(labels))]
    y = labels[kept]
    values: dict[str, float | Interval | None] = {
        "auc": None if math.isnan(found[g]) else float(found[g]),
        "auc_ci95": _interval(drawn[:, g]),
        "change": None if math.isnan(found[g]) else float(found[g] - found[0]),
        "change_ci95": _interval(drawn[:, g] - drawn[:, 0]),
        "sensitivity": None,
        "specificity": None,
    }
    if threshold is not None:
        called = confusion(y, scores[kept], threshold)
        for name in ("sensitivity", "specificity"):
            share = getattr(called, name)
            values[name] = None if math.isnan(share) else share
    one_class = len(np.unique(y)) < 2
    reasons = {name: _why(name, one_class, threshold) for name, v in values.items() if v is None}
    return SelectivePoint(
        COVERAGES[g],
        len(kept),
        int(y.sum()),
        reasons=reasons,
        **values,  # type: ignore[arg-type]
    )


def _why(name: str, one_class: bool, threshold: float | None) -> str:
    if name in ("sensitivity", "specificity"):
        return "no threshold from validation" if threshold is None else "no patient of this class"
    if one_class:
        return "only one class is left"
    return "resamples are all equal, or too many of them have only one class"


def _verdict(points: Sequence[SelectivePoint]) -> str:
    point = next(p for p in points if p.coverage == JUDGED_COVERAGE)
    share = f"the least certain {100 * (1 - JUDGED_COVERAGE):.0f}%"
    if point.change is None:
        return f"Deferring {share} leaves nothing to judge: {point.reasons['change']}."
    change = f"Deferring {share} changes the AUC by {point.change:+.3f}".replace("-", "−")
    if point.change_ci95 is None:
        return f"{change}, without an interval: {point.reasons['change_ci95']}."
    low, high = point.change_ci95
    verdict = "no improvement shown"
    if low > 0:
        verdict = "an improvement"
    elif high < 0:
        verdict = "a deterioration"
    return f"{change} (95% CI, {low:.3f} to {high:.3f}): {verdict}.".replace("-", "−")
