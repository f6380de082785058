"""``radiotrain store``: look at a store, and check that it is still what was written."""

from __future__ import annotations

from typing import Annotated

import typer

_EXAMPLE = "Example: `radiotrain store verify duke.zarr`"


def register(app: typer.Typer) -> None:
    """Add the command group to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Check a store.", epilog=_EXAMPLE)
    group.command("verify", epilog=_EXAMPLE)(verify)
    # A group of one command would otherwise lose its name.
    group.callback()(lambda: None)
    app.add_typer(group, name="store")


def verify(
    store: Annotated[str, typer.Argument(help="Store: a folder or s3://bucket/prefix.")],
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Mend it; 'preprocess' then makes lost voxels again."),
    ] = False,
) -> None:
    """Read every voxel and compare with the checksums: finds bit rot, lost and replaced files.

    Exit status 1 if anything is not as it was written.
    """
    from preprocessing.progress import progress
    from preprocessing.store import Store
    from preprocessing.store.verify import take_back
    from preprocessing.store.verify import verify as verify_store

    opened = Store.open(store)
    problems, damaged, lost = [], set(), set()
    with progress("verify", len(opened.patient_ids)) as advance:
        for record, checked in zip(opened.records, verify_store(opened), strict=True):
            problems += [f"{checked.patient_id}  {p}" for p in checked.problems]
            damaged |= {record.index} if checked.problems else set()
            lost |= {record.index} if checked.lost_voxels else set()
            advance()
    for line in problems:
        typer.echo(line)
    if damaged and repair:
        take_back(opened, lost)
        if lost:
            typer.echo(
                f"{len(lost)} patients taken back: run the 'radiotrain preprocess' that made"
                f" {opened.url} again to make them anew"
            )
        if damaged - lost:
            typer.echo(f"{len(damaged - lost)} patients mended: labels and scales written anew")
        return
    if damaged:
        typer.echo(f"{len(damaged)} patients of {opened.url} are damaged: add --repair")
        raise typer.Exit(1)
    typer.echo(f"{len(opened.patient_ids)} patients as written, {opened.url}")
