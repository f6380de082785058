"""Error rates of a whole report: tables without signal, and with some, judged as a report judges them.

    python -m benchmarks.inference [--reports 1000 --seed 0 --whole 10]

Needs numpy, pandas, scipy and scikit-learn; some 5 minutes of CPU time. Each report has 184 test
patients and three targets with the shares of positives of ER, PR and HER2 in Duke-Breast-Cancer-MRI.
Networks of one target read the same patients, so their scores correlate by 0.5. Verdicts,
corrections and warnings are those of the program (`correct_for_family`, `judge`, `find_cautions`);
only what they do not read is not measured (bootstraps, calibration). `--whole` reports are
evaluated by `evaluate_table` as well, and their verdicts and warnings have to be the same. "Before"
are the rules that stood before decision 30 (docs/decisions/0030-which-claims-are-corrected.md), kept below.

See docs/statistics.md, "Error rates of a whole report".
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from scipy.stats import norm

from radiotrain.evaluation.cautions import find_cautions, with_threshold_cautions
from radiotrain.evaluation.evaluate import evaluate_table
from radiotrain.evaluation.family import TestPlan, correct_for_family, headline_pairs
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.report.conclusions import judge
from radiotrain.evaluation.results import TargetResult
from radiotrain.statistics.auc import auc, auc_interval, delong_interval
from radiotrain.statistics.auc_comparison import holm_adjusted
from radiotrain.statistics.operating_point import (
    OperatingPoint,
    compare_at_equal_rate,
    mcnemar_p_value,
    sensitivity_threshold,
    wilson_interval,
    youden_threshold,
)
from radiotrain.statistics.power import smallest_area_above
from radiotrain.statistics.resampling import permutation_test

NUM_TEST = 184
NUM_VALIDATION = 148
NUM_DEVELOPMENT = 738
SHARES = {"ER": 0.74, "PR": 0.65, "HER2": 0.18}
CORRELATION = 0.5
NUM_PERMUTATIONS = 499
"""With these the least p of nine results is 0.018 after correction."""


@dataclass(frozen=True)
class Scenario:
    """What tables are drawn from.

    Parameters
    ----------
    area
        True AUC of every network.
    num_networks
        Runs of each target.
    num_folds
        Networks whose mean a test patient gets; with several, each validates its own fold.
    """

    name: str
    area: float
    num_networks: int
    num_folds: int = 1


SCENARIOS = (
    Scenario("no signal, 1 network a target", 0.5, 1),
    Scenario("no signal, 3 networks a target", 0.5, 3),
    Scenario("no signal, 1 run of 5 folds", 0.5, 1, 5),
    Scenario("AUC 0.65, 1 network a target", 0.65, 1),
    Scenario("AUC 0.65, 3 networks a target", 0.65, 3),
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reports", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--whole", type=int, default=10)
    arguments = parser.parse_args()
    begin = time.process_time()
    print(f"{arguments.reports} reports each, seed {arguments.seed}; in brackets the 95% CI\n")
    print("| | before | now |\n|---|---|---|")
    for scenario in SCENARIOS:
        rng = np.random.default_rng([arguments.seed, SCENARIOS.index(scenario)])
        counts = [judged(draw_table(scenario, rng)) for _ in range(arguments.reports)]
        print(f"| **{scenario.name}** | | |")
        for line in lines(scenario, counts):
            print(line)
    rng = np.random.default_rng([arguments.seed, 100])
    print(
        f"| **three equally good networks (AUC 0.7)** | | |\n{mcnemar_line(arguments.reports, rng)}"
    )
    rng = np.random.default_rng([arguments.seed, 101])
    print(f"| **five folds' mean (AUC 0.7)** | | |\n{threshold_line(arguments.reports, rng)}")
    print(f"\nminimum detectable AUC (80% power): {detectable()}")
    check_whole(arguments.whole, arguments.seed)
    print(f"{(time.process_time() - begin) / 60:.1f} minutes of CPU time")


def draw_table(scenario: Scenario, rng: np.random.Generator) -> pd.DataFrame:
    """Draw a predictions table: test patients, and validation patients of the same population."""
    parts = []
    for target, share in SHARES.items():
        for split in ("test", "validation"):
            parts += _rows_of_split(scenario, target, share, split, rng)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    table = pd.DataFrame(columns)
    return table.astype(
        {"run": "str", "patient_id": "str", "target": "str", "split": "str", "fold": "Int64"}
    )


def _rows_of_split(
    scenario: Scenario, target: str, share: float, split: str, rng: np.random.Generator
) -> Iterator[dict[str, NDArray[np.generic]]]:
    pooled = NUM_VALIDATION if scenario.num_folds == 1 else NUM_DEVELOPMENT
    num = NUM_TEST if split == "test" else pooled
    labels = np.zeros(num, dtype=np.int64)
    labels[: round(share * num)] = 1
    fold_of = np.arange(num) % scenario.num_folds
    for network, scores in enumerate(
        draw_scores(labels, scenario.area, scenario.num_networks, scenario.num_folds, rng)
    ):
        for fold in range(scenario.num_folds):
            rows = np.arange(num) if split == "test" else np.flatnonzero(fold_of == fold)
            yield {
                "run": np.repeat(f"{target} network {network}", len(rows)),
                "patient_id": np.array([f"{split}-{i}" for i in rows]),
                "target": np.repeat(target, len(rows)),
                "split": np.repeat(split, len(rows)),
                "fold": np.repeat(fold, len(rows)),
                "label": labels[rows],
                "probability": expit(scores[fold][rows]),
            }


def draw_scores(
    labels: NDArray[np.int64],
    area: float,
    num_networks: int,
    num_folds: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw scores (networks, folds, patients), normal within a class, that share a part of each patient."""
    num = len(labels)
    shift = math.sqrt(2) * float(norm.ppf(area)) * labels
    common = math.sqrt(CORRELATION) * rng.normal(size=num)
    own = math.sqrt(1 - CORRELATION) * rng.normal(size=(num_networks, num_folds, num))
    # Networks of different folds differ in their levels.
    levels = 0.3 * rng.normal(size=(num_networks, num_folds, 1)) if num_folds > 1 else 0
    scores: NDArray[np.float64] = common + own + shift + levels
    return scores


