"""Which runs are compared: all pairs of a few, and of many each with the references only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.stability.replicates import ensembles

MOST_ALL_PAIRS = 10
"""Runs of a target, baselines not counted, up to which all pairs are compared."""

Pair = tuple[TargetResult, TargetResult]


@dataclass(frozen=True)
class ChosenPairs:
    """The pairs of one target.

    Parameters
    ----------
    num_left_out
        Pairs that would be compared as well if the runs were fewer.
    references
        The runs that all others are compared with; empty where all pairs are compared.
    why
        What makes the last of them a reference, in words.
    """

    target: str
    pairs: tuple[Pair, ...]
    num_left_out: int = 0
    references: tuple[str, ...] = ()
    why: str = ""

    @property
    def note(self) -> str:
        """A sentence for a person, empty where nothing was left out."""
        if not self.num_left_out:
            return ""
        num = self.num_left_out + len(self.pairs)
        return (
            f"{self.target}: {len(self.pairs):,} of {num:,} pairs of runs are compared. With more"
            f" than {MOST_ALL_PAIRS} runs of a target, each is compared with"
            f" {' and '.join(self.references)} only ({self.why}): every comparison costs the others"
            " power by the correction."
        )


def choose_pairs(
    table: pd.DataFrame,
    results: Sequence[TargetResult],
    primary: frozenset[tuple[str, str]] = frozenset(),
) -> tuple[ChosenPairs, ...]:
    """Return which pairs of runs are compared, for each target; no test result takes part.

    Not two baselines, nor two runs of one configuration or one of them with their mean: which of
    those is better is not asked. Of more than `MOST_ALL_PAIRS` runs, each is compared with the
    primary ones and with the best on validation; where no run has a validation AUC, with the
    first of the table in its place.

    Parameters
    ----------
    table
        A validated predictions table.
    results
        What was measured from it.
    primary
        (run, target) named as primary before the test.
    """
    configurations = _configurations(table)
    stand_ins = ensembles(table)
    found = []
    for target in dict.fromkeys(r.target for r in results):
        ours = [r for r in results if r.target == target]
        pairs = tuple(_sensible(ours, configurations))
        networks = [r for r in ours if not is_baseline(r.run)]
        if len(networks) <= MOST_ALL_PAIRS:
            found.append(ChosenPairs(target, pairs))
            continue
        named = [r.run for r in networks if (r.run, target) in primary]
        best, why = _best(networks, stand_ins, configurations)
        references = tuple(dict.fromkeys([*named, best]))
        kept = tuple(p for p in pairs if p[0].run in references or p[1].run in references)
        words = f"primary, and {why}" if named and best not in named else why
        if best in named:
            words = "primary"
        found.append(ChosenPairs(target, kept, len(pairs) - len(kept), references, words))
    return tuple(found)


def _sensible(ours: Sequence[TargetResult], configurations: dict[str, str]) -> Iterator[Pair]:
    for first, second in combinations(ours, 2):
        if is_baseline(first.run) and is_baseline(second.run):
            continue
        configuration = configurations.get(first.run)
        if configuration and configuration == configurations.get(second.run):
            continue
        yield first, second


def _best(
    networks: Sequence[TargetResult], stand_ins: dict[str, str], configurations: dict[str, str]
) -> tuple[str, str]:
    """Return the best run on validation, and why it is; an ensemble stands for its members."""
    with_mean = {stand_ins[r.run] for r in networks if r.run in stand_ins}
    chosen_from = [
        r for r in networks if r.run in stand_ins or configurations.get(r.run) not in with_mean
    ]
    known = [r for r in chosen_from if r.auc_validation is not None]
    if not known:
        return chosen_from[0].run, "the first of the table, as no run has a validation AUC"
    best = max(known, key=lambda r: r.auc_validation or 0.0)
    return best.run, f"the best on validation, AUC {best.auc_validation:.3f}"


def _configurations(table: pd.DataFrame) -> dict[str, str]:
    """Return each run's configuration, where the table says one."""
    if "configuration" not in table:
        return {}
    rows = table[["run", "configuration"]].drop_duplicates().to_numpy()
    return {str(run): str(name) for run, name in rows}
