"""The plots of one result, with the words that go under them."""

from __future__ import annotations

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.report.numbers import auc_text, number
from radiotrain.evaluation.report.plots import Plot, draw_roc, make_plot, plot_file_name
from radiotrain.evaluation.report.probability_plots import draw_calibration, draw_decision
from radiotrain.evaluation.report.published import PublishedResult
from radiotrain.evaluation.results import TargetResult


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
