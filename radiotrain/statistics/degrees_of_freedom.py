"""Satterthwaite's degrees of freedom."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple


class Part(NamedTuple):
    """An estimated variance, and the degrees of freedom of its estimate."""

    variance: float
    degrees_of_freedom: int


def combined(parts: Sequence[Part]) -> tuple[float, float]:
    """Return the sum of independent variances, and its degrees of freedom.

    The latter are NaN where the sum is 0 or NaN.

    References
    ----------
    Satterthwaite, Biometrics Bulletin 2 (1946) 110-114.
    """
    total = sum(part.variance for part in parts)
    if not total > 0:
        return total, math.nan
    # Of shares, as the square of a small variance may be 0.
    shares = [part.variance / total for part in parts]
    spread = sum(s**2 / p.degrees_of_freedom for s, p in zip(shares, parts, strict=True) if s)
    return total, 1 / spread
