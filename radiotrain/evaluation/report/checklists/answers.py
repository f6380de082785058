"""What an evaluation and its context can answer of a checklist, by key; nothing is assumed.

An answer counts as the run's only where the run contains what the item asks for, and names the place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.failures import find_failures
from radiotrain.evaluation.report.numbers import auc_text, ci_text
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
        Anchor of the report's section, or the file, where it stands; empty for none.
    met
        Whether that which the item asks for was done; None where it is no question of that.
    """

    by: By
    text: str = ""
    where: str = ""
    met: bool | None = None


_MOST_NAMED = 9


def known_from_results(evaluation: Evaluation) -> dict[str, Answer]:
    """Return answers that the predictions table alone gives."""
    results = [r for r in evaluation.results if r.auc is not None]
    if not results:
        return {}
    found = dict(_about_measures(evaluation, results))
    found |= dict(_about_values(evaluation, results))
    found |= dict(_about_baselines(evaluation))
    return found


def known_from_context(evaluation: Evaluation, context: ReportContext) -> dict[str, Answer]:
    """Return answers that rest on the flow, the shortcuts and the subgroups."""
    found = dict(_about_patients(context))
    found |= dict(_about_robustness(context))
    found |= dict(_about_failures(evaluation, context))
    if context.provenance:
        found["technical_details"] = Answer(
            "run",
            "Fingerprints, seeds, versions and every run's configuration. A study protocol is for the"
            " author.",
            "repeat",
        )
    if context.warnings or evaluation.warnings:
        found["limitations"] = Answer("author", "The cautions name some.", "warnings")
    return found


