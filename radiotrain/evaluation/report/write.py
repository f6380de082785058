"""Write the report folder."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from preprocessing.common.errors import InputError
from preprocessing.storage import files
from preprocessing.storage.digests import dump_with_digest, load_with_digest
from preprocessing.storage.folder_lock import exclusive
from preprocessing.storage.lock_notes import is_lock
from radiotrain.evaluation.leak_checks import leaks_csv
from radiotrain.evaluation.predictions import validate_predictions
from radiotrain.evaluation.report.checklists.fill import checklists_csv, fill_checklists
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.report.metrics_json import FILE_NAME, TABLE_NAME, metrics_json
from radiotrain.evaluation.report.model_card import card_markdown, make_card
from radiotrain.evaluation.report.page import FOLDER, json_values, make_pages, render_pages
from radiotrain.evaluation.report.places import without_paths
from radiotrain.evaluation.results import Evaluation
from radiotrain.evaluation.stability.stability import find_stability
from radiotrain.evaluation.stability.uncertainty import uncertainty_csv
from radiotrain.runs.checked_files import digest_in, to_parquet

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


# Written before all else, so that a report that was killed is known as well.
MADE_FROM = "made-from.json"


@dataclass(frozen=True)
class Subject:
    """What a folder's content is about.

    Parameters
    ----------
    kind
        ``report`` or ``comparison``.
    sources
        Absolute URLs of the runs, tables or reports that it is made from.
    chosen
        What of them is used, where that can be chosen.
    """

    kind: str
    sources: tuple[str, ...]
    chosen: tuple[str, ...] = ()

    @staticmethod
    def of(kind: str, sources: Sequence[str], chosen: Sequence[str] = ()) -> Subject:
        """Return the subject of sources as a user names them."""
        return Subject(kind, tuple(files.absolute(one) for one in sources), tuple(chosen))

    def to_json(self, out: str) -> dict[str, Any]:
        """Return what stands in the folder; its sources may have moved along with it."""
        from_out = [os.path.relpath(one, out) for one in self.sources]
        return {
            "kind": self.kind,
            "sources": sorted(self.sources),
            "sources_from_here": sorted(from_out),
            "chosen": list(self.chosen),
        }


@contextmanager
def claimed(out: str | Path, subject: Subject) -> Iterator[None]:
    """Hold a folder's lock, if the folder may become a report or comparison of this subject.

    Nothing is written yet: see `mark`.

    Raises
    ------
    InputError
        If the folder cannot be written, holds anything else, or is written to by another process.
    DamagedFileError
        If it is not known what the folder holds.
    """
    check_writable(out)
    url = files.absolute(out)
    with exclusive(url, subject.kind, private=True):
        _check_same(url, subject)
        yield


def mark(out: str | Path, subject: Subject) -> None:
    """Write down what a folder is about, before anything else is written to it."""
    url = files.absolute(out)
    files.write_text(files.join(url, MADE_FROM), dump_with_digest(subject.to_json(url)))


def check_writable(out: str | Path) -> None:
    """Refuse a folder that cannot be written, before work is done and a test set opened for it.

    Nothing is made. Of an object store it shows only when the report is written.

    Raises
    ------
    InputError
        If it is a file, lies below one, or may not be written to.
    """
    url = files.absolute(out)
    if not files.is_local(url):
        return
    place = files.to_path(url)
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise InputError(f"--out is {url}, but {place} is a file, expected a folder: name another")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"--out is {url}, but {place} may not be written to: name another folder")


def _check_same(url: str, subject: Subject) -> None:
    names = [n for n in files.list_names(url) if not (is_lock(n) or n.endswith(files.PARTIAL))]
    if not names:
        return
    wanted, what = subject.to_json(url), f"{subject.kind} of {_named(subject.sources)}"
    found = _read(url)
    if found is None:
        raise InputError(
            f"{url} is not empty and holds no {subject.kind} (found {names[0]!r}), expected a new or"
            f" empty folder, or the {what}: name another --out"
        )
    same = found.get("kind") == subject.kind and found.get("chosen") == wanted["chosen"]
    is_here = any(found.get(key) == wanted[key] for key in ("sources", "sources_from_here"))
    if not (same and is_here):
        sources = found.get("sources")
        holds = f"the {found.get('kind')} of {_named(sources if isinstance(sources, list) else ())}"
        raise InputError(f"{url} holds {holds}, and not the {what}: name another --out")


def _named(sources: Sequence[str]) -> str:
    shown = ", ".join(sources[:3]) or "something else"
    return shown + (f" and {len(sources) - 3} more" if len(sources) > 3 else "")


def _read(url: str) -> dict[str, Any] | None:
    place = files.join(url, MADE_FROM)
    try:
        return load_with_digest(files.read_bytes(place), place, "name another --out")
    except FileNotFoundError:
        return None
