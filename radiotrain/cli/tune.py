"""``radiotrain tune``: the sweep over architectures and targets."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

import typer

from preprocessing.common.errors import InputError
from radiotrain.cli import options
from radiotrain.cli.console import wide_console
from radiotrain.cli.options import SplitOption, StoreOption, as_overrides

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.sweep.config import SweepConfig
    from cluster.sweep.estimate import SweepEstimate
    from cluster.sweep.folder import TrialSummary
    from preprocessing.store import Store
    from radiotrain.split.split import Split


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(tune)
    anything = {"allow_extra_args": True, "ignore_unknown_options": True}
    app.command("plan", hidden=True, context_settings=anything)(_plan)


def _plan() -> None:
    """Refuse the command of earlier versions."""
    raise InputError(
        "'radiotrain plan' was removed, as its hours came from data sheets and not from measurements:"
        " run 'radiotrain tune --config sweep.yaml --dry-run --gpus N' on a machine with one such GPU"
    )


def tune(
    config: Annotated[str, typer.Option(help="YAML file of the sweep.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            autocompletion=options.sweep_keys,
            help="section.key=value, wins over the file; may be repeated.",
        ),
    ] = None,
    store: StoreOption = None,
    split: SplitOption = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the sweep and list its trials with memory and hours; train nothing.",
        ),
    ] = False,
    gpus: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="With --dry-run: how long the sweep takes on this many GPUs like the measured one.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train architecture × target on Ray by successive halving within each target.

    Uses the running Ray cluster or starts a local one. Rerun to resume.

    Example: `radiotrain tune --config sweep.yaml --set train.epochs=40`

    Example: `radiotrain tune --config sweep.yaml --dry-run --gpus 8`
    """
    if gpus is not None and not dry_run:
        raise InputError(
            "--gpus is only an estimate, got no --dry-run: add it, or leave --gpus out"
        )
    typer.echo(f"{'dry run: ' * dry_run}reading {config}", err=True)
    from cluster.sweep.config import load_sweep
    from cluster.sweep.folder import best_of_each_group
    from cluster.sweep.report import write_sweep_report
    from cluster.sweep.run import run_sweep
    from preprocessing.common.progress import progress
    from radiotrain.runs.locations import open_inputs
    from radiotrain.split.split import notes_on

    sweep = load_sweep(config, [*(overrides or []), *as_overrides(store, split)])
    opened, divided = open_inputs(sweep.store, sweep.split)
    for note in notes_on(divided, opened, sweep.split):
        typer.echo(f"note: {note}", err=True)
    if dry_run:
        _dry_run(sweep, (opened, divided), gpus)
        return
    typer.echo(f"meanwhile: radiotrain status {sweep.out} --watch", err=True)
    found = run_sweep(sweep, progress)
    print_standings(found)
    typer.echo(f"to look at: {write_sweep_report(sweep.out)}")
    if best_of_each_group(found):
        typer.echo(f"next: radiotrain promote {sweep.out}")
    if not all(summary.has_ended for summary in found):
        raise typer.Exit(1)


def _dry_run(sweep: SweepConfig, inputs: tuple[Store, Split], gpus: int | None) -> None:
    from cluster.session import ray_session
    from cluster.sweep.estimate import check_gpus, estimate_sweep
    from cluster.sweep.folder import read_states, summaries
    from cluster.sweep.reuse import describe_reuse
    from cluster.sweep.run import check_members
    from preprocessing.common.progress import progress

    members = check_members(sweep, inputs, progress)
    found = summaries(sweep, read_states(members.trials))
    typer.echo("starting Ray to time a few steps of each kind of trial", err=True)
    with ray_session():
        if gpus is not None:
            check_gpus(sweep)
        estimate = estimate_sweep(sweep, members.trials, found, inputs, progress)
    print_estimate(sweep, estimate)
    if gpus is not None:
        print_on_gpus(sweep, estimate, gpus)
    for line in describe_reuse(sweep, found, members.left_out):
        typer.echo(line)
    if not estimate.fits:
        raise typer.Exit(1)


