"""Time the statistics of one test set, and the AUC's bootstrap as a plain loop.

    python -m benchmarks.evaluation [--patients 184 --positives 60 --resamples 10000]

Needs numpy, pandas, scipy and scikit-learn. CPU time of this process, so other work on the machine
counts little; the least of the repeats. The aim for the AUC's bootstrap is 500 ms. See
docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.statistics.auc_comparison import (
    bootstrap_difference_interval,
    null_range,
    paired_difference,
)
from radiotrain.statistics.resampling import bootstrap_interval, permutation_test

LOOPS = 200
"""Resamples that the plain loop draws; its time is scaled up to the others'."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patients", type=int, default=184)
    parser.add_argument("--positives", type=int, default=60)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=7)
    arguments = parser.parse_args()
    labels, first, second = draw_models(arguments.patients, arguments.positives)
    print(
        f"{arguments.patients} patients, {arguments.positives} of them positive,"
        f" {arguments.resamples:,} resamples; CPU ms, least of {arguments.repeats}\n"
    )
    for name, work in ways(labels, first, second, arguments.resamples).items():
        print(f"  {name:64s}{least_ms(work, arguments.repeats):10.0f}")
    loop = least_ms(lambda: loop_over_scikit_learn(labels, first), 1)
    scaled = loop * arguments.resamples / LOOPS
    print(f"  {f'a loop over roc_auc_score, from {LOOPS} resamples':64s}{scaled:10.0f}")


def draw_models(
    num: int, num_positive: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return labels and two correlated models' probabilities."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], [num_positive, num - num_positive])
    common = rng.normal(size=num) + 0.8 * labels
    first, second = (1 / (1 + np.exp(-common - 0.7 * rng.normal(size=num))) for _ in range(2))
    return labels, first, second


def ways(
    labels: NDArray[np.int64],
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    num: int,
) -> Mapping[str, Callable[[], object]]:
    """Return what is timed, by name."""
    table = make_table(labels, first, second)
    return {
        "bootstrap_interval, AUC (aim: under 500)": lambda: bootstrap_interval(
            labels, first, num_resamples=num
        ),
        "bootstrap_difference_interval, two models": lambda: bootstrap_difference_interval(
            labels, first, second, num_resamples=num
        ),
        "permutation_test": lambda: permutation_test(labels, first, num_permutations=num),
        "null_range, two models": lambda: null_range(
            labels, first, second, num_permutations=num, seed=0
        ),
        "paired_difference, DeLong": lambda: paired_difference(labels, first, second),
        "evaluate_table, two runs of two targets, everything": lambda: evaluate_table(
            table, num_resamples=num
        ),
    }


def make_table(
    labels: NDArray[np.int64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> pd.DataFrame:
    """Return a predictions table of both models and two targets; half of it validation."""
    parts = []
    for run, probability in (("first", first), ("second", second)):
        for target in ("ER", "PR"):
            for split in ("test", "validation"):
                ids = [f"{split}{i:03d}" for i in range(len(labels))]
                columns = {"run": run, "patient_id": ids, "target": target, "split": split}
                values = {"fold": None, "label": labels, "probability": probability.round(6)}
                parts.append(pd.DataFrame(columns | values))
    return pd.concat(parts, ignore_index=True)


def loop_over_scikit_learn(labels: NDArray[np.int64], scores: NDArray[np.float64]) -> list[float]:
    """Return AUCs of resamples drawn within each class, one after the other."""
    rng = np.random.default_rng(0)
    classes = [np.flatnonzero(labels == label) for label in (0, 1)]
    found = []
    for _ in range(LOOPS):
        rows = np.concatenate([rng.choice(members, len(members)) for members in classes])
        found.append(float(roc_auc_score(labels[rows], scores[rows])))
    return found


def least_ms(work: Callable[[], object], repeats: int) -> float:
    """Return the least CPU time of several calls, in ms."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return 1000 * min(found)


if __name__ == "__main__":
    main()
