"""Thresholds that come from other probabilities than those that they are used on.

A mean over networks varies less than the probability of one network, so that its positives lie
closer together. A threshold for a sensitivity of 0.90, chosen on single networks' validation
probabilities, reached 0.95 on average where five folds were averaged (`benchmarks/inference.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from preprocessing.cohort.cohort import MISSING_LABEL
from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.stability.replicates import ensembles, replicates


def with_threshold_cautions(
    table: pd.DataFrame, results: Sequence[TargetResult]
) -> tuple[TargetResult, ...]:
    """Return the results with a sentence where thresholds come from means over fewer networks.

    Parameters
    ----------
    table
        A table from `predictions.validate_predictions`.
    """
    known = replicates(table)
    members = {run: known.get(name, ()) for run, name in ensembles(table).items()}
    return tuple(
        replace(r, threshold_caution=_caution(table, r, members.get(r.run, ()))) for r in results
    )


def _caution(table: pd.DataFrame, result: TargetResult, members: Sequence[str]) -> str:
    if not any(p.threshold is not None or p.thresholds for p in result.operating_points):
        return ""
    if not result.num_patients:
        return ""
    least, most = _averaged(table, result, members, "validation")
    _, tested = _averaged(table, result, members, "test")
    if least >= tested:
        return ""
    num = f"{least}" if least == most else f"{least} to {most}"
    return (
        f"Thresholds come from validation probabilities averaged over {num}"
        f" prediction{'' if most == 1 else 's'} per patient, but are used on means over {tested}."
        " Means over more predictions vary less, so sensitivity and specificity can lie far from"
        " those chosen on validation: a sensitivity of 0.90 may become 0.95 or more. Calibration is affected"
        " as well (probabilities of the mean lie too near the prevalence, slope above 1); the AUC is not."
    )


def _averaged(
    table: pd.DataFrame, result: TargetResult, members: Sequence[str], split: str
) -> tuple[int, int]:
    """Return over how many predictions a patient's probability is a mean: fewest and most."""
    # The ensemble of a table that does not have its members is a run like any other.
    runs = members or (result.run,)
    chosen = (table["target"] == result.target) & (table["split"] == split)
    rows = table[chosen & table["run"].isin(runs) & (table["label"] != MISSING_LABEL)]
    # In a cross-validated test, each outer part has models of its own.
    counts = rows[["patient_id", *(["outer"] if "outer" in rows else [])]].value_counts(
        dropna=False
    )
    return int(counts.min()), int(counts.max())
