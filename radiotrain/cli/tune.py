"""``radiotrain tune``: the sweep over architectures and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.tune import TrialOutcome


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(tune)


def tune(
    config: Annotated[str, typer.Option(help="YAML file of the sweep.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value, wins over the file; may be repeated."),
    ] = None,
) -> None:
    """Train architecture × target on Ray, stopping what falls behind its own target's others.

    Uses the Ray cluster that is there, or starts a local one. Run it again to resume.

    Example: `radiotrain tune --config sweep.yaml --set train.epochs=40`
    """
    from cluster.sweep import load_sweep
    from cluster.tune import best_of_each_group, run_sweep
    from preprocessing.progress import progress

    sweep = load_sweep(config, overrides or [])
    outcomes = run_sweep(sweep, progress)
    print_outcomes(outcomes)
    best = best_of_each_group(outcomes)
    if best:
        runs = " ".join(outcome.plan.run.out for outcome in best)
        typer.echo(f"next: radiotrain evaluate {runs} --out {sweep.out}/report")
    if not all(outcome.succeeded for outcome in outcomes):
        raise typer.Exit(1)


def print_outcomes(outcomes: Sequence[TrialOutcome]) -> None:
    """Print all trials, best validation AUC first within each target."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="sweep: validation AUC of each trial's best epoch")
    for column in ("target", "network", "seed", "status", "epochs", "validation AUC"):
        table.add_column(column)
    for outcome in sorted(outcomes, key=_by_group_then_auc):
        plan, record = outcome.plan, outcome.record
        table.add_row(
            plan.group,
            plan.run.network.name,
            str(plan.run.seed),
            record.status if record else "not begun",
            f"{record.num_epochs if record else 0}/{plan.run.train.epochs}",
            f"{outcome.score:.3f}" if outcome.score >= 0 else "undefined",
        )
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    for outcome in outcomes:
        if outcome.record and outcome.record.status == "failed":
            typer.echo(f"failed: {outcome.plan.name}: {outcome.record.error}", err=True)


def _by_group_then_auc(outcome: TrialOutcome) -> tuple[str, float]:
    return outcome.plan.group, -outcome.score
