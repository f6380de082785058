"""Members of an ensemble averaged as predicted, or calibrated first: simulated patients with known truth.

    python -m benchmarks.learning.ensembles [--repeats 40 --seed 0]

Needs numpy and scipy; some 3 minutes of CPU time. Five members validate on 22, 50 or 150 patients each, 30 %
positive. Their logits have standard deviations of 0.12, 0.3, 0.6, 1.1 and 1.72, as best epochs of five
folds had, and different levels. Each is the true signal plus noise; members' logits correlate by 0.75.
All are equally good, or of different quality, or none has any signal. Each ensemble is then tested on 4,000
new patients. The functions are those of the program (`member_scale`, `fit_platt`, thresholds).

See docs/benchmarks.md, "Members of an ensemble", and docs/statistics.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from radiotrain.statistics.auc import auc
from radiotrain.statistics.calibration import brier_score, calibration_slope
from radiotrain.statistics.member_scale import (
    MemberPatients,
    cross_fitted_members,
    fit_member_scales,
)
from radiotrain.statistics.operating_point import sensitivity_threshold
from radiotrain.statistics.recalibration import as_deployed

Floats = NDArray[np.float64]

SPREADS = (0.12, 0.3, 0.6, 1.1, 1.72)
SIZES = (22, 50, 150)
CORRELATION = 0.75
QUALITIES = {
    "equal": (0.55, 0.55, 0.55, 0.55, 0.55),
    "different": (0.2, 0.4, 0.55, 0.7, 0.8),
    "none": (0.0, 0.0, 0.0, 0.0, 0.0),
}
PREVALENCE, STRENGTH, NUM_TESTED = 0.3, 1.0, 4_000
RULES = ("as predicted", "same spread", "calibrated", "calibrated, mean logit")


@dataclass(frozen=True)
class Ensemble:
    """Validation patients of each member, and all members' logits (M, N) of new patients."""

    members: tuple[MemberPatients, ...]
    labels: Floats
    logits: Floats


def simulate(generator: np.random.Generator, size: int, qualities: Sequence[float]) -> Ensemble:
    """Return an ensemble whose members have qualities: correlation of their logits with the signal."""
    spreads = generator.permutation(SPREADS)
    levels = generator.normal(0, 0.8, len(SPREADS))

    def logits_of(n: int, signal: Floats, shared: Floats) -> Floats:
        q = qualities[n]
        common = max(0.0, (CORRELATION - q**2) / (1 - q**2))
        own = generator.standard_normal(len(signal))
        noise = np.sqrt(common) * shared + np.sqrt(1 - common) * own
        return np.asarray(spreads[n] * (q * signal + np.sqrt(1 - q**2) * noise) + levels[n])

    members = []
    for n in range(len(SPREADS)):
        signal, shared, labels = _patients(generator, size)
        x = logits_of(n, signal, shared)
        members.append(MemberPatients(tuple(f"{n}-{i}" for i in range(size)), labels, expit(x)))
    signal, shared, labels = _patients(generator, NUM_TESTED)
    x = np.array([logits_of(n, signal, shared) for n in range(len(SPREADS))])
    return Ensemble(tuple(members), labels, x)


def _patients(generator: np.random.Generator, num: int) -> tuple[Floats, Floats, Floats]:
    """Return signal, what members' noise shares, and labels (num,) each."""
    signal = generator.standard_normal(num)
    labels = (generator.random(num) < expit(logit(PREVALENCE) + STRENGTH * signal)).astype(float)
    return signal, generator.standard_normal(num), labels


def judge(found: Ensemble, rule: str) -> tuple[float, ...]:
    """Return AUC, Brier score, slope, sensitivity and specificity of new patients, and AUC out of fold."""
    p = expit(found.logits)
    if rule == "as predicted":
        unseen, each = [m.probabilities for m in found.members], p
    elif rule == "same spread":
        x = [logit(m.probabilities) for m in found.members]
        unseen = [expit((v - v.mean()) / v.std()) for v in x]
        each = np.array(
            [expit((v - w.mean()) / w.std()) for v, w in zip(found.logits, x, strict=True)]
        )
    else:
        scales = fit_member_scales(found.members)
        unseen = list(cross_fitted_members(found.members))
        each = np.array([s.apply(v) for s, v in zip(scales, p, strict=True)])
    mean = each.mean(axis=0)
    if rule == "calibrated, mean logit":
        mean = expit(logit(each).mean(axis=0))
    known = np.concatenate([m.labels for m in found.members])
    scores = np.concatenate(unseen)
    shown, _ = as_deployed(mean, known, scores)
    threshold = sensitivity_threshold(known, scores, 0.9)
    positive = found.labels == 1
    return (
        auc(found.labels, shown),
        brier_score(found.labels, shown),
        calibration_slope(found.labels, shown).value,
        float((mean[positive] >= threshold).mean()),
        float((mean[~positive] < threshold).mean()),
        auc(known, scores),
    )


def main(argv: list[str]) -> None:
    """Print a table, one row for each kind of ensemble and rule."""
    parser = argparse.ArgumentParser(description=__doc__, prog="benchmarks.learning.ensembles")
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args(argv)
    print(
        "| members | validation patients | average | AUC | Brier score | slope"
        " | sensitivity | specificity | AUC out of fold |"
    )
    print(f"|{'---|' * 9}")
    for kind, qualities in QUALITIES.items():
        for size in SIZES:
            ensembles = []
            for repeat in range(asked.repeats):
                generator = np.random.default_rng([asked.seed, repeat, size])
                mixed = generator.permutation(qualities)
                ensembles.append(simulate(generator, size, mixed))
            for rule in RULES:
                values = np.array([judge(found, rule) for found in ensembles])
                area, brier, _, sensitivity, specificity, unseen = values.mean(axis=0)
                # Of flat probabilities the slope is boundless.
                slope = float(np.nanmedian(values[:, 2]))
                print(
                    f"| {kind} | {size} | {rule} | {area:.3f} | {brier:.4f}"
                    f" | {slope:.2f} | {sensitivity:.3f} | {specificity:.3f} | {unseen:.3f} |",
                    flush=True,
                )


if __name__ == "__main__":
    import sys

    main(sys.argv[1:])
