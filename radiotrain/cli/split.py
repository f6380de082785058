"""``radiotrain split``: folds and a sealed test set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from radiotrain.cli import options

if TYPE_CHECKING:
    from preprocessing.store import Store
    from radiotrain.split.outer_folds import OuterSplits
    from radiotrain.split.split import Split

_TITLE = "positive / labelled patients of each target"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(split)


def split(
    store: Annotated[str, typer.Argument(help="Store: folder or s3://…")],
    out: Annotated[str, typer.Option(help="JSON file to write.")] = "splits.json",
    extend: Annotated[
        str | None,
        typer.Option(
            help="Split to extend by the store's new patients: they join its folds and a further sealed"
            " part of the test set; all others keep their place.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Same store and seed, same split.", min=0, show_default="0"),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(help="Folds of the development patients [default: 5].", show_default=False),
    ] = None,
    folds_by: Annotated[
        str | None,
        typer.Option(
            help="Instead: one fold for each value of this covariate, e.g. manufacturer, or `scanner`. Given"
            " to evaluate beside runs of the same seed, its runs measure performance on unseen scanners.",
        ),
    ] = None,
    test_fraction: Annotated[
        float | None, typer.Option(help="Share of the test patients.", show_default="0.2")
    ] = None,
    targets: Annotated[
        str | None,
        typer.Option(
            autocompletion=options.targets_of_store,
            help="Targets to stratify over, e.g. ER,PR [default: all].",
        ),
    ] = None,
    outer: Annotated[
        int | None,
        typer.Option(
            help="Cross-validated testing: this many splits, each with another sealed test set, so that"
            " every patient is tested once. --out lists them.",
            show_default=False,
        ),
    ] = None,
    repeats: Annotated[
        int | None,
        typer.Option(
            help="With --outer: repetitions with other partitions.", show_default="1 of --outer"
        ),
    ] = None,
) -> None:
    """Divide a store's patients into a sealed test set and folds, stratified over all targets.

    Example: `radiotrain split store --out splits.json --seed 1`

    Example: `radiotrain split store --out by-scanner.json --seed 1 --folds-by scanner`

    Example: `radiotrain split store --out splits-2.json --extend splits.json`

    Example: `radiotrain split store --out splits/outer.json --outer 5`
    """
    from preprocessing.common.errors import InputError
    from preprocessing.store import Store
    from radiotrain.evaluation.shortcuts.folds import with_folds_by
    from radiotrain.split.outer_folds import (
        dealing_of_outer_at,
        make_outer_splits,
        save_outer_splits,
    )
    from radiotrain.split.split import count_table, dealing_at, make_split, save_split

    if folds is not None and folds_by is not None:
        raise InputError("got both --folds and --folds-by, expected one of them")
    if outer is not None:
        others = {"--extend": extend, "--folds-by": folds_by, "--test-fraction": test_fraction}
        _refuse(
            others,
            "--outer, whose test sets are parts of all patients and whose folds are stratified",
        )
    elif repeats is not None:
        raise InputError("got --repeats without --outer, expected both: --outer 5 --repeats 2")
    opened = Store.open(store)
    names = [name.strip() for name in targets.split(",")] if targets else None
    if outer is not None:
        made_outer = make_outer_splits(
            opened,
            num_parts=outer,
            num_repeats=1 if repeats is None else repeats,
            seed=0 if seed is None else seed,
            num_folds=5 if folds is None else folds,
            targets=names,
            dealing=dealing_of_outer_at(out),
        )
        _print_outer(made_outer, opened, save_outer_splits(made_outer, out), out)
        return
    if extend is not None:
        given = {
            "--seed": seed,
            "--folds": folds,
            "--folds-by": folds_by,
            "--test-fraction": test_fraction,
            "--targets": targets,
        }
        made = _extend(opened, extend, out, [name for name, v in given.items() if v is not None])
    else:
        made = make_split(
            opened,
            seed=0 if seed is None else seed,
            test_fraction=0.2 if test_fraction is None else test_fraction,
            num_folds=5 if folds is None else folds,
            targets=names,
            dealing=dealing_at(out),
        )
        if folds_by is not None:
            made = with_folds_by(made, opened, folds_by)
        save_split(made, out)
    _print_table(count_table(made, opened), made.targets)
    for warning in made.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if extend is not None:
        _print_extension(made, out)
    typer.echo(f"{out}: {len(made.patient_ids)} patients, the test set is sealed")


def _refuse(options: Mapping[str, object], what: str) -> None:
    from preprocessing.common.errors import InputError

    given = [name for name, value in options.items() if value is not None]
    if given:
        raise InputError(f"got {' and '.join(given)} with {what}: leave out one of the two")


def _print_outer(made: OuterSplits, store: Store, urls: Sequence[str], out: str) -> None:
    """Print the test patients of each split, and where they are."""
    from radiotrain.split.split import count_table

    rows = [
        {**count_table(split, store)[0], "part": url.rpartition("/")[2]}
        for split, url in zip(made.splits, urls, strict=True)
    ]
    _print_table(rows, made.splits[0].targets, "test set of")
    for split in made.splits:
        for warning in split.warnings:
            typer.echo(f"warning: {split.outer}: {warning}", err=True)
    num, times = len(made.splits[0].patient_ids), made.num_repeats
    often = "once" if times == 1 else f"{times} times"
    typer.echo(
        f"{out}: {len(urls)} splits, in which each of {num} patients is a test patient {often}; their test"
        " sets are sealed. Train, tune and promote with each of them, then evaluate all models together"
    )


def _extend(store: Store, extended_url: str, out: str, options: list[str]) -> Split:
    """Write the split at `extended_url` with the store's new patients added; return it."""
    from preprocessing.common.errors import InputError
    from radiotrain.evaluation.shortcuts.folds import extend_folds_by
    from radiotrain.split.extend import dealing_of_extension_at, extend_split
    from radiotrain.split.split import SCHEMA_VERSION, load_split, not_in_split
    from radiotrain.split.test_set_access import save_extension

    if options:
        raise InputError(
            f"got {' and '.join(options)} with --extend, which divides new patients as {extended_url} did"
            " the others: leave out one of the two"
        )
    extended = load_split(extended_url, store)
    if (
        not not_in_split(extended, store)
        and load_split(extended_url).schema_version == SCHEMA_VERSION
    ):
        raise InputError(
            f"store {store.url} has no usable patient that split {extended_url} does not have: add patients"
            " with 'radiotrain preprocess' first"
        )
    dealing = dealing_of_extension_at(out)
    made = (extend_folds_by if extended.folds_by else extend_split)(extended, store, dealing)
    return save_extension(made, out, extended_url)


def _print_extension(split: Split, out: str) -> None:
    from radiotrain.split.test_set_access import count_accesses, read_test_log

    before = (split, *split.before)[-1]
    num_test = len(split.test_ids) - len(before.test_ids)
    num_folds = len(split.development_ids) - len(before.development_ids)
    typer.echo(
        f"added {num_test + num_folds} patient(s), {num_test} of them to the test set and {num_folds} to the"
        f" folds; the other {len(before.patient_ids)} are where they were"
    )
    for part in count_accesses(split, read_test_log(out).records):
        times = f"{part.num_openings} time{'' if part.num_openings == 1 else 's'}"
        typer.echo(
            f"test set, part {part.part}: {len(part.patient_ids)} patients, opened {times} so far"
        )


def _print_table(
    rows: list[dict[str, object]], targets: tuple[str, ...], part: str = "part"
) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(part, "patients", *targets, box=None, pad_edge=False, title=_TITLE)
    for row in rows:
        counts = [row[t] for t in targets]
        cells = [f"{c[0]} / {c[1]}" for c in counts if isinstance(c, tuple)]
        table.add_row(str(row["part"]), str(row["patients"]), *cells)
    Console().print(table)
