"""``radiotrain split``."""

from __future__ import annotations

from typing import Annotated

import typer

from radiotrain.cli import complete

_TITLE = "positive / labelled patients of each target"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(split)


def split(
    store: Annotated[str, typer.Argument(help="Store: folder or s3://…")],
    out: Annotated[str, typer.Option(help="JSON file to write.")] = "splits.json",
    seed: Annotated[int, typer.Option(help="Same store and seed, same split.", min=0)] = 0,
    folds: Annotated[int, typer.Option(help="Folds over all but the test patients.")] = 5,
    test_fraction: Annotated[float, typer.Option(help="Share kept for the test.")] = 0.2,
    targets: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete.targets_of_store,
            help="Stratify over these only, e.g. ER,PR; default all.",
        ),
    ] = None,
) -> None:
    """Divide a store's patients into a sealed test set and folds, stratified over all targets.

    Example: `radiotrain split store --out splits.json --seed 1`
    """
    from preprocessing.store import Store
    from radiotrain.split import count_table, make_split, save_split

    opened = Store.open(store)
    made = make_split(
        opened,
        seed=seed,
        test_fraction=test_fraction,
        num_folds=folds,
        targets=[name.strip() for name in targets.split(",")] if targets else None,
    )
    save_split(made, out)
    _print_table(count_table(made, opened), made.targets)
    for warning in made.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(f"{out}: {len(opened.patient_ids)} patients, the test set is sealed")


def _print_table(rows: list[dict[str, object]], targets: tuple[str, ...]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("part", "patients", *targets, box=None, pad_edge=False, title=_TITLE)
    for row in rows:
        counts = [row[t] for t in targets]
        cells = [f"{c[0]} / {c[1]}" for c in counts if isinstance(c, tuple)]
        table.add_row(str(row["part"]), str(row["patients"]), *cells)
    Console().print(table)
