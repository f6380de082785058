"""Report pages: values for the templates.

A report of a hundred runs would weigh tens of megabytes, most of it plots that few read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from preprocessing.common.page import make_environment
from radiotrain.evaluation import numbers
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.plots.forest import draw_forests
from radiotrain.evaluation.plots.plot import Plot
from radiotrain.evaluation.plots.result_plots import draw_overview, draw_plots, draw_selective
from radiotrain.evaluation.predictions import SPLITS
from radiotrain.evaluation.published import PublishedResult, published_for
from radiotrain.evaluation.report.characteristics import Failures, find_failures
from radiotrain.evaluation.report.checklists.fill import fill_checklists
from radiotrain.evaluation.report.conclusions import (
    Alarm,
    Conclusion,
    alarms,
    judge_all,
    resolvable,
)
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.flow_diagram import flow_svg
from radiotrain.evaluation.report.model_card import make_card
from radiotrain.evaluation.report.places import last_name
from radiotrain.evaluation.results import Evaluation, TargetResult
from radiotrain.evaluation.stability.stability_results import Stability
from radiotrain.version import __version__

MOST_IN_REPORT = 10
"""With more results than this, those without a headline in the summary have pages of their own."""

MOST_HEADLINES = 6
"""So many results are in the summary, which is to fit on two printed pages."""

FOLDER = "runs"

_LONGEST = 60
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)

Pair = tuple[str, str]


def place_results(results: Sequence[Pair], headlines: Sequence[Pair]) -> dict[Pair, str]:
    """Return the page of each result, ``""`` for the report itself.

    Parameters
    ----------
    results, headlines
        (run, target), in the report's order.

    Examples
    --------
    >>> place_results([("net", "ER")], [("net", "ER")])
    {('net', 'ER'): ''}
    """
    if len(results) <= MOST_IN_REPORT:
        return dict.fromkeys(results, "")
    own = [pair for pair in results if pair not in headlines[:MOST_HEADLINES]]
    names = file_names(dict.fromkeys(run for run, _ in own))
    return {pair: f"{FOLDER}/{names[pair[0]]}" if pair in own else "" for pair in results}


def file_names(runs: Iterable[str]) -> dict[str, str]:
    """Return a file name for each run, safe on any system and unlike the others but for capitals.

    Examples
    --------
    >>> file_names(["net", "Net", "../a b", "nul"])
    {'net': 'net.html', 'Net': 'Net-2.html', '../a b': 'a-b.html', 'nul': 'run-nul.html'}
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for run in runs:
        stem = _unused(_safe(run), taken)
        taken.add(stem.casefold())
        found[run] = f"{stem}.html"
    return found


def _safe(run: str) -> str:
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", run)[:_LONGEST].strip("-._") or "run"
    return f"run-{stem}" if _RESERVED.fullmatch(stem) else stem


def _unused(stem: str, taken: Collection[str]) -> str:
    names = (stem if num == 1 else f"{stem}-{num}" for num in range(1, len(taken) + 2))
    return next(name for name in names if name.casefold() not in taken)


_MOST_COMPARISONS = 300


@dataclass(frozen=True)
class Entry:
    """One run and target as the templates show it.

    Parameters
    ----------
    page
        The page of its details, relative to the report; empty for the report itself.
    """

    anchor: str
    page: str
    result: TargetResult
    verdict: Conclusion
    resolvable: str
    published: tuple[PublishedResult, ...]
    plots: tuple[Plot, ...]
    counts: tuple[tuple[str, PatientScores], ...]
    failures: Failures

    @property
    def pair(self) -> tuple[str, str]:
        """Run and target."""
        return self.result.run, self.result.target

    @property
    def is_baseline(self) -> bool:
        """Whether the run is a baseline model."""
        return is_baseline(self.result.run)

    @property
    def undefined(self) -> tuple[tuple[str, str], ...]:
        """Names of undefined values, those of one reason together, and the reason."""
        names: dict[str, list[str]] = {}
        for name, why in self.result.reasons.items():
            names.setdefault(why, []).append(_value_name(name))
        return tuple((", ".join(dict.fromkeys(found)), why) for why, found in names.items())


def report_alarms(evaluation: Evaluation, context: ReportContext) -> list[Alarm]:
    """Return what is said above all results."""
    return list(alarms([*context.leak_checks, *evaluation.leak_checks], context.shortcuts))


