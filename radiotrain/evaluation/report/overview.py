"""The figure of the summary: the AUC of each headline with its interval, and baselines beside it."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.report.numbers import auc_text
from radiotrain.evaluation.report.plots import GREY, OURS, Plot, draw_figure, make_plot
from radiotrain.evaluation.results import TargetResult

_MOST_ROWS = 24
_LONGEST_NAME = 34
_ROW_INCHES = 0.26


def draw_overview(
    headlines: Sequence[TargetResult], results: Sequence[TargetResult]
) -> Plot | None:
    """Draw AUCs with their intervals; nothing where no headline has an AUC.

    Parameters
    ----------
    headlines
        The results of the summary.
    results
        All results: baselines of the same targets are drawn beside, as far as there is room.
    """
    targets = dict.fromkeys(r.target for r in headlines)
    beside = [r for r in results if is_baseline(r.run) and r not in headlines]
    rows = [
        r
        for target in targets
        for r in (*headlines, *(beside if len(headlines) + len(beside) <= _MOST_ROWS else ()))
        if r.target == target and r.auc is not None
    ]
    if not rows:
        return None

    def draw(axes: Axes) -> None:
        axes.grid(visible=False, axis="y")
        axes.spines["left"].set_visible(False)
        axes.axvline(0.5, color=GREY, linewidth=1, linestyle=(0, (4, 4)))
        for place, result in enumerate(rows):
            colour = GREY if is_baseline(result.run) else OURS
            if result.auc_ci95 is not None:
                axes.plot(result.auc_ci95, (place, place), color=colour, linewidth=2)
            axes.plot(result.auc, place, "o", color=colour, markeredgecolor="white", markersize=7)
        axes.set(xlim=(-0.01, 1.01), ylim=(len(rows) - 0.4, -0.6))
        axes.set_yticks(range(len(rows)), [_name(r) for r in rows], parse_math=False, fontsize=8)
        axes.tick_params(axis="y", length=0)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axes.set_xlabel("AUC and 95% CI; dashed: chance (AUC 0.5)")

    values = "; ".join(f"{r.target}, {r.run}: AUC {auc_text(r)}" for r in rows)
    grey = " Grey: baseline models." if any(is_baseline(r.run) for r in rows) else ""
    return make_plot(
        "overview.svg",
        draw_figure(draw, (7.2, 0.8 + _ROW_INCHES * len(rows))),
        f"Test AUC with 95% CI. {values}.",
        f"Test AUC with 95% CI.{grey}",
    )


def _name(result: TargetResult) -> str:
    name = f"{result.target}, {result.run}"
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
