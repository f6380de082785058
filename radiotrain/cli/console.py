"""Print tables and the findings of a diagnosis."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from radiotrain.doctor.facts import Finding


def wide_console(width: int, *, highlight: bool = True) -> Console:
    """Return a console as wide as the terminal, or this wide where output goes into a file."""
    from rich.console import Console

    return Console(width=None if Console().is_terminal else width, highlight=highlight)


_MARKS = {"ok": ("ok", "green"), "look": ("look at this", "yellow"), "broken": ("broken", "red")}


def findings_console() -> Console:
    """Return a console that is wide enough for sentences."""
    return wide_console(150, highlight=False)


def print_findings(console: Console, findings: Iterable[Finding]) -> None:
    """Print each finding with its grade."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in findings:
        mark, colour = _MARKS[finding.grade]
        table.add_row(f"[{colour}]{mark}[/]", finding.check, escape(finding.what))
    console.print(table)