@dataclass(frozen=True)
class Counts:
    """What one report says, by the rules before and now."""

    before: dict[str, float]
    now: dict[str, float]


def judged(table: pd.DataFrame) -> Counts:
    """Judge a table by both sets of rules."""
    results = measured(table)
    headlines = headline_pairs(table)
    plain, family = correct_for_family(results, headlines, TestPlan(), NUM_PERMUTATIONS)
    first = next(pair for pair in headlines if pair[1] == "ER")
    named, named_family = correct_for_family(
        results, headlines, TestPlan((first,), on_record=True), NUM_PERMUTATIONS
    )
    cautions = find_cautions(table, plain, family=family, num_resamples=NUM_PERMUTATIONS)
    kinds = [judge(r, (), family).kind for r in plain]
    with_primary = [judge(r, (), named_family).kind for r in named]
    old = [kind_before(r) for r in results]
    alarms = [is_overfitted_before(r) for r in results]
    return Counts(
        {
            "green": any(k == "better" for k in old),
            "coloured": any(k != "unclear" for k in old),
            "coloured, one primary result": math.nan,
            "validation": any(alarms),
            "inverted": any(is_turned_before(r) for r in results),
            "share": float(np.mean([k == "better" for k in old])),
            "share, primary": math.nan,
        },
        {
            "green": any(k == "better" for k in kinds),
            "coloured": any(k != "unclear" for k in kinds),
            "coloured, one primary result": any(k != "unclear" for k in with_primary),
            "validation": any("higher than the test AUC" in c for c in cautions),
            "inverted": any("below 0.5 beyond chance" in c for c in cautions),
            "share": float(np.mean([k == "better" for k in kinds])),
            "share, primary": float(any(k == "better" for k in with_primary)),
        },
    )


