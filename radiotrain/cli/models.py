"""``radiotrain models``: networks, their parameters and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from radiotrain.cli import options

if TYPE_CHECKING:
    from radiotrain.networks.cost import NetworkCost


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(models)


def models(
    names: Annotated[
        list[str] | None,
        typer.Argument(autocompletion=options.networks, help="Networks to list [default: all]."),
    ] = None,
    crop_shape: Annotated[
        tuple[int, int, int], typer.Option(help="Rows, columns and slices of the images.", min=1)
    ] = (128, 128, 68),
    phases: Annotated[int, typer.Option(help="Phases of the images.", min=1)] = 4,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the networks: parameters, cost of a sample and smallest crop.

    million: parameters. GFLOP: thousand million multiplications and additions of a sample's forward
    pass, and in training of both passes. MB kept: activations that training keeps of a sample in
    float32, half of it in bfloat16. smallest: crop that can be read.

    Example: `radiotrain models --crop-shape 128 128 68`
    """
    import json
    from dataclasses import asdict

    from preprocessing.common.progress import progress
    from radiotrain.networks.registry import NETWORKS, check_network_name

    chosen = [check_network_name(name) for name in names or NETWORKS]
    with progress("models", len(chosen)) as advance:
        from radiotrain.networks.cost import network_cost

        costs = []
        for name in chosen:
            if names or _fits(name, crop_shape):
                costs.append(network_cost(name, phases, 1, crop_shape))
            advance()
    if as_json:
        typer.echo(json.dumps([asdict(cost) for cost in costs], indent=1))
        return
    _print_table(costs)
    left_out = [name for name in chosen if name not in {cost.name for cost in costs}]
    if left_out:
        typer.echo(f"cannot read crops this small: {', '.join(left_out)}")


def _fits(name: str, crop_shape: tuple[int, int, int]) -> bool:
    from radiotrain.networks.registry import NETWORKS

    return min(crop_shape) >= NETWORKS[name].smallest_side


def _print_table(costs: list[NetworkCost]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("name", box=None, pad_edge=False)
    # 80 columns are enough for them.
    for header in ("million", "GFLOP", "training", "MB kept", "smallest"):
        table.add_column(header, justify="right", no_wrap=True)
    table.add_column("what it is")
    table.columns[0].no_wrap = True
    for cost in costs:
        table.add_row(
            cost.name,
            f"{cost.num_parameters / 1e6:.1f}",
            f"{cost.forward_gflop:.1f}",
            f"{cost.training_gflop:.1f}",
            f"{cost.activation_mb:.0f}",
            "×".join([str(cost.smallest_side)] * 3),
            cost.summary,
        )
    Console().print(table)
