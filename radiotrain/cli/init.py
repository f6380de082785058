"""``radiotrain init``: a configuration to go on from, written for a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from radiotrain.cli import complete

if TYPE_CHECKING:
    from pydantic import BaseModel

    from preprocessing.store import Store
    from radiotrain.suggest import Suggestion

_HOW = (
    "Paths are relative to the folder where the command is called. A setting behind a # with no"
    " blank is at its default: take the # away to change it."
)
_StoreArgument = Annotated[str, typer.Argument(help="Store: folder or s3://…")]
_SplitOption = Annotated[
    str, typer.Option(help="The store's split, whether it is there yet or not.")
]


def register(app: typer.Typer) -> None:
    """Add the command group to the command line."""
    group = typer.Typer(
        no_args_is_help=True,
        help="Write a configuration to go on from.",
        epilog="Example: `radiotrain init run duke.zarr`",
    )
    group.command("run")(run)
    group.command("sweep")(sweep)
    app.add_typer(group, name="init")


def run(
    store: _StoreArgument,
    out: Annotated[str, typer.Option(help="File to write; one that is there is left alone.")] = (
        "run.yaml"
    ),
    split: _SplitOption = "splits.json",
    target: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=complete.targets_of_store,
            help="Of the store; several share one network.",
        ),
    ] = None,
    network: Annotated[
        str | None,
        typer.Option(
            autocompletion=complete.networks,
            help="A name from 'radiotrain models' [default: the paper's].",
        ),
    ] = None,
) -> None:
    """Write a run's configuration for a store: every setting with its meaning and default.

    Example: `radiotrain init run duke.zarr --target HER2 --network ResNet34`
    """
    opened = _begin(out, store)
    # Takes seconds: what was mistaken is said before.
    from radiotrain.config import RunConfig
    from radiotrain.suggest import suggest_run

    suggestion = suggest_run(opened, split, targets=target or (), network=network)
    _write(out, RunConfig, suggestion, store, "run")
    _say_next(out, store, split, f"radiotrain train --config {out} --dry-run")


def sweep(
    store: _StoreArgument,
    out: Annotated[str, typer.Option(help="File to write; one that is there is left alone.")] = (
        "sweep.yaml"
    ),
    split: _SplitOption = "splits.json",
    target: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=complete.targets_of_store,
            help="Of the store; may be repeated [default: all].",
        ),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=complete.networks,
            help="From 'radiotrain models'; may be repeated [default: the paper's].",
        ),
    ] = None,
) -> None:
    """Write a sweep's configuration for a store: every setting with its meaning and default.

    Example: `radiotrain init sweep duke.zarr --network SEResNet50 --network DenseNet121`
    """
    opened = _begin(out, store)
    # Takes seconds: what was mistaken is said before.
    from cluster.sweep.config import SweepConfig
    from radiotrain.suggest import suggest_sweep

    suggestion = suggest_sweep(opened, split, targets=target or (), networks=network or ())
    _write(out, SweepConfig, suggestion, store, "sweep")
    _say_next(out, store, split, f"radiotrain tune --config {out} --dry-run")


def _begin(out: str, store: str) -> Store:
    """Return the store, if nothing is in the file's place; say why it takes a while from here."""
    from preprocessing import files
    from preprocessing.errors import InputError
    from preprocessing.store import Store

    if files.exists(files.absolute(out)):
        raise InputError(f"{out} is there already: name another file with --out, or remove it")
    opened = Store.open(store)
    typer.echo("counting what a batch takes of memory", err=True)
    return opened


def _write(
    out: str,
    model: type[BaseModel],
    suggestion: Suggestion,
    store: str,
    what: str,
) -> None:
    from preprocessing import files
    from radiotrain.commented import commented_yaml

    header = (f"A {what} on {store}, made by `radiotrain init {what}`.", _HOW)
    # As the user said it: a file with relative paths may move along with what they name.
    values = dict(suggestion.values) | {"store": store}
    text = commented_yaml(model, values, header=header, notes=suggestion.notes)
    files.write_text(files.absolute(out), text)


def _say_next(out: str, store: str, split: str, command: str) -> None:
    from preprocessing import files

    typer.echo(f"{out} written")
    if files.exists(files.absolute(split)):
        typer.echo(f"next: {command}")
    else:
        typer.echo(f"next: radiotrain split {store} --out {split}")
        typer.echo(f"then: {command}")
