"""Answers to checklist items from an evaluation.

An answer counts as the run's only where the run contains what the item asks for, and names the place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.external_results import External
from radiotrain.evaluation.numbers import auc_text, ci_text
from radiotrain.evaluation.report.characteristics import find_failures
from radiotrain.evaluation.report.context import (
    CohortFlow,
    DataFacts,
    ModelFacts,
    ReportContext,
    RunFacts,
    describe_final,
    describe_initialisation,
    describe_network,
    describe_preprocessing,
    describe_training,
    each,
)
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


def known_from_facts(evaluation: Evaluation, context: ReportContext) -> dict[str, Answer]:
    """Return answers about networks, training, data and split; none where these are not known."""
    found = {} if context.external is None else dict(_about_external(context.external))
    facts = context.facts
    if facts is None:
        return found
    found |= dict(_about_networks(evaluation, facts))
    found |= dict(_about_data(facts))
    found |= dict(_about_inputs(facts))
    found |= dict(_about_analysis(facts, context))
    if context.external is not None and context.external.differences:
        text = f"Training cohort: {found['preprocessing'].text if 'preprocessing' in found else ''}"
        more = "The external cohort's settings differ: see the cautions."
        found["preprocessing"] = Answer("run", f"{text} {more}", "warnings")
    if context.flow is not None:
        found |= dict(_about_split(evaluation, context, facts.data, context.flow))
    return found


def _about_analysis(facts: RunFacts, context: ReportContext) -> Iterator[tuple[str, Answer]]:
    """Answer what PROBAST+AI asks of the analysis."""
    trains = [model.config.get("train", {}) for model in facts.models]
    if all(trains):
        if any(t.get("class_weights") or t.get("sampling") == "balanced" for t in trains):
            text = "Temperature and isotonic scaling on validation are shown beside the probabilities as predicted."
            yield "imbalance_recalibrated", Answer("run", text, "results")
            text = "Test patients are neither weighted nor sampled by class."
            yield "imbalance_evaluated", Answer("run", text, "table")
        else:
            text = "Class imbalance was not corrected in training."
            yield "imbalance_recalibrated", Answer("not applicable", text)
            yield "imbalance_evaluated", Answer("not applicable", text)
        text = f"{each(facts.models, describe_training)} {each(facts.models, describe_final)}"
        yield "overfitting", Answer("run", text, "model-card")
    if context.external is not None:
        text = "Performance on an external cohort; validation AUCs stand beside it."
        yield "not_apparent", Answer("run", text, "external", met=True)
    elif context.flow is not None:
        text = "Performance on sealed test patients; validation AUCs stand beside it."
        yield "not_apparent", Answer("run", text, "table", met=True)
    if context.flow is not None and context.flow.outer:
        text = "Each outer part was trained, and its thresholds chosen, without its test patients."
        yield "resampling", Answer("run", text, "outer")
    else:
        text = "Performance is not estimated by resampling of development patients."
        yield "resampling", Answer("not applicable", text)


def _about_external(external: External) -> Iterator[tuple[str, Answer]]:
    if external.recalibrations:
        text = (
            "In the large: one shift of the logits, cross-fitted on the external cohort. Temperature scaling"
            " and isotonic regression, where they stand, were fitted on validation patients."
        )
        yield "recalibration", Answer("run", text, "external")
    text = f"{external.num_patients} patients of another cohort than the networks' own."
    yield "external_test", Answer("run", text, "external", met=True)
    shown = ["case mix with standardized differences"] if external.case_mix else []
    shown += ["ranges of the images"] if external.ranges else []
    if shown:
        text = f"Compared with the training cohort: {', '.join(shown)}."
        yield "external_differences", Answer("run", text, "external")
        yield "differences", Answer("run", text, "external")
    else:
        text = "The training cohort was not at hand: how the cohorts differ is for the author."
        yield "external_differences", Answer("author", text, "external")


def _about_networks(evaluation: Evaluation, facts: RunFacts) -> Iterator[tuple[str, Answer]]:
    def of(section: str, text: str, by: str = "run") -> Answer:
        return Answer("run" if by == "run" else "author", text, section)

    yield "network", of("model-card", each(facts.models, describe_network))
    yield "initialisation", of("model-card", each(facts.models, describe_initialisation))
    yield "training", of("model-card", each(facts.models, describe_training))
    yield "selection", of("model-card", each(facts.models, describe_final))
    text = each(facts.models, _describe_ensemble)
    yield "ensemble", of("model-card", f"{text}{_means_of_replicates(evaluation, facts)}")
    yield "imbalance", of("model-card", each(facts.models, _describe_imbalance))
    if facts.versions:
        software = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
        yield "software", of("repeat", f"{software}.")
    text = "Each run's chosen weights predict patients that it was not trained on; of several"
    text += " networks of a model the mean probability is taken."
    yield "prediction", of("methods", text)
    text = (
        "Architecture and training are in the model card; why they were chosen is for the author."
    )
    yield "model_building", of("model-card", text, "author")
    text = "Run folders hold configuration and weights; whether they are shared is for the author."
    yield "full_model", of("repeat", text, "author")
    yield "availability", of("repeat", text, "author")


def _means_of_replicates(evaluation: Evaluation, facts: RunFacts) -> str:
    """Name what was tested beside the runs themselves: means of one configuration's trainings."""
    known = {model.run for model in facts.models}
    tested = dict.fromkeys(r.run for r in evaluation.results if not is_baseline(r.run))
    means = [run for run in tested if run not in known]
    return f" Tested beside them: {listed(means)}." if means else ""


