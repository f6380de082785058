"""``radiotrain demo``: the whole pipeline on a small phantom cohort."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from radiotrain.cli.options import Backend
from radiotrain.cli.reproduce import reproduce
from radiotrain.cli.step import run_step

# A strong, a middling and no signal, so that the report shows what each looks like.
_EFFECT = "ER=3,PR=1.5,HER2=0"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command("demo")(demo)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for all results.")] = Path("demo-output"),
    patients: Annotated[int, typer.Option(min=40, help="Patients of the phantom cohort.")] = 80,
    seed: Annotated[int, typer.Option(min=0, help="Seed of cohort, split and training.")] = 0,
) -> None:
    """Run the whole pipeline on a phantom: DICOM → store → split → sweep → models → report.

    The cohort is a digital phantom whose truth is known; the rest is `radiotrain reproduce --quick`.
    Each step is a command, printed as you would type it. Rerun to resume.

    Example: `radiotrain demo --out demo-output`
    """
    from preprocessing.storage.folder_lock import exclusive_beside

    cohort = out / "cohort"
    with exclusive_beside(out, "folder"):
        _take(out, cohort, patients, seed)


def _take(out: Path, cohort: Path, patients: int, seed: int) -> None:
    run_step("phantom", cohort, "--patients", patients, "--seed", seed, "--effect", _EFFECT)
    reproduce(
        str(cohort),
        out=str(out),
        overrides=[f"split.seed={seed}", f"sweep.seeds=[{seed}]"],
        quick=True,
        backend=Backend.local,
        purpose="demonstration on a phantom cohort",
        dry_run=False,
        config=None,
    )
    best = json.loads((cohort / "truth.json").read_text())["targets"]
    reachable = ", ".join(f"{target} {best[target]['best_auc']:.2f}" for target in best)
    typer.echo(f"best AUC that anything could reach on this phantom: {reachable}")
    typer.echo(f"open the report: {(out / 'report' / 'report.html').resolve()}")
