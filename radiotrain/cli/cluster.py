"""``radiotrain cluster doctor``: diagnose a Ray cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from cluster.doctor.facts import Examination
    from radiotrain.doctor.facts import Finding

_EXAMPLE = (
    "Example: `ray exec ray_cluster.yaml 'radiotrain cluster doctor --storage s3://BUCKET/runs'`"
)


def register(app: typer.Typer) -> None:
    """Add the command group to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Look at a Ray cluster.", epilog=_EXAMPLE)
    group.command("doctor", epilog=_EXAMPLE)(doctor)
    # A group of one command would otherwise lose its name.
    group.callback()(lambda: None)
    app.add_typer(group, name="cluster")


def doctor(
    storage: Annotated[
        str | None,
        typer.Option(help="Folder or s3://… that all nodes should reach; small files come and go."),
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all measurements to this file.")
    ] = None,
) -> None:
    """Diagnose the running cluster and suggest fixes; exit status 1 if anything is broken.

    Looks at versions, GPUs, clocks and room of each node, at storage from each, and at how fast each pair
    adds up gradients. Nothing that runs is disturbed, but for the traffic.
    """
    from cluster.doctor.examine import examine
    from cluster.doctor.judge import judge
    from cluster.session import join_cluster
    from preprocessing.storage import files
    from radiotrain.doctor.facts import is_broken

    url = files.absolute(storage) if storage is not None else None
    if url is not None:
        files.filesystem(url)
    with join_cluster():
        found = examine(url, lambda line: typer.echo(line, err=True))
    findings = judge(found)
    print_examination(found, findings)
    if json_file is not None:
        values = found.to_json() | {"findings": [vars(finding) for finding in findings]}
        files.write_text(str(json_file), json.dumps(values, indent=1) + "\n")
    if is_broken(findings):
        raise typer.Exit(1)


def print_examination(found: Examination, findings: tuple[Finding, ...]) -> None:
    """Print what each node has, how each pair exchanges, and what to do."""
    from rich.table import Table

    from radiotrain.cli.console import findings_console, print_findings

    console = findings_console()
    nodes = Table(box=None, pad_edge=False)
    for column in ("node", "CPUs", "GPUs", "clock, ms", "storage, MB/s", "free, GB"):
        nodes.add_column(column)
    written = {s.node: s for s in found.storage}
    for node in found.nodes:
        facts = written.get(node.name)
        speed = (
            "" if facts is None or facts.write_mb_per_s is None else f"{facts.write_mb_per_s:.0f}"
        )
        free = ", ".join(f"{folder} {gb:.1f}" for folder, gb in node.free_gb.items())
        name = f"{node.name} (head)" if node.is_head else node.name
        cells = (name, f"{node.cpus:g}", f"{node.ray_gpus:g}", f"{1000 * node.skew_s:+.0f}", speed)
        nodes.add_row(*cells, free)
    console.print(nodes)
    if found.pairs:
        pairs = Table(box=None, pad_edge=False)
        for column in ("pair", "by", "GB/s", "latency, ms"):
            pairs.add_column(column)
        for pair in found.pairs:
            speed = "-" if pair.gb_per_s is None else f"{pair.gb_per_s:.2f}"
            latency = "-" if pair.latency_ms is None else f"{pair.latency_ms:.2f}"
            pairs.add_row(f"{pair.first} – {pair.second}", pair.backend, speed, latency)
        console.print()
        console.print(pairs)
    console.print()
    print_findings(console, findings)
