"""``radiotrain verify``: check results on disk by their checksums."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(verify)


def verify(
    path: Annotated[
        str,
        typer.Argument(
            help="A store, run, sweep, promoted model, export, split, report or comparison, or a folder"
            " of these; here or on s3://bucket/prefix."
        ),
    ],
) -> None:
    """Check the files of results against their checksums and against each other.

    Prints a line for each problem. Exit status 0: all is whole; 1: something is damaged; 2: nothing
    there is radiotrain's. Nothing is changed; 'radiotrain store verify --repair' repairs a store.

    Example: `radiotrain verify runs`
    """
    from cluster.sweep.verify import check_sweep
    from preprocessing.common.errors import MissingPathError
    from radiotrain.verify import verify as verify_results

    kinds: Counter[str] = Counter()
    num_damaged = 0
    lines: set[str] = set()
    for result in verify_results(path, check_sweep):
        kinds[result.kind] += 1
        num_damaged += bool(result.problems)
        for line in result.problems:
            # A run's problem is one of its sweep or model, too.
            if line not in lines:
                typer.echo(line)
            lines.add(line)
    if not kinds:
        raise MissingPathError(
            f"nothing at {path} is what radiotrain writes: name a store, run, sweep, model, export,"
            " split or report, or a folder of these"
        )
    found = ", ".join(f"{num} {kind}{'s' * (num > 1)}" for kind, num in sorted(kinds.items()))
    if num_damaged:
        typer.echo(f"{num_damaged} of {kinds.total()} damaged ({found})")
        raise typer.Exit(1)
    typer.echo(f"whole: {found}")
