"""``radiotrain doctor``: diagnose this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from radiotrain.doctor.facts import RayFacts


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(doctor)


def doctor(
    storage: Annotated[
        str,
        typer.Option(
            help="Folder or s3://… of stores and runs; a small test file is written and removed."
        ),
    ] = ".",
    ray: Annotated[bool, typer.Option(help="Start and stop Ray, about 10 s.")] = True,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write all measurements to this file.")
    ] = None,
) -> None:
    """Diagnose this machine and suggest fixes; exit status 1 if anything is broken.

    Looks at Python and packages, PyTorch and GPUs, cores, memory, room, how fast the folder is written,
    open files, clock, ports, the object store that the environment names, and whether Ray starts.
    `radiotrain cluster doctor` does the same for a cluster.

    Example: `radiotrain doctor`

    Example: `radiotrain doctor --storage s3://bucket/runs --json doctor.json`
    """
    from preprocessing.storage import files
    from preprocessing.storage.s3_options import PATIENCE
    from radiotrain.cli.console import findings_console, print_findings
    from radiotrain.doctor.examine import examine
    from radiotrain.doctor.facts import is_broken
    from radiotrain.doctor.judge import judge

    # An object store that is away is what is looked for.
    os.environ.setdefault(PATIENCE, "0")
    found = examine(storage, lambda line: typer.echo(line, err=True), _try_ray if ray else None)
    findings = judge(found)
    print_findings(findings_console(), findings)
    if json_file is not None:
        values = found.to_json() | {"findings": [vars(finding) for finding in findings]}
        files.write_text(str(json_file), json.dumps(values, indent=1) + "\n")
    if is_broken(findings):
        raise typer.Exit(1)


def _try_ray() -> RayFacts:
    from cluster.doctor.start import try_start

    return try_start()
