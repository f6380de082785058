"""Which settings differ between two reports, from what they say about how they were made."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from radiotrain.config import RunConfig, with_new_names
from radiotrain.evaluation.compare.report_folder import Report
from radiotrain.evaluation.compare.results import Setting

NOT_THERE = "not set"

# Where things lie says nothing about what was done, and stores and splits have fingerprints;
# "what" is a sentence about the other values.
_PLACES = {"store", "split", "out", "name", "sweep", "what"}


def differing_settings(first: Report, second: Report) -> tuple[Setting, ...]:
    """Return what differs in preprocessing and software."""
    return tuple(
        setting
        for part in ("preprocessing", "software")
        for setting in _differences(
            first.provenance.get(part), second.provenance.get(part), f"{part}."
        )
    )


def differing_run_settings(
    first: Report, run: str, second: Report, other: str
) -> tuple[Setting, ...]:
    """Return what differs in the configurations of two runs; nothing where one is not known."""
    return tuple(_differences(_configuration(first, run), _configuration(second, other), ""))


def has_configuration(report: Report, run: str) -> bool:
    """Tell whether a report says how a run was made."""
    return bool(_configuration(report, run))


def _configuration(report: Report, run: str) -> dict[str, Any]:
    """Return a run's settings, with those of the model that was made of it."""
    found: dict[str, Any] = {}
    for kind in ("model", "run"):
        values = report.provenance.get(f"{kind} {run}")
        if isinstance(values, Mapping):
            # A report of an earlier release has the names of its time.
            current = with_new_names(RunConfig, values, f"configuration of {run}", warn=False)
            found |= {k: v for k, v in current.items() if k not in _PLACES}
    return found


def _differences(first: Any, second: Any, prefix: str) -> Iterator[Setting]:
    if not isinstance(first, Mapping) or not isinstance(second, Mapping) or not (first and second):
        return
    ours, theirs = dict(_flat(first, prefix)), dict(_flat(second, prefix))
    for name in dict.fromkeys((*ours, *theirs)):
        a, b = ours.get(name, NOT_THERE), theirs.get(name, NOT_THERE)
        if a != b:
            yield Setting(name, a, b)


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value, ensure_ascii=False)
