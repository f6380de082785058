"""``radiotrain store``: describe and check a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from preprocessing.store.verify import StoreCheck

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
        typer.Option("--repair", help="Repair it; 'preprocess' then makes lost voxels again."),
    ] = False,
) -> None:
    """Check every byte against its checksum: finds corrupt, lost and replaced files.

    Exit status 1 if anything is not as it was written.
    """
    from preprocessing.common.progress import progress
    from preprocessing.store.verify import check_metadata, check_voxels, repair_metadata
    from preprocessing.store.verify import repair as repair_store

    check = check_metadata(store)
    if repair:
        check = repair_metadata(check)
    with progress("verify", check.num_usable) as advance:
        check = check_voxels(check, advance)
    for line in check.problems():
        typer.echo(line)
    if not check.is_whole and repair:
        repair_store(check)
        _print_repaired(check)
        return
    if not check.is_whole:
        num = len(check.problems())
        typer.echo(f"{check.url} is damaged, {num} problem{'s' * (num > 1)}: add --repair")
        raise typer.Exit(1)
    typer.echo(f"{check.num_usable} patients as written, {check.url}")
    if not check.is_finished:
        typer.echo(
            f"the store is not finished, {len(check.found)} of {len(check.spec.patient_ids)} patients"
            " done: run 'radiotrain preprocess' again to resume it"
        )


def _print_repaired(check: StoreCheck) -> None:
    if check.lost:
        num = len(check.lost)
        typer.echo(
            f"{num} patient{'s' * (num > 1)} taken back: run the 'radiotrain preprocess' that made"
            f" {check.url} again to make {'them' if num > 1 else 'it'} anew"
        )
    rest = set(check.damaged_arrays) - check.lost
    if rest:
        num = len(rest)
        typer.echo(f"{num} patient{'s' * (num > 1)} repaired: labels and scales written anew")
    num = len(check.damaged_metadata) + len(check.damaged_records)
    if num:
        typer.echo(f"{num} file{'s' * (num > 1)} of metadata and records repaired")
