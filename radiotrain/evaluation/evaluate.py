"""Evaluate a predictions table."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd

from preprocessing.common.errors import InputError
from radiotrain.evaluation.cautions import find_cautions, with_threshold_cautions
from radiotrain.evaluation.family import TestPlan, correct_for_family, headline_pairs
from radiotrain.evaluation.leak_checks import check_table
from radiotrain.evaluation.measure import measure
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.results import Evaluation, TargetResult
from radiotrain.evaluation.run_pairs import choose_pairs, compare_runs
from radiotrain.statistics.influence import SAMPLINGS, Sampling

_FEWEST_RESAMPLES = 100


def evaluate_table(
    df: pd.DataFrame,
    *,
    seed: int = 0,
    num_resamples: int = 10_000,
    on_result: Callable[[], None] | None = None,
    plan: TestPlan | None = None,
    cohort: str = "",
    sampling: Sampling = "population",
) -> Evaluation:
    """Evaluate every run and target of a predictions table.

    Parameters
    ----------
    df
        A predictions table; it is validated here.
    seed, num_resamples
        Of the bootstrap, and of the permuted labels. Each run and target starts from the seed again,
        so that but for corrected p a result does not depend on what else is in the table.
    on_result
        Called after each run and target.
    plan
        Which results were named as primary; None: none.
    cohort
        Collection of the patients, where it is known: published results stand beside those of the same
        one only.
    sampling
        ``population`` where test patients came as they came; ``within classes`` where the split fixed
        how many positives and negatives there are. It says which interval of Brier score and average
        precision is shown; both are in the results.

    Returns
    -------
    Results of each run and target, comparisons and warnings.

    Raises
    ------
    InputError
        If the table cannot be used; see `predictions.validate_predictions`.
    """
    if num_resamples < _FEWEST_RESAMPLES:
        raise InputError(
            f"num_resamples is {num_resamples}, expected {_FEWEST_RESAMPLES} or more:"
            " the ends of a 95 % interval need them"
        )
    if sampling not in SAMPLINGS:
        raise InputError(f"sampling is {sampling!r}, expected one of {', '.join(SAMPLINGS)}")
    table = validate_predictions(df)
    leak_checks = check_table(table)
    leaks = [finding for check in leak_checks for finding in check.findings]
    results: list[TargetResult] = []
    for run, target in table[["run", "target"]].drop_duplicates().to_numpy():
        found = measure(
            table, str(run), str(target), seed=seed, num_resamples=num_resamples, sampling=sampling
        )
        results.append(found)
        if on_result is not None:
            on_result()
    plan = plan or TestPlan()
    judged, family = correct_for_family(
        with_threshold_cautions(table, results),
        headline_pairs(table),
        plan,
        num_resamples,
    )
    cautions = find_cautions(
        table, judged, family=family, cohort=cohort, num_resamples=num_resamples
    )
    primary = frozenset(plan.primary)
    left_out = [pairs.note for pairs in choose_pairs(table, results, primary) if pairs.note]
    return Evaluation(
        results=judged,
        seed=seed,
        num_resamples=num_resamples,
        comparisons=compare_runs(
            table, results, seed=seed, num_resamples=num_resamples, primary=primary
        ),
        warnings=(*leaks, *cautions, *left_out),
        leak_checks=leak_checks,
        family=family,
        cohort=cohort,
        sampling=sampling,
    )
