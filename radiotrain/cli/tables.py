"""Options of every command that reads a cohort: how its tables name columns and results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from preprocessing.cohort.options import TableOptions

ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="OURS=THEIRS",
        help="Name of a column in the table, e.g. patient_id=ID or ER=Estrogen; may be repeated.",
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="TARGET:WORD=VALUE",
        help="Value of a word in a target's column: 0, 1 or missing, e.g. HER2:2+=missing; may be repeated.",
    ),
]


def table_options(column: list[str] | None, label: list[str] | None) -> TableOptions:
    """Return what both options say."""
    from preprocessing.cohort.options import TableOptions

    return TableOptions.parse(column or (), label or ())


def as_words(column: list[str] | None, label: list[str] | None) -> list[str]:
    """Return both options as words of a command line."""
    words = [word for text in column or () for word in ("--column", text)]
    return words + [word for text in label or () for word in ("--label", text)]
