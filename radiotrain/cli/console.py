"""Where tables are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def wide_console(width: int, *, highlight: bool = True) -> Console:
    """Return a console as wide as the terminal, or this wide where output goes into a file."""
    from rich.console import Console

    return Console(width=None if Console().is_terminal else width, highlight=highlight)
