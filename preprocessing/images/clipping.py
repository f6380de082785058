"""Voxels that are no tissue: values far beyond the intensities of the image they are in.

One broken voxel of 1e6 would set the step of all stored numbers, and spikes would set the spread by
which networks' inputs are normalised. Limits come from percentiles, which such voxels do not move:

    low = p1 - margin · spread        high = p99 + margin · spread
    spread = the largest of p99 - p1, |p50| and what the caller gives

over at most `MOST_SAMPLED` voxels (every n-th of the array as it lies) that are neither padding nor 0,
which is what lies outside of a cut-out image. |p50| lets tissue without contrast of its own, such as that
of a phantom, enhance. Limits scale with the image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Finding

# The code of the finding that says what was clipped.
CODE = "outliers-clipped"
MOST_SAMPLED = 100_000
# As rank / (number - 1): the value at the rank below.
_PERCENTILES = (0.01, 0.5, 0.99)
# Beyond it, of an image's voxels, a reader should look whether they are tissue.
_MANY = 0.001


@dataclass(frozen=True)
class Limits:
    """The lowest and the highest value that count as tissue.

    Parameters
    ----------
    spread
        By which they were set.
    """

    low: float
    high: float
    spread: float

    def hold(self, values: NDArray[Any]) -> bool:
        """Tell whether all values lie within; NaN does."""
        if values.size == 0:
            return True
        return not (
            np.fmax.reduce(values, None) > self.high or np.fmin.reduce(values, None) < self.low
        )


def find_limits(
    values: NDArray[Any],
    margin: float,
    *,
    counted: NDArray[np.bool_] | None = None,
    least_spread: float = 0.0,
) -> Limits:
    """Return the limits of one image.

    Parameters
    ----------
    values
        Of any shape; NaN does not count.
    margin
        How many spreads beyond the percentiles still count as tissue.
    counted
        Of the same shape: False for padding.
    least_spread
        Of the pre-contrast, for the other phases: a phase with little signal, such as a subtraction,
        may enhance as much as others.
    """
    step = max(1, values.size // MOST_SAMPLED)
    some = values.reshape(-1)[::step]
    if counted is not None:
        some = some[counted.reshape(-1)[::step]]
    some = some[np.isfinite(some) & (some != 0)]
    if not some.size:
        return Limits(-math.inf, math.inf, least_spread)
    ranks = [int(share * (some.size - 1)) for share in _PERCENTILES]
    low, middle, high = np.partition(some, ranks)[ranks].astype(np.float64).tolist()
    spread = max(high - low, abs(middle), least_spread)
    return Limits(low - margin * spread, high + margin * spread, spread)


@dataclass
class OutlierClip:
    """Clips the phases of one patient, the pre-contrast first, and remembers what it did.

    Parameters
    ----------
    margin
        See `find_limits`; None for no clipping.
    """

    margin: float | None
    limits: list[Limits] = field(default_factory=list)
    num_clipped: list[int] = field(default_factory=list)
    _clauses: list[str] = field(default_factory=list)
    _share: float = 0.0

    def clip(self, phase: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the next phase with what lies beyond its limits moved to them; NaN stays."""
        if self.margin is None:
            return phase
        least = self.limits[0].spread if self.limits else 0.0
        limits = find_limits(phase, self.margin, least_spread=least)
        self.limits.append(limits)
        self.num_clipped.append(0)
        if limits.hold(phase):
            return phase
        above, below = phase > limits.high, phase < limits.low
        num = int(above.sum()) + int(below.sum())
        self.num_clipped[-1] = num
        self._share = max(self._share, num / phase.size)
        self._clauses.append(self._describe(phase, above, below, limits))
        return np.clip(phase, np.float32(limits.low), np.float32(limits.high))

    def _describe(
        self,
        phase: NDArray[np.float32],
        above: NDArray[np.bool_],
        below: NDArray[np.bool_],
        limits: Limits,
    ) -> str:
        number = len(self.limits) - 1
        parts = []
        if above.any():
            parts.append(
                f"{int(above.sum())} above {limits.high:.4g} (up to {phase[above].max():.4g})"
            )
        if below.any():
            parts.append(
                f"{int(below.sum())} below {limits.low:.4g} (down to {phase[below].min():.4g})"
            )
        return f"{f'phase {number}' if number else 'the pre-contrast'} has {' and '.join(parts)}"

    def findings(self) -> tuple[Finding, ...]:
        """Return what was clipped, in words; nothing where nothing was."""
        if not self._clauses:
            return ()
        message = f"voxels far beyond the tissue were set to the limit: {'; '.join(self._clauses)}"
        if self._share > _MANY:
            message += f"; {self._share:.1%} of a phase, look whether they are tissue"
        return (Finding(CODE, message, excludes=False),)

    def details(self) -> dict[str, Any]:
        """Return what a record says: limits and clipped voxels of each phase, if any was clipped."""
        if not any(self.num_clipped):
            return {}
        return {
            "clipped_voxels": list(self.num_clipped),
            "intensity_limits": [[found.low, found.high] for found in self.limits],
        }
