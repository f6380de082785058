"""The model card of an export: that of the report, as far as no test patient is needed for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from preprocessing.store import Store
from radiotrain.evaluation.baselines.covariates import FEWEST_OF_A_CATEGORY
from radiotrain.evaluation.describe_runs import describe_flow, describe_runs
from radiotrain.evaluation.model import Model
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.model_card import Line, Section, card_markdown, make_card
from radiotrain.evaluation.results import Evaluation
from radiotrain.export.description import ModelDescription
from radiotrain.split import Split

_NOTHING_TESTED = Evaluation(results=(), seed=0, num_resamples=0)


def export_card(
    model: Model, store: Store, split: Split, description: ModelDescription, how_to_run: str
) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    how_to_run
        Markdown about the format, below a heading of its own.
    """
    facts = describe_runs(store, split, [model])
    origin = description.origin
    shown = replace(
        facts.models[0],
        # Without the places of the author's machine.
        initial_weights=origin.configuration["network"]["weights"],
        about=origin.made,
    )
    # As in model.json, what few patients have is not told.
    acquisition = tuple(a for a in facts.data.acquisition if a[2] >= FEWEST_OF_A_CATEGORY)
    context = ReportContext(
        flow=describe_flow(store, split, [model]),
        facts=replace(facts, models=(shown,), data=replace(facts.data, acquisition=acquisition)),
    )
    card = make_card(_NOTHING_TESTED, context)
    meaning = Section("What its probabilities mean", tuple(_meaning(description)))
    text = card_markdown((*card, meaning), _NOTHING_TESTED, context)
    return f"{text}\n## How to run it\n\n{how_to_run.strip()}\n"


def _meaning(description: ModelDescription) -> Iterator[Line]:
    for target in description.targets:
        found = description.calibration[target]
        if found.platt is not None:
            text = (
                f"sigmoid({found.platt.slope:.4g} × logit {found.platt.intercept:+.4g}) of the mean"
                f" probability's logit (from {found.source})."
            )
        else:
            text = f"none: {found.reasons['platt']}."
        yield Line(f"{target}, calibration", text)
        for point in description.operating_points[target]:
            name = f"{target}, threshold by {point.rule}"
            if point.threshold is None:
                yield Line(name, f"none: {point.reason}.")
                continue
            yield Line(
                name,
                f"{point.threshold:.4f} on the probability as predicted; sensitivity"
                f" {point.sensitivity:.2f} and specificity {point.specificity:.2f} on the patients that"
                f" it was chosen on, so too good ({point.source}).",
            )
