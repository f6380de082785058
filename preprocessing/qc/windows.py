"""Which intensities are shown black and white.

Axis legend: P phases, V some voxels, the same of each phase.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_DARK, _BRIGHT = 0.5, 99.5
# Of a small tumour, so that it is not all white.
_BRIGHT_TUMOUR = 98.0
# A subtraction shows this much below zero, so that motion is seen as darker than no change.
_BELOW_ZERO = 0.25
# Of the phases' window: where nothing enhances, noise is not to look like something.
_LEAST_SUBTRACTION = 0.25


@dataclass(frozen=True)
class Window:
    """The values that are shown black and white."""

    low: float
    high: float

    def apply(self, values: NDArray[np.floating]) -> NDArray[np.uint8]:
        """Return grey levels 0 to 255."""
        span = max(self.high - self.low, float(np.finfo(np.float32).tiny))
        grey: NDArray[np.uint8] = (
            np.rint((values - self.low) / span * 255).clip(0, 255).astype(np.uint8)
        )
        return grey


def usual_window(values: NDArray[np.floating]) -> Window:
    """Return the window from the darkest to the brightest values but a few."""
    low, high = np.percentile(values, (_DARK, _BRIGHT))
    return Window(float(low), float(high))


def phase_window(values: NDArray[np.float32], tumour: NDArray[np.float32]) -> Window:
    """Return the window of all phases.

    Parameters
    ----------
    values, tumour
        (P, V) intensities, of the whole crop and of the tumour; the latter may be empty.
    """
    usual = usual_window(values)
    return Window(usual.low, max(usual.high, _bright(tumour)))


def subtraction_window(
    values: NDArray[np.float32], tumour: NDArray[np.float32], phases: Window
) -> Window | None:
    """Return the window of all phases less the first; None where there is one phase only."""
    if len(values) < 2:
        return None
    usual = usual_window(values[1:] - values[:1])
    least = _LEAST_SUBTRACTION * (phases.high - phases.low)
    high = max(usual.high, _bright(tumour[1:] - tumour[:1]), least)
    return Window(-_BELOW_ZERO * high, high)


def _bright(tumour: NDArray[np.float32]) -> float:
    return float(np.percentile(tumour, _BRIGHT_TUMOUR)) if tumour.size else -np.inf
