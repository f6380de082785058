"""Predictions tables small enough to count by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.report.metrics_json import metrics_json
from radiotrain.evaluation.results import Evaluation

Patients = Sequence[tuple[int, float]]

VALIDATION: Patients = [(0, 0.1), (0, 0.4), (1, 0.35), (1, 0.6), (1, 0.8)]
TEST: Patients = [(0, 0.2), (0, 0.7), (1, 0.3), (1, 0.6), (1, 0.9)]

PATIENTS = st.lists(
    st.tuples(st.sampled_from([-1, 0, 1]), st.sampled_from([0.0, 0.2, 0.5, 0.5000001, 1.0])),
    max_size=8,
)


def make_rows(
    patients: Patients,
    split: str,
    *,
    run: str = "net",
    target: str = "ER",
    fold: int | None = None,
) -> pd.DataFrame:
    """One row for each (label, probability), patients named after their split."""
    return pd.DataFrame(
        {
            "run": run,
            "patient_id": [f"{split}-{i:03d}" for i in range(len(patients))],
            "target": target,
            "split": split,
            "fold": pd.Series([fold] * len(patients), dtype="Int64"),
            "label": [label for label, _ in patients],
            "probability": [probability for _, probability in patients],
        }
    )


def evaluate(*tables: pd.DataFrame, seed: int = 0) -> Evaluation:
    return evaluate_table(pd.concat(tables, ignore_index=True), seed=seed, num_resamples=200)


def strict_json(evaluation: Evaluation, extra: dict[str, Any] | None = None) -> dict[str, Any]:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    document: dict[str, Any] = json.loads(metrics_json(evaluation, extra), parse_constant=refuse)
    return document


def good_cohort(num: int, shift: float, seed: int) -> list[tuple[int, float]]:
    rng = np.random.default_rng(seed)
    labels = np.arange(num) % 2
    scores = 1 / (1 + np.exp(-(rng.normal(size=num) + shift * labels)))
    return [(int(y), float(x)) for y, x in zip(labels, scores, strict=True)]
