"""Seeds of all random draws."""

from __future__ import annotations

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """What a seed is for; different purposes are unrelated whatever their other numbers."""

    WEIGHTS = 1
    DROPOUT = 2
    ORDER = 3
    AUGMENTATION = 4


def seed_for(purpose: Purpose, seed: int, *when: int) -> int:
    """Return a seed of 63 bits.

    Parameters
    ----------
    seed
        The run's.
    when
        Epoch, step, rank: whatever the draw should depend on.
    """
    state = np.random.SeedSequence([purpose, seed, *when]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
