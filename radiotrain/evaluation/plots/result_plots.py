"""Calibration, decision curve, selective prediction and summary plots."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.numbers import auc_text, number
from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.plots.plot import (
    GREY,
    OURS,
    PUBLISHED,
    Plot,
    draw_figure,
    draw_roc,
    frame_square,
    make_plot,
    plot_file_name,
)
from radiotrain.evaluation.published import PublishedResult
from radiotrain.evaluation.results import TargetResult
from radiotrain.evaluation.stability.stability_results import Selective, Stability
from radiotrain.statistics.decision_curve import (
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


def draw_plots(
    num: int,
    result: TargetResult,
    test: PatientScores,
    *,
    seed: int,
    published: tuple[PublishedResult, ...] = (),
) -> tuple[Plot, ...]:
    """Draw ROC curve, calibration plot and decision curve; nothing where there is one class.

    Of a baseline only the ROC curve: there are many, and they all go into one page.

    Parameters
    ----------
    num
        Of the result in the report, from 1.
    test
        Its test patients.
    published
        Rows of the same cohort, to mark their operating points.
    seed
        Of the ROC band's bootstrap.
    published
        Rows of the literature that belong beside it.
    """
    if result.auc is None:
        return ()
    of = f"of {result.target}, run {result.run}"
    roc = make_plot(
        plot_file_name("roc", num, result.target, result.run),
        draw_roc(result, test, seed=seed, published=published),
        f"ROC curve {of}: AUC {auc_text(result)}{_operating_point(result)}.",
        _about_roc(result, published),
    )
    if is_baseline(result.run):
        return (roc,)
    calibration = make_plot(
        plot_file_name("calibration", num, result.target, result.run),
        draw_calibration(result, test),
        f"Calibration plot {of}. {_bins(result)}",
        "Observed against predicted probability on the test patients, in groups of about equal size."
        " Dashed: perfect calibration; above it predicted probabilities are too low. Ticks are"
        " patients, negative below and positive above.",
    )
    decision = make_plot(
        plot_file_name("decision", num, result.target, result.run),
        draw_decision(result, test),
        f"Decision curve {of}. {_net_benefits(result)}",
        "Decision curve: net benefit of acting on this run, of treating all and of treating none,"
        " over the threshold probability.",
    )
    return roc, calibration, decision


def _operating_point(result: TargetResult) -> str:
    if result.sensitivity is None or result.specificity is None:
        return ""
    return (
        f"; at the threshold from validation sensitivity {number(result.sensitivity)},"
        f" specificity {number(result.specificity)}"
    )


def _bins(result: TargetResult) -> str:
    found = "; ".join(
        f"predicted {number(b.mean_probability)}, observed {number(b.share_positive)}"
        for b in result.reliability
    )
    slope = ""
    if result.calibration_slope is not None:
        slope = f" Slope {number(result.calibration_slope)}."
    return f"Groups: {found}.{slope}"


def _net_benefits(result: TargetResult) -> str:
    """Name net benefits at a few thresholds: a curve of 19 would be no use when read aloud."""
    few = [b for b in result.net_benefits if round(b.threshold, 2) in (0.25, 0.5, 0.75)]
    found = "; ".join(
        f"at {number(b.threshold)} this run {number(b.model)}, treat all {number(b.all)}"
        for b in few
    )
    return f"Net benefit: {found}."


def _about_roc(result: TargetResult, published: tuple[PublishedResult, ...]) -> str:
    words = "Test ROC curve with its pointwise 95% bootstrap band."
    if result.outer:
        words = (
            "Mean of the test ROC curves of the outer parts, weighted by their pairs of patients."
        )
    if result.sensitivity is None:
        return words
    words += " Dot: the threshold chosen on validation"
    if any(row.sensitivity is not None for row in published):
        words += "; diamond: the published operating point, of other test patients"
    return f"{words}."


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
