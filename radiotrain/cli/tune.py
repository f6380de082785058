"""``radiotrain tune``: the sweep over architectures and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.sweep.config import TrialPlan
    from cluster.sweep.run import TrialOutcome


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(tune)


def tune(
    config: Annotated[str, typer.Option(help="YAML file of the sweep.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value, wins over the file; may be repeated."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the sweep and list its trials; train nothing.")
    ] = False,
) -> None:
    """Train architecture × target on Ray, stopping what falls behind its own target's others.

    Uses the Ray cluster that is there, or starts a local one. Run it again to resume.

    Example: `radiotrain tune --config sweep.yaml --set train.epochs=40`

    Example: `radiotrain tune --config sweep.yaml --dry-run`
    """
    from cluster.sweep.config import load_sweep
    from cluster.sweep.run import best_of_each_group, check_plans, run_sweep
    from preprocessing.progress import progress

    sweep = load_sweep(config, overrides or [])
    if dry_run:
        print_plans(check_plans(sweep))
        return
    outcomes = run_sweep(sweep, progress)
    print_outcomes(outcomes)
    best = best_of_each_group(outcomes)
    if best:
        runs = " ".join(outcome.plan.run.out for outcome in best)
        typer.echo(f"next: radiotrain evaluate {runs} --out {sweep.out}/report")
    if not all(outcome.succeeded for outcome in outcomes):
        raise typer.Exit(1)


def print_plans(plans: Sequence[TrialPlan]) -> None:
    """Print what would be trained, one trial a line."""
    for plan in plans:
        searched = plan.describe_searched()
        typer.echo(f"{plan.name}{': ' if searched else ''}{searched}")
    groups = len({plan.group for plan in plans})
    typer.echo(
        f"{len(plans)} trials of at most {plans[0].run.train.epochs} epochs, compared within"
        f" {groups} targets; all fit the store and the split"
    )


def print_outcomes(outcomes: Sequence[TrialOutcome]) -> None:
    """Print all trials, best validation AUC first within each target."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="sweep: validation AUC of each trial's best epoch")
    columns = ["target", "network", "seed", "status", "epochs", "validation AUC"]
    if any(outcome.plan.searched for outcome in outcomes):
        columns.append("settings")
    for column in columns:
        table.add_column(column)
    for outcome in sorted(outcomes, key=_by_group_then_auc):
        plan, record = outcome.plan, outcome.record
        cells = [
            plan.group,
            plan.run.network.name,
            str(plan.run.seed),
            record.status if record else "not begun",
            f"{record.num_epochs if record else 0}/{plan.run.train.epochs}",
            f"{outcome.score:.3f}" if outcome.score >= 0 else "undefined",
            plan.describe_searched(),
        ]
        table.add_row(*cells[: len(columns)])
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    for outcome in outcomes:
        if outcome.record and outcome.record.status == "failed":
            typer.echo(f"failed: {outcome.plan.name}: {outcome.record.error}", err=True)


def _by_group_then_auc(outcome: TrialOutcome) -> tuple[str, float]:
    return outcome.plan.group, -outcome.score
