"""Which epoch's network is kept: rules compared by the AUC on new patients.

    python -m benchmarks.learning epochs [--cohorts 24] [--seed 0]

Small networks are trained on simulated cohorts as the training loop does it: AdamW, warm-up, cosine,
noise on the inputs, five folds. After each epoch their AUC and loss on the few validation patients
are measured, and their true AUC on 2,000 patients that no rule sees. Each rule looks at the
validation only and is judged by the truth.

true: mean true AUC of what the rule keeps. optimism: the validation AUC reported with it, less
the true one. epochs: trained, where patience (15) may stop a run. Cohorts are paired over the rules; ±
is the standard error of the difference from `last`.

The second table is a sweep: the best of 12 trials with learning rates drawn from 1e-4 to 1e-2, by their
validation AUC at the epoch that the rule keeps, and the optimism that `cluster.sweep.progress` expects.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cluster.sweep.progress import expected_optimism
from radiotrain.runs.early_stopping import Action, EpochChoice, decide, joint_epoch
from radiotrain.training.trainer import learning_rate_factor

Array = NDArray[np.float64]

NUM_FOLDS, NUM_EPOCHS, WARMUP, BATCH, PATIENCE, NUM_TRIALS = 5, 60, 2, 16, 15, 12
NUM_NEW, NUM_INPUTS, NUM_HIDDEN, PREVALENCE = 2000, 60, 32, 0.35
INPUT_NOISE, WEIGHT_DECAY, EMA = 0.3, 1e-2, 0.99
VALIDATION_SIZES = (22, 26, 60, 145)


@dataclass(frozen=True)
class Regime:
    """A kind of learning curve.

    Parameters
    ----------
    signal
        Strength of what can be learned.
    scale
        Of the inputs that tell of the label: large ones are learned first, noise after them.
    """

    name: str
    signal: float
    scale: float
    lr: float


REGIMES = (
    Regime("no signal", 0.0, 1, 3e-3),
    Regime("still rises", 1.0, 1, 1e-4),
    Regime("levels off", 1.0, 1, 1e-3),
    Regime("learns fast", 1.0, 1, 1e-2),
    Regime("overfits", 0.8, 4, 2e-2),
)
WINDOW = 5
CHOICES = {
    "best AUC": EpochChoice("best_auc"),
    "smoothed AUC": EpochChoice("smoothed_auc", WINDOW, WARMUP),
    "smoothed loss": EpochChoice("smoothed_loss", WINDOW, WARMUP),
}
LAST = EpochChoice("last")


@dataclass(frozen=True)
class Curves:
    """What was measured after each epoch; every array is (networks, epochs).

    Parameters
    ----------
    aucs, losses, truths
        On the validation patients, and the AUC on new patients.
    ema_aucs, ema_truths
        Of the moving average of the weights.
    """

    aucs: Array
    losses: Array
    truths: Array
    ema_aucs: Array
    ema_truths: Array


@dataclass(frozen=True)
class Kept:
    """What a rule keeps of a network: its AUC on new patients, the reported one, epochs trained."""

    true: float
    reported: float
    epochs: float


def make_patients(
    rng: np.random.Generator, num: int, signal: float, scale: float = 1
) -> tuple[Array, Array]:
    """Return inputs (num, inputs) and labels (num,): some inputs and two products tell of the label."""
    inputs = rng.normal(size=(num, NUM_INPUTS))
    risk = (
        inputs[:, :4].sum(1) / 2 + inputs[:, 4] * inputs[:, 5] / 2 + inputs[:, 6] * inputs[:, 7] / 2
    )
    logit = signal * 1.2 * risk + math.log(PREVALENCE / (1 - PREVALENCE))
    inputs[:, :8] *= scale
    return inputs, (rng.random(num) < 1 / (1 + np.exp(-logit))).astype(float)


def column_aucs(scores: Array, labels: Array) -> Array:
    """Return the AUC of each row of scores (networks, patients); labels are of the same shape."""
    order = scores.argsort(1)
    ranks = np.empty_like(scores)
    np.put_along_axis(ranks, order, np.arange(1.0, scores.shape[1] + 1)[None], 1)
    positives = labels.sum(1)
    negatives = labels.shape[1] - positives
    above = (ranks * labels).sum(1) - positives * (positives + 1) / 2
    with np.errstate(invalid="ignore"):
        return np.asarray(above / (positives * negatives))


def learn(
    num_cohorts: int,
    num_validation: int,
    regime: Regime,
    seed: int,
    lrs: Array,
    folds: tuple[int, ...],
) -> Curves:
    """Train a network of each cohort, learning rate (rates,) and fold; in that order of axes."""
    rng = np.random.default_rng(seed)
    num = num_validation * NUM_FOLDS
    cohorts = [_deal(rng, num, regime) for _ in range(num_cohorts)]
    new = make_patients(rng, NUM_NEW, regime.signal, regime.scale)
    train_x, train_y, valid_x, valid_y = [], [], [], []
    for x, y in cohorts:
        for _ in lrs:
            for fold in folds:
                held = np.arange(num) // num_validation == fold
                train_x.append(x[~held])
                train_y.append(y[~held])
                valid_x.append(x[held])
                valid_y.append(y[held])
    net_lrs = np.repeat(np.tile(lrs, num_cohorts), len(folds))
    arrays = (np.stack(part) for part in (train_x, train_y, valid_x, valid_y))
    return _train(*arrays, *new, lrs=net_lrs, seed=seed)


def _deal(rng: np.random.Generator, num: int, regime: Regime) -> tuple[Array, Array]:
    """Return a cohort dealt to folds as `radiotrain split` does: each has its share of positives."""
    inputs, labels = make_patients(rng, num, regime.signal, regime.scale)
    order = np.argsort(-labels, kind="stable")
    fold = np.empty(num, dtype=int)
    fold[order] = np.arange(num) % NUM_FOLDS
    dealt = np.argsort(fold, kind="stable")
    return inputs[dealt], labels[dealt]


def _train(
    train_x: Array,
    train_y: Array,
    valid_x: Array,
    valid_y: Array,
    new_x: Array,
    new_y: Array,
    *,
    lrs: Array,
    seed: int,
) -> Curves:
    generator = torch.Generator().manual_seed(seed)
    num_nets, num = train_y.shape
    x, y = torch.tensor(train_x).float(), torch.tensor(train_y).float()
    weights = [
        torch.randn(num_nets, NUM_INPUTS, NUM_HIDDEN, generator=generator) / NUM_INPUTS**0.5,
        torch.zeros(num_nets, 1, NUM_HIDDEN),
        torch.randn(num_nets, NUM_HIDDEN, 1, generator=generator) / NUM_HIDDEN**0.5,
        torch.zeros(num_nets, 1, 1),
    ]
    average = [w.clone() for w in weights]
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
    num_steps = num // BATCH
    rates = torch.tensor(lrs).float()[:, None, None]
    measured: list[tuple[Array, ...]] = []
    step = 0
    for _ in range(NUM_EPOCHS):
        order = torch.rand(num_nets, num, generator=generator).argsort(1)
        for batch in range(num_steps):
            rows = order[:, batch * BATCH : (batch + 1) * BATCH]
            nets = torch.arange(num_nets)[:, None]
            given = x[nets, rows]
            given = given + INPUT_NOISE * torch.randn(given.shape, generator=generator)
            factor = learning_rate_factor(
                step,
                num_warmup_steps=WARMUP * num_steps,
                num_steps=NUM_EPOCHS * num_steps,
                final_fraction=0.01,
            )
            step += 1
            _adamw(
                weights, _gradients(weights, given, y[nets, rows]), moments, rates * factor, step
            )
            for mean, weight in zip(average, weights, strict=True):
                mean.lerp_(weight, 1 - EMA)
        measured.append(
            (
                *_measure(weights, valid_x, valid_y, new_x, new_y),
                *_measure(average, valid_x, valid_y, new_x, new_y)[::2],
            )
        )
    aucs, losses, truths, ema_aucs, ema_truths = (
        np.stack(values, 1) for values in zip(*measured, strict=True)
    )
    return Curves(aucs, losses, truths, ema_aucs, ema_truths)


def _gradients(weights: list[Tensor], x: Tensor, y: Tensor) -> list[Tensor]:
    """Return the gradient of the mean cross-entropy of each network alone."""
    w1, b1, w2, b2 = weights
    hidden = torch.relu(torch.bmm(x, w1) + b1)
    error = (torch.sigmoid(torch.bmm(hidden, w2) + b2) - y[..., None]) / y.shape[1]
    back = torch.bmm(error, w2.transpose(1, 2)) * (hidden > 0)
    return [
        torch.bmm(x.transpose(1, 2), back),
        back.sum(1, keepdim=True),
        torch.bmm(hidden.transpose(1, 2), error),
        error.sum(1, keepdim=True),
    ]


def _adamw(
    weights: list[Tensor],
    gradients: list[Tensor],
    moments: list[tuple[Tensor, Tensor]],
    rates: Tensor,
    step: int,
) -> None:
    for number, (weight, gradient) in enumerate(zip(weights, gradients, strict=True)):
        first, second = moments[number]
        first.lerp_(gradient, 0.1)
        second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
        if number % 2 == 0:
            weight.mul_(1 - rates * WEIGHT_DECAY)
        size = (second / (1 - 0.999**step)).sqrt_().add_(1e-8)
        weight.sub_(rates * first / (1 - 0.9**step) / size)


def _measure(
    weights: list[Tensor], valid_x: Array, valid_y: Array, new_x: Array, new_y: Array
) -> tuple[Array, Array, Array]:
    """Return each network's AUC and loss on its validation patients, and its AUC on new ones."""
    x = torch.tensor(valid_x).float()
    logits = _logits(weights, x)
    loss = np.logaddexp(0, logits) - valid_y * logits
    everyone = torch.tensor(new_x).float()
    w1, b1, w2, b2 = weights
    scores = np.stack(
        [
            (torch.relu(everyone @ w1[i] + b1[i]) @ w2[i] + b2[i])[:, 0].double().numpy()
            for i in range(len(w1))
        ]
    )
    labels = np.broadcast_to(new_y, scores.shape)
    return column_aucs(logits, valid_y), loss.mean(1), column_aucs(scores, labels)


