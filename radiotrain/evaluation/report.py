"""The report: one HTML file that needs nothing else, and the numbers and plots beside it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import pandas as pd

import radiotrain
from preprocessing import files
from radiotrain.evaluation.auc import Interval
from radiotrain.evaluation.baselines.names import is_baseline
from radiotrain.evaluation.metrics_json import metrics_json
from radiotrain.evaluation.patients import PatientScores, patient_scores
from radiotrain.evaluation.predictions import SPLITS, validate_predictions, write_predictions
from radiotrain.evaluation.published import PublishedResult, published_for
from radiotrain.evaluation.report_plots import Plot, draw_plots
from radiotrain.evaluation.results import Evaluation, TargetResult
from radiotrain.evaluation.verdict import Verdict, judge, resolvable

if TYPE_CHECKING:
    from radiotrain.evaluation.shortcuts import Shortcuts
    from radiotrain.seal import Opening

REPORT_NAME = "report.html"


@dataclass(frozen=True)
class CohortFlow:
    """How many patients came in, who left and why, and where the others went.

    Parameters
    ----------
    num_patients
        In the cohort, before anything was left out.
    excluded
        (patient id, finding code, message) of each one left out.
    num_train, num_validation, num_test
        Patients in each split; of one fold where there are several.
    note
        A sentence to print below, e.g. how the folds are made.
    """

    num_patients: int
    excluded: tuple[tuple[str, str, str], ...]
    num_train: int
    num_validation: int
    num_test: int
    note: str = ""

    @property
    def excluded_by_code(self) -> tuple[tuple[str, int], ...]:
        """Finding codes and how many patients left for each, most first."""
        return tuple(Counter(code for _, code, _ in self.excluded).most_common())


@dataclass(frozen=True)
class ReportContext:
    """What the report can say beyond the predictions table. All of it may be left out.

    Parameters
    ----------
    openings
        The log of the test set's openings, oldest first.
    provenance
        What is needed to repeat it (fingerprints, seeds, versions, configuration), JSON values.
    warnings
        More sentences for the list of warnings.
    generated_at
        Date and time to print; none keeps the report the same for the same input.
    shortcuts
        Whether the target may be read from the scanner.
    """

    flow: CohortFlow | None = None
    openings: tuple[Opening, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    generated_at: str = ""
    shortcuts: Shortcuts | None = None


@dataclass(frozen=True)
class _Entry:
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
        """Whether the run is a model without a network."""
        return is_baseline(self.result.run)


def write_report(
    evaluation: Evaluation,
    df: pd.DataFrame,
    out: str | Path,
    *,
    context: ReportContext | None = None,
) -> str:
    """Write ``metrics.json``, ``predictions.parquet``, ``plots/*.svg`` and ``report.html``.

    Everything is made before the first file is written, and the report is written last.

    Parameters
    ----------
    evaluation
        From `evaluate.evaluate_table`.
    df
        The table it was computed from.
    out
        A folder or an object store's prefix.

    Returns
    -------
    Where the report is.
    """
    context = context or ReportContext()
    table = validate_predictions(df)
    entries = _entries(evaluation, table)
    page = _render(evaluation, entries, context)
    metrics = metrics_json(evaluation, _extra(evaluation, context))
    url = files.absolute(out)
    write_predictions(table, files.join(url, "predictions.parquet"))
    for entry in entries:
        for plot in entry.plots:
            files.write_text(files.join(url, "plots", plot.name), plot.svg)
    files.write_text(files.join(url, "metrics.json"), metrics)
    files.write_text(files.join(url, REPORT_NAME), page)
    return files.join(url, REPORT_NAME)


def _entries(evaluation: Evaluation, table: pd.DataFrame) -> list[_Entry]:
    entries = []
    for number, result in enumerate(evaluation.results, start=1):
        counts = tuple(
            (split, patient_scores(table, result.run, result.target, split)) for split in SPLITS
        )
        test = dict(counts)["test"]
        entries.append(
            _Entry(
                anchor=f"result-{number}",
                result=result,
                verdict=judge(result),
                resolvable=resolvable(result),
                published=published_for(result.target),
                plots=draw_plots(number, result, test, seed=evaluation.seed),
                counts=counts,
            )
        )
    return entries


def _extra(evaluation: Evaluation, context: ReportContext) -> dict[str, Any]:
    flow = None if context.flow is None else asdict(context.flow)
    return {
        "warnings": [*context.warnings, *evaluation.warnings],
        "flow": flow,
        "openings": [asdict(opening) for opening in context.openings],
        "provenance": _plain(dict(context.provenance)),
        "shortcuts": None if context.shortcuts is None else asdict(context.shortcuts),
    }


def _plain(values: Any) -> Any:
    """Return JSON values, whatever numbers or paths are in there; NaN becomes the text."""
    text = json.dumps(values, default=str, allow_nan=True)
    return json.loads(text, parse_constant=str)


def _render(evaluation: Evaluation, entries: Sequence[_Entry], context: ReportContext) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("radiotrain.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "num": _number,
        "ci": _interval,
        "percent": _percent,
        "at": _position,
        "p": _p_value,
        "signed": _signed,
        "between": _between,
    }
    return environment.get_template("report.html.j2").render(
        version=radiotrain.__version__,
        evaluation=evaluation,
        entries=entries,
        targets=_by_target(entries),
        context=context,
        warnings=[*context.warnings, *evaluation.warnings],
        provenance=[(k, _readable(v)) for k, v in _plain(dict(context.provenance)).items()],
    )


def _by_target(entries: Sequence[_Entry]) -> dict[str, list[_Entry]]:
    found: dict[str, list[_Entry]] = {}
    for entry in entries:
        found.setdefault(entry.result.target, []).append(entry)
    return found


def _readable(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=1, ensure_ascii=False)


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


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
    """Return where an AUC lies on the bar's axis from 0.3 to 1, in per cent of its width."""
    return f"{100 * min(1.0, max(0.0, (value - 0.3) / 0.7)):.1f}"