@dataclass(frozen=True)
class Pages:
    """All that the templates show.

    Parameters
    ----------
    headlines
        Entries that get a headline; those of the summary first.
    forests, curves
        Plots of (run, target): of subgroups, and of selective prediction.
    """

    evaluation: Evaluation
    context: ReportContext
    stability: Stability
    entries: tuple[Entry, ...]
    headlines: tuple[Entry, ...]
    overview: Plot | None
    forests: Mapping[tuple[str, str], Plot]
    curves: Mapping[tuple[str, str], Plot]

    @property
    def plots(self) -> Iterator[Plot]:
        """All plots, in the order of the pages."""
        if self.overview is not None:
            yield self.overview
        for entry in self.entries:
            yield from entry.plots
        yield from self.forests.values()
        yield from self.curves.values()

    @property
    def manuscript_plots(self) -> Iterator[Plot]:
        """The plots of the summary and of its results, which a manuscript is likely to show."""
        if self.overview is not None:
            yield self.overview
        for entry in self.headlines[:MOST_HEADLINES]:
            yield from entry.plots


def make_pages(
    evaluation: Evaluation, table: pd.DataFrame, context: ReportContext, stability: Stability
) -> Pages:
    """Draw all plots, and decide which page shows what.

    Parameters
    ----------
    table
        The validated predictions that the evaluation was computed from.
    """
    headlines = _headlines(evaluation)
    found = {pair: n for n, pair in enumerate(headlines)}
    pairs = [(r.run, r.target) for r in evaluation.results]
    places = place_results(pairs, headlines)
    verdicts = judge_all(evaluation, report_alarms(evaluation, context))
    entries = tuple(
        _make_entry(number, result, verdict, evaluation, table, context, places)
        for number, (result, verdict) in enumerate(
            zip(evaluation.results, verdicts, strict=True), start=1
        )
    )
    first = sorted((e for e in entries if e.pair in found), key=lambda e: found[e.pair])
    overall = context.subgroups.overall if context.subgroups is not None else ()
    return Pages(
        evaluation=evaluation,
        context=context,
        stability=stability,
        entries=entries,
        headlines=tuple(first),
        overview=draw_overview([e.result for e in first[:MOST_HEADLINES]], evaluation.results),
        forests={
            (o.run, o.target): plot
            for o, plot in zip(overall, draw_forests(context.subgroups), strict=True)
        },
        curves={
            (s.run, s.target): plot
            for s, plot in zip(stability.drawn, draw_selective(stability), strict=True)
        },
    )


def _make_entry(
    number: int,
    result: TargetResult,
    verdict: Conclusion,
    evaluation: Evaluation,
    table: pd.DataFrame,
    context: ReportContext,
    places: Mapping[tuple[str, str], str],
) -> Entry:
    page = places[result.run, result.target]
    counts = tuple(
        (split, patient_scores(table, result.run, result.target, split)) for split in SPLITS
    )
    published = published_for(result.target, evaluation.cohort)
    test = dict(counts)["test"]
    plots = draw_plots(number, result, test, seed=evaluation.seed, published=published)
    if page:
        # Hundreds of figures that no file is made of would take memory.
        plots = tuple(replace(plot, figure=None) for plot in plots)
    return Entry(
        anchor=f"result-{number}",
        page=page,
        result=result,
        verdict=verdict,
        resolvable=resolvable(result, evaluation.family),
        published=published,
        plots=plots,
        counts=counts,
        failures=find_failures(result, context.subgroups),
    )


def _headlines(evaluation: Evaluation) -> tuple[tuple[str, str], ...]:
    """Return (run, target) of the results that get a headline, the primary ones first."""
    family = evaluation.family
    return tuple(sorted(family.headlines, key=lambda pair: pair not in family.primary))


def render_pages(pages: Pages) -> dict[str, str]:
    """Return all pages as HTML, by their names relative to the report; all text is escaped."""
    environment = report_environment(jinja2.PackageLoader("radiotrain.evaluation.report"))
    values = _values(pages)
    found = {"": environment.get_template("report.html.j2").render(**values, here="")}
    own = list(dict.fromkeys(entry.page for entry in pages.entries if entry.page))
    template = environment.get_template("run.html.j2")
    for page in own:
        mine = [entry for entry in pages.entries if entry.page == page]
        found[page] = template.render(**values, here=page, mine=mine)
    return found


