"""The curve of selective prediction: AUC against coverage."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from radiotrain.evaluation.report.plots import (
    GREY,
    OURS,
    Plot,
    draw_figure,
    make_plot,
    plot_file_name,
)
from radiotrain.evaluation.stability.results import Selective, Stability


def draw_selective(stability: Stability) -> tuple[Plot, ...]:
    """Draw the curve of each run and target of `Stability.drawn`, in that order."""
    return tuple(
        make_plot(
            plot_file_name("selective", number, found.target, found.run),
            draw_curve(found),
            f"AUC against coverage of {found.target}, run {found.run}. {found.sentence}",
            f"{found.target}, run {found.run}: AUC of the patients that are kept when the least certain"
            " are deferred, with its pointwise 95% bootstrap band. Dashed: random deferral.",
        )
        for number, found in enumerate(stability.drawn, start=1)
    )


def draw_curve(found: Selective) -> Figure:
    """Draw one curve."""

    def draw(axes: Axes) -> None:
        axes.set_xlabel("coverage: proportion of patients kept")
        axes.set_ylabel("AUC")
        axes.set(xlim=(1.01, 0.29), ylim=(0, 1.02))
        points = [(p.coverage, p.auc) for p in found.points if p.auc is not None]
        if not points:
            return
        axes.axhline(points[0][1], color=GREY, linestyle=(0, (4, 4)), linewidth=1,
                     label="random deferral")  # fmt: skip
        band = [(p.coverage, p.auc_ci95) for p in found.points if p.auc_ci95 is not None]
        if band:
            axes.fill_between([x for x, _ in band],
                [low for _, (low, _) in band],
                [high for _, (_, high) in band], color=OURS, alpha=0.16, linewidth=0,
                              label="95% band")  # fmt: skip
        axes.plot([x for x, _ in points], [y for _, y in points], color=OURS, linewidth=2,
                  marker="o", markersize=3.5, label="least certain deferred")  # fmt: skip
        axes.legend(loc="lower left", frameon=True, fontsize=8, edgecolor="none")

    return draw_figure(draw)
