"""The report: HTML that needs nothing else, and the numbers, tables and plots beside it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from preprocessing.storage import files
from radiotrain.checked_parquet import digest_in, to_parquet
from radiotrain.evaluation.leaks.results import leaks_csv
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.report.checklists.fill import checklists_csv, fill_checklists
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.metrics_json import FILE_NAME, TABLE_NAME, metrics_json
from radiotrain.evaluation.report.model_card import card_markdown, make_card
from radiotrain.evaluation.report.page import json_values, make_pages, render_pages
from radiotrain.evaluation.report.pages import FOLDER
from radiotrain.evaluation.report.places import without_paths
from radiotrain.evaluation.results import Evaluation
from radiotrain.evaluation.stability.find import find_stability
from radiotrain.evaluation.stability.uncertainty import uncertainty_csv

REPORT_NAME = "report.html"


def write_report(
    evaluation: Evaluation,
    df: pd.DataFrame,
    out: str | Path,
    *,
    context: ReportContext | None = None,
    figures: bool = False,
) -> str:
    """Write ``report.html`` and all that lies beside it.

    Everything is made before the first file is written, and the report is written last: a folder without one
    is not whole. Paths of this machine are in none of it, patients in tables of their own only.

    Parameters
    ----------
    evaluation
        From `evaluate.evaluate_table`.
    df
        The table it was computed from.
    out
        A folder or an object store's prefix.
    figures
        Whether to write the figures of the summary and its results as PDF and PNG, too.

    Returns
    -------
    Where the report is.
    """
    context = without_paths(context or ReportContext())
    table = validate_predictions(df)
    stability = find_stability(evaluation, table, context.draws)
    pages = make_pages(evaluation, table, context, stability)
    html = render_pages(pages)
    rows = to_parquet(table)
    extra = {**_extra(evaluation, context), "stability": stability.to_json()}
    extra["predictions_sha256"] = digest_in(rows)
    metrics = metrics_json(evaluation, extra)
    beside: dict[str, str | bytes] = {f"plots/{plot.name}": plot.svg for plot in pages.plots}
    if figures:
        for plot in pages.manuscript_plots:
            beside |= {f"plots/{name}": data for name, data in plot.for_manuscript().items()}
    beside[FILE_NAME] = metrics
    beside["model-card.md"] = card_markdown(make_card(evaluation, context), evaluation, context)
    beside["checklists.csv"] = checklists_csv(fill_checklists(evaluation, context))
    beside["uncertainty.csv"] = uncertainty_csv(stability.patients)
    tables = _tables(evaluation, context)
    beside |= {name: text for name, text in tables.items() if text}
    url = files.absolute(out)
    # An earlier report is gone before anything that it speaks of changes, and so is what this one has not.
    earlier = [f"{FOLDER}/{name}" for name in files.list_names(files.join(url, FOLDER))]
    gone = [name for name in (*earlier, *tables) if name not in (*beside, *html)]
    # In two steps, each synced: a loss of power may keep one of two removals.
    files.remove(files.join(url, REPORT_NAME))
    files.remove(*(files.join(url, name) for name in (FILE_NAME, *gone)))
    files.write_bytes(files.join(url, TABLE_NAME), rows)
    report = html.pop("")
    for name, content in (*beside.items(), *html.items()):
        place = files.join(url, *name.split("/"))
        if isinstance(content, bytes):
            files.write_bytes(place, content)
        else:
            files.write_text(place, content)
    files.write_text(files.join(url, REPORT_NAME), report)
    return files.join(url, REPORT_NAME)


def _tables(evaluation: Evaluation, context: ReportContext) -> dict[str, str]:
    """Return the tables that name patients, empty where there is nothing to name."""
    flow, saliency = context.flow, context.saliency
    return {
        "excluded.csv": flow.excluded_csv() if flow is not None and flow.excluded else "",
        "leaks.csv": leaks_csv((*context.leak_checks, *evaluation.leak_checks)),
        "saliency.csv": saliency.to_csv() if saliency is not None and saliency.runs else "",
    }


def _extra(evaluation: Evaluation, context: ReportContext) -> dict[str, Any]:
    known = context.characteristics
    return {
        "warnings": [*context.warnings, *evaluation.warnings],
        "leak_checks": [c.to_json() for c in (*context.leak_checks, *evaluation.leak_checks)],
        "flow": None if context.flow is None else context.flow.to_json(),
        "characteristics": None if known is None else known.to_json(),
        "openings": [asdict(opening) for opening in context.openings],
        "test_parts": [
            {
                "part": part.part,
                "num_patients": len(part.patient_ids),
                "num_openings": part.num_openings,
            }
            for part in context.test_parts
        ],
        "provenance": json_values(dict(context.provenance)),
        "shortcuts": None if context.shortcuts is None else asdict(context.shortcuts),
        "saliency": None if context.saliency is None else context.saliency.to_json(),
        "subgroups": None if context.subgroups is None else context.subgroups.to_json(),
        "external": None if context.external is None else context.external.to_json(),
    }
