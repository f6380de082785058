"""``radiotrain demo``: the whole chain on a small phantom cohort."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

# A strong, a middling and no signal, so that the report shows what each looks like.
_EFFECT = "ER=3,PR=1.5,HER2=0"
_NETWORKS = ("ResNet10-narrow", "ResNet10")
_SWEEP = """\
# The sweep of the demonstration: small images, small networks, few epochs.
store: "{out}/store.zarr"
split: "{out}/splits.json"
out: "{out}/sweep"
networks: [{networks}]
targets: [ER, PR, HER2]
train: {{epochs: 20, batch_size: 8, lr: 1.0e-3, warmup_epochs: 1}}
augment: {{rotate_degrees: 10, zoom: 0.05}}
halving: {{grace_epochs: 6, reduction_factor: 2}}
"""


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for everything it makes.")] = Path(
        "demo-output"
    ),
    patients: Annotated[int, typer.Option(min=40, help="Patients of the phantom cohort.")] = 80,
    seed: Annotated[int, typer.Option(min=0, help="Seed of cohort, split and training.")] = 0,
) -> None:
    """Run the whole chain: DICOM → check → store → split → sweep → evaluation → report.

    The cohort is a digital phantom whose truth is known. Each step is a command of its own and
    is printed as you would type it. Run it again to resume.

    Example: `radiotrain demo --out demo-output`
    """
    start = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    sweep = out / "sweep.yaml"
    sweep.write_text(_SWEEP.format(out=out, networks=", ".join(_NETWORKS)))
    cohort, store, split = out / "cohort", out / "store.zarr", out / "splits.json"
    _run("phantom", cohort, "--patients", patients, "--seed", seed, "--effect", _EFFECT)
    _run("cohort", "check", cohort, "--json", out / "check.json", quiet=True)
    _run("preprocess", cohort, store, "--crop-shape", 24, 24, 12)
    _run("split", store, "--out", split, "--seed", seed)
    _run("tune", "--config", sweep, "--set", f"seeds=[{seed}]")
    purpose = "demonstration on a phantom cohort"
    runs = _best_runs(sweep, seed)
    _run("evaluate", *runs, "--store", store, "--out", out / "report", "--purpose", purpose)
    minutes = (time.monotonic() - start) / 60
    typer.echo(f"\ndone in {minutes:.1f} minutes")
    best = json.loads((cohort / "truth.json").read_text())["targets"]
    reachable = ", ".join(f"{target} {best[target]['best_auc']:.2f}" for target in best)
    typer.echo(f"best AUC that anything could reach on this phantom: {reachable}")
    typer.echo(f"open the report: {(out / 'report' / 'report.html').resolve()}")


def _run(*words: object, quiet: bool = False) -> None:
    """Run one command as a person would, in a process of its own; stop where it fails."""
    command = [str(word) for word in words]
    typer.secho(f"\n$ radiotrain {shlex.join(command)}", bold=True)
    output = subprocess.run(
        [sys.executable, "-m", "radiotrain", *command],
        stdout=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
    )
    if quiet and output.stdout:
        typer.echo("\n".join(output.stdout.splitlines()[-2:]))
    if output.returncode:
        raise typer.Exit(output.returncode)


def _best_runs(sweep: Path, seed: int) -> Sequence[str]:
    """Return the run of each target that is best on validation."""
    from cluster.sweep.config import load_sweep
    from cluster.sweep.folder import SweepFolder, best_of_each_group, read_states, standings

    config = load_sweep(str(sweep), [f"seeds=[{seed}]"])
    plans = SweepFolder(config.out).read_plans(config)
    best = best_of_each_group(standings(config, read_states(plans)))
    return [standing.plan.run.out for standing in best]
