"""What an evaluation and its context can answer of a checklist, by key; nothing is assumed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.results import Evaluation, TargetResult

By = Literal["run", "author", "not applicable"]


@dataclass(frozen=True)
class Answer:
    """One answer.

    Parameters
    ----------
    by
        run: the text answers the item. author: it does not, though the text may help the author.
        not applicable: the text says why.
    text
        For a person.
    where
        Anchor of the report's section to read on; empty for none.
    met
        Whether that which the item asks for was done; None where it is no question of that.
    """

    by: By
    text: str = ""
    where: str = ""
    met: bool | None = None


def known_from_results(evaluation: Evaluation) -> dict[str, Answer]:
    """Return answers that the predictions table alone gives."""
    results = [r for r in evaluation.results if r.auc is not None]
    if not results:
        return {}
    found = dict(_about_measures(evaluation, results))
    found |= dict(_about_values(results))
    found |= dict(_about_baselines(results))
    return found


def known_from_context(evaluation: Evaluation, context: ReportContext) -> dict[str, Answer]:
    """Return answers that rest on the flow, the shortcuts and the subgroups."""
    found = dict(_about_patients(context))
    found |= dict(_about_robustness(evaluation, context))
    if context.provenance:
        found["technical_details"] = Answer(
            "run",
            "Fingerprints, seeds, versions and every run's configuration are printed; how the"
            " numbers are made stands there with references. A study protocol is for the author.",
            "repeat",
        )
    return found


def _about_measures(
    evaluation: Evaluation, results: list[TargetResult]
) -> Iterator[tuple[str, Answer]]:
    yield (
        "metrics",
        Answer(
            "run",
            "AUC, PR-AUC, sensitivity, specificity, PPV, NPV, Brier score, calibration and net"
            " benefit, each with its source.",
            "methods",
            met=True,
        ),
    )
    if any(r.auc_ci95 is not None for r in results):
        yield (
            "uncertainty",
            Answer(
                "run",
                f"95 % score intervals, DeLong's and of {evaluation.num_resamples} bootstrap"
                f" resamples (seed {evaluation.seed}), Wilson's for shares; a permutation test;"
                " comparisons corrected after Holm.",
                "methods",
                met=True,
            ),
        )
    if any(r.calibration_slope is not None for r in results):
        text = "Intercept, slope, Brier score, calibration error and plot on test patients."
        yield "calibration", Answer("run", text, "results", met=True)
    if any(c.method != "none" and c.brier is not None for r in results for c in r.recalibrations):
        text = "One temperature, or an isotonic step, fitted on validation patients only."
        yield "recalibration", Answer("run", text, "results")
    chosen = sorted({r.threshold_source for r in results if r.threshold_source is not None})
    if chosen:
        text = f"A probability for each target; called positive from a threshold: {chosen[0]}."
        yield "output", Answer("run", text, "methods")


def _about_values(results: list[TargetResult]) -> Iterator[tuple[str, Answer]]:
    networks = [r for r in results if not is_baseline(r.run)] or results
    values = "; ".join(_area(r) for r in networks if r.auc_ci95 is not None)
    if values:
        yield "performance", Answer("run", f"Test AUC with 95 % interval: {values}.", "table")
    called = "; ".join(
        f"{r.target}, {r.run}: sensitivity {r.sensitivity:.3f}, specificity {r.specificity:.3f}"
        for r in networks
        if r.sensitivity is not None and r.specificity is not None
    )
    if called:
        yield "diagnostic_performance", Answer("run", f"{called}.", "table")
    counts = {f"{r.target}: {r.num_patients} tested, {r.num_positive} positive" for r in networks}
    yield "counts", Answer("run", f"{'; '.join(sorted(counts))}.", "patients")
    yield (
        "sample_size",
        Answer(
            "author",
            "The report says which AUC and which differences this test set can show; why it has"
            " this size is for the author.",
            "resolvable",
        ),
    )
    text = "predictions.parquet holds every call; reading the images of wrong ones is the author's."
    yield "failures", Answer("author", text)
    text = "The warnings of the report are a beginning."
    yield "limitations", Answer("author", text, "warnings")
    text = "CLAIM 2024, TRIPOD+AI and METRICS are filled in below as far as the run can."
    yield "adherence", Answer("author", text)


def _about_baselines(results: list[TargetResult]) -> Iterator[tuple[str, Answer]]:
    """Say what stands beside the networks; nothing where there is no network to stand beside."""
    baselines = sorted({r.run for r in results if is_baseline(r.run)})
    if not baselines or all(is_baseline(r.run) for r in results):
        return
    text = f"On the same test patients: {', '.join(baselines)}."
    yield "simple_baseline", Answer("run", text, "comparisons", met=True)
    without_images = [run for run in baselines if "clinical" in run]
    if without_images:
        text = f"On the same test patients: {', '.join(without_images)}."
        yield "clinical_baseline", Answer("run", text, "comparisons", met=True)


def _area(result: TargetResult) -> str:
    low, high = result.auc_ci95 or (0.0, 0.0)
    return f"{result.target}, {result.run}: {result.auc:.3f} ({low:.3f}–{high:.3f})"


def _about_patients(context: ReportContext) -> Iterator[tuple[str, Answer]]:
    flow = context.flow
    if flow is None:
        return
    yield (
        "flow",
        Answer(
            "run",
            f"{flow.num_patients} came in, {len(flow.excluded)} left out with their reasons,"
            f" {flow.divided}; see the diagram.",
            "patients",
        ),
    )
    yield (
        "eligibility",
        Answer(
            "author",
            f"Technical exclusions are listed ({len(flow.excluded)} patients); clinical criteria"
            " are for the author.",
            "patients",
        ),
    )
    if flow.labels:
        num = sum(counts.num_missing for counts in flow.labels)
        yield (
            "missing_data",
            Answer(
                "run",
                f"Patients with a missing label take no part for that target ({num} labels"
                " missing); patients whose images cannot be used are left out; nothing is"
                " imputed for the networks' images.",
                "patients",
            ),
        )


def _about_robustness(
    evaluation: Evaluation, context: ReportContext
) -> Iterator[tuple[str, Answer]]:
    parts: list[str] = []
    if context.shortcuts is not None:
        text = (
            "Whether the acquisition predicts the target, whether the networks know the scanner,"
            " and results by scanner."
        )
        parts.append(text)
        yield "confounding", Answer("run", text, "shortcuts", met=True)
        if context.shortcuts.by_scanner:
            yield "heterogeneity", Answer("run", "Results by scanner.", "shortcuts")
    if context.saliency is not None and context.saliency.runs:
        text = "Integrated gradients on some test patients: scored by deletion, occlusion and random weights."
        yield "saliency", Answer("run", text, "saliency", met=True)
    subgroups = context.subgroups
    if subgroups is not None and subgroups.results:
        parts.append("Results in subgroups of test patients, with tests of heterogeneity.")
        text = "Results in subgroups are given; the approach to fairness is for the author."
        yield "fairness", Answer("author", text, "subgroups")
        if any(r.auc_ci95 is not None for r in evaluation.results):
            text = "Test results with 95 % intervals, and the same in subgroups."
            yield "performance_subgroups", Answer("run", text, "subgroups")
    if parts:
        yield "robustness", Answer("run", " ".join(parts), "shortcuts")
