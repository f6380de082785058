"""Options on phases of several commands: a table to be corrected by hand, and a number."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from preprocessing.images.phases.table import PhaseTable

PhasesOption = Annotated[
    str | None,
    typer.Option(
        "--phases",
        metavar="FILE",
        help="Table of phases: read where it exists, else written by `radiotrain cohort check`.",
    ),
]
NumPhasesOption = Annotated[
    int | None,
    typer.Option("--num-phases", min=1, help="Phases a patient must have [default: the layout's]."),
]


def read_phases_options(
    phases: str | None, num_phases: int | None, *, must_exist: bool = False
) -> tuple[PhaseTable | None, int | None]:
    """Return the table of phases, where there is one, and the number of phases.

    Parameters
    ----------
    must_exist
        Whether a table that is not there is a mistake, and not one to be written.

    Raises
    ------
    MissingPathError
        If a table must exist and does not.
    InputError
        If it cannot be used.
    """
    from preprocessing.common.errors import InputError, MissingPathError
    from preprocessing.images.phases.table import read_phase_table
    from preprocessing.storage import files

    if phases is None:
        return None, num_phases
    if phases.isdigit():
        if int(phases) < 1 or num_phases is not None:
            raise InputError(f"--phases is {phases}, expected a table of phases (a CSV file)")
        typer.echo(f"note: --phases {phases} is --num-phases {phases} now", err=True)
        return None, int(phases)
    if files.exists(phases):
        return read_phase_table(phases), num_phases
    if must_exist:
        raise MissingPathError(
            f"no table of phases at {phases}: let 'radiotrain cohort check COHORT --phases {phases}'"
            " write one"
        )
    return None, num_phases