def measured(table: pd.DataFrame) -> tuple[TargetResult, ...]:
    """Measure what verdicts and warnings read; the other values are left out."""
    found = []
    for run, target in table[["run", "target"]].drop_duplicates().to_numpy():
        test = patient_scores(table, run, target, "test")
        validation = patient_scores(table, run, target, "validation")
        chance = permutation_test(test.labels, test.scores, num_permutations=NUM_PERMUTATIONS)
        found.append(
            TargetResult(
                run,
                target,
                test.num_patients,
                test.num_positive,
                0,
                test.most_predictions,
                validation.num_patients,
                validation.num_positive,
                auc=auc(test.labels, test.scores),
                auc_ci95=auc_interval(test.labels, test.scores),
                auc_ci95_delong=delong_interval(test.labels, test.scores),
                permutation_p=chance.p_value,
                auc_validation=auc(validation.labels, validation.scores),
                threshold=youden_threshold(validation.labels, validation.scores),
            )
        )
    return with_threshold_cautions(table, found)


def kind_before(result: TargetResult) -> str:
    """Return the verdict before decision 30: interval and uncorrected p."""
    low, high = result.auc_ci95_delong or (0.0, 1.0)
    if low <= 0.5 <= high or (result.permutation_p or 0) >= 0.05:
        return "unclear"
    return "better" if low > 0.5 else "worse"


def is_overfitted_before(result: TargetResult) -> bool:
    """Tell whether the pooled validation AUC lay above the test interval."""
    interval, validation = result.auc_ci95_delong, result.auc_validation
    return interval is not None and validation is not None and validation > interval[1]


def is_turned_before(result: TargetResult) -> bool:
    """Tell whether an AUC was called inverted."""
    return kind_before(result) == "worse"


_LINES = {
    "green": "a headline 'better than chance'",
    "coloured": "a headline, green or red",
    "coloured, one primary result": "the same, ER of one network named as primary",
    "validation": "a warning 'validation AUC higher than test AUC'",
    "inverted": "a warning 'AUC below 0.5'",
    "share": "share of results shown to be better than chance (power)",
    "share, primary": "the same of the one primary result",
}


def lines(scenario: Scenario, counts: Sequence[Counts]) -> Iterator[str]:
    """Yield a row for each rate that the scenario is about."""
    errors = ("green", "coloured", "coloured, one primary result", "validation", "inverted")
    names = errors if scenario.area == 0.5 else ("validation", "share", "share, primary")
    for name in names:
        before = rate([c.before[name] for c in counts])
        yield f"| {_LINES[name]} | {before} | {rate([c.now[name] for c in counts])} |"


def rate(values: Sequence[float]) -> str:
    """Return a mean of 0 and 1 (or shares) in per cent, with Wilson's interval."""
    mean = float(np.mean(values))
    if math.isnan(mean):
        return "–"
    low, high = wilson_interval(round(mean * len(values)), len(values))
    return f"{100 * mean:.1f}% ({100 * low:.1f}-{100 * high:.1f})"


Pair = Callable[[TargetResult, TargetResult, PatientScores, PatientScores], float]


def mcnemar_before(
    first: TargetResult, second: TargetResult, a: PatientScores, b: PatientScores
) -> float:
    """Return McNemar's p of two runs, each at its own threshold from validation."""
    right = (a.scores >= (first.threshold or 0)) == (a.labels == 1)
    other = (b.scores >= (second.threshold or 0)) == (b.labels == 1)
    return mcnemar_p_value(int((right & ~other).sum()), int((other & ~right).sum()))


def equal_rate(
    first: TargetResult, second: TargetResult, a: PatientScores, b: PatientScores
) -> float:
    """Return the p of two runs where both call equally many patients positive."""
    found = compare_at_equal_rate(a.labels, a.scores, b.scores)
    return math.nan if found is None else found.p


