"""The learning rate: up in a line, down along a cosine."""

from __future__ import annotations

import math


def learning_rate_factor(
    step: int, *, num_warmup_steps: int, num_steps: int, final_fraction: float
) -> float:
    """Return the factor on the peak learning rate at a step.

    Parameters
    ----------
    step
        Counted from 0 over the whole run.
    num_warmup_steps
        The factor is (step + 1) / num_warmup_steps before this step.
    num_steps
        Steps of the whole run; the last one has `final_fraction`.

    References
    ----------
    Loshchilov & Hutter, SGDR, ICLR 2017 (one period, no restart).
    """
    if step < num_warmup_steps:
        return (step + 1) / num_warmup_steps
    span = max(1, num_steps - 1 - num_warmup_steps)
    done = min(1.0, (step - num_warmup_steps) / span)
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * done))
