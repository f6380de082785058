"""One probability for each patient of a split: the unit that every metric counts."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preprocessing.cohort import MISSING_LABEL


@dataclass(frozen=True)
class PatientScores:
    """Labels and probabilities of n patients with a known label, in the order of their ids.

    Parameters
    ----------
    labels
        (n,) int64 of 0 and 1.
    scores
        (n,) float64; the mean over folds where several folds predict a patient.
    num_missing_label
        Patients left out because their label is missing.
    fewest_predictions, most_predictions
        Predictions that were averaged for a patient; 0 where there are no patients.
    """

    patient_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    num_missing_label: int
    fewest_predictions: int
    most_predictions: int

    @property
    def num_patients(self) -> int:
        """How many patients have a known label."""
        return len(self.labels)

    @property
    def num_positive(self) -> int:
        """How many of them have label 1."""
        return int(self.labels.sum())


def patient_scores(df: pd.DataFrame, run: str, target: str, split: str) -> PatientScores:
    """Gather one run's predictions of one target in one split, averaged over folds.

    Parameters
    ----------
    df
        A table from `predictions.validate_predictions`.
    """
    chosen = (df["run"] == run) & (df["target"] == target) & (df["split"] == split)
    rows = df.loc[chosen, ["patient_id", "label", "probability"]]
    patients = rows["patient_id"].tolist()
    if len(set(patients)) == len(patients):
        return _of_one_each(patients, rows["label"].to_numpy(), rows["probability"].to_numpy())
    label_of: dict[str, int] = {}
    predicted: dict[str, list[float]] = {}
    # A plain loop: pandas takes ten times as long to group a few hundred rows.
    columns = (rows[c].tolist() for c in ("label", "probability"))
    for patient, label, probability in zip(patients, *columns, strict=True):
        label_of[patient] = label
        predicted.setdefault(patient, []).append(probability)
    known = sorted(patient for patient, label in label_of.items() if label != MISSING_LABEL)
    num_predictions = [len(predicted[patient]) for patient in known]
    return PatientScores(
        patient_ids=tuple(known),
        labels=np.array([label_of[patient] for patient in known], dtype=np.int64),
        scores=np.array([_mean(predicted[patient]) for patient in known], dtype=np.float64),
        num_missing_label=len(label_of) - len(known),
        fewest_predictions=min(num_predictions, default=0),
        most_predictions=max(num_predictions, default=0),
    )


def _of_one_each(
    patients: list[str], labels: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> PatientScores:
    """Return the scores where each patient has one prediction."""
    order = np.array(sorted(range(len(patients)), key=patients.__getitem__), dtype=np.intp)
    known = order[labels[order] != MISSING_LABEL]
    num = int(len(known) > 0)
    return PatientScores(
        patient_ids=tuple(patients[i] for i in known.tolist()),
        labels=labels[known].astype(np.int64),
        scores=probabilities[known].astype(np.float64),
        num_missing_label=len(patients) - len(known),
        fewest_predictions=num,
        most_predictions=num,
    )


def fold_scores(df: pd.DataFrame, run: str, target: str, split: str) -> tuple[PatientScores, ...]:
    """Gather the same predictions fold by fold; rows without a fold are one of their own.

    Folds without a patient of known label are left out.
    """
    chosen = df[(df["run"] == run) & (df["target"] == target) & (df["split"] == split)]
    parts = (part for _, part in chosen.groupby("fold", dropna=False, sort=True))
    scores = (patient_scores(part, run, target, split) for part in parts)
    return tuple(found for found in scores if found.num_patients)


def _mean(values: list[float]) -> float:
    """Sum exactly and round once: the order of the folds makes and breaks no ties."""
    return values[0] if len(values) == 1 else mean(values)
