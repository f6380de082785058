"""All reproducibility analyses of one evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pandas as pd

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.results import Evaluation, TargetResult
from radiotrain.evaluation.stability.spread import find_spreads, pair_noise, repeated_trainings
from radiotrain.evaluation.stability.stability_results import (
    PatientUncertainty,
    Selective,
    Spread,
    Stability,
    patients_of,
)
from radiotrain.evaluation.stability.uncertainty import find_uncertainty, selective_prediction

_MOST_RESAMPLES = 2_000


def find_stability(
    evaluation: Evaluation, table: pd.DataFrame, draws: pd.DataFrame | None = None
) -> Stability:
    """Return spreads, noise floors, uncertainty and selective prediction.

    Parameters
    ----------
    evaluation
        From `evaluate.evaluate_table`.
    table
        The validated table it was computed from.
    draws
        Probabilities of augmented images, see `uncertainty.DRAW_COLUMNS`.
    """
    spreads = find_spreads(table, evaluation.results)
    patients = find_uncertainty(table, evaluation.results, draws)
    return Stability(
        spreads=spreads,
        pairs=tuple(pair_noise(c, table, spreads) for c in evaluation.comparisons),
        patients=patients,
        selective=tuple(_selective(evaluation, spreads, patients)),
        notes=(
            *repeated_trainings(spreads),
            *_notes(table, patients),
            *_outer_notes(evaluation.results),
        ),
    )


def _selective(
    evaluation: Evaluation, spreads: Sequence[Spread], patients: Sequence[PatientUncertainty]
) -> Iterator[Selective]:
    """Judge networks, and of replicates their ensemble only: it stands for them."""
    of_result = patients_of(patients)
    for result in evaluation.results:
        # Its AUCs are over all patients that are kept, whose outer parts differ in level.
        if is_baseline(result.run) or _is_member(result, spreads) or result.outer:
            continue
        mine = [p for p in of_result.get((result.run, result.target), ()) if p.label in (0, 1)]
        yield selective_prediction(
            result.run,
            result.target,
            [p.label for p in mine],
            [p.probability for p in mine],
            [p.entropy for p in mine],
            result.threshold,
            num_resamples=min(evaluation.num_resamples, _MOST_RESAMPLES),
            seed=evaluation.seed,
        )


def _is_member(result: TargetResult, spreads: Sequence[Spread]) -> bool:
    return any(
        s.ensemble is not None
        and s.target == result.target
        and result.run in {m.run for m in s.members}
        for s in spreads
    )


def _outer_notes(results: Sequence[TargetResult]) -> Iterator[str]:
    if any(result.outer for result in results):
        yield (
            "Selective prediction is not computed for a cross-validated test: the probabilities of different"
            " outer parts are not on one scale."
        )


def _notes(table: pd.DataFrame, patients: Sequence[PatientUncertainty]) -> Iterator[str]:
    if "configuration" not in table:
        yield (
            "The predictions table has no column configuration, so replicates are not known: give"
            " runs, or the columns configuration and seed."
        )
    alone = {(p.run, p.target) for p in patients if p.num_predictions == 1}
    if alone:
        runs = list(dict.fromkeys(run for run, _ in sorted(alone)))
        yield (
            f"One prediction per patient in {', '.join(runs)}: the entropy of the probability is known"
            " there, the disagreement between trainings is not."
        )
