"""Variance across seeds and folds.

Axis legend: A seeds, B folds.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import chi2

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.measure import Values
from radiotrain.evaluation.results import Comparison, TargetResult
from radiotrain.evaluation.stability.replicates import ensembles, replicates
from radiotrain.evaluation.stability.stability_results import Member, PairNoise, Spread, Standing
from radiotrain.statistics.auc import Interval


@dataclass(frozen=True)
class Components:
    """Variances of one number over seeds and folds, truncated at 0.

    Parameters
    ----------
    seed, fold, residual
        Variance that goes with the seed, with the fold, and with neither (their interaction too).
    degrees_of_freedom
        Of their sum, after Satterthwaite.
    """

    seed: float
    fold: float
    residual: float
    degrees_of_freedom: float

    @property
    def sd(self) -> float:
        """Standard deviation of a training with another seed and another fold."""
        return math.sqrt(self.seed + self.fold + self.residual)


def crossed_components(values: ArrayLike) -> Components:
    """Return the variance components of a two-way layout with one value a cell, both random.

    Parameters
    ----------
    values
        (A, B), seeds by folds, at least 2 of each.

    References
    ----------
    Searle, Casella, McCulloch, Variance Components (1992), section 4.3: estimates from the mean
    squares. Satterthwaite, Biometrics Bulletin 2 (1946) 110-114: degrees of freedom of their sum.
    """
    x = np.asarray(values, dtype=np.float64)
    num_seeds, num_folds = x.shape
    rows, columns, overall = x.mean(axis=1), x.mean(axis=0), x.mean()
    of_seed = num_folds * float(((rows - overall) ** 2).sum()) / (num_seeds - 1)
    of_fold = num_seeds * float(((columns - overall) ** 2).sum()) / (num_folds - 1)
    left = x - rows[:, None] - columns[None, :] + overall
    degrees = (num_seeds - 1) * (num_folds - 1)
    residual = float((left**2).sum()) / degrees
    parts = (
        (of_seed / num_folds, num_seeds - 1),
        (of_fold / num_seeds, num_folds - 1),
        (residual * (1 - 1 / num_seeds - 1 / num_folds), degrees),
    )
    spread = sum(part**2 / df for part, df in parts)
    total = sum(part for part, _ in parts)
    return Components(
        seed=max(0.0, (of_seed - residual) / num_folds),
        fold=max(0.0, (of_fold - residual) / num_seeds),
        residual=residual,
        degrees_of_freedom=total**2 / spread if spread else float(x.size - 1),
    )


def sd_interval(sd: float, degrees_of_freedom: float, confidence: float = 0.95) -> Interval:
    """Return the interval of a standard deviation of normal values, by chi-square.

    (NaN, NaN) without a degree of freedom.
    """
    if not degrees_of_freedom > 0:
        return math.nan, math.nan
    tail = (1 - confidence) / 2
    low = sd * math.sqrt(degrees_of_freedom / chi2.ppf(1 - tail, degrees_of_freedom))
    high = sd * math.sqrt(degrees_of_freedom / chi2.ppf(tail, degrees_of_freedom))
    return low, high


Z95 = 1.959963984540054
_COMPONENTS = ("variance_seed", "variance_fold", "variance_residual")


def find_spreads(table: pd.DataFrame, results: Sequence[TargetResult]) -> tuple[Spread, ...]:
    """Return the spread of each configuration and target with two or more runs.

    Parameters
    ----------
    table
        A validated predictions table.
    results
        What was measured from it.
    """
    found = {(r.run, r.target): r for r in results}
    means = {name: run for run, name in ensembles(table).items()}
    spreads = []
    for name, runs in replicates(table).items():
        for target in dict.fromkeys(r.target for r in results):
            members = [_member(table, found[run, target]) for run in runs if (run, target) in found]
            if len(members) > 1:
                ensemble = means.get(name)
                spreads.append(_spread(name, target, members, ensemble))
    return tuple(spreads)


def pair_noise(comparison: Comparison, table: pd.DataFrame, spreads: Sequence[Spread]) -> PairNoise:
    """Say whether a difference is larger than that between repeated trainings.

    The floor of two configurations is 1.96 times the root of the sum of their variances; a
    baseline model is fitted without randomness and counts as 0.
    """
    who = comparison.target, comparison.run, comparison.other
    sides = [_side(run, comparison.target, table, spreads) for run in (who[1], who[2])]
    unknown = [side for side in sides if isinstance(side, str)]
    known = [side for side in sides if isinstance(side, Spread)]
    if unknown or not known:
        why = "; ".join(dict.fromkeys(unknown)) or "no model here has random training"
        return PairNoise(*who, "not known", f"Noise floor not known: {why}.")
    floor, interval = _floor_of(known)
    if comparison.difference is None:
        return PairNoise(*who, "not known", "No difference to judge.", floor, interval)
    standing, words = _standing(abs(comparison.difference), floor, interval)
    varied = {word for s in known for word in s.over.split(" and ")}
    over = " and ".join(sorted(varied, reverse=True))
    range_of = f" (95% CI, {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    sentence = (
        f"Noise floor {floor:.3f}{range_of}: this difference is {words} that of another {over}"
        f"{', but the estimate of the floor is too rough to judge' if standing == 'about' else ''}."
    )
    return PairNoise(*who, standing, sentence, floor, interval)


def repeated_trainings(spreads: Sequence[Spread]) -> Iterator[str]:
    """Say where members share seed and fold, so that they are no independent trainings."""
    for spread in spreads:
        places = Counter((m.seed, m.fold) for m in spread.members if m.seed is not None)
        twice = [place for place, num in places.items() if num > 1]
        if twice:
            yield (
                f"{spread.target}, {spread.configuration}: {len(twice)} pair"
                f"{'' if len(twice) == 1 else 's'} of seed and fold occur more than once; if these"
                " are copies of one run, the spread is too small."
            )


def _member(table: pd.DataFrame, result: TargetResult) -> Member:
    rows = table[(table["run"] == result.run) & (table["target"] == result.target)]
    return Member(
        result.run,
        _the_one(rows["seed"]) if "seed" in rows else None,
        _the_one(rows["fold"]),
        result.auc,
        result.auc_validation,
    )


def _the_one(values: pd.Series[Any]) -> int | None:
    found = values.dropna().unique()
    return int(found[0]) if len(found) == 1 else None


def _over(members: Sequence[Member]) -> str:
    words = [name for name in ("seed", "fold") if len({getattr(m, name) for m in members}) > 1]
    return " and ".join(words) or "training"


def _spread(name: str, target: str, members: Sequence[Member], ensemble: str | None) -> Spread:
    values = Values()
    areas = np.array([m.auc for m in members if m.auc is not None])
    validation = np.array([m.auc_validation for m in members if m.auc_validation is not None])
    few = "fewer than two runs have an AUC on test"
    enough = len(areas) > 1
    values.put("mean", float(areas.mean()) if enough else None, few)
    values.put("sd", float(areas.std(ddof=1)) if enough else None, few)
    values.put("lowest", float(areas.min()) if enough else None, few)
    values.put("highest", float(areas.max()) if enough else None, few)
    few_validation = "fewer than two runs have an AUC on validation"
    both = len(validation) > 1
    values.put("mean_validation", float(validation.mean()) if both else None, few_validation)
    values.put("sd_validation", float(validation.std(ddof=1)) if both else None, few_validation)
    _put_training(values, members, areas, few)
    return Spread(
        name, target, _over(members), tuple(members), ensemble, reasons=values.reasons,
        **values.defined,
    )  # fmt: skip


def _put_training(
    values: Values, members: Sequence[Member], areas: np.ndarray[Any, Any], few: str
) -> None:
    """Keep the components where they can be told apart, and the spread of one more training."""
    sd = float(areas.std(ddof=1)) if len(areas) > 1 else math.nan
    degrees = float(len(areas) - 1)
    crossed = _crossed(members)
    if crossed is None:
        for name in _COMPONENTS:
            values.reasons[name] = "not every seed was trained once on every one of several folds"
    else:
        parts = crossed_components(crossed)
        sd, degrees = parts.sd, parts.degrees_of_freedom
        for name, part in zip(_COMPONENTS, (parts.seed, parts.fold, parts.residual), strict=True):
            values.put(name, part, few)
    interval = sd_interval(sd, degrees)
    values.put("sd_of_training", sd, few)
    values.put("sd_of_training_ci95", interval, few)
    floor, low, high = (_cut(math.sqrt(2) * end) for end in (sd, *interval))
    values.put("noise_floor", floor, few)
    values.put("noise_floor_ci95", (low, high), few)


def _cut(sd: float) -> float:
    """Return the floor that belongs to the SD of a difference; no AUCs differ by more than 1."""
    return math.nan if math.isnan(sd) else min(1.0, Z95 * sd)


def _crossed(members: Sequence[Member]) -> list[list[float]] | None:
    """Return AUCs, seeds by folds, where each pair was trained once; else None."""
    area = {(m.seed, m.fold): m.auc for m in members}
    seeds = sorted({m.seed for m in members if m.seed is not None})
    folds = sorted({m.fold for m in members if m.fold is not None})
    if min(len(seeds), len(folds)) < 2 or len(members) != len(seeds) * len(folds):
        return None
    rows = [[area.get((seed, fold)) for fold in folds] for seed in seeds]
    complete = [[value for value in row if value is not None] for row in rows]
    return complete if all(len(row) == len(folds) for row in complete) else None


def _side(
    run: str, target: str, table: pd.DataFrame, spreads: Sequence[Spread]
) -> Spread | str | None:
    """Return a run's spread, why it has none, or None of a model that is fitted without randomness."""
    if is_baseline(run):
        return None
    for spread in spreads:
        if spread.target == target and run in {m.run for m in spread.members}:
            if spread.noise_floor is None:
                return spread.reasons["noise_floor"]
            return spread
        if spread.target == target and run == spread.ensemble:
            return f"{run} is a single ensemble, and an ensemble varies less than its members"
    if "configuration" not in table:
        return "the table does not say which runs are replicates (columns configuration and seed)"
    return f"{run} was trained once"


