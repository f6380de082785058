"""How evenly single targets are dealt over folds and the test set, before and after swaps.

    python -m benchmarks.splits [--seeds 50]

Labels are drawn like those of Duke: ER 74 %, PR that mostly follows it, HER2 18 %, 2 % missing. For each
number of patients it prints, over the seeds, how often the largest difference between folds in the
positives or negatives of a target was 0, 1, 2, … patients; by how many patients the test set was off its
share at most; and the longest time of a deal.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from numpy.typing import NDArray

from radiotrain.split.balance import BALANCED
from radiotrain.split.split import deal

_FOLDS, _TEST = 5, 0.2


def draw_labels(seed: int, num: int) -> NDArray[np.int8]:
    """Return labels (N, 3) of ER, PR and HER2."""
    generator = np.random.default_rng([seed, num])
    er = generator.random(num) < 0.74
    pr = np.where(generator.random(num) < 0.75, er, generator.random(num) < 0.65)
    labels = np.stack([er, pr, generator.random(num) < 0.18], axis=1).astype(np.int8)
    labels[generator.random(labels.shape) < 0.02] = -1
    return labels


def main() -> None:
    """Print a line for each number of patients and way of dealing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=50)
    seeds = parser.parse_args().seeds
    print(
        "patients  swaps  deals by largest difference 0, 1, 2, …   HER2+ alone   test off   longest s"
    )
    for num in (134, 922, 5000):
        for dealing in ("", BALANCED):
            spreads, rare, off, longest = [], [], 0.0, 0.0
            for seed in range(seeds):
                labels = draw_labels(seed, num)
                begun = time.perf_counter()
                test, folds = deal(
                    labels, seed=seed, test_fraction=_TEST, num_folds=_FOLDS, dealing=dealing
                )
                longest = max(longest, time.perf_counter() - begun)
                counts = np.array([[(labels[f] == v).sum(axis=0) for v in (0, 1)] for f in folds])
                spreads.append(int(np.ptp(counts, axis=0).max()))
                rare.append(int(np.ptp(counts[:, 1, 2])))
                due = [(labels == v).sum(axis=0) * len(test) / num for v in (0, 1)]
                found = [(labels[test] == v).sum(axis=0) for v in (0, 1)]
                off = max(off, float(np.abs(np.array(found) - due).max()))
            print(
                f"{num:8d}  {'yes' if dealing else 'no':5s}  {np.bincount(spreads).tolist()!s:42s}"
                f" {np.bincount(rare).tolist()!s:20s} {off:5.2f}  {longest:6.2f}"
            )


if __name__ == "__main__":
    main()
