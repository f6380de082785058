"""Uncertainty of single patients, and selective prediction.

Patients are deferred by the entropy of their mean probability, the highest first. Deferring at
random leaves the AUC as it is, on average, so that the AUC of all is what to compare with.

Axis legend: K predictions of a patient, N patients from the surest on, m positives, n negatives,
B resamples, G coverages.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.stability.replicates import ensembles, on_one_scale, replicates
from radiotrain.evaluation.stability.stability_results import (
    PatientUncertainty,
    Selective,
    SelectivePoint,
)
from radiotrain.evaluation.tables import as_text
from radiotrain.statistics.auc import Interval
from radiotrain.statistics.operating_point import confusion
from radiotrain.statistics.resampling import num_resamples_for

DRAW_COLUMNS = ("run", "patient_id", "target", "split", "draw", "probability")


def entropy(probability: ArrayLike) -> NDArray[np.float64]:
    """Return the entropy of a yes or no in nats, from 0 to log 2."""
    p = np.asarray(probability, dtype=np.float64)
    return np.asarray(-(xlogy(p, p) + xlogy(1 - p, 1 - p)), dtype=np.float64)


def mutual_information(predictions: ArrayLike) -> float:
    """Return the entropy of the mean of K predictions less their mean entropy, in nats.

    References
    ----------
    Houlsby et al. (2011), arXiv 1112.5745: disagreement between members. Depeweg et al., ICML
    2018: its place beside the entropy of the mean.
    """
    p = np.asarray(predictions, dtype=np.float64)
    # Rounding may put it a hair below its bound of 0.
    return max(0.0, float(entropy(p.mean()) - entropy(p).mean()))


def find_uncertainty(
    table: pd.DataFrame, results: Sequence[TargetResult], draws: pd.DataFrame | None = None
) -> tuple[PatientUncertainty, ...]:
    """Return the uncertainty of every test patient, of all runs but baseline models.

    Parameters
    ----------
    table
        A validated predictions table.
    results
        What was measured from it: the thresholds.
    draws
        Probabilities of augmented images, columns `DRAW_COLUMNS`; None where there are none.
    """
    found: list[PatientUncertainty] = []
    tested = table[table["split"] == "test"]
    rows_of = {(str(r), str(t)): rows for (r, t), rows in tested.groupby(["run", "target"])}
    members_of = _members(table)
    for result in results:
        key = result.run, result.target
        if not is_baseline(result.run) and key in rows_of:
            runs = members_of.get(result.run, (result.run,))
            parts = [rows_of[run, result.target] for run in runs if (run, result.target) in rows_of]
            if len(runs) > 1:
                parts = _as_averaged(table, runs, result.target)
            # One run's predictions of a patient follow another's, in the order of the table.
            source = parts[0] if len(parts) == 1 else pd.concat(parts).sort_index(kind="stable")
            found += _of_result(rows_of[key], source, result, runs, draws)
    return tuple(found)


def uncertainty_csv(patients: Sequence[PatientUncertainty]) -> str:
    """Return the text of ``uncertainty.csv``, one row for each run, target and test patient."""
    columns = [field.name for field in fields(PatientUncertainty)]
    buffer = io.StringIO()
    values = {name: [getattr(patient, name) for patient in patients] for name in columns}
    frame = pd.DataFrame(values, columns=columns)
    for column in ("run", "target", "patient_id"):
        frame[column] = frame[column].map(as_text)
    frame.to_csv(buffer, index=False)
    return buffer.getvalue()


def _as_averaged(table: pd.DataFrame, runs: tuple[str, ...], target: str) -> list[pd.DataFrame]:
    """Return the test rows of an ensemble's members as their mean takes them."""
    scaled = on_one_scale(table[table["run"].isin(runs) & (table["target"] == target)])
    tested = scaled[scaled["split"] == "test"]
    return [rows for _, rows in tested.groupby("run", sort=False)]


def _members(table: pd.DataFrame) -> dict[str, tuple[str, ...]]:
    """Return the ensembles, and the runs that each is the mean of."""
    known = replicates(table)
    return {run: known[name] for run, name in ensembles(table).items() if known.get(name)}


def _of_result(
    own: pd.DataFrame,
    source: pd.DataFrame,
    result: TargetResult,
    members: tuple[str, ...],
    draws: pd.DataFrame | None,
) -> list[PatientUncertainty]:
    if draws is not None:
        chosen = draws["run"].isin(members) & (draws["target"] == result.target)
        drawn = draws[chosen & (draws["split"] == "test")]
        source = drawn if len(drawn) else source
    label_of = dict(zip(own["patient_id"].tolist(), own["label"].tolist(), strict=True))
    mean_of = own.groupby("patient_id")["probability"].mean().to_dict()
    predictions: dict[str, list[float]] = {}
    for patient, probability in zip(
        source["patient_id"].tolist(), source["probability"].tolist(), strict=True
    ):
        predictions.setdefault(patient, []).append(probability)
    ids = sorted(label_of)
    entropies = entropy([mean_of[patient] for patient in ids]).tolist()
    return [
        _of_patient(result, patient, label_of[patient], mean_of[patient], predictions[patient], of)
        for patient, of in zip(ids, entropies, strict=True)
    ]


def _of_patient(
    result: TargetResult,
    patient: str,
    label: int,
    probability: float,
    predictions: list[float],
    uncertain: float,
) -> PatientUncertainty:
    several = len(predictions) > 1
    distance = None if result.threshold is None else probability - result.threshold
    right = None if distance is None or label not in (0, 1) else (distance >= 0) == (label == 1)
    return PatientUncertainty(
        run=result.run,
        target=result.target,
        patient_id=patient,
        label=label,
        probability=float(probability),
        num_predictions=len(predictions),
        sd=float(np.std(predictions, ddof=1)) if several else None,
        entropy=uncertain,
        mutual_information=mutual_information(predictions) if several else None,
        distance_to_threshold=distance,
        is_right=right,
    )


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
