"""When to stop: a pure decision on the history of validation AUCs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Action(Enum):
    """What the loop should do next."""

    CONTINUE = "continue"
    STOP = "stop"


@dataclass(frozen=True)
class Verdict:
    """A decision, with what it rests on.

    Parameters
    ----------
    best_epoch
        Epoch to keep, counted from 0. The last one while no AUC is defined.
    is_best
        Whether the last epoch is that epoch.
    """

    action: Action
    best_epoch: int
    is_best: bool


def decide(
    aucs: Sequence[float], losses: Sequence[float], patience: int | None, min_delta: float = 0.0
) -> Verdict:
    """Decide after an epoch whether to go on.

    Parameters
    ----------
    aucs
        Validation AUC of every epoch so far, NaN where undefined; at least one.
    losses
        Validation loss of the same epochs. It decides between equal AUCs, which a few dozen
        validation patients often give.
    patience
        Epochs without a better one before stopping; None for never.
    min_delta
        How much larger an AUC must be to count.

    Returns
    -------
    An undefined AUC is never better; while none is defined nothing stops.
    """
    best = -1
    for epoch, auc in enumerate(aucs):
        if math.isnan(auc):
            continue
        tied = best >= 0 and auc == aucs[best] and losses[epoch] < losses[best]
        if best < 0 or auc > aucs[best] + min_delta or tied:
            best = epoch
    last = len(aucs) - 1
    if best < 0:
        return Verdict(Action.CONTINUE, last, is_best=True)
    stop = patience is not None and last - best >= patience
    return Verdict(Action.STOP if stop else Action.CONTINUE, best, best == last)