def _logits(weights: list[Tensor], x: Tensor) -> Array:
    w1, b1, w2, b2 = weights
    hidden = torch.relu(torch.bmm(x, w1) + b1)
    return (torch.bmm(hidden, w2) + b2)[..., 0].double().numpy()


def keep(curves: Curves, nets: Iterable[int], choice: EpochChoice, patience: int | None) -> Kept:
    """Return the mean over a cohort's networks, each with an epoch of its own."""
    found = []
    for net in nets:
        aucs, losses = list(curves.aucs[net]), list(curves.losses[net])
        num = (
            next(
                (
                    n
                    for n in range(1, NUM_EPOCHS)
                    if decide(aucs[:n], losses[:n], patience, choice).action is Action.STOP
                ),
                NUM_EPOCHS,
            )
            if patience
            else NUM_EPOCHS
        )
        best = decide(aucs[:num], losses[:num], None, choice).best_epoch
        found.append((curves.truths[net, best], curves.aucs[net, best], num))
    return Kept(*np.mean(found, 0))


def keep_jointly(curves: Curves, nets: Iterable[int], choice: EpochChoice) -> Kept:
    """Return the mean over a cohort's networks, all of the epoch that their mean curve leads to."""
    rows = list(nets)
    best = joint_epoch(curves.aucs[rows].tolist(), curves.losses[rows].tolist(), choice)
    return Kept(curves.truths[rows, best].mean(), curves.aucs[rows, best].mean(), NUM_EPOCHS)


