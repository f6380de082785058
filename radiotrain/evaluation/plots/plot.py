"""Common plot code, and the ROC plot.

The same input gives the same bytes in each format.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from preprocessing.common.page import data_uri, figure_svg
from radiotrain.evaluation.measure import parts_of
from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.published import PublishedResult
from radiotrain.evaluation.results import TargetResult
from radiotrain.statistics.pooled_auc import pooled_roc
from radiotrain.statistics.resampling import roc_band

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


_PNG_DPI = 300


@dataclass(frozen=True)
class Plot:
    """One plot: the name of its file, the SVG text, and what it shows in words.

    Parameters
    ----------
    name
        Of the SVG file.
    figure
        What was drawn, for the other formats; None where none is wanted.
    alt
        For readers without the picture: what is drawn, with the numbers.
    """

    name: str
    svg: str
    alt: str
    caption: str
    figure: Figure | None

    @property
    def uri(self) -> str:
        """The plot as an image address that holds the image itself."""
        return data_uri(self.svg.encode())

    def for_manuscript(self) -> dict[str, bytes]:
        """Return the plot as PDF and as PNG of 300 dpi, by the names of their files."""
        if self.figure is None:
            return {}
        stem = self.name.removesuffix(".svg")
        formats: dict[str, dict[str, Any]] = {
            "pdf": {"metadata": {"CreationDate": None}},
            "png": {"metadata": {"Software": None}, "dpi": _PNG_DPI},
        }
        found: dict[str, bytes] = {}
        with mpl.rc_context(_STYLE):
            for kind, settings in formats.items():
                buffer = io.BytesIO()
                self.figure.savefig(buffer, format=kind, **settings)
                found[f"{stem}.{kind}"] = buffer.getvalue()
        return found


def make_plot(name: str, figure: Figure, alt: str, caption: str) -> Plot:
    """Return the plot of a figure, with its SVG text."""
    with mpl.rc_context(_STYLE):
        return Plot(name, figure_svg(figure), alt, caption, figure)


def plot_file_name(kind: str, number: int, target: str, run: str) -> str:
    """Return the name of the file of a plot: the number keeps apart what the words do not."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{target}-{run}").strip("-")
    return f"{kind}-{number:02d}-{words[:60]}.svg"


def draw_roc(
    result: TargetResult,
    test: PatientScores,
    *,
    seed: int,
    published: tuple[PublishedResult, ...] = (),
) -> Figure:
    """Draw the ROC curve with its 95% band, the operating point and published ones.

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
    published
        Rows of the literature whose operating point is drawn, too.
    """

    def draw(axes: Axes) -> None:
        frame_square(axes, diagonal="chance")
        axes.set_xlabel("1 − specificity (false positive rate)")
        axes.set_ylabel("sensitivity (true positive rate)")
        _draw_curve(axes, result, test, seed)
        _draw_points(axes, result, published)
        axes.legend(loc="lower right", frameon=True, fontsize=8, edgecolor="none")

    return draw_figure(draw)


def draw_figure(draw: Callable[[Axes], None], size: tuple[float, float] | None = None) -> Figure:
    """Return a figure in the report's style.

    Parameters
    ----------
    size
        Width and height in inches, the margins found for the labels; None: a square with fixed margins,
        which is drawn once and not twice.
    """
    with mpl.rc_context(_STYLE):
        if size is None:
            figure = Figure(figsize=(4.0, 4.0))
            figure.subplots_adjust(left=0.15, right=0.975, bottom=0.125, top=0.98)
        else:
            figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        axes.grid(color="#e8ebee", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        draw(axes)
        return figure


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
    axes.fill_between(rates, low, high, color=OURS, alpha=0.16, linewidth=0, label="95% band")
    alarms, hits, _ = roc_curve(test.labels, test.scores, drop_intermediate=False)
    axes.plot(alarms, hits, color=OURS, linewidth=2, label=f"this run, AUC {result.auc:.2f}")


def _draw_points(axes: Axes, result: TargetResult, published: tuple[PublishedResult, ...]) -> None:
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