def _floor_of(known: Sequence[Spread]) -> tuple[float, tuple[float, float] | None]:
    """Combine one or two spreads: one alone, beside a model without randomness, counts once."""
    if len(known) == 2 and known[0] is known[1] and known[0].noise_floor is not None:
        return known[0].noise_floor, known[0].noise_floor_ci95
    variances = [(s.sd_of_training or 0.0) ** 2 for s in known]
    total = sum(variances)
    degrees = [_degrees(s) for s in known]
    spread = sum(v**2 / df for v, df in zip(variances, degrees, strict=True))
    floor = _cut(math.sqrt(total))
    if not spread:
        return floor, None
    low, high = sd_interval(math.sqrt(total), total**2 / spread)
    return floor, (_cut(low), _cut(high))


def _degrees(spread: Spread) -> float:
    crossed = _crossed(spread.members)
    if crossed is not None:
        return crossed_components(crossed).degrees_of_freedom
    return float(sum(m.auc is not None for m in spread.members) - 1)


def _standing(
    size: float, floor: float, interval: tuple[float, float] | None
) -> tuple[Standing, str]:
    low, high = interval or (floor, floor)
    if size <= low:
        return "within", "within"
    if size > high:
        return "beyond", "larger than"
    if size <= floor:
        return "about", "within"
    return "about", "larger than"
