"""The plots of one result, with the words that go under them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from preprocessing.page import data_uri
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.patients import PatientScores
from radiotrain.evaluation.report.plots import roc_svg
from radiotrain.evaluation.report.probability_plots import calibration_svg, decision_svg
from radiotrain.evaluation.report.published import PublishedResult
from radiotrain.evaluation.results import TargetResult


@dataclass(frozen=True)
class Plot:
    """One plot: the name of its file, the SVG text, and what it shows in words."""

    name: str
    svg: str
    alt: str
    caption: str

    @property
    def uri(self) -> str:
        """The plot as an image address that holds the image itself."""
        return data_uri(self.svg.encode())


def draw_plots(
    number: int,
    result: TargetResult,
    test: PatientScores,
    published: Sequence[PublishedResult],
    *,
    seed: int,
) -> tuple[Plot, ...]:
    """Draw ROC curve, calibration plot and decision curve; nothing where there is one class.

    Of a baseline only the ROC curve: there are many, and they all go into one page.

    Parameters
    ----------
    number
        Of the result in the report, from 1.
    test
        Its test patients.
    published
        Rows of the same cohort, to mark their operating points.
    seed
        Of the ROC band's bootstrap.
    """
    if result.auc is None:
        return ()
    of = f"of {result.target}, run {result.run}"
    roc = Plot(
        plot_file_name("roc", number, result.target, result.run),
        roc_svg(result, test, published, seed=seed),
        f"ROC curve {of}: AUC {result.auc:.3f}",
        _about_roc(result, published),
    )
    if is_baseline(result.run):
        return (roc,)
    calibration = Plot(
        plot_file_name("calibration", number, result.target, result.run),
        calibration_svg(result, test),
        f"Calibration plot {of}: probabilities against shares of positives",
        "Calibration on the test patients, in groups of about equally many. On the dashed line"
        " probabilities mean what they say; above it they are too low. Ticks are patients,"
        " negative below and positive above.",
    )
    decision = Plot(
        plot_file_name("decision", number, result.target, result.run),
        decision_svg(result, test),
        f"Decision curve {of}: net benefit over thresholds",
        "Decision curve: what calling patients by this run is worth, if false alarms are weighed"
        " by the probability at which one would act. It is of use where its line is the highest"
        " of the three.",
    )
    return roc, calibration, decision


def _about_roc(result: TargetResult, published: Sequence[PublishedResult]) -> str:
    words = "Test ROC curve with its pointwise 95 % bootstrap band."
    if result.outer:
        words = (
            "Mean of the test ROC curves of the outer parts, weighted by their pairs of patients."
        )
    if result.sensitivity is None:
        return words
    words += " The dot is the threshold chosen on validation"
    if any(row.sensitivity is not None for row in published):
        words += "; the diamond is the published operating point"
    return f"{words}."


def plot_file_name(kind: str, number: int, target: str, run: str) -> str:
    """Return the name of the file of a plot: the number keeps apart what the words do not."""
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{target}-{run}").strip("-")
    return f"{kind}-{number:02d}-{words[:60]}.svg"