def mcnemar_line(num: int, rng: np.random.Generator) -> str:
    """Return how often two of three equally good networks differ in their classifications."""
    scenario = Scenario("", 0.7, 3)
    tables = (draw_table(scenario, rng) for _ in range(num // 4))
    found = [[_differs(table, test) for test in (mcnemar_before, equal_rate)] for table in tables]
    before, now = zip(*found, strict=True)
    return f"| two networks' classifications differ, corrected p < 0.05 | {rate(before)} | {rate(now)} |"


def _differs(table: pd.DataFrame, test: Pair) -> float:
    results, p_values = measured_thresholds(table), []
    for first, second in combinations(results, 2):
        if first.target == second.target:
            pair = [patient_scores(table, r.run, r.target, "test") for r in (first, second)]
            p_values.append(test(first, second, pair[0], pair[1]))
    return float(min(holm_adjusted(p_values)) < 0.05)


def measured_thresholds(table: pd.DataFrame) -> list[TargetResult]:
    """Measure Youden's threshold of each run and target, and nothing else."""
    found = []
    for run, target in table[["run", "target"]].drop_duplicates().to_numpy():
        v = patient_scores(table, run, target, "validation")
        threshold = youden_threshold(v.labels, v.scores)
        found.append(TargetResult(run, target, 0, 0, 0, 0, 0, 0, threshold=threshold))
    return found


def threshold_line(num: int, rng: np.random.Generator) -> str:
    """Return the sensitivity that a threshold for 0.90 reaches where five folds are averaged."""
    reached, cautions = [], []
    for _ in range(num // 4):
        table = draw_table(Scenario("", 0.7, 1, 5), rng)
        for target in SHARES:
            run = f"{target} network 0"
            validation = patient_scores(table, run, target, "validation")
            test = patient_scores(table, run, target, "test")
            threshold = sensitivity_threshold(validation.labels, validation.scores, 0.9)
            reached.append(float((test.scores[test.labels == 1] >= threshold).mean()))
        results = with_threshold_cautions(table, measured_for_thresholds(table))
        cautions += [bool(r.threshold_caution) for r in results]
    mean = f"{np.mean(reached):.3f}"
    return f"| sensitivity at the threshold for 0.90 (mean) | {mean}, no caution | {mean}, caution in {rate(cautions)} |"


def measured_for_thresholds(table: pd.DataFrame) -> list[TargetResult]:
    """Return results with a threshold and test patients, as a caution needs them."""
    pairs = table[["run", "target"]].drop_duplicates().to_numpy()
    points = (OperatingPoint("sensitivity 0.90", threshold=0.5),)
    return [
        TargetResult(r, t, NUM_TEST, 1, 0, 5, 1, 1, threshold=0.5, operating_points=points)
        for r, t in pairs
    ]


def detectable() -> str:
    """Return what correction costs: the least AUC that is shown in four of five test sets."""
    parts = []
    for target, share in SHARES.items():
        m = round(share * NUM_TEST)
        areas = [smallest_area_above(0.5, m, NUM_TEST - m, alpha=0.05 / k) for k in (1, 3, 9)]
        parts.append(f"{target} {', '.join(f'{a:.3f}' for a in areas)}")
    return f"{'; '.join(parts)} (one result, corrected for 3, for 9)"


def check_whole(num: int, seed: int) -> None:
    """Compare with `evaluate_table` itself."""
    rng = np.random.default_rng([seed, 200])
    for number in range(num):
        table = draw_table(SCENARIOS[number % len(SCENARIOS)], rng)
        whole = evaluate_table(table, num_resamples=NUM_PERMUTATIONS)
        light, family = correct_for_family(
            measured(table), headline_pairs(table), TestPlan(), NUM_PERMUTATIONS
        )
        kinds = [judge(r, (), family).kind for r in light]
        wanted = [judge(r, (), whole.family).kind for r in whole.results]
        cautions = find_cautions(table, light, family=family, num_resamples=NUM_PERMUTATIONS)
        if kinds != wanted or not set(cautions) <= set(whole.warnings):
            raise SystemExit(f"report {number} differs from evaluate_table: {kinds}, {wanted}")
    print(f"{num} whole reports of evaluate_table: the same verdicts and warnings")


if __name__ == "__main__":
    main()
