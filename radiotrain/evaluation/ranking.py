"""AUC and its differences: over all patients, or over pairs within outer parts where there are such."""

from __future__ import annotations

import numpy as np

from radiotrain.evaluation.measure_outer import parts_of
from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.statistics.auc import Interval, auc, delong_variance
from radiotrain.evaluation.statistics.auc_interval import auc_interval
from radiotrain.evaluation.statistics.comparison import (
    Difference,
    paired_difference,
    unpaired_difference,
)
from radiotrain.evaluation.statistics.paired_permutation import null_range
from radiotrain.evaluation.statistics.pooled_auc import (
    dependence_factor,
    pooled_auc,
    pooled_difference,
    pooled_interval,
    pooled_null_range,
    pooled_unpaired_difference,
    pooled_variance,
)


def area_of(patients: PatientScores) -> float:
    """Return the AUC."""
    if patients.parts:
        return pooled_auc(parts_of(patients))
    return auc(patients.labels, patients.scores)


def variance_of(patients: PatientScores) -> float:
    """Return the variance of the AUC after DeLong."""
    if patients.parts:
        return pooled_variance(parts_of(patients))
    return delong_variance(patients.labels, patients.scores)


def interval_of(patients: PatientScores) -> Interval:
    """Return the score interval of the AUC."""
    if patients.parts:
        return pooled_interval(parts_of(patients))
    return auc_interval(patients.labels, patients.scores)


def effective_counts(patients: PatientScores) -> tuple[int, int]:
    """Return how many positives and negatives of a single test set give as narrow an interval."""
    factor = dependence_factor(parts_of(patients)) if patients.parts else 1.0
    counts = patients.num_positive, patients.num_patients - patients.num_positive
    return round(counts[0] / factor), round(counts[1] / factor)


def why_not_comparable(a: PatientScores, b: PatientScores) -> str:
    """Say why two runs have no difference of AUC although they were tested on the same patients.

    Empty where they have one.
    """
    if bool(a.parts) != bool(b.parts):
        return "one run was tested in outer parts and the other on a single test set"
    common = {*a.patient_ids} & {*b.patient_ids}
    if a.parts and common and _members(a) != _members(b):
        return "the runs' outer parts are of different patients"
    return ""


def paired(a: PatientScores, b: PatientScores) -> Difference:
    """Compare two runs on the same patients."""
    if a.parts:
        return pooled_difference(parts_of(a), parts_of(b))
    return paired_difference(a.labels, a.scores, b.scores)


def unpaired(a: PatientScores, b: PatientScores) -> Difference:
    """Compare two runs on different patients."""
    if a.parts:
        return pooled_unpaired_difference(parts_of(a), parts_of(b))
    return unpaired_difference(a.labels, a.scores, b.labels, b.scores)


def null_range_of(
    a: PatientScores, b: PatientScores, *, seed: int, num_permutations: int
) -> Interval:
    """Return the middle of the differences where the runs are swapped within patients at random."""
    drawn = {"seed": seed, "num_permutations": num_permutations}
    if a.parts:
        return pooled_null_range(parts_of(a), parts_of(b), **drawn)
    return null_range(a.labels, a.scores, b.scores, **drawn)


def _members(patients: PatientScores) -> list[tuple[tuple[str, ...], tuple[int, ...]]]:
    """Return each part's patients and labels, whatever the parts' numbers."""
    parts = patients.parts.values()
    return [(p.patient_ids, tuple(np.asarray(p.labels).tolist())) for p in parts if p.num_patients]
