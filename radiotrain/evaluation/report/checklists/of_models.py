"""What is known of networks and their data, as answers of checklists."""

from __future__ import annotations

from collections.abc import Iterator

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.report.checklists.answers import Answer
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
    facts = context.facts
    if facts is None:
        return {}
    found = dict(_about_networks(evaluation, facts))
    found |= dict(_about_data(facts.data))
    found |= dict(_about_inputs(facts))
    if context.flow is not None:
        found |= dict(_about_split(evaluation, context, facts.data, context.flow))
    if context.external is not None:
        num = context.external.num_patients
        text = f"{num} patients of another cohort than the networks' own; see how they differ."
        found["external_test"] = Answer("run", text, "external", met=True)
    return found


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
    text = "The weights that each run kept predict patients that it was not trained on; of"
    text += " several networks of a model the mean probability counts."
    yield "prediction", of("methods", text)
    text = "Architecture and training are in the model card; why they were chosen is the author's."
    yield "model_building", of("model-card", text, "author")
    text = (
        "Run folders hold configuration and weights; whether they are given away is the author's."
    )
    yield "full_model", of("repeat", text, "author")
    yield "availability", of("repeat", text, "author")


def _means_of_replicates(evaluation: Evaluation, facts: RunFacts) -> str:
    """Name what was tested beside the runs themselves: means of one configuration's trainings."""
    known = {model.run for model in facts.models}
    tested = dict.fromkeys(r.run for r in evaluation.results if not is_baseline(r.run))
    means = [run for run in tested if run not in known]
    return f" Tested beside them: {', '.join(means)}." if means else ""


def _describe_ensemble(model: ModelFacts) -> str:
    if model.num_networks == 1:
        return "one network, no ensemble"
    return f"mean probability of {model.num_networks} networks"


def _describe_imbalance(model: ModelFacts) -> str:
    train = model.config.get("train", {})
    weighed = "weighed by class" if train.get("class_weights") else "not weighed by class"
    drawn = {"balanced": "drawn in balance"}.get(train.get("sampling", ""), "each once an epoch")
    return f"patients {weighed} in the loss, {drawn}"


def _about_data(data: DataFacts) -> Iterator[tuple[str, Answer]]:
    if data.layout:
        text = f"A cohort in the layout '{data.layout}'; which it is, where and when it was"
        yield "data_source", Answer("author", f"{text} gathered, is for the author.", "patients")
    if data.preprocessing:
        text = describe_preprocessing(data)
        yield "preprocessing", Answer("run", text, "model-card", met=True)
    yield "subset", Answer("run", f"{_input(data)}, a region around the tumour.", "model-card")
    if data.acquisition:
        known = ", ".join(f"{name} {value}: {num}" for name, value, num in data.acquisition)
        text = f"Of development patients is known: {known}. Sequence parameters are the author's."
        yield "acquisition", Answer("author", text, "shortcuts")
    text = "Labels are those of the cohort's own table. Duke-Breast-Cancer-MRI: Allred score of 3"
    text += " or more for ER and PR; 3+ or FISH ratio over 2 for HER2."
    yield "reference_standard", Answer("author", text, "methods")
    text = "A box or mask that came with the cohort chose the region; how it was made is not known."
    yield "segmentation", Answer("author", text)
    if data.covariates:
        text = (
            f"The store keeps {', '.join(data.covariates)}; a table by partition is the author's."
        )
        yield "characteristics", Answer("author", text, "subgroups")
    text = "Examinations that cannot be used are refused with a code; their handling in use is"
    yield "poor_input", Answer("author", f"{text} the author's.", "patients")


def _input(data: DataFacts) -> str:
    return ", ".join(part for part in (data.input_text, data.spacing_text) if part)


def _about_inputs(facts: RunFacts) -> Iterator[tuple[str, Answer]]:
    """Say what goes into the networks, and so which items about features have no object."""
    covariates = sorted({name for model in facts.models for name in model.covariates})
    beside = f"; beside it {', '.join(covariates)}" if covariates else " and nothing else"
    yield "predictors", Answer("run", f"{_input(facts.data)}{beside}.", "model-card")
    text = "Networks learn from voxels; no features made by hand go into them."
    yield "handcrafted", Answer("not applicable", text)
    text = "No features are made by hand; what the networks are given is in the model card."
    yield "extraction", Answer("author", text, "model-card")
    if not covariates:
        text = "Networks read voxels only; there is no table of features to choose from."
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
        text = f"By patient. {len(looked)} checks for leaks were made and found {num or 'none'}."
        yield "disjoint", Answer("run", text, "leaks")
    text = "Test patients are a random part of the same cohort"
    yield "differences", Answer("run", f"{text}, so only chance makes them differ.", "patients")
    opened = len(context.openings)
    told = f", opened {opened} time{'' if opened == 1 else 's'} so far" if opened else ""
    yield "internal_test", Answer("run", f"{text}, sealed{told}.", "openings", met=True)
    yield (
        "external_test",
        Answer(
            "run",
            f"None: {text[0].lower()}{text[1:]}. Other hospitals' patients may do worse.",
            "patients",
            met=False,
        ),
    )
