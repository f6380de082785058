"""Calibration plots and decision curves as SVG text."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.report.plots import GREY, OURS, PUBLISHED, as_svg, frame_square
from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.statistics.decision_curve import net_benefit, net_benefit_of_all

_MOST_TICKS = 1_000


def calibration_svg(result: TargetResult, test: PatientScores) -> str:
    """Draw the share of positives over the probability that promised it, in bins.

    Ticks at the lower edge are negative patients, at the upper edge positive ones.

    Parameters
    ----------
    result
        The result to draw.
    test
        Its test patients, at least one.
    """
    promised = [b.mean_probability for b in result.reliability]
    found = [b.share_positive for b in result.reliability]
    low = [b.share_positive - b.share_positive_ci95[0] for b in result.reliability]
    high = [b.share_positive_ci95[1] - b.share_positive for b in result.reliability]

    def draw(axes: Axes) -> None:
        frame_square(axes, diagonal="as promised")
        axes.set_xlabel("predicted probability")
        axes.set_ylabel("share that is positive")
        axes.errorbar(
            promised,
            found,
            # Wilson's interval holds the share itself; rounding may put it a hair outside.
            yerr=np.maximum([low, high], 0),
            fmt="o-",
            color=OURS,
            ecolor="#a9c3dc",
            linewidth=1.5,
            markersize=6,
            label="this run, with 95 % intervals",
        )
        for label, (bottom, top), colour in ((0, (0, 0.025), GREY), (1, (0.975, 1), PUBLISHED)):
            ticks = _ticks(test.scores[test.labels == label])
            axes.vlines(ticks, bottom, top, color=colour, linewidth=0.7)
        axes.legend(loc="best", fontsize=8, edgecolor="none")

    return as_svg(draw)


def _ticks(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where ticks are drawn: of many patients at places that an eye can tell apart."""
    return scores if len(scores) <= _MOST_TICKS else np.unique(scores.round(3))


def decision_svg(result: TargetResult, test: PatientScores) -> str:
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
    everybody = net_benefit_of_all(test.labels, thresholds)
    top = test.num_positive / test.num_patients

    def draw(axes: Axes) -> None:
        axes.plot(thresholds, everybody, color=PUBLISHED, linewidth=1.3, label="call everyone")
        axes.axhline(0, color=GREY, linewidth=1.3, label="call no one")
        axes.plot(thresholds, model, color=OURS, linewidth=2, label="call by this run")
        if result.threshold is not None and result.threshold < 1:
            axes.axvline(
                result.threshold,
                color=OURS,
                linewidth=1,
                linestyle=(0, (2, 3)),
                label="threshold from validation",
            )
        # Far below 0 nobody would call; the lines there would flatten all else.
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.3 * top, 1.08 * top))
        axes.set_xlabel("probability from which on one would act")
        axes.set_ylabel("net benefit (true positives a patient)")
        axes.set_xticks(np.linspace(0, 1, 6))
        axes.legend(loc="upper right", frameon=True, fontsize=8, edgecolor="none")

    return as_svg(draw)
