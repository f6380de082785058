"""ROC plots, and what all plots share, as SVG text: sharp on paper, small in a file, the same bytes for the same input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from preprocessing.page import figure_svg
from radiotrain.evaluation.measure_outer import parts_of
from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.report.published import PublishedResult
from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.statistics.bootstrap import roc_band
from radiotrain.evaluation.statistics.pooled_auc import pooled_roc

OURS = "#1f5f99"
PUBLISHED = "#b3541e"
GREY = "#8a929b"
_GRID_POINTS = 201
# Text as text, not as outlines: a third of the size, and it can be searched and read aloud.
_STYLE: Any = {
    "svg.hashsalt": "radiotrain",
    "svg.fonttype": "none",
    "font.size": 10,
    "axes.edgecolor": GREY,
}


def roc_svg(
    result: TargetResult,
    test: PatientScores,
    published: Sequence[PublishedResult],
    *,
    seed: int,
) -> str:
    """Draw the ROC curve with its 95 % band, our operating point and the published ones.

    Parameters
    ----------
    result
        The result to draw.
    test
        Its test patients, of both classes.
    published
        Rows of the same cohort.
    seed
        Of the band's bootstrap.
    """

    def draw(axes: Axes) -> None:
        frame_square(axes, diagonal="chance")
        axes.set_xlabel("1 − specificity (false positive rate)")
        axes.set_ylabel("sensitivity (true positive rate)")
        _draw_curve(axes, result, test, seed)
        _draw_points(axes, result, published)
        axes.legend(loc="lower right", frameon=True, fontsize=8, edgecolor="none")

    return as_svg(draw)


def as_svg(draw: Callable[[Axes], None]) -> str:
    """Return what is drawn, as SVG text in the report's style."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(4.0, 4.0), layout="constrained")
        axes = figure.add_subplot()
        axes.grid(color="#e8ebee", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        return figure_svg(figure)


def frame_square(axes: Axes, *, diagonal: str) -> None:
    """Make both axes go from 0 to 1, and draw the diagonal under this name."""
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle=(0, (4, 4)), label=diagonal)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))


def _draw_curve(axes: Axes, result: TargetResult, test: PatientScores, seed: int) -> None:
    rates = np.linspace(0, 1, _GRID_POINTS)
    if test.parts:
        curve = pooled_roc(parts_of(test), rates)
        axes.plot(
            rates, curve, color=OURS, linewidth=2, label=f"mean of parts, AUC {result.auc:.3f}"
        )
        return
    low, high = roc_band(test.labels, test.scores, rates, seed=seed)
    axes.fill_between(rates, low, high, color=OURS, alpha=0.16, linewidth=0, label="95 % band")
    alarms, hits, _ = roc_curve(test.labels, test.scores, drop_intermediate=False)
    axes.plot(alarms, hits, color=OURS, linewidth=2, label=f"this run, AUC {result.auc:.3f}")


def _draw_points(axes: Axes, result: TargetResult, published: Sequence[PublishedResult]) -> None:
    if result.sensitivity is not None and result.specificity is not None:
        x, y = 1 - result.specificity, result.sensitivity
        axes.plot(x, y, "o", color=OURS, markeredgecolor="white", markersize=9, label="threshold")
    for row in published:
        if row.sensitivity is not None and row.specificity is not None:
            axes.plot(
                1 - row.specificity,
                row.sensitivity,
                "D",
                color=PUBLISHED,
                markeredgecolor="white",
                markersize=8,
                label=f"published, AUC {row.auc:.3f}",
            )
