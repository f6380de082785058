"""How the doctors' findings are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from radiotrain.cli.console import wide_console

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from radiotrain.doctor.findings import Finding

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
