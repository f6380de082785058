"""What is known of networks and their data, as answers of checklists."""

from __future__ import annotations

from collections.abc import Iterator

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.external.results import External
from radiotrain.evaluation.report.checklists.answers import Answer, listed
from radiotrain.evaluation.report.context import CohortFlow, ReportContext
from radiotrain.evaluation.report.facts import DataFacts, ModelFacts, RunFacts
from radiotrain.evaluation.report.sentences import (
    describe_final,
    describe_initialisation,
    describe_network,
    describe_preprocessing,
    describe_training,
    each,
)
from radiotrain.evaluation.results import Evaluation


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
