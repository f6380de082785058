"""Model card.

References
----------
Mitchell et al., Model cards for model reporting, FAT* 2019, 220-229: the headings.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.numbers import auc_text
from radiotrain.evaluation.report.checklists.answers import listed, measures_text
from radiotrain.evaluation.report.context import (
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
from radiotrain.evaluation.results import Evaluation
from radiotrain.version import __version__

_MOST_CAUTIONS = 5

_UNTESTED = (
    "Not in this card: no test patient was read for it. See the card of 'radiotrain evaluate'."
)


@dataclass(frozen=True)
class Line:
    """One statement of the card.

    Parameters
    ----------
    text
        Empty where only the author knows it.
    where
        Anchor of the report's section to read on; empty for none.
    """

    name: str
    text: str = ""
    where: str = ""


@dataclass(frozen=True)
class Section:
    """One heading of the card with its statements."""

    heading: str
    lines: tuple[Line, ...]


def make_card(evaluation: Evaluation, context: ReportContext) -> tuple[Section, ...]:
    """Return the card; what is not known stands there with an empty text."""
    facts = context.facts
    return (
        Section("Model details", tuple(_details(facts))),
        Section("Intended use", tuple(_use())),
        Section("Factors", tuple(_factors(context))),
        Section("Metrics", tuple(_metrics(evaluation))),
        Section("Training data", tuple(_training_data(context))),
        Section("Evaluation data", tuple(_evaluation_data(evaluation, context))),
        Section("Quantitative analyses", tuple(_analyses(evaluation, context))),
        Section("Ethical considerations", tuple(_ethics())),
        Section("Caveats and recommendations", tuple(_caveats(evaluation, context))),
    )


def card_markdown(card: Sequence[Section], evaluation: Evaluation, context: ReportContext) -> str:
    """Return the card as ``model-card.md``: YAML front matter, then a heading a section.

    JSON texts are YAML too, so whatever the names hold stays text.
    """
    front = {
        "library_name": "radiotrain",
        "library_version": __version__,
        "tags": ["breast", "dce-mri", "research-use-only"],
        "targets": _targets(evaluation, context),
        "models": _models(evaluation, context),
    }
    if context.generated_at:
        front["date"] = context.generated_at
    lines = ["---", *(f"{k}: {json.dumps(v, ensure_ascii=False)}" for k, v in front.items()), "---"]
    lines += ["", "# Model card", "", "Research use only. Not a medical device."]
    for section in card:
        lines += ["", f"## {section.heading}", ""]
        for line in section.lines:
            lines.append(
                f"- **{_plain(line.name)}**: {_plain(line.text) or '**author: to be written**'}"
            )
    return "\n".join(lines) + "\n"


def _targets(evaluation: Evaluation, context: ReportContext) -> list[str]:
    found = [r.target for r in evaluation.results]
    if not found and context.facts is not None:
        found = [target for model in context.facts.models for target in model.targets]
    return list(dict.fromkeys(found))


def _models(evaluation: Evaluation, context: ReportContext) -> list[str]:
    found = [r.run for r in evaluation.results if _is_model(r.run)]
    if not found and context.facts is not None:
        found = [model.run for model in context.facts.models]
    return list(dict.fromkeys(found))


def _is_model(run: str) -> bool:
    return not is_baseline(run)


def _plain(text: str) -> str:
    """Keep names from the data from being read as markup."""
    text = " ".join(text.split())
    for sign in ("\\", "`", "*", "_", "[", "]", "#", "|"):
        text = text.replace(sign, f"\\{sign}")
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _details(facts: RunFacts | None) -> Iterator[Line]:
    if facts is None:
        for name in ("Network", "Input", "Preprocessing", "Training", "Weights", "Software"):
            yield Line(name)
    else:
        yield Line("Network", each(facts.models, describe_network))
        yield Line("Input", _input(facts))
        yield Line("Preprocessing", describe_preprocessing(facts.data))
        yield Line("Training", each(facts.models, describe_training))
        yield Line("Weights at the start", each(facts.models, describe_initialisation))
        yield Line("Weights that predict", each(facts.models, describe_final))
        yield Line("Seeds", each(facts.models, _seed))
        software = ", ".join(f"{k} {v}" for k, v in facts.versions.items())
        yield Line("Software", software, "repeat")
    for name in ("Developed by", "Version and date of release", "Licence", "Contact"):
        yield Line(name)


def _input(facts: RunFacts) -> str:
    spacing = facts.data.spacing_text
    return f"{facts.data.input_text}{f', {spacing}' if spacing else ''}."


def _seed(model: ModelFacts) -> str:
    return "not known" if model.seed is None else str(model.seed)


def _use() -> Iterator[Line]:
    yield Line(
        "Out of scope",
        "Any decision about a patient's care: not a medical device, and no replacement of biopsy.",
    )
    yield Line("Intended use")
    yield Line("Intended users")


def _factors(context: ReportContext) -> Iterator[Line]:
    data = None if context.facts is None else context.facts.data
    known = "" if data is None else ", ".join(f"{n} {v} ({k})" for n, v, k in data.acquisition)
    text = f"Development patients: {known}." if known else ""
    yield Line("Scanners", text, "shortcuts" if context.shortcuts is not None else "")
    groups = context.subgroups
    if groups is not None and groups.results:
        names = ", ".join(dict.fromkeys(result.variable for result in groups.results))
        yield Line("Groups of patients", f"Evaluated by {names}.", "subgroups")
    else:
        yield Line("Groups of patients")


def _metrics(evaluation: Evaluation) -> Iterator[Line]:
    if not evaluation.results:
        yield Line("Performance", _UNTESTED)
        return
    yield Line(
        "Performance",
        measures_text(evaluation.results),
        "methods",
    )
    sources = [
        f"{r.target}, {r.run}: from {r.threshold_source}"
        for r in evaluation.results
        if r.threshold_source and _is_model(r.run)
    ]
    yield Line("Thresholds", listed(sources), "methods")
    yield Line(
        "Uncertainty",
        f"95% CIs: score intervals, after DeLong, and of {evaluation.num_resamples:,} bootstrap resamples.",
        "methods",
    )


def _training_data(context: ReportContext) -> Iterator[Line]:
    flow = context.flow
    text = ""
    if flow is not None:
        text = f"{flow.num_development} development patients: {flow.num_train} training,"
        text += f" {flow.num_validation} validation."
        text = f"{flow.divided}." if flow.outer else text
    yield Line("Patients", text, "patients" if flow is not None else "")
    labels = [] if flow is None else [c for c in flow.labels if c.part == "development"]
    if labels:
        counts = "; ".join(
            f"{c.target} {c.num_positive} positive, {c.num_negative} negative,"
            f" {c.num_missing} missing"
            for c in labels
        )
        yield Line("Labels", f"{counts}.", "patients")
    yield Line("Cohort: name, place, dates, consent")
    yield Line("How labels were defined")


def _evaluation_data(evaluation: Evaluation, context: ReportContext) -> Iterator[Line]:
    if not evaluation.results:
        yield Line("Test patients", _UNTESTED)
        return
    tested = {
        f"{r.target} {r.num_patients} patients, {r.num_positive} positive"
        for r in evaluation.results
    }
    yield Line("Test patients", f"{'; '.join(sorted(tested))}.", "patients")
    flow = context.flow
    if context.external is not None:
        text = (
            f"Another cohort than the networks' own, of {context.external.num_patients} patients."
        )
        yield Line("Source of test patients", text, "external")
        return
    text = "" if flow is None else "A random, sealed part of the development patients' cohort."
    yield Line("Source of test patients", text, "accesses" if flow is not None else "")


def _analyses(evaluation: Evaluation, context: ReportContext) -> Iterator[Line]:
    if not evaluation.results:
        yield Line("Results", _UNTESTED)
    for r in evaluation.results:
        if not _is_model(r.run):
            continue
        if r.auc is None:
            yield Line(f"{r.target}, {r.run}", f"AUC not defined: {r.reasons['auc']}.", "table")
            continue
        yield Line(f"{r.target}, {r.run}", f"AUC {auc_text(r)}.", "table")
    if evaluation.comparisons:
        yield Line("Comparisons", "Differences of AUCs with 95% CIs.", "comparisons")
    if context.shortcuts is not None:
        verdicts = Counter(v.kind for v in context.shortcuts.verdicts)
        text = ", ".join(f"{kind} {num}" for kind, num in verdicts.items())
        yield Line("Acquisition shortcuts", f"Verdicts: {text}." if text else "", "shortcuts")


def _ethics() -> Iterator[Line]:
    yield Line("Ethical approval and consent")
    yield Line("Risks and their mitigation")


def _caveats(evaluation: Evaluation, context: ReportContext) -> Iterator[Line]:
    num = len(context.warnings) + len(evaluation.warnings)
    if num:
        shown = [*context.warnings, *evaluation.warnings][:_MOST_CAUTIONS]
        more = f" And {num - len(shown)} more in the report." if num > len(shown) else ""
        yield Line("Cautions", f"{' '.join(shown)}{more}", "warnings")
    opened = len(context.openings)
    if opened:
        yield Line("Test-set accesses", f"{opened} in the access log.", "accesses")
    yield Line("Further caveats and recommendations")
