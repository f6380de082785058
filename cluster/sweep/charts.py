"""Pictures of a sweep as SVG text: sharp on paper, and the same bytes for the same input."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from preprocessing.common.page import figure_svg

INK = "#1c2733"
_GREY = "#8a929b"
_OTHERS = "#c3c9d0"
_STOPPED = "#a12828"
# The best three, told apart by people who see colours differently too.
BEST = ("#1f5f99", "#b3541e", "#1d7a46")
_STYLE: Any = {"svg.hashsalt": "radiotrain", "font.size": 10, "axes.edgecolor": _GREY}
_LONGEST_LABEL = 16
# Of the room that a word has on its axis.
_SPREAD = 0.55


@dataclass(frozen=True)
class Curve:
    """What one trial learned.

    Parameters
    ----------
    place
        Among its group's, from 1; None before its first rung.
    points
        (epoch, AUC) in the order of training; folds follow one another.
    status
        As in `cluster.sweep.folder.Standing`.
    """

    place: int | None
    points: tuple[tuple[float, float], ...]
    status: str


@dataclass(frozen=True)
class Dimension:
    """An axis of the parallel coordinates.

    Parameters
    ----------
    values
        One a trial: numbers, or words where `words` lists them.
    words
        All words there are, from the bottom up; none for numbers.
    """

    label: str
    values: tuple[Any, ...]
    words: tuple[str, ...] = ()
    is_log: bool = False

    def place(self, value: Any) -> float:
        """Return where a value lies, from 0 to 1."""
        if self.words:
            return (self.words.index(value) + 0.5) / len(self.words)
        low, high = self._scaled(min(self.values)), self._scaled(max(self.values))
        return 0.5 if low == high else (self._scaled(value) - low) / (high - low)

    def heights(self, order: Sequence[int]) -> dict[int, float]:
        """Return where each trial's line goes; those of one word side by side, not on each other.

        Parameters
        ----------
        order
            Positions of the trials, from the bottom up.
        """
        found = {}
        for i in order:
            same = [j for j in order if self.values[j] == self.values[i]] if self.words else [i]
            spread = (same.index(i) + 0.5) / len(same) - 0.5
            found[i] = self.place(self.values[i]) + spread * _SPREAD / max(1, len(self.words))
        return found

    def ticks(self) -> list[tuple[float, str]]:
        """Return (place, text) of what is written beside it."""
        if self.words:
            return [(self.place(word), _short(word)) for word in self.words]
        low, high = min(self.values), max(self.values)
        middle = math.sqrt(low * high) if self.is_log else (low + high) / 2
        return [(self.place(v), f"{v:.3g}") for v in dict.fromkeys((low, middle, high))]

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.is_log else float(value)


def score_colours() -> Colormap:
    """Return the colours of scores, the darker the better; white text can be read on the darkest."""
    return LinearSegmentedColormap.from_list("score", ["#c9d8e4", "#7fb0d3", "#1f5f99", "#0b2e52"])


def curves_svg(curves: Sequence[Curve], rungs: Sequence[int], last_epoch: int) -> str:
    """Draw learning curves, where trials were stopped, and the rungs where they were compared.

    Parameters
    ----------
    rungs
        Epochs after which trials are compared.
    last_epoch
        Of all folds together.
    """
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(5.6, 3.9), layout="constrained")
        axes = figure.add_subplot()
        axes.axhline(0.5, color=_GREY, linewidth=1, linestyle=(0, (4, 4)))
        for epoch in rungs:
            axes.axvline(epoch, color="#c8d0d8", linewidth=1.2, zorder=0)
        # The best last, above the others.
        for curve in sorted(curves, key=lambda c: -(c.place or len(curves) + 1)):
            if curve.points:
                _draw_curve(axes, curve)
        axes.set_xlim(0, last_epoch * 1.06)
        axes.set_xlabel("epochs trained")
        axes.set_ylabel("validation AUC")
        axes.spines[["top", "right"]].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        return figure_svg(figure)


def parallel_svg(dimensions: Sequence[Dimension], scores: Sequence[float]) -> str:
    """Draw parallel coordinates: a line a trial, from its settings to its score.

    Parameters
    ----------
    dimensions
        The settings, the score's own axis not among them.
    scores
        One a trial.
    """
    axis = Dimension("score", tuple(scores))
    columns = [*dimensions, axis]
    norm, colours = Normalize(min(scores), max(scores)), score_colours()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(max(4.6, 1.6 * len(columns)), 3.2), layout="constrained")
        axes = figure.add_subplot()
        best = max(range(len(scores)), key=scores.__getitem__)
        order = sorted(range(len(scores)), key=scores.__getitem__)
        for i in order:
            heights = [column.heights(order)[i] for column in columns]
            axes.plot(
                range(len(columns)), heights, color=colours(float(norm(scores[i]))), alpha=0.9,
                linewidth=3 if i == best else 1.6, solid_joinstyle="round",
            )  # fmt: skip
        for x, column in enumerate(columns):
            axes.axvline(x, color=INK, linewidth=1)
            for height, text in column.ticks():
                _annotate(axes, x, height, text, is_last=column is axis)
        axes.set_xlim(-0.1, len(columns) - 0.6)
        axes.set_ylim(-0.06, 1.06)
        labels = [column.label.replace(".", ".\n") for column in columns]
        axes.set_xticks(range(len(columns)), labels)
        axes.xaxis.tick_top()
        axes.tick_params(length=0)
        axes.set_yticks([])
        axes.spines[:].set_visible(False)
        return figure_svg(figure)


def _draw_curve(axes: Axes, curve: Curve) -> None:
    is_best = curve.place is not None and curve.place <= len(BEST)
    colour = BEST[curve.place - 1] if curve.place is not None and is_best else _OTHERS
    x, y = zip(*curve.points, strict=True)
    axes.plot(x, y, color=colour, linewidth=2.2 if is_best else 1.1)
    if curve.status in ("stopped", "failed"):
        axes.plot(x[-1], y[-1], "x", color=_STOPPED, markersize=7, markeredgewidth=1.8)
    elif curve.status == "finished":
        axes.plot(x[-1], y[-1], "o", color=colour, markersize=6.5, markeredgecolor="white")
    if is_best:
        axes.annotate(
            str(curve.place), (x[-1], y[-1]), (6, 0), textcoords="offset points", va="center",
            color=colour, fontweight="bold",
        )  # fmt: skip


def _annotate(axes: Axes, x: int, height: float, text: str, *, is_last: bool) -> None:
    axes.annotate(
        text, (x, height), (5, 0), textcoords="offset points", va="center", fontsize=8.5,
        color=INK, fontweight="bold" if is_last else "normal", annotation_clip=False, parse_math=False,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.85, "pad": 0.8},
    )  # fmt: skip


def _short(word: str) -> str:
    return word if len(word) <= _LONGEST_LABEL else f"{word[: _LONGEST_LABEL - 1]}…"
