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
    folds: Annotated[
        int | None,
        typer.Option(
            help="Folds over all but the test patients; 5 unless given.", show_default=False
        ),
    ] = None,
    folds_by: Annotated[
        str | None,
        typer.Option(
            help="Instead: a fold for each value of this covariate, e.g. manufacturer, or `scanner` for"
            " the one that tells scanners apart. Networks trained on its folds and given to evaluate"
            " beside those of the split with the same seed show what is left on a scanner they never saw.",
        ),
    ] = None,
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

    Example: `radiotrain split store --out by-scanner.json --seed 1 --folds-by scanner`
    """
    from preprocessing.errors import InputError
    from preprocessing.store import Store
    from radiotrain.evaluation.shortcuts.folds import with_folds_by
    from radiotrain.split import count_table, make_split, save_split

    if folds is not None and folds_by is not None:
        raise InputError("got both --folds and --folds-by, expected one of them")
    opened = Store.open(store)
    made = make_split(
        opened,
        seed=seed,
        test_fraction=test_fraction,
        num_folds=5 if folds is None else folds,
        targets=[name.strip() for name in targets.split(",")] if targets else None,
    )
    if folds_by is not None:
        made = with_folds_by(made, opened, folds_by)
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
