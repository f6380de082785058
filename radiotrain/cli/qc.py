"""``radiotrain qc``: pages to look at, of every patient in a store."""

from __future__ import annotations

from typing import Annotated

import typer

_EXAMPLE = "Example: `radiotrain qc duke.zarr --out qc`"

# Named one by one; of more, how many.
_MOST_NAMED = 5


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("qc", epilog=_EXAMPLE)(qc)


def qc(
    store: Annotated[str, typer.Argument(help="Finished store: a folder or s3://bucket/prefix.")],
    out: Annotated[
        str, typer.Option(help="Folder for the pages: new, empty, or one of this command.")
    ],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes [default: one a processor core].")
    ] = None,
) -> None:
    """Write QC pages: each patient's phases, box, bias field and findings; outliers first.

    Exit status 1 if any patient's voxels are damaged; the pages say which.
    """
    from preprocessing.common.progress import progress
    from preprocessing.processes.machine import num_cpus
    from preprocessing.qc.pages import write_pages
    from preprocessing.store import Store

    written = write_pages(Store.open(store), out, workers or num_cpus(), progress)
    if written.damaged:
        named = ", ".join(written.damaged[:_MOST_NAMED])
        more = len(written.damaged) - _MOST_NAMED
        typer.echo(
            f"damaged voxels, patients: {len(written.damaged)} ({named}"
            + (f" and {more} more)" if more > 0 else ")"),
            err=True,
        )
    typer.echo(f"{written.num_pages} pages written, open {written.index}")
    if written.damaged:
        raise typer.Exit(1)