Rule = Callable[[Curves, list[int]], Kept]


def rules() -> dict[str, Rule]:
    """Return the rules by name."""
    found: dict[str, Rule] = {
        "last": lambda curves, nets: keep(curves, nets, LAST, None),
        "last, weights averaged": lambda curves, nets: Kept(
            curves.ema_truths[nets, -1].mean(), curves.ema_aucs[nets, -1].mean(), NUM_EPOCHS
        ),
    }
    for name, choice in CHOICES.items():
        found[name] = lambda curves, nets, choice=choice: keep(curves, nets, choice, None)  # type: ignore[misc]
        found[f"{name}, patience {PATIENCE}"] = lambda curves, nets, choice=choice: keep(  # type: ignore[misc]
            curves, nets, choice, PATIENCE
        )
        found[f"{name}, one for all folds"] = lambda curves, nets, choice=choice: keep_jointly(  # type: ignore[misc]
            curves, nets, choice
        )
    return found


def compare_rules(num_cohorts: int, seed: int) -> None:
    """Print the first table."""
    print(f"kept by each rule, of {NUM_FOLDS} folds; {num_cohorts} cohorts each, seed {seed}")
    for number, num_validation in enumerate(VALIDATION_SIZES):
        for regime in REGIMES:
            curves = learn(
                num_cohorts,
                num_validation,
                regime,
                seed + number,
                np.array([regime.lr]),
                tuple(range(NUM_FOLDS)),
            )
            cohorts = np.arange(len(curves.aucs)).reshape(num_cohorts, -1).tolist()
            truth = curves.truths.mean(0)
            print(
                f"\n{num_validation} validate, {regime.name}: true AUC after 3 epochs {truth[2]:.3f}, best"
                f" {truth.max():.3f} after {truth.argmax() + 1}, last {truth[-1]:.3f}"
            )
            kept = {rule: [f(curves, nets) for nets in cohorts] for rule, f in rules().items()}
            base = np.array([k.true for k in kept["last"]])
            for rule, values in kept.items():
                true = np.array([k.true for k in values])
                reported = np.array([k.reported for k in values])
                error = (true - base).std(ddof=1) / math.sqrt(num_cohorts)
                print(
                    f"  {rule:36s} true {true.mean():.3f} ({true.mean() - base.mean():+.3f} ±"
                    f" {error:.3f})  optimism {(reported - true).mean():+.3f}"
                    f"  epochs {np.mean([k.epochs for k in values]):4.0f}",
                    flush=True,
                )


