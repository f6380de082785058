"""How often 95 % intervals hold the truth: the tables of docs/statistics.md.

    python -m benchmarks.coverage [--repeats 1000 --seed 0]

Scores of negatives are normal, those of positives too, higher by what the AUC asks for. Each cell draws
that many test sets and asks the report's own functions for their intervals; an interval that is not
defined counts as one that misses. Shares of patients are not simulated, their coverage is a sum.
Needs numpy and scipy; about five minutes of CPU.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit
from scipy.stats import binom, norm

from radiotrain.statistics.auc import Interval, auc_interval, delong_interval
from radiotrain.statistics.auc_comparison import paired_difference, unpaired_difference
from radiotrain.statistics.influence import Sampling, average_precision_interval, brier_interval
from radiotrain.statistics.operating_point import wilson_interval

SIZES = (30, 60, 184, 400, 1000)
PREVALENCES = (0.1, 0.25, 0.5)
AREAS = (0.5, 0.7, 0.8, 0.9, 0.95)
WORSE_BY = 0.1
"""By how much the AUC of the second model is lower, down to 0.5."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Cell:
    """Test sets of one kind; `area` is the AUC, or the sensitivity where that is asked for."""

    num: int
    prevalence: float
    area: float

    @property
    def num_positive(self) -> int:
        """Positives where the split fixes them."""
        return round(self.num * self.prevalence)

    @property
    def shift(self) -> float:
        """By how much the scores of positives are higher."""
        return math.sqrt(2) * float(norm.ppf(self.area))

    @property
    def worse(self) -> Cell:
        """The same patients, read by the second model."""
        return Cell(self.num, self.prevalence, max(0.5, self.area - WORSE_BY))


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    error = 100 * math.sqrt(0.95 * 0.05 / arguments.repeats)
    print(f"{arguments.repeats} test sets a cell, seed {arguments.seed}; a share of 95 % has an")
    print(f"error of {error:.1f} %.\n")
    print_areas(arguments.repeats, arguments.seed)
    print_others(arguments.repeats, arguments.seed)


def print_areas(repeats: int, seed: int) -> None:
    """Print the coverage of the score interval and, in brackets, of DeLong's."""
    print("AUC, score interval (DeLong's):\n")
    print("| patients | positive | " + " | ".join(f"AUC {area}" for area in AREAS) + " |")
    print("|---" * (2 + len(AREAS)) + "|")
    for num, prevalence in _rows():
        cells = [Cell(num, prevalence, area) for area in AREAS]
        texts = []
        for cell in cells:
            tables = list(fixed_tables(cell, repeats, seed))
            ours, theirs = (
                coverage((interval(*table) for table in tables), cell.area)
                for interval in (auc_interval, delong_interval)
            )
            texts.append(f"{_marked(ours)} ({100 * theirs:.0f})")
        print(f"| {num} | {cells[0].num_positive} | " + " | ".join(texts) + " |", flush=True)


def print_others(repeats: int, seed: int) -> None:
    """Print the lowest and the highest coverage over the AUCs, for everything else."""
    print(
        "\nLowest and highest over these AUCs (of sensitivity: over sensitivities of the same values):\n"
    )
    print("| patients | positive | " + " | ".join(OTHERS) + " |")
    print("|---" * (2 + len(OTHERS)) + "|")
    for num, prevalence in _rows():
        cells = [Cell(num, prevalence, area) for area in AREAS]
        texts = []
        for covers in OTHERS.values():
            found = [covers(cell, repeats, seed) for cell in cells]
            texts.append(f"{_marked(min(found))}–{_marked(max(found))}")
        print(f"| {num} | {cells[0].num_positive} | " + " | ".join(texts) + " |", flush=True)


def _rows() -> Iterator[tuple[int, float]]:
    return ((num, prevalence) for num in SIZES for prevalence in PREVALENCES)


def _marked(share: float) -> str:
    """Return a percentage, bold outside 93 to 97."""
    text = f"{100 * share:.1f}"
    return text if 0.93 <= share <= 0.97 else f"**{text}**"


def coverage(intervals: Iterator[Interval], truth: float) -> float:
    """Return the share of intervals that hold the truth; NaN ends do not."""
    return float(np.mean([low <= truth <= high for low, high in intervals]))


def fixed_tables(cell: Cell, repeats: int, seed: int) -> Iterator[tuple[Labels, Floats]]:
    """Yield labels and scores of test sets with fixed numbers of positives and negatives."""
    rng = np.random.default_rng([seed, cell.num, cell.num_positive, round(100 * cell.area)])
    labels = np.repeat([1, 0], [cell.num_positive, cell.num - cell.num_positive])
    for _ in range(repeats):
        yield labels, rng.normal(size=cell.num) + cell.shift * labels


