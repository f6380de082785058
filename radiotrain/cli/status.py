"""``radiotrain status``: how far a sweep is, from its folder alone."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from radiotrain.cli.console import wide_console

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import RenderableType
    from rich.table import Table

    from cluster.sweep.progress import AucEstimate, SweepProgress, TrialProgress

_INTERRUPTED = 130
# Where output goes into a file, which has no width of its own.
_FILE_WIDTH = 140
# Below, the network is left out: a trial's name says it too.
_NARROW = 110
_ORDER = ("failed", "running", "paused", "waiting", "finished", "stopped", "not begun")


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(status)


def status(
    sweep: Annotated[str, typer.Argument(help="Folder of the sweep, or s3://bucket/prefix.")],
    watch: Annotated[
        bool, typer.Option("--watch", help="Update until the sweep has ended, or Ctrl-C.")
    ] = False,
    interval: Annotated[
        float, typer.Option(help="With --watch: seconds between updates.", min=0.1)
    ] = 10.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON; with --watch, one line a change.")
    ] = False,
    html: Annotated[
        str | None, typer.Option(help="Also write the sweep's report to this file.")
    ] = None,
) -> None:
    """Show a sweep's leaderboard, stopped trials, cost and remaining time.

    Read from the folder alone, whether its cluster is alive or not. The keys of --json are the
    fields of SweepProgress in `cluster/sweep/progress.py`: sweep, num_trials, num_by_status, has_ended,
    epochs_trained, epochs_to_come, epochs_full, epochs_saved, device_hours, is_device_hours_bound,
    seconds_per_epoch, num_training, remaining_s, left_out, and trials with name, group, rank, network, seed,
    settings, status, why, epochs, epochs_full, score, optimism, aucs, quiet_s, is_silent.

    Example: `radiotrain status sweep --watch`

    Example: `radiotrain status s3://bucket/sweep --json`

    Example: `radiotrain status sweep --html sweep.html`
    """
    from cluster.sweep.progress import read_progress

    if not watch:
        _print(read_progress(sweep), as_json, indent=1)
        _write_html(sweep, html)
        return
    try:
        _watch(sweep, interval, as_json, html)
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None


def _watch(url: str, every: float, as_json: bool, html: str | None) -> None:
    """Show a sweep again and again: in place on a terminal, elsewhere when something changed."""
    import time

    from rich.console import Console
    from rich.live import Live

    from cluster.sweep.progress import read_progress

    console = Console()
    in_place = console.is_terminal and not as_json
    shown: SweepProgress | None = None
    with Live(console=console, auto_refresh=False) if in_place else nullcontext() as live:
        while True:
            progress = read_progress(url)
            changed = shown is None or _lasting(progress) != _lasting(shown)
            if live is not None:
                live.update(render(progress, console.width), refresh=True)
            elif changed:
                _print(progress, as_json, indent=None)
            if changed:
                _write_html(url, html)
            shown = progress
            if progress.has_ended:
                return
            time.sleep(every)


def _lasting(progress: SweepProgress) -> SweepProgress:
    """Return what does not change merely because time passes."""
    trials = tuple(replace(trial, quiet_s=None) for trial in progress.trials)
    return replace(progress, trials=trials)


def _print(progress: SweepProgress, as_json: bool, indent: int | None) -> None:
    import json
    from dataclasses import asdict

    from radiotrain.runs.epoch_metrics import null_for_nan

    if as_json:
        typer.echo(json.dumps(null_for_nan(asdict(progress)), indent=indent))
        return
    console = wide_console(_FILE_WIDTH)
    console.print(render(progress, console.width))


def _write_html(url: str, out: str | None) -> None:
    if out is None:
        return
    from cluster.sweep.report import write_sweep_report

    typer.echo(f"report: {write_sweep_report(url, out)}", err=True)


def render(progress: SweepProgress, width: int) -> RenderableType:
    """Return what is shown of a sweep."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(line) for line in headlines(progress)]
    for group, trials in progress.groups.items():
        parts.append(_table(group, trials, width))
        parts += [Text(line) for line in luck_of_the_best(trials)]
    parts += [Text(line) for line in reasons(progress)]
    return Group(*parts)


def luck_of_the_best(trials: list[TrialProgress]) -> list[str]:
    """Return a line on what to expect of a group's best trial, nothing where that is not known."""
    from cluster.sweep.progress import describe_optimism

    ranked = [trial for trial in trials if trial.rank is not None]
    return [
        f"{trial.name}: {describe_optimism(trial.score, trial.optimism, len(ranked))}"
        for trial in ranked[:1]
        if trial.score is not None and trial.optimism
    ]


