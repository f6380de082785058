"""The report's page: what its templates are given, and how numbers are written in it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

import radiotrain
from preprocessing.page import make_environment
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.predictions import SPLITS
from radiotrain.evaluation.report.checklists.fill import fill_checklists
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.flow_diagram import flow_svg
from radiotrain.evaluation.report.model_card import make_card
from radiotrain.evaluation.report.published import PublishedResult, published_for
from radiotrain.evaluation.report.result_plots import Plot, draw_plots
from radiotrain.evaluation.report.verdict import Alarm, Verdict, alarms, judge_all, resolvable
from radiotrain.evaluation.results import Evaluation, TargetResult
from radiotrain.evaluation.stability.results import Stability
from radiotrain.evaluation.statistics.auc import Interval


@dataclass(frozen=True)
class Entry:
    """One run and target as the template shows it."""

    anchor: str
    result: TargetResult
    verdict: Verdict
    resolvable: str
    published: tuple[PublishedResult, ...]
    plots: tuple[Plot, ...]
    counts: tuple[tuple[str, PatientScores], ...]

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


def make_entries(
    evaluation: Evaluation, table: pd.DataFrame, concerns: Sequence[Alarm] = ()
) -> list[Entry]:
    """Return what the page shows of each run and target.

    Parameters
    ----------
    table
        Validated predictions.
    concerns
        From `report_alarms`.
    """
    entries = []
    verdicts = judge_all(evaluation, concerns)
    for number, (result, verdict) in enumerate(
        zip(evaluation.results, verdicts, strict=True), start=1
    ):
        published = published_for(result.target, evaluation.cohort)
        counts = tuple(
            (split, patient_scores(table, result.run, result.target, split)) for split in SPLITS
        )
        test = dict(counts)["test"]
        entries.append(
            Entry(
                anchor=f"result-{number}",
                result=result,
                verdict=verdict,
                resolvable=resolvable(result, evaluation.family),
                published=published,
                plots=draw_plots(number, result, test, published, seed=evaluation.seed),
                counts=counts,
            )
        )
    return entries


def render_page(
    evaluation: Evaluation,
    entries: Sequence[Entry],
    context: ReportContext,
    forests: Sequence[Plot] = (),
    stability: Stability | None = None,
    curves: Sequence[Plot] = (),
) -> str:
    """Return the page as HTML; all text is escaped.

    Parameters
    ----------
    forests
        The plots of `context.subgroups`, one for each run and target.
    stability, curves
        What is known of noise, and the plots of `Stability.drawn`.
    """
    environment = report_environment(jinja2.PackageLoader("radiotrain.evaluation.report"))
    return environment.get_template("report.html.j2").render(
        version=radiotrain.__version__,
        evaluation=evaluation,
        entries=entries,
        targets=_by_target(entries),
        context=context,
        forests=forests,
        stability=stability or Stability(),
        curves=curves,
        **_shown_and_folded(entries),
        headlines=_headlines(entries, evaluation),
        alarms=report_alarms(evaluation, context),
        card=make_card(evaluation, context),
        checklists=fill_checklists(evaluation, context),
        flow_svg=Markup(flow_svg(context.flow)) if context.flow is not None else "",
        warnings=[*context.warnings, *evaluation.warnings],
        provenance=[(k, _readable(v)) for k, v in json_values(dict(context.provenance)).items()],
    )


def report_environment(loader: jinja2.BaseLoader) -> jinja2.Environment:
    """Return where templates are rendered: text is escaped, numbers have the report's filters."""
    filters: dict[str, Any] = {
        "num": _number,
        "ci": _interval,
        "percent": _percent,
        "at": _position,
        "p": _p_value,
        "signed": _signed,
        "between": _between,
        "headings": _headings,
        "tested": _tested,
    }
    return make_environment(loader, filters)


def _shown_and_folded(entries: Sequence[Entry]) -> dict[str, list[Entry]]:
    """Part the networks from the baselines beside them; baselines alone are shown."""
    networks = [entry for entry in entries if not entry.is_baseline]
    baselines = [entry for entry in entries if entry.is_baseline]
    return {"shown": networks or baselines, "folded": baselines if networks else []}


def _headlines(entries: Sequence[Entry], evaluation: Evaluation) -> list[Entry]:
    """Return the results that get a headline, the primary ones first."""
    family = evaluation.family
    found = [e for e in entries if (e.result.run, e.result.target) in family.headlines]
    return sorted(found, key=lambda e: (e.result.run, e.result.target) not in family.primary)


def _tested(runs: Sequence[str]) -> str:
    """Name the networks of an opening, and say how many baselines were tested beside them."""
    networks = ", ".join(run for run in runs if not is_baseline(run))
    num = sum(map(is_baseline, runs))
    beside = f"{num} baseline model{'' if num == 1 else 's'}" if num else ""
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
    "auc_validation": "AUC on validation",
    "auc_validation_mean_of_folds": "mean AUC of folds",
    "auc_pr": "PR-AUC",
    "brier": "Brier score",
    "ece": "calibration error",
    "permutation_p": "p against chance",
    "permutation_p_holm": "corrected p against chance",
    "permutation_range95": "AUC by chance",
    "detectable_auc": "minimum detectable AUC",
    "detectable_auc_corrected": "minimum detectable AUC, corrected",
    "detectable_difference": "minimum detectable difference",
    "threshold_source": "threshold",
    "confusion": "calls",
}


def _value_name(name: str) -> str:
    """Return what the page calls a value; its interval goes by the same name."""
    plain = re.sub(r"_ci95(_delong|_bootstrap)?$", "", name)
    shown = _NAMES.get(plain, plain.replace("_", " "))
    return f"interval of the {shown}" if plain != name else shown


def _readable(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "−")


def _interval(value: Interval | None, digits: int = 3) -> str:
    if value is None:
        return "no interval"
    if value[0] < 0:
        return _between(value)
    return f"{value[0]:.{digits}f}–{value[1]:.{digits}f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def _between(value: Interval) -> str:
    """Return an interval that may have negative ends: a dash between them would mislead."""
    return f"{value[0]:.3f} to {value[1]:.3f}".replace("-", "−")


def _p_value(value: float | None) -> str:
    if value is None:
        return "–"
    return "below 0.001" if value < 0.001 else f"{value:.3f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.0f} %"


def _position(value: float) -> str:
    """Return where an AUC lies on the bar's axis from 0 to 1, in per cent of its width."""
    return f"{100 * min(1.0, max(0.0, value)):.1f}"


def json_values(values: Any) -> Any:
    """Return JSON values, whatever numbers or paths are in there; NaN becomes the text."""
    text = json.dumps(values, default=str, allow_nan=True)
    return json.loads(text, parse_constant=str)
