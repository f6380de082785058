"""``radiotrain tune``: the sweep over architectures and targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.sweep.config import TrialPlan
    from cluster.sweep.folder import Standing


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
    from cluster.sweep.folder import best_of_each_group
    from cluster.sweep.report import write_sweep_report
    from cluster.sweep.run import check_plans, run_sweep
    from preprocessing.progress import progress

    sweep = load_sweep(config, overrides or [])
    if dry_run:
        print_plans(check_plans(sweep))
        return
    found = run_sweep(sweep, progress)
    print_standings(found)
    typer.echo(f"to look at: {write_sweep_report(sweep.out)}")
    best = best_of_each_group(found)
    if best:
        runs = " ".join(run.out for standing in best for run in standing.plan.runs)
        typer.echo(f"next: radiotrain evaluate {runs} --out {sweep.out}/report")
    if not all(standing.has_ended for standing in found):
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


def print_standings(found: Sequence[Standing]) -> None:
    """Print all trials, the best first within each target."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title="sweep: mean validation AUC of each trial's best epochs")
    columns = ["target", "network", "seed", "status", "epochs", "score"]
    if any(standing.plan.searched for standing in found):
        columns.append("settings")
    for column in columns:
        table.add_column(column)
    for standing in sorted(found, key=lambda s: (s.plan.group, s.rank)):
        plan, score = standing.plan, standing.verdict.score
        cells = [
            plan.group,
            plan.run.network.name,
            str(plan.run.seed),
            standing.status,
            f"{standing.state.num_epochs}/{sum(run.train.epochs for run in plan.runs)}",
            "" if score is None else f"{score:.3f}" if score >= 0 else "undefined",
            plan.describe_searched(),
        ]
        table.add_row(*cells[: len(columns)])
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    for standing in found:
        if standing.status == "failed":
            typer.echo(f"failed: {standing.plan.name}: {standing.state.error}", err=True)