def compare_trials(num_cohorts: int, seed: int) -> None:
    """Print the second table."""
    print(f"\nthe best of {NUM_TRIALS} trials, one fold; {num_cohorts} cohorts each, seed {seed}")
    print("reported: its validation AUC; true: on new patients")
    for number, num_validation in enumerate(VALIDATION_SIZES):
        for regime in (REGIMES[0], REGIMES[2]):
            rng = np.random.default_rng(seed + number)
            lrs = np.exp(rng.uniform(math.log(1e-4), math.log(1e-2), NUM_TRIALS))
            curves = learn(num_cohorts, num_validation, regime, seed + number, lrs, (0,))
            shape = (num_cohorts, NUM_TRIALS)
            for name, choice in {"last": LAST, **CHOICES}.items():
                kept = [keep(curves, [net], choice, None) for net in range(len(curves.aucs))]
                reported = np.array([k.reported for k in kept]).reshape(shape)
                true = np.array([k.true for k in kept]).reshape(shape)
                winner = np.arange(num_cohorts), reported.argmax(1)
                optimism = (reported[winner] - true[winner]).mean()
                positives = round(PREVALENCE * num_validation)
                classes = [(positives, num_validation - positives)]
                expected = expected_optimism(
                    float(reported[winner].mean()), NUM_TRIALS, classes, choice, NUM_EPOCHS
                )
                print(
                    f"  {num_validation:3d} validate, {regime.name:10s} {name:14s}"
                    f" reported {reported[winner].mean():.3f}  true {true[winner].mean():.3f}"
                    f" (any trial {true.mean():.3f}, best {true.max(1).mean():.3f})"
                    f"  optimism {optimism:+.3f}  expected {expected:+.3f}",
                    flush=True,
                )


def main(argv: list[str]) -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning epochs", description=__doc__
    )
    parser.add_argument("--cohorts", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(argv)
    torch.set_num_threads(1)
    compare_rules(given.cohorts, given.seed)
    compare_trials(given.cohorts, given.seed)
