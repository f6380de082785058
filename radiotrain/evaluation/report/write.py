"""The report: one HTML file that needs nothing else, and the numbers and plots beside it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from preprocessing import files
from radiotrain.checked_parquet import digest_in, to_parquet
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.report.checklists.fill import checklists_csv, fill_checklists
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.metrics_json import FILE_NAME, TABLE_NAME, metrics_json
from radiotrain.evaluation.report.model_card import card_markdown, make_card
from radiotrain.evaluation.report.page import json_values, make_entries, render_page, report_alarms
from radiotrain.evaluation.results import Evaluation
from radiotrain.evaluation.stability.find import find_stability
from radiotrain.evaluation.stability.plots import draw_selective
from radiotrain.evaluation.stability.uncertainty import uncertainty_csv
from radiotrain.evaluation.subgroups.forest import draw_forests

REPORT_NAME = "report.html"


def write_report(
    evaluation: Evaluation,
    df: pd.DataFrame,
    out: str | Path,
    *,
    context: ReportContext | None = None,
) -> str:
    """Write ``metrics.json``, ``predictions.parquet``, ``plots/*.svg`` and ``report.html``.

    Everything is made before the first file is written, and the report is written last: a folder without one
    is not whole.

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
    entries = make_entries(evaluation, table, report_alarms(evaluation, context))
    forests = draw_forests(context.subgroups)
    stability = find_stability(evaluation, table, context.draws)
    curves = draw_selective(stability)
    page = render_page(evaluation, entries, context, forests, stability, curves)
    card = card_markdown(make_card(evaluation, context), evaluation, context)
    checklists = checklists_csv(fill_checklists(evaluation, context))
    rows = to_parquet(table)
    extra = {**_extra(evaluation, context), "stability": stability.to_json()}
    extra["predictions_sha256"] = digest_in(rows)
    metrics = metrics_json(evaluation, extra)
    url = files.absolute(out)
    # An earlier report is gone before anything that it speaks of changes.
    files.remove(*(files.join(url, name) for name in (REPORT_NAME, FILE_NAME)))
    files.write_bytes(files.join(url, TABLE_NAME), rows)
    for entry in entries:
        for plot in entry.plots:
            files.write_text(files.join(url, "plots", plot.name), plot.svg)
    for plot in (*forests, *curves):
        files.write_text(files.join(url, "plots", plot.name), plot.svg)
    files.write_text(files.join(url, FILE_NAME), metrics)
    files.write_text(files.join(url, "model-card.md"), card)
    files.write_text(files.join(url, "checklists.csv"), checklists)
    uncertainty = uncertainty_csv(stability.patients)
    files.write_text(files.join(url, "uncertainty.csv"), uncertainty)
    files.write_text(files.join(url, REPORT_NAME), page)
    return files.join(url, REPORT_NAME)


def _extra(evaluation: Evaluation, context: ReportContext) -> dict[str, Any]:
    flow = None if context.flow is None else asdict(context.flow)
    return {
        "warnings": [*context.warnings, *evaluation.warnings],
        "leak_checks": [asdict(check) for check in (*context.leak_checks, *evaluation.leak_checks)],
        "flow": flow,
        "openings": [asdict(opening) for opening in context.openings],
        "test_parts": [asdict(part) for part in context.test_parts],
        "provenance": json_values(dict(context.provenance)),
        "shortcuts": None if context.shortcuts is None else asdict(context.shortcuts),
        "saliency": None if context.saliency is None else context.saliency.to_json(),
        "subgroups": None if context.subgroups is None else context.subgroups.to_json(),
        "external": None if context.external is None else context.external.to_json(),
    }
