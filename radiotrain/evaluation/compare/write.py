"""Write a comparison as HTML and JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import jinja2

from preprocessing.storage import files
from preprocessing.storage.digests import dump_with_digest
from radiotrain.evaluation.compare.compare_results import SCHEMA_VERSION, ReportComparison
from radiotrain.evaluation.report.page import report_environment
from radiotrain.evaluation.report.places import short_names
from radiotrain.version import __version__

PAGE_NAME, JSON_NAME = "comparison.html", "comparison.json"


def write_comparison(comparison: ReportComparison, out: str | Path) -> str:
    """Write ``comparison.json``, then ``comparison.html``; return where the page is.

    Parameters
    ----------
    out
        A folder or an object store's prefix.
    """
    page, values = render_comparison(comparison), comparison_json(comparison)
    url = files.absolute(out)
    # An earlier page is gone before the values that it shows change.
    files.remove(files.join(url, PAGE_NAME))
    files.write_text(files.join(url, JSON_NAME), values)
    files.write_text(files.join(url, PAGE_NAME), page)
    return files.join(url, PAGE_NAME)


def render_comparison(comparison: ReportComparison) -> str:
    """Return the page as HTML, in the report's style; all text is escaped."""
    loaders = [
        jinja2.PackageLoader("radiotrain.evaluation.compare"),
        jinja2.PackageLoader("radiotrain.evaluation.report"),
    ]
    environment = report_environment(jinja2.ChoiceLoader(loaders))
    template = environment.get_template("comparison.html.j2")
    names = short_names(comparison.first, comparison.second)
    return template.render(version=__version__, comparison=comparison, names=names)


def comparison_json(comparison: ReportComparison) -> str:
    """Return strict JSON; docs/metrics-json.md explains every key."""
    document = {
        "schema_version": SCHEMA_VERSION,
        "generated_by": f"radiotrain {__version__}",
        "reports": [comparison.first, comparison.second],
        "pairs": [pair.to_json() for pair in comparison.pairs],
        "settings": [asdict(setting) for setting in comparison.settings],
        "warnings": list(comparison.warnings),
        "margin": comparison.margin,
        "equal_rate": comparison.equal_rate,
        "bootstrap": {"seed": comparison.seed, "num_resamples": comparison.num_resamples},
    }
    return dump_with_digest(document, in_order=True)
