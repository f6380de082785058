"""What becomes of the AUC and of thresholds from validation patients on another cohort."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.external.results import PointTransport, RateTransport, Transport
from radiotrain.evaluation.measure import FIXED_SENSITIVITY
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.statistics.auc import Interval, auc
from radiotrain.evaluation.statistics.comparison import unpaired_difference
from radiotrain.evaluation.statistics.operating_point import (
    confusion,
    sensitivity_threshold,
    wilson_interval,
    youden_threshold,
)

Points = Mapping[tuple[str, str], Sequence[PointTransport]]


def find_transports(table: pd.DataFrame, points: Points) -> tuple[Transport, ...]:
    """Compare each run and target on validation patients and on the cohort; baselines are left out.

    Parameters
    ----------
    table
        Validated predictions; the cohort's are part ``test``.
    points
        Run and target to thresholds that came with an exported model.
    """
    keys = table[["run", "target"]].drop_duplicates().to_numpy()
    return tuple(
        _transport(table, str(run), str(target), points.get((str(run), str(target)), ()))
        for run, target in keys
        if not is_baseline(str(run))
    )


def _transport(
    table: pd.DataFrame, run: str, target: str, points: Sequence[PointTransport]
) -> Transport:
    validation = patient_scores(table, run, target, "validation")
    external = patient_scores(table, run, target, "test")
    before = auc(validation.labels, validation.scores)
    after = auc(external.labels, external.scores)
    difference = interval = None
    if not math.isnan(before) and not math.isnan(after):
        found = unpaired_difference(
            external.labels, external.scores, validation.labels, validation.scores
        )
        difference = found.value
        interval = None if math.isnan(found.interval[0]) else found.interval
    moved = [_moved(point, external) for point in points] or _of_validation(validation, external)
    return Transport(
        run=run,
        target=target,
        num_validation=validation.num_patients,
        auc_validation=None if math.isnan(before) else before,
        auc_external=None if math.isnan(after) else after,
        auc_difference=difference,
        auc_difference_ci95=interval,
        points=tuple(moved),
    )


def _of_validation(validation: PatientScores, external: PatientScores) -> list[PointTransport]:
    y, x = validation.labels, validation.scores
    rules = {
        "Youden": youden_threshold(y, x),
        f"sensitivity {FIXED_SENSITIVITY:.2f}": sensitivity_threshold(y, x, FIXED_SENSITIVITY),
    }
    return [_at(rule, threshold, validation, external) for rule, threshold in rules.items()]


def _at(
    rule: str, threshold: float, validation: PatientScores, external: PatientScores
) -> PointTransport:
    if math.isnan(threshold):
        num = validation.num_patients
        why = f"only one class among {num} validation patients" if num else "no validation patients"
        return PointTransport(rule, None, reason=f"no threshold: {why}")
    own, theirs = (confusion(p.labels, p.scores, threshold) for p in (validation, external))
    return PointTransport(
        rule,
        threshold,
        rate_transport(own.tp, own.tp + own.fn, theirs.tp, theirs.tp + theirs.fn),
        rate_transport(own.tn, own.tn + own.fp, theirs.tn, theirs.tn + theirs.fp),
    )


def _moved(point: PointTransport, external: PatientScores) -> PointTransport:
    """Return a threshold that came with an export, on the cohort: its counts on validation are rounded."""
    if point.threshold is None or point.sensitivity is None or point.specificity is None:
        return point
    found = confusion(external.labels, external.scores, point.threshold)
    return PointTransport(
        point.rule,
        point.threshold,
        _beside(point.sensitivity, found.tp, found.tp + found.fn),
        _beside(point.specificity, found.tn, found.tn + found.fp),
    )


def _beside(known: RateTransport, hits: int, num: int) -> RateTransport:
    share = hits / num if num else None
    interval = wilson_interval(hits, num) if num else None
    difference = spread = None
    if share is not None and known.validation is not None and known.validation_ci95 is not None:
        assert interval is not None
        difference = share - known.validation
        spread = _newcombe(share, interval, known.validation, known.validation_ci95)
    return RateTransport(
        known.validation, known.validation_ci95, share, interval, difference, spread
    )


def rate_transport(hits_before: int, before: int, hits_after: int, after: int) -> RateTransport:
    """Return a share on validation, on the cohort, and external − validation."""
    share = hits_before / before if before else None
    interval = wilson_interval(hits_before, before) if before else None
    known = RateTransport(share, interval, None, None, None, None)
    return _beside(known, hits_after, after)


def _newcombe(p: float, of_p: Interval, q: float, of_q: Interval) -> Interval:
    """Return the hybrid score interval of p − q, of independent shares with Wilson's intervals.

    References
    ----------
    Newcombe, Statistics in Medicine 17 (1998) 873-890, method 10.
    """
    low = math.hypot(p - of_p[0], of_q[1] - q)
    high = math.hypot(of_p[1] - p, q - of_q[0])
    return p - q - low, p - q + high