def random_tables(cell: Cell, repeats: int, seed: int) -> Iterator[tuple[Labels, Floats]]:
    """Yield test sets of patients as they come; those with fewer than two of a class are left out."""
    rng = np.random.default_rng([seed, cell.num, cell.num_positive, round(100 * cell.area), 1])
    for _ in range(repeats):
        labels = (rng.random(cell.num) < cell.prevalence).astype(np.int64)
        if 2 <= labels.sum() <= cell.num - 2:
            yield labels, rng.normal(size=cell.num) + cell.shift * labels


def brier(cell: Cell, repeats: int, seed: int, sampling: Sampling) -> float:
    """Return the coverage of the Brier score's interval."""

    def probability(scores: Floats) -> Floats:
        return np.asarray(expit(scores - cell.shift / 2 + logit(cell.prevalence)))

    share, grid, positive, negative = _densities(cell, sampling)
    losses = share * positive * (1 - probability(grid)) ** 2
    losses += (1 - share) * negative * probability(grid) ** 2
    truth = float(np.trapezoid(losses, grid))
    tables = _tables(cell, repeats, seed, sampling)
    return coverage((brier_interval(y, probability(x), sampling) for y, x in tables), truth)


def average_precision(cell: Cell, repeats: int, seed: int, sampling: Sampling) -> float:
    """Return the coverage of the interval of average precision."""
    share, grid, positive, _ = _densities(cell, sampling)
    hits, alarms = share * norm.sf(grid - cell.shift), (1 - share) * norm.sf(grid)
    truth = float(np.trapezoid(positive * hits / (hits + alarms), grid))
    tables = _tables(cell, repeats, seed, sampling)
    return coverage((average_precision_interval(y, x, sampling) for y, x in tables), truth)


def _tables(
    cell: Cell, repeats: int, seed: int, sampling: Sampling
) -> Iterator[tuple[Labels, Floats]]:
    draw = random_tables if sampling == "population" else fixed_tables
    return draw(cell, repeats, seed)


def _densities(cell: Cell, sampling: Sampling) -> tuple[float, Floats, Floats, Floats]:
    """Return the true share of positives, a grid of scores, and the densities of both classes."""
    share = cell.prevalence if sampling == "population" else cell.num_positive / cell.num
    grid = np.linspace(-8, 8 + cell.shift, 20_001)
    return share, grid, norm.pdf(grid - cell.shift), norm.pdf(grid)


def paired(cell: Cell, repeats: int, seed: int) -> float:
    """Return the coverage of the difference of two AUCs on the same patients, correlated by half."""
    rng = np.random.default_rng([seed, cell.num, cell.num_positive, round(100 * cell.area), 2])
    labels = np.repeat([1, 0], [cell.num_positive, cell.num - cell.num_positive])

    def intervals() -> Iterator[Interval]:
        for _ in range(repeats):
            common = rng.normal(size=cell.num)
            first, second = (
                (common + rng.normal(size=cell.num)) / math.sqrt(2) + of.shift * labels
                for of in (cell, cell.worse)
            )
            yield paired_difference(labels, first, second).interval

    return coverage(intervals(), cell.area - cell.worse.area)


def unpaired(cell: Cell, repeats: int, seed: int) -> float:
    """Return the coverage of the difference of two AUCs on different patients."""
    tables = zip(
        fixed_tables(cell, repeats, seed),
        fixed_tables(cell.worse, repeats, seed + 1),
        strict=True,
    )
    intervals = (unpaired_difference(*one, *other).interval for one, other in tables)
    return coverage(intervals, cell.area - cell.worse.area)


def sensitivity(cell: Cell, repeats: int, seed: int) -> float:
    """Return the coverage of Wilson's interval, summed over how many positives may be found."""
    num = cell.num_positive
    return float(
        sum(
            binom.pmf(hits, num, cell.area)
            for hits, (low, high) in enumerate(_wilson(num))
            if low <= cell.area <= high
        )
    )


@lru_cache
def _wilson(num: int) -> tuple[Interval, ...]:
    return tuple(wilson_interval(hits, num) for hits in range(num + 1))


OTHERS: Mapping[str, Callable[[Cell, int, int], float]] = {
    "Brier, population": partial(brier, sampling="population"),
    "Brier, within classes": partial(brier, sampling="within classes"),
    "average precision, population": partial(average_precision, sampling="population"),
    "average precision, within classes": partial(average_precision, sampling="within classes"),
    "paired difference": paired,
    "unpaired difference": unpaired,
    "sensitivity": sensitivity,
}

if __name__ == "__main__":
    main()
