"""One probability per patient: the unit of every metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import mean

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from preprocessing.cohort.cohort import MISSING_LABEL


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
    parts
        In a cross-validated test, the patients of each outer part by its number, with the probabilities
        of its models; empty otherwise. Patients of several parts have those of the first one above.
    """

    patient_ids: tuple[str, ...]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    num_missing_label: int
    fewest_predictions: int
    most_predictions: int
    parts: Mapping[int, PatientScores] = field(default_factory=dict)

    @property
    def part_of(self) -> NDArray[np.int64]:
        """Number of the outer part (n,) that each patient's probability above is of."""
        first: dict[str, int] = {}
        for number, part in self.parts.items():
            for patient_id in part.patient_ids:
                first.setdefault(patient_id, number)
        return np.array([first[i] for i in self.patient_ids], dtype=np.int64)

    def only(self, chosen: NDArray[np.bool_]) -> PatientScores:
        """Return some of the patients, (n,) bool, in all outer parts."""
        kept = {i for i, keep in zip(self.patient_ids, chosen.tolist(), strict=True) if keep}
        return replace(
            self,
            patient_ids=tuple(i for i in self.patient_ids if i in kept),
            labels=self.labels[chosen],
            scores=self.scores[chosen],
            parts={
                number: part.only(np.array([i in kept for i in part.patient_ids], dtype=bool))
                for number, part in self.parts.items()
            },
        )

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
    if "outer" in df and df.loc[chosen, "outer"].notna().any():
        return _of_outer_parts(df[chosen], run, target, split)
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
    keys = ["outer", "fold"] if "outer" in df else ["fold"]
    parts = (part for _, part in chosen.groupby(keys, dropna=False, sort=True))
    scores = (patient_scores(part, run, target, split) for part in parts)
    return tuple(found for found in scores if found.num_patients)


def _of_outer_parts(rows: pd.DataFrame, run: str, target: str, split: str) -> PatientScores:
    """Gather each outer part's predictions, and of each patient those of the first part."""
    parts = {
        number: patient_scores(
            rows[rows["outer"] == number].drop(columns="outer"), run, target, split
        )
        for number in sorted(int(n) for n in rows["outer"].unique())
    }
    first: dict[str, tuple[int, float]] = {}
    for part in parts.values():
        columns = part.patient_ids, part.labels.tolist(), part.scores.tolist()
        for patient, label, score in zip(*columns, strict=True):
            first.setdefault(patient, (label, score))
    known = sorted(first)
    filled = [part for part in parts.values() if part.num_patients]
    return PatientScores(
        patient_ids=tuple(known),
        labels=np.array([first[patient][0] for patient in known], dtype=np.int64),
        scores=np.array([first[patient][1] for patient in known], dtype=np.float64),
        num_missing_label=rows["patient_id"].nunique() - len(known),
        fewest_predictions=min((part.fewest_predictions for part in filled), default=0),
        most_predictions=max((part.most_predictions for part in filled), default=0),
        parts=parts,
    )


def _mean(values: list[float]) -> float:
    """Sum exactly and round once: the order of the folds makes and breaks no ties."""
    return values[0] if len(values) == 1 else mean(values)
