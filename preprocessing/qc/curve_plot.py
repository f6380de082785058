"""Where the lines and letters of a patient's enhancement curves go in an SVG picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from preprocessing.store import PatientRecord

_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 408, 14, 210


@dataclass(frozen=True)
class Line:
    """A curve: whose (``tumour`` or ``tissue``), and its points in the picture."""

    kind: str
    points: tuple[tuple[float, float], ...]

    @property
    def path(self) -> str:
        """The points as SVG takes them."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True)
class CurvePlot:
    """All that the template draws.

    Parameters
    ----------
    x_ticks, y_ticks
        (position in the picture, text).
    left, right, bottom
        Of the part that the curves lie in.
    """

    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    x_title: str
    left: int = _LEFT
    right: int = _RIGHT
    bottom: int = _BOTTOM
    width: int = 420
    height: int = 250


def known_times(record: PatientRecord, num_phases: int) -> tuple[float, ...] | None:
    """Return the phases' seconds after the pre-contrast, if all are known and they increase."""
    times = [t for t in record.phase_times_s[:num_phases] if t is not None]
    if len(times) < num_phases or any(b <= a for a, b in pairwise(times)):
        return None
    return tuple(times)


def plot_curves(
    curves: Sequence[tuple[str, Sequence[float] | None]], times: Sequence[float] | None
) -> CurvePlot | None:
    """Lay out curves of relative enhancement, those that are there.

    Parameters
    ----------
    times
        Seconds; without them the phases are set side by side.

    Returns
    -------
    None where there is no curve of two phases or more.
    """
    there = [(kind, curve) for kind, curve in curves if curve is not None and len(curve) > 1]
    if not there:
        return None
    at = list(times) if times is not None else [float(i) for i in range(len(there[0][1]))]
    values = [100 * v for _, curve in there for v in curve]
    y_ticks = nice_ticks(min(values), max(values))
    low, high = min(y_ticks[0], *values), max(y_ticks[-1], *values)
    x_ticks = nice_ticks(0, at[-1]) if times is not None else at

    def x(value: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (value - at[0]) / (max(at[-1], x_ticks[-1]) - at[0])

    def y(value: float) -> float:
        return _BOTTOM - (_BOTTOM - _TOP) * (value - low) / (high - low)

    return CurvePlot(
        lines=tuple(
            Line(kind, tuple((x(t), y(100 * v)) for t, v in zip(at, curve, strict=True)))
            for kind, curve in there
        ),
        x_ticks=tuple((x(t), f"{t:g}") for t in x_ticks),
        y_ticks=tuple((y(v), f"{v:g}") for v in y_ticks),
        x_title="seconds after the pre-contrast" if times is not None else "phase",
    )


def nice_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round values from at or below `low` to at or above `high`, 0 among them if between."""
    span = high - low if high > low else 1.0
    power = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * power for s in (1, 2, 5, 10, 20) if span / (s * power) <= most)
    first, last = math.floor(low / step), math.ceil((low + span) / step)
    return [round(i * step, 10) for i in range(first, last + 1)]
