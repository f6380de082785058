"""``radiotrain train``."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from radiotrain.config import RunConfig
    from radiotrain.training.loop import RunResult


class Where(StrEnum):
    """What a training runs on."""

    local = "local"
    ray = "ray"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(train)


def train(
    config: Annotated[str, typer.Option(help="YAML file of the run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", help="section.key=value, wins over the file; may be repeated."),
    ] = None,
    debug: Annotated[
        bool, typer.Option("--debug", help="Learn one batch of a few patients; write nothing.")
    ] = False,
    on: Annotated[Where, typer.Option(help="This process, or Ray Train.")] = Where.local,
    workers: Annotated[int, typer.Option(help="Ray workers, one GPU each.", min=1)] = 1,
) -> None:
    """Train one network; run it again to resume.

    Example: `radiotrain train --config run.yaml --set train.lr=1e-3 --set out=runs/er-fast`

    Example: `radiotrain train --config run.yaml --on ray --workers 8`
    """
    from preprocessing.errors import InputError
    from radiotrain.config import load_config

    resolved = load_config(config, overrides or [])
    if on is Where.local and workers > 1:
        raise InputError(f"--workers is {workers}, expected 1 without Ray: add --on ray")
    if debug and on is Where.ray:
        raise InputError("--debug runs in one process: leave out --on ray")
    if debug:
        from radiotrain.training.debug import debug as run_debug

        run_debug(resolved)
        return
    _print_result(_train(resolved, on, workers))


def _train(config: RunConfig, on: Where, workers: int) -> RunResult:
    if on is Where.ray:
        from cluster.train import train_on_ray

        return train_on_ray(config, workers)
    from radiotrain.training.loop import train as run_train

    return run_train(config)


def _print_result(result: RunResult) -> None:
    aucs = ", ".join(f"{t} {v:.3f}" for t, v in result.validation_auc_per_target.items())
    typer.echo(
        f"{result.status}: best epoch {result.best_epoch + 1} of {len(result.history)},"
        f" validation AUC {aucs}, in {result.run_url}"
    )