def _describe_ensemble(model: ModelFacts) -> str:
    if model.num_networks == 1:
        return "one network, no ensemble"
    return f"mean probability of {model.num_networks} networks"


def _describe_imbalance(model: ModelFacts) -> str:
    train = model.config.get("train", {})
    weighed = "weighted by class" if train.get("class_weights") else "not weighted by class"
    drawn = {"balanced": "class-balanced sampling"}.get(
        train.get("sampling", ""), "each once per epoch"
    )
    return f"patients {weighed} in the loss, {drawn}"


def _devices(facts: RunFacts) -> Answer:
    """Name scanners and software, if all that the item asks for is known."""
    known = facts.data.acquisition
    scanners = ", ".join(f"{name} {value}: {num}" for name, value, num in known)
    software = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    text = f"Development patients: {scanners or 'scanners not known'}. Software: {software}."
    is_whole = {"manufacturer", "model"} <= {name for name, _, _ in known} and bool(software)
    return Answer("run" if is_whole else "author", text, "model-card")


def _about_data(facts: RunFacts) -> Iterator[tuple[str, Answer]]:
    data = facts.data
    if data.layout:
        text = (
            f"A cohort in the layout '{data.layout}'; its name, place and dates are for the author."
        )
        yield "data_source", Answer("author", text, "patients")
    if data.preprocessing:
        text = describe_preprocessing(data)
        yield "preprocessing", Answer("run", text, "model-card", met=True)
    yield "subset", Answer("run", f"{_input(data)}, a region around the tumour.", "model-card")
    if data.acquisition:
        known = ", ".join(f"{name} {value}: {num}" for name, value, num in data.acquisition)
        text = f"Known of development patients: {known}. Sequence parameters are for the author."
        yield "acquisition", Answer("author", text, "model-card")
    yield "devices", _devices(facts)
    text = "Labels are those of the cohort's own table; how they were obtained is for the author."
    yield "reference_standard", Answer("author", text, "methods")
    text = "A box or mask that came with the cohort chose the region; how it was made is not known."
    yield "segmentation", Answer("author", text)
    text = "Examinations that cannot be used are refused with a code; their handling in use is for"
    yield "poor_input", Answer("author", f"{text} the author.", "patients")


def _input(data: DataFacts) -> str:
    return ", ".join(part for part in (data.input_text, data.spacing_text) if part)


def _about_inputs(facts: RunFacts) -> Iterator[tuple[str, Answer]]:
    """Say what goes into the networks, and so which items about features have no object."""
    covariates = sorted({name for model in facts.models for name in model.covariates})
    beside = f"; beside it {', '.join(covariates)}" if covariates else " and nothing else"
    yield "predictors", Answer("run", f"{_input(facts.data)}{beside}.", "model-card")
    text = "Networks read voxels; no handcrafted features go into them."
    yield "handcrafted", Answer("not applicable", text)
    text = "No handcrafted features; the networks' input is in the model card."
    yield "extraction", Answer("author", text, "model-card")
    if not covariates:
        text = "Networks read voxels only; there is no feature table."
        yield "tabular", Answer("not applicable", text)


def _about_split(
    evaluation: Evaluation, context: ReportContext, data: DataFacts, flow: CohortFlow
) -> Iterator[tuple[str, Answer]]:
    strata = ", ".join(data.stratified_over)
    yield (
        "partition",
        Answer(
            "run",
            f"At random by patient (seed {data.split_seed}), stratified jointly over {strata}:"
            f" {flow.divided}; {data.num_folds} folds of development patients.",
            "patients",
            met=True,
        ),
    )
    checks = (*context.leak_checks, *evaluation.leak_checks)
    looked = [check for check in checks if check.outcome != "not done"]
    if looked:
        num = sum(len(check.findings) for check in looked)
        text = f"By patient. Checks for leaks: {len(looked)}; findings: {num or 'none'}."
        yield "disjoint", Answer("run", text, "leaks")
    if len(context.test_parts) < 2:
        text = "Test patients are a random part of the same cohort; differences are due to chance."
        yield "differences", Answer("run", text, "patients")
    accesses = len(context.openings)
    logged = f"; accesses in the log: {accesses}" if accesses else ""
    uncertain = " (the log is not certain)" if context.log_problems else ""
    text = f"A random, sealed part of the same cohort{logged}{uncertain}."
    yield "internal_test", Answer("run", text, "accesses", met=True)
    text = "None in this report: test patients are of the development patients' cohort."
    yield "external_test", Answer("run", text, "patients", met=False)
    text = "No external evaluation in this report."
    yield "external_differences", Answer("not applicable", text)