def print_estimate(sweep: SweepConfig, estimate: SweepEstimate) -> None:
    """Print what would be trained, one trial a line, and what it takes."""
    from rich.table import Table

    from radiotrain.runs.epoch_metrics import human_time

    hours = "GPU-hours" if estimate.uses_gpus else "hours"
    epochs = len(sweep.folds) * sweep.train.epochs
    table = Table(box=None, pad_edge=False)
    table.add_column("trial", overflow="fold")
    for column in ("GB", "epoch", "all epochs"):
        table.add_column(column, justify="right")
    searched = any(trial.plan.searched for trial in estimate.trials)
    if searched:
        table.add_column("settings")
    for trial in estimate.trials:
        times = [trial.epoch_s, epochs * trial.epoch_s]
        cells = [trial.plan.name, f"{trial.memory_bytes / 1e9:.1f}"]
        cells += ["?" if math.isnan(seconds) else human_time(seconds) for seconds in times]
        table.add_row(*cells, *[trial.plan.describe_searched()] * searched)
    wide_console(120).print(table)
    for sentence, names in _problems(estimate).items():
        others = f" and {len(names) - 1} more" if len(names) > 1 else ""
        typer.echo(f"does not fit: {names[0]}{others}: {sentence}", err=True)
    if not estimate.is_known:
        typer.echo("these stand for all of their network and target: settings are suggested later")
    typer.echo(
        f"{estimate.num_trials} trials of at most {epochs} epochs, compared within"
        f" {len(sweep.targets)} target{'s' * (len(sweep.targets) > 1)}"
    )
    if not estimate.devices:
        return
    wall = estimate.wall_s(estimate.at_a_time)
    shared = 0 < estimate.gpu_share < 1
    typer.echo(
        f"{estimate.device_hours:.2f} {hours} if none is stopped,"
        f" {estimate.device_hours_to_come:.2f} at most as configured: {human_time(wall)} with"
        f" {estimate.at_a_time} at a time"
        f"{f', each on {estimate.gpu_share:.2g} of a GPU' if shared else ''}"
    )
    typer.echo(
        f"timed on {', '.join(estimate.devices)}, each with its device to itself; reading the cohort"
        " and starting up are not counted"
    )


def print_on_gpus(sweep: SweepConfig, estimate: SweepEstimate, num_gpus: int) -> None:
    """Print how long a sweep takes on so many GPUs like the measured one."""
    from radiotrain.runs.epoch_metrics import human_time

    workers = sweep.resources.workers
    if workers > num_gpus:
        raise InputError(
            f"a trial takes {workers} GPUs, got --gpus {num_gpus}: lower resources.workers"
        )
    at_a_time = min(num_gpus // workers, estimate.num_trials)
    bound = "at least " * (workers > 1)
    typer.echo(
        f"on {num_gpus} GPUs: {bound}{human_time(estimate.wall_s(at_a_time))} with halving as"
        f" configured, {at_a_time} trials at a time, {workers} GPU{'s' * (workers > 1)} each"
    )
    if unused := num_gpus - at_a_time * workers:
        typer.echo(f"{unused} of {num_gpus} GPUs are never used: there are fewer trials")
    typer.echo(
        "not measured: several GPUs on one trial, whose gradients cross the network ('radiotrain doctor"
        " --cluster' measures that); so it is not said whether that would be faster"
    )


def _problems(estimate: SweepEstimate) -> dict[str, list[str]]:
    """Return the names of trials that do not fit, by what is said of them."""
    problems: dict[str, list[str]] = {}
    for trial in estimate.trials:
        if trial.problem is not None:
            problems.setdefault(trial.problem, []).append(trial.plan.name)
    return problems


def print_standings(found: Sequence[TrialSummary]) -> None:
    """Print all trials, the best first within each target."""
    from rich.table import Table

    table = Table(title="sweep: mean validation AUC of each trial at the epochs that are kept")
    columns = ["target", "network", "seed", "status", "epochs", "score"]
    if any(summary.plan.searched for summary in found):
        columns.append("settings")
    for column in columns:
        table.add_column(column)
    for summary in sorted(found, key=lambda s: (s.plan.group, s.rank)):
        plan, score = summary.plan, summary.verdict.score
        cells = [
            plan.group,
            plan.run.network.name,
            str(plan.run.seed),
            summary.status,
            f"{summary.state.num_epochs}/{sum(run.train.epochs for run in plan.runs)}",
            "" if score is None else f"{score:.3f}" if score >= 0 else "undefined",
            plan.describe_searched(),
        ]
        table.add_row(*cells[: len(columns)])
    wide_console(120).print(table)
    for summary in found:
        if summary.status == "failed":
            typer.echo(f"failed: {summary.plan.name}: {summary.state.error}", err=True)
