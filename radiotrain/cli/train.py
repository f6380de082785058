"""``radiotrain train``."""

from __future__ import annotations

import re
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
        bool,
        typer.Option("--debug", help="Learn one batch of a few patients by heart, and draw it."),
    ] = False,
    auto_batch: Annotated[
        bool,
        typer.Option(
            "--auto-batch", help="Where memory does not suffice, compute fewer patients at a time."
        ),
    ] = False,
    on: Annotated[Where, typer.Option(help="This process, or Ray Train.")] = Where.local,
    workers: Annotated[
        str,
        typer.Option(
            help="Ray workers, one GPU each; a range such as 2-8 for as many as there is room for."
        ),
    ] = "1",
) -> None:
    """Train one network; run it again to resume.

    Example: `radiotrain train --config run.yaml --set train.lr=1e-3 --set out=runs/er-fast`

    Example: `radiotrain train --config run.yaml --on ray --workers 8`

    Example: `radiotrain train --config run.yaml --debug`

    Example: `radiotrain train --config run.yaml --on ray --workers 2-8`
    """
    from preprocessing.errors import InputError
    from radiotrain.config import load_config

    resolved = load_config(
        config, [*(overrides or []), *(["speed.auto_batch=true"] if auto_batch else [])]
    )
    fewest, most = _parse_workers(workers)
    if on is Where.local and most > 1:
        raise InputError(f"--workers is {workers}, expected 1 without Ray: add --on ray")
    if debug and on is Where.ray:
        raise InputError("--debug runs in one process: leave out --on ray")
    if debug:
        from radiotrain.training.debug import debug as run_debug

        if not run_debug(resolved).reached:
            raise typer.Exit(1)
        return
    _print_result(_train(resolved, on, (fewest, most)))


def _parse_workers(text: str) -> tuple[int, int]:
    """Return the fewest and the most workers that ``8`` or ``2-8`` stands for."""
    from preprocessing.errors import InputError

    found = re.fullmatch(r"([1-9]\d*)(?:-([1-9]\d*))?", text.strip())
    fewest, most = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if fewest > most:
        raise InputError(
            f"--workers is {text!r}, expected a number from 1 on, or a range with the fewest"
            " first: give it as 8 or 2-8"
        )
    return fewest, most


def _train(config: RunConfig, on: Where, workers: tuple[int, int]) -> RunResult:
    if on is Where.ray:
        from cluster.failures import WorkersError
        from cluster.train import train_on_ray

        try:
            return train_on_ray(config, workers)
        except WorkersError as error:
            typer.echo(f"error: {error}: run the same command again to resume", err=True)
            raise typer.Exit(1) from None
    from radiotrain.training.loop import train as run_train

    return run_train(config)


def _print_result(result: RunResult) -> None:
    aucs = ", ".join(f"{t} {v:.3f}" for t, v in result.validation_auc_per_target.items())
    typer.echo(
        f"{result.status}: best epoch {result.best_epoch + 1} of {len(result.history)},"
        f" validation AUC {aucs}, in {result.run_url}"
    )
