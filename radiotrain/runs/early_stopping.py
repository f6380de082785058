"""Early stopping of a run: which epoch is kept, when a run ends.

The AUC of a few dozen validation patients goes up and down by 0.05 or more from epoch to epoch, so that
its maximum is mostly luck: rules that look at several epochs together, or at none, keep better
networks (docs/decisions/0036-which-epoch-is-kept.md).

A run may be given another number of epochs, or another patience, where what it has trained is what a
run that had these from the start would have trained: it then ends with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from radiotrain.config.run_config import Choose, RunConfig
from radiotrain.runs.epoch_metrics import EpochMetrics


class Action(Enum):
    """What the loop should do next."""

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(frozen=True)
class EpochChoice:
    """How the epoch to keep is chosen.

    Parameters
    ----------
    choose
        last: the newest. smoothed_loss, smoothed_auc: the one with the best mean over the `window`
        epochs that end with it. best_auc: the one with the best AUC, warm-up or not.
    window
        Epochs that a smoothed rule averages.
    warmup_epochs
        Smoothed rules look at the epochs after these only.
    min_delta
        How much better than the epoch kept so far another one has to be to replace it.
    """

    choose: Choose = "best_auc"
    window: int = 1
    warmup_epochs: float = 0.0
    min_delta: float = 0.0

    @property
    def first_epoch(self) -> int:
        """First epoch, from 0, that a smoothed rule can compare; before, the newest is kept."""
        return math.ceil(self.warmup_epochs) + self.window - 1

    def num_looks(self, num_epochs: int) -> int:
        """Return among how many epochs of so many the rule chooses by their validation."""
        if self.choose == "last":
            return 1
        if self.choose == "best_auc":
            return max(1, num_epochs)
        return max(1, num_epochs - self.first_epoch)


@dataclass(frozen=True)
class EpochDecision:
    """A decision, with what it rests on.

    Parameters
    ----------
    best_epoch
        Epoch to keep, counted from 0. The last one while nothing is defined.
    is_best
        Whether the last epoch is that epoch.
    """

    action: Action
    best_epoch: int
    is_best: bool


def decide(
    aucs: Sequence[float],
    losses: Sequence[float],
    patience: int | None,
    choice: EpochChoice | None = None,
) -> EpochDecision:
    """Decide after an epoch which one is kept, and whether to go on.

    Parameters
    ----------
    aucs
        Validation AUC of every epoch so far, NaN where undefined; at least one.
    losses
        Validation loss of the same epochs. It decides between equal AUCs, which a few dozen
        validation patients often give, and where no AUC is defined at all.
    patience
        Epochs without a better one before stopping; None for never. A run that keeps its last epoch
        has a fixed length.

    Returns
    -------
    The epoch that is kept is the newest one whenever it changes: its weights are still there. One
    whose criterion is undefined is never better; while none is defined nothing stops.
    """
    choice = choice or EpochChoice()
    last = len(aucs) - 1
    if choice.choose == "last":
        # Of one whose predictions are not finite the loss is not, either.
        finite = [epoch for epoch, loss in enumerate(losses) if math.isfinite(loss)]
        best = finite[-1] if finite else last
        return EpochDecision(Action.CONTINUE, best, best == last)
    find = _best_auc if choice.choose == "best_auc" else _best_smoothed
    best = find(aucs, losses, choice)
    if best < 0:
        return EpochDecision(Action.CONTINUE, last, is_best=True)
    stop = patience is not None and last - best >= patience
    return EpochDecision(Action.STOP if stop else Action.CONTINUE, best, best == last)


def joint_epoch(
    aucs: Sequence[Sequence[float]], losses: Sequence[Sequence[float]], choice: EpochChoice
) -> int:
    """Return the epoch, from 0, that the mean curve of several folds leads to.

    Parameters
    ----------
    aucs, losses
        Of each fold's epochs. As many epochs are compared as all folds have.
    """
    num_epochs = min(map(len, aucs))
    defined = [fold for fold in aucs if any(map(math.isfinite, fold[:num_epochs]))]
    mean_aucs = [_mean([fold[epoch] for fold in defined]) for epoch in range(num_epochs)]
    mean_losses = [_mean([fold[epoch] for fold in losses]) for epoch in range(num_epochs)]
    return decide(mean_aucs, mean_losses, None, choice).best_epoch


def _best_auc(aucs: Sequence[float], losses: Sequence[float], choice: EpochChoice) -> int:
    best = -1
    for epoch, auc in enumerate(aucs):
        if math.isnan(auc):
            continue
        tied = best >= 0 and auc == aucs[best] and losses[epoch] < losses[best]
        if best < 0 or auc > aucs[best] + choice.min_delta or tied:
            best = epoch
    return best


def _best_smoothed(aucs: Sequence[float], losses: Sequence[float], choice: EpochChoice) -> int:
    """Return the epoch with the best window, -1 while there is none."""
    # Higher is better, the second decides between equals.
    negative = [-loss for loss in losses]
    by_loss = choice.choose == "smoothed_loss" or not any(map(math.isfinite, aucs))
    first, second = (negative, negative) if by_loss else (aucs, negative)
    best, best_keys = -1, (0.0, 0.0)
    for epoch in range(choice.first_epoch, len(aucs)):
        begin = epoch + 1 - choice.window
        keys = _mean(first[begin : epoch + 1]), _mean(second[begin : epoch + 1])
        if not math.isfinite(keys[0]):
            continue
        tied = keys[0] == best_keys[0] and keys[1] > best_keys[1]
        if best < 0 or keys[0] > best_keys[0] + choice.min_delta or tied:
            best, best_keys = epoch, keys
    return best


def _mean(values: Sequence[float]) -> float:
    """Return the mean; NaN where a value is not finite, or there is none."""
    if not values or not all(map(math.isfinite, values)):
        return math.nan
    return math.fsum(values) / len(values)


_KEYS = (("train", "epochs"), ("early_stopping", "patience"))


def verdict_of(history: Sequence[EpochMetrics], config: RunConfig) -> EpochDecision:
    """Decide on the epochs so far, of which there is at least one."""
    aucs = [metrics.validation_auc for metrics in history]
    losses = [metrics.validation_loss for metrics in history]
    return decide(aucs, losses, config.early_stopping.patience, epoch_choice(config))


def epoch_choice(config: RunConfig) -> EpochChoice:
    """Return how a run chooses the epoch that it keeps."""
    stopping = config.early_stopping
    return EpochChoice(
        stopping.choose, stopping.window, config.train.warmup_epochs, stopping.min_delta
    )


def is_over(history: Sequence[EpochMetrics], config: RunConfig) -> bool:
    """Tell whether a run with these epochs has all of them, or is ended by early stopping."""
    if not history:
        return False
    return len(history) >= config.train.epochs or (
        verdict_of(history, config).action is Action.STOP
    )


def has_same_length(before: RunConfig, after: RunConfig) -> bool:
    """Tell whether two configurations agree on what decides when a run ends."""
    return without_length(before.identity())[1] == without_length(after.identity())[1]


def without_length(identity: dict[str, Any]) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """Return a run's identity but for what decides when it ends, and that."""
    rest = {key: dict(v) if isinstance(v, dict) else v for key, v in identity.items()}
    return rest, tuple(rest.get(section, {}).pop(key, None) for section, key in _KEYS)


def why_not_changed(
    before: RunConfig, after: RunConfig, history: Sequence[EpochMetrics], num_epochs: int
) -> str | None:
    """Say why a run that was begun cannot have another length; None where it can.

    Parameters
    ----------
    before, after
        Configurations that differ in `train.epochs` and `early_stopping.patience` only.
    history, num_epochs
        Epochs so far, and their number by the run's record, which may know of one more.
    """
    old, new, done = before.train, after.train, max(len(history), num_epochs)
    if old.epochs != new.epochs and old.final_lr_fraction != 1:
        return (
            f"train.epochs is {old.epochs} there and {new.epochs} now, and the learning rate of each"
            " epoch depends on it: only with train.final_lr_fraction=1 from the start can a run be"
            " made longer"
        )
    if done > new.epochs:
        return f"train.epochs is {new.epochs} now, and {done} epochs are trained"
    patience = after.early_stopping.patience
    for num in range(1, len(history)):
        if verdict_of(history[:num], after).action is Action.STOP:
            return (
                f"early_stopping.patience is {before.early_stopping.patience} there and {patience}"
                f" now, which would have ended it after epoch {num}, and {done} epochs are trained"
            )
    return None
