"""``radiotrain plan``: GPUs together on each trial, or trials side by side, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from radiotrain.cli import complete
from radiotrain.cli.console import wide_console
from radiotrain.cli.moved import SplitOption, StoreOption, as_overrides

if TYPE_CHECKING:
    from cluster.planning.plan import Plan


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(plan)


def plan(
    config: Annotated[str, typer.Option(help="YAML file of the sweep.")],
    gpus: Annotated[int, typer.Option(min=1, help="That there will be.")],
    gpu: Annotated[
        str, typer.Option(autocompletion=complete.gpus, help="Which: H100, A100, A10G or L4.")
    ] = "A10G",
    gpus_per_host: Annotated[int, typer.Option(min=1, help="In one machine.")] = 1,
    gbits: Annotated[
        float, typer.Option(min=0.1, help="Of the network between machines, Gb/s, one way.")
    ] = 10.0,
    efficiency: Annotated[
        float,
        typer.Option(min=0.01, max=1, help="Share of what the data sheet allows that is reached."),
    ] = 0.3,
    price: Annotated[
        float | None, typer.Option(min=0, help="Of a GPU for an hour, to print the cost.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            autocompletion=complete.sweep_keys,
            help="section.key=value, wins over the file; may be repeated.",
        ),
    ] = None,
    store: StoreOption = None,
    split: SplitOption = None,
) -> None:
    """Say how a sweep is best spread over GPUs: trials side by side, or several GPUs a trial.

    Reckoned from the network's arithmetic and the GPU's data sheet, before there is any GPU.
    `radiotrain tune --dry-run` times real steps where there is one.

    Example: `radiotrain plan --config sweep.yaml --gpus 8 --gpu A10G --gbits 10 --price 0.6`
    """
    from cluster.planning.gpus import gpu_named
    from cluster.planning.plan import make_plan
    from cluster.planning.scaling import Link
    from cluster.sweep.config import load_sweep

    chip = gpu_named(gpu)
    sweep = load_sweep(config, [*(overrides or []), *as_overrides(store, split)])
    link = Link(gbits=gbits, gpus_per_host=gpus_per_host)
    print_plan(make_plan(sweep, gpus, chip, link, efficiency), price)


def print_plan(made: Plan, price: float | None) -> None:
    """Print each way to spread the sweep, and which to take."""
    from rich.table import Table

    from radiotrain.training.metrics import human_time

    table = Table(box=None, pad_edge=False)
    columns = ["GPUs a trial", "trials at a time", "epoch", "speed-up", "sweep", "GPU-hours"]
    for column in columns + ["cost"] * (price is not None):
        table.add_column(column, justify="right")
    for option in made.options:
        cells = [
            str(option.workers),
            str(option.at_a_time),
            human_time(option.epoch_s),
            f"{option.speedup:.2f}",
            human_time(3600 * option.wall_hours),
            f"{option.gpu_hours:.1f}",
        ]
        cells += [f"{option.gpu_hours * price:.2f}"] if price is not None else []
        best = option == made.choice
        table.add_row(*cells, style="bold" if best else None)
    wide_console(120).print(table)
    for sentence in made.sentences:
        typer.echo(sentence)
