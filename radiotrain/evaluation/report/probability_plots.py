"""Calibration plots and decision curves."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.report.plots import GREY, OURS, PUBLISHED, draw_figure, frame_square
from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.statistics.decision_curve import (
    net_benefit,
    net_benefit_interval,
    net_benefit_of_all,
)

_MOST_TICKS = 1_000


def draw_calibration(result: TargetResult, test: PatientScores) -> Figure:
    """Draw observed against predicted probability, in bins.

    Ticks at the lower edge are negative patients, at the upper edge positive ones.

    Parameters
    ----------
    result
        The result to draw.
    test
        Its test patients, at least one.
    """
    predicted = [b.mean_probability for b in result.reliability]
    observed = [b.share_positive for b in result.reliability]
    low = [b.share_positive - b.share_positive_ci95[0] for b in result.reliability]
    high = [b.share_positive_ci95[1] - b.share_positive for b in result.reliability]

    def draw(axes: Axes) -> None:
        frame_square(axes, diagonal="perfect calibration")
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("observed proportion positive")
        axes.errorbar(
            predicted,
            observed,
            # Wilson's interval holds the share itself; rounding may put it a hair outside.
            yerr=np.maximum([low, high], 0),
            fmt="o" if result.calibration_curve.predicted else "o-",
            color=OURS,
            ecolor="#a9c3dc",
            linewidth=1.5,
            markersize=6,
            label="this run, with 95% CIs",
        )
        curve = result.calibration_curve
        if curve.predicted:
            axes.fill_between(
                curve.predicted, curve.low, curve.high, color=OURS, alpha=0.16, linewidth=0
            )
            axes.plot(
                curve.predicted, curve.observed, color=OURS, linewidth=2, label="smooth, 95% band"
            )
        for label, (bottom, top), colour in ((0, (0, 0.025), GREY), (1, (0.975, 1), PUBLISHED)):
            ticks = _ticks(test.scores[test.labels == label])
            axes.vlines(ticks, bottom, top, color=colour, linewidth=0.7)
        axes.legend(loc="best", fontsize=8, edgecolor="none")

    return draw_figure(draw)


def _ticks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where ticks are drawn: of many patients at places that an eye can tell apart."""
    return scores if len(scores) <= _MOST_TICKS else np.unique(scores.round(3))


def draw_decision(result: TargetResult, test: PatientScores) -> Figure:
    """Draw the net benefit of the model, of treating all and of treating none.

    Parameters
    ----------
    result
        The result to draw.
    test
        Its test patients, at least one.
    """
    thresholds = np.linspace(0, 0.99, 199)
    model = net_benefit(test.labels, test.scores, thresholds)
    low, high = net_benefit_interval(test.labels, test.scores, thresholds)
    treat_all = net_benefit_of_all(test.labels, thresholds)
    top = test.num_positive / test.num_patients

    def draw(axes: Axes) -> None:
        axes.plot(thresholds, treat_all, color=PUBLISHED, linewidth=1.3, label="treat all")
        axes.axhline(0, color=GREY, linewidth=1.3, label="treat none")
        axes.fill_between(thresholds, low, high, color=OURS, alpha=0.16, linewidth=0)
        axes.plot(thresholds, model, color=OURS, linewidth=2, label="this run, 95% band")
        if result.threshold is not None and result.threshold < 1:
            axes.axvline(
                result.threshold,
                color=OURS,
                linewidth=1,
                linestyle=(0, (2, 3)),
                label="threshold from validation",
            )
        # A net benefit far below 0 is of no interest; the lines there would flatten all else.
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.3 * top, 1.08 * top))
        axes.set_xlabel("threshold probability")
        axes.set_ylabel("net benefit (true positives per patient)")
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.legend(loc="upper right", frameon=True, fontsize=8, edgecolor="none")

    return draw_figure(draw)