def listed(texts: Sequence[str]) -> str:
    """Return texts as one; of very many the first, and how many more there are."""
    more = len(texts) - _MOST_NAMED
    return "; ".join(texts[:_MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def measures_text(results: Sequence[TargetResult]) -> str:
    """Name the measures that these results have."""
    measures = ["AUC", "average precision", "Brier score", "net benefit"]
    if any(r.sensitivity is not None or r.specificity is not None for r in results):
        measures += ["sensitivity", "specificity", "PPV", "NPV"]
    if any(r.calibration_slope is not None for r in results):
        measures.append("calibration intercept and slope")
    return f"{', '.join(measures)}."


def _about_measures(
    evaluation: Evaluation, results: list[TargetResult]
) -> Iterator[tuple[str, Answer]]:
    yield "metrics", Answer("run", measures_text(results), "methods", met=True)
    if any(r.auc_ci95 is not None for r in results):
        yield "uncertainty", Answer("run", _uncertainty(evaluation, results), "methods", met=True)
    if any(r.calibration_slope is not None for r in results):
        text = "Intercept, slope, Brier score, calibration error and plot on test patients."
        yield "calibration", Answer("run", text, "results", met=True)
    if any(c.method != "none" and c.brier is not None for r in results for c in r.recalibrations):
        text = "Temperature scaling and isotonic regression, fitted on validation patients only."
        yield "recalibration", Answer("run", text, "results")
    chosen = sorted({r.threshold_source for r in results if r.threshold_source is not None})
    if chosen:
        text = f"A probability for each target; classified at a threshold from {listed(chosen)}."
        yield "output", Answer("run", text, "results")


def _uncertainty(evaluation: Evaluation, results: list[TargetResult]) -> str:
    beside = ["DeLong's"] if any(r.auc_ci95_delong is not None for r in results) else []
    if any(r.auc_ci95_bootstrap is not None for r in results):
        resamples = f"{evaluation.num_resamples:,} bootstrap resamples, seed {evaluation.seed}"
        beside.append(f"the percentile interval ({resamples})")
    words = f"; beside it {' and '.join(beside)}" if beside else ""
    parts = [f"95% CIs of the AUC (score interval{words})"]
    if any(r.sensitivity_ci95 is not None for r in results):
        parts.append("Wilson's for proportions")
    if any(r.permutation_p is not None for r in results):
        parts.append("a permutation test")
    if any(c.p_holm is not None for c in evaluation.comparisons):
        parts.append("comparisons corrected after Holm")
    return f"{'; '.join(parts)}."


def _about_values(
    evaluation: Evaluation, results: list[TargetResult]
) -> Iterator[tuple[str, Answer]]:
    networks = [r for r in results if not is_baseline(r.run)] or results
    values = [f"{r.target}, {r.run}: {auc_text(r)}" for r in networks if r.auc_ci95 is not None]
    if values:
        text = (
            f"Test AUC: {listed(values)}. Validation AUC without CI; of training patients nothing."
        )
        yield "performance", Answer("author", text, "table")
    called = [
        f"{r.target}, {r.run}: sensitivity {ci_text(r.sensitivity, r.sensitivity_ci95)},"
        f" specificity {ci_text(r.specificity, r.specificity_ci95)}"
        for r in networks
        if r.sensitivity_ci95 is not None and r.specificity_ci95 is not None
    ]
    if called:
        yield "diagnostic_performance", Answer("run", f"{listed(called)}.", "table")
    tables = [
        f"{r.target}, {r.run}: {c.tp} true and {c.fp} false positive, {c.tn} true and {c.fn} false negative"
        for r in networks
        if (c := r.confusion) is not None
    ]
    if tables:
        yield "cross_tabulation", Answer("run", f"{listed(tables)}.", "results")
    text = "Each probability is in predictions.parquet beside the report, with its digest in metrics.json."
    yield "outputs", Answer("run", text, "predictions.parquet")
    counts = {f"{r.target}: {r.num_patients} tested, {r.num_positive} positive" for r in networks}
    yield "counts", Answer("run", f"{listed(sorted(counts))}.", "table")
    text = "Precision and power of this test set are given; why it has this size is for the author."
    yield "sample_size", Answer("author", text, "resolvable")
    text = (
        "These checklists are filled in as far as the run can; a guideline is kept by the author."
    )
    yield "adherence", Answer("author", text, "checklists")


def _about_baselines(evaluation: Evaluation) -> Iterator[tuple[str, Answer]]:
    """Name the baselines that a network was compared with on the same test patients."""
    baselines = sorted(
        {
            c.other if is_baseline(c.other) else c.run
            for c in evaluation.comparisons
            if c.design == "paired"
            and c.difference is not None
            and is_baseline(c.run) != is_baseline(c.other)
        }
    )
    clinical = [run for run in baselines if "clinical" in run]
    for key, runs in (("simple_baseline", baselines), ("clinical_baseline", clinical)):
        if runs:
            text = f"On the same test patients: {listed(runs)}."
            yield key, Answer("run", text, "comparisons", met=True)


def _about_patients(context: ReportContext) -> Iterator[tuple[str, Answer]]:
    known = context.characteristics
    if known is not None:
        text = (
            "Table 1 has labels only; age, menopause and other characteristics are for the author."
        )
        if known.has_covariates:
            names = ", ".join(v.name for v in known.variables)
            partitions = ", ".join(name for name, _ in known.partitions)
            by_partition = (
                f"by partition ({partitions})" if len(known.partitions) > 1 else partitions
            )
            text = f"Table 1, {by_partition}: {names}."
        # In a cross-validated test each patient is in every partition.
        is_whole = len(known.partitions) > 1 or (context.flow is not None and context.flow.outer)
        by: By = "run" if known.has_covariates and is_whole else "author"
        yield "characteristics", Answer(by, text, "patients")
    flow = context.flow
    if flow is None:
        return
    text = (
        f"{flow.num_patients} in the cohort, {len(flow.excluded)} excluded with their reasons,"
        f" {flow.divided}; flow diagram."
    )
    yield "flow", Answer("run", text, "patients")
    text = (
        "None: every tested patient has a probability, and a class where there is a threshold. Examinations"
        " that cannot be used are excluded beforehand, with their reasons."
    )
    yield "indeterminate", Answer("run", text, "patients")
    text = f"Technical exclusions are listed ({len(flow.excluded)}); clinical criteria are for the author."
    yield "eligibility", Answer("author", text, "patients")
    if flow.labels:
        num = sum(counts.num_missing for counts in flow.labels)
        yield "missing_data", _missing_data(num, context)


def _missing_data(num: int, context: ReportContext) -> Answer:
    text = (
        f"{num} missing labels: such patients take no part for that target. Patients with unusable"
        " images are excluded."
    )
    models = context.facts.models if context.facts is not None else ()
    if any(model.covariates for model in models):
        more = "How missing covariates of the networks were handled is for the author."
        return Answer("author", f"{text} {more}", "patients")
    return Answer("run", f"{text} Nothing is imputed for networks.", "patients")


def _about_robustness(context: ReportContext) -> Iterator[tuple[str, Answer]]:
    """Answer what rests on sections that a run may lack, or have without a single number."""
    parts: list[tuple[str, str]] = []
    shortcuts = context.shortcuts
    if shortcuts is not None:
        found = [
            text
            for text, areas in (
                ("whether the acquisition alone predicts the target", shortcuts.acquisition),
                ("whether the scanner can be predicted from network features", shortcuts.probes),
            )
            if any(one.area.auc is not None for one in areas)
        ]
        if any(found.fall is not None for found in shortcuts.falls):
            found.append("the AUC within scanners")
        if found:
            text = f"Tested: {', '.join(found)}."
            parts.append((text, "shortcuts"))
            yield "confounding", Answer("run", text, "shortcuts", met=True)
        if any(one.area.auc is not None for one in shortcuts.by_scanner):
            yield "heterogeneity", Answer("run", "Test AUC by scanner.", "shortcuts")
    if context.saliency is not None and any(run.patients for run in context.saliency.runs):
        text = (
            "Integrated gradients on some test patients, scored by deletion, occlusion and random"
            " weights."
        )
        yield "saliency", Answer("run", text, "saliency", met=True)
    subgroups = context.subgroups
    judged = [r for r in subgroups.results if r.judged] if subgroups is not None else []
    if judged:
        names = ", ".join(dict.fromkeys(r.variable for r in judged))
        text = f"Test AUC with 95% CI in groups by {names}."
        yield "performance_subgroups", Answer("run", text, "subgroups")
        text = (
            f"Results in groups by {names} are given; the approach to fairness is for the author."
        )
        yield "fairness", Answer("author", text, "subgroups")
    tested = [r.variable for r in judged if r.p is not None]
    if tested:
        names = ", ".join(dict.fromkeys(tested))
        parts.append((f"Equality of the AUC was tested across groups by {names}.", "subgroups"))
    if parts:
        yield "robustness", Answer("run", " ".join(text for text, _ in parts), parts[0][1])


def _about_failures(evaluation: Evaluation, context: ReportContext) -> Iterator[tuple[str, Answer]]:
    found = [find_failures(r, context.subgroups) for r in evaluation.results]
    if any(failures.groups for failures in found):
        text = (
            "False negatives and false positives at the threshold, by group of test patients. Reading"
            " the images of misclassified patients is for the author."
        )
        yield "failures", Answer("run", text, "results")
    elif any(r.confusion is not None for r in evaluation.results):
        text = (
            "Misclassified patients are marked in the table of patients; their analysis is for the"
            " author."
        )
        yield "failures", Answer("author", text, "uncertainty.csv")