def _values(pages: Pages) -> dict[str, Any]:
    evaluation, context, stability = pages.evaluation, pages.context, pages.stability
    return {
        "version": __version__,
        "evaluation": evaluation,
        "context": context,
        "stability": stability,
        "selective": {(s.run, s.target): s for s in stability.selective},
        "entries": pages.entries,
        "page_of": {entry.pair: entry.page for entry in pages.entries},
        "entry_of": {entry.pair: entry for entry in pages.entries},
        "targets": _by_target(pages.entries),
        "cards": pages.headlines[:MOST_HEADLINES],
        "headlines": pages.headlines,
        "overview": pages.overview,
        "forests": pages.forests,
        "curves": pages.curves,
        "comparisons": evaluation.comparisons[:_MOST_COMPARISONS],
        **_shown_and_folded(pages.entries),
        "alarms": report_alarms(evaluation, context),
        "card": make_card(evaluation, context),
        "checklists": fill_checklists(evaluation, context),
        "flow_svg": Markup(flow_svg(context.flow)) if context.flow is not None else "",
        "warnings": [*context.warnings, *evaluation.warnings],
        "provenance": [(k, _readable(v)) for k, v in json_values(dict(context.provenance)).items()],
    }


def report_environment(loader: jinja2.BaseLoader) -> jinja2.Environment:
    """Return where templates are rendered: text is escaped, numbers have the report's filters."""
    filters: dict[str, Any] = {
        "num": numbers.number,
        "ci": numbers.interval,
        "percent": numbers.percent,
        "at": _position,
        "p": numbers.p_value,
        "p_text": numbers.p_text,
        "signed": numbers.signed,
        "between": numbers.between,
        "counted": numbers.counted,
        "headings": _headings,
        "tested": _tested,
        "last_name": last_name,
    }
    return make_environment(loader, filters)


def _shown_and_folded(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Part the networks from the baselines beside them; baselines alone are shown."""
    networks = [entry for entry in entries if not entry.is_baseline]
    baselines = [entry for entry in entries if entry.is_baseline]
    return {"shown": networks or baselines, "folded": baselines if networks else []}


def _tested(runs: Sequence[str]) -> str:
    """Name the models of an access, and say how many baselines were tested beside them."""
    networks = ", ".join(run for run in runs if not is_baseline(run))
    num = sum(map(is_baseline, runs))
    beside = numbers.counted(num, "baseline model") if num else ""
    return "; ".join(part for part in (networks, beside) if part)


def _headings(html: str) -> list[tuple[str, Markup]]:
    """Return the anchors and titles of sections; templates have escaped both."""
    found = re.findall(r'<h2 id="([^"]+)">(.*?)</h2>', html, flags=re.DOTALL)
    return [(anchor, Markup(title)) for anchor, title in found]


def _by_target(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    found: dict[str, list[Entry]] = {}
    for entry in entries:
        found.setdefault(entry.result.target, []).append(entry)
    return found


_NAMES = {
    "auc": "AUC",
    "auc_validation": "validation AUC",
    "auc_validation_mean_of_folds": "mean AUC of folds",
    "auc_pr": "average precision",
    "brier": "Brier score",
    "ece": "calibration error",
    "permutation_p": "permutation P",
    "permutation_p_holm": "permutation P, corrected",
    "permutation_range95": "null distribution of the AUC",
    "detectable_auc": "minimum detectable AUC",
    "detectable_auc_corrected": "minimum detectable AUC, corrected",
    "detectable_difference": "minimum detectable difference",
    "threshold_source": "threshold",
    "confusion": "confusion matrix",
}


def _value_name(name: str) -> str:
    """Return what the page calls a value; its interval goes by the same name."""
    plain = re.sub(r"_ci95(_delong|_bootstrap)?$", "", name)
    shown = _NAMES.get(plain, plain.replace("_", " "))
    return f"95% CI of the {shown}" if plain != name else shown


def _readable(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)


def _position(value: float) -> str:
    """Return where an AUC lies on the bar's axis from 0 to 1, in percent of its width."""
    return f"{100 * min(1.0, max(0.0, value)):.1f}"


def json_values(values: Any) -> Any:
    """Return JSON values, whatever numbers or paths are in there; NaN becomes the text."""
    text = json.dumps(values, default=str, allow_nan=True)
    return json.loads(text, parse_constant=str)
