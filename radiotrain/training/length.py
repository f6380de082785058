"""How long a run is: whether it is over, and whether one that was begun may be made longer or shorter.

A run may be given another number of epochs, or another patience, where what it has trained is what a
run that had these from the start would have trained: it then ends with the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from radiotrain.config import RunConfig
from radiotrain.training.early_stopping import Action, EpochChoice, Verdict, decide
from radiotrain.training.metrics import EpochMetrics

_KEYS = (("train", "epochs"), ("early_stopping", "patience"))


def verdict_of(history: Sequence[EpochMetrics], config: RunConfig) -> Verdict:
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