def headlines(progress: SweepProgress) -> list[str]:
    """Return a sweep's numbers in words."""
    from radiotrain.runs.epoch_metrics import human_time

    found = progress.num_by_status
    counts = ", ".join(f"{found[word]} {word}" for word in _ORDER if found.get(word))
    lines = [f"sweep {progress.sweep}", f"{progress.num_trials} trials: {counts}"]
    if not progress.epochs_trained:
        lines.append(
            "no epoch was trained yet"
            if progress.num_training
            else "not begun: no trial trained an epoch; 'radiotrain tune' begins"
        )
        return lines
    expected = progress.epochs_trained + progress.epochs_to_come
    whole = "" if progress.has_ended else f" of at most {expected}"
    saved = progress.epochs_saved
    ratio = f", {saved / progress.epochs_trained:.1f} for each one trained" if saved else ""
    lines.append(
        f"epochs: {progress.epochs_trained}{whole} trained; all trials to their ends would be"
        f" {progress.epochs_full}: {saved} saved{'' if progress.has_ended else ' so far'}{ratio}"
    )
    bound = "at most " if progress.is_device_hours_bound else ""
    hours = ", ".join(f"{bound}{value:.3g} on {k}" for k, value in progress.device_hours.items())
    lines.append(f"device-hours: {hours}")
    if progress.has_ended:
        lines.append("the sweep has ended")
    elif progress.remaining_s is None:
        lines.append("time to go: unknown, nothing is training; 'radiotrain tune' goes on")
    elif progress.epochs_to_come:
        lines.append(
            f"time to go: about {human_time(progress.remaining_s)}, if {progress.num_training} go on"
            " training at a time"
        )
    return lines


def reasons(progress: SweepProgress) -> list[str]:
    """Return why each trial is where it is, by status."""
    lines = []
    for word in _ORDER[:-1]:
        trials = [trial for trial in progress.trials if trial.status == word]
        if trials:
            lines.append(f"{word}:")
            lines += [f"  {trial.name}: {_why(trial)}" for trial in trials]
    if progress.left_out:
        lines.append("not in this sweep any more:")
        lines += [f"  {name}: {why}" for name, why in progress.left_out.items()]
    return lines


def _why(trial: TrialProgress) -> str:
    from radiotrain.runs.epoch_metrics import human_time

    if trial.quiet_s is None:
        return trial.why
    if trial.is_silent:
        return (
            f"no sign of life for {human_time(trial.quiet_s)}: its sweep may have been killed;"
            " run 'radiotrain tune' again"
        )
    return f"{trial.why}, last sign of life {human_time(trial.quiet_s)} ago"


def _table(group: str, trials: list[TrialProgress], width: int) -> Table:
    from rich.table import Table
    from rich.text import Text

    has_settings, wide = any(trial.settings for trial in trials), width >= _NARROW
    columns: dict[str, Callable[[TrialProgress], str]] = {
        "": lambda t: "" if t.rank is None else str(t.rank),
        "trial": lambda t: t.name,
        **({"network": lambda t: t.network} if wide else {}),
        **(
            {"settings": lambda t: describe_settings(t, ", " if wide else "\n")}
            if has_settings
            else {}
        ),
        "status": lambda t: "no sign of life" if t.is_silent else t.status,
        "epochs": lambda t: f"{t.epochs}/{t.epochs_full}",
        "score": lambda t: "" if t.score is None else f"{t.score:.3f}",
        "validation AUC (95 % CI)": lambda t: "\n".join(describe_auc(a, t) for a in t.aucs),
    }
    table = Table(
        title=Text(f"{group}: best first"), title_justify="left", pad_edge=False, box=None
    )
    for column in columns:
        table.add_column(column, overflow="fold")
    for trial in trials:
        # As text: a list among the settings is no markup.
        table.add_row(*(Text(cell(trial)) for cell in columns.values()))
    return table


def describe_settings(trial: TrialProgress, separator: str = ", ") -> str:
    """Return what was set of the searched fields, in words."""
    return separator.join(
        f"{key}={f'{value:.3g}' if isinstance(value, float) else value}"
        for key, value in trial.settings.items()
    )


def describe_auc(estimate: AucEstimate, trial: TrialProgress) -> str:
    """Return an AUC with its interval, and its target's name where a trial has several."""
    target = f"{estimate.target} " if len(trial.aucs) > 1 else ""
    if estimate.low is None or estimate.high is None:
        return f"{target}{estimate.auc:.3f}"
    return f"{target}{estimate.auc:.3f} ({estimate.low:.3f}-{estimate.high:.3f})"
