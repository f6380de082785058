"""Which results have their details in the report itself, and which in pages of their own.

A report of a hundred runs would weigh tens of megabytes, most of it plots that few read.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

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
