"""``radiotrain models``."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(models)


def models() -> None:
    """List the networks: parameters (4 phases, 1 target) and the smallest crop each can read.

    Example: `radiotrain models`
    """
    from rich.console import Console
    from rich.table import Table

    from radiotrain.networks.registry import describe_networks

    table = Table("name", "million parameters", "smallest crop", "what it is")
    for network in describe_networks():
        table.add_row(
            network.name,
            f"{network.num_parameters / 1e6:.1f}",
            "×".join(map(str, network.smallest_input)),
            network.summary,
        )
    Console().print(table)
