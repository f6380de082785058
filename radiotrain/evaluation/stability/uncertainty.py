"""How sure a run is of each test patient.

Axis legend: K predictions of a patient.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import xlogy

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.spreadsheet import as_text
from radiotrain.evaluation.stability.replicates import ensembles, on_one_scale, replicates
from radiotrain.evaluation.stability.results import PatientUncertainty

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
    """Return the uncertainty of every test patient, of all runs but models without a network.

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
