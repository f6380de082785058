"""``radiotrain train``: train one network."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from radiotrain.cli import options
from radiotrain.cli.options import Backend, SplitOption, StoreOption, as_overrides, train_on_backend

if TYPE_CHECKING:
    from radiotrain.config.run_config import RunConfig
    from radiotrain.training.loop import RunResult


# Longer than anyone waits for a first look.
_LONG_S = 3600.0


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(train)


def train(
    config: Annotated[str, typer.Option(help="YAML file of the run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            autocompletion=options.run_keys,
            help="section.key=value, wins over the file; may be repeated.",
        ),
    ] = None,
    store: StoreOption = None,
    split: SplitOption = None,
    debug: Annotated[
        bool,
        typer.Option("--debug", help="Overfit one batch of a few patients, and draw it."),
    ] = False,
    auto_batch: Annotated[
        bool,
        typer.Option("--auto-batch", help="Lower the micro-batch until memory suffices."),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the run, estimate memory and time; write nothing.",
        ),
    ] = False,
    backend: Annotated[Backend, typer.Option(help="This process or Ray Train.")] = Backend.local,
    workers: Annotated[
        str,
        typer.Option(help="Ray workers, one GPU each; a range such as 2-8 is elastic."),
    ] = "1",
) -> None:
    """Train one network; rerun to resume.

    Example: `radiotrain train --config run.yaml --set train.lr=1e-3 --set out=runs/er-fast`

    Example: `radiotrain train --config run.yaml --backend ray --workers 8`

    Example: `radiotrain train --config run.yaml --dry-run`

    Example: `radiotrain train --config run.yaml --debug`

    Example: `radiotrain train --config run.yaml --backend ray --workers 2-8`
    """
    from preprocessing.common.errors import InputError
    from radiotrain.config.run_config import load_config

    changes = [*(overrides or []), *as_overrides(store, split)]
    resolved = load_config(config, [*changes, *(["speed.auto_batch=true"] if auto_batch else [])])
    fewest, most = _parse_workers(workers)
    if backend is Backend.local and most > 1:
        raise InputError(f"--workers is {workers}, expected 1 without Ray: add --backend ray")
    if debug and backend is Backend.ray:
        raise InputError("--debug runs in one process: leave out --backend ray")
    if dry_run:
        _dry_run(resolved, (fewest, most))
        return
    if debug:
        from radiotrain.training.debug import debug as run_debug

        if not run_debug(resolved).reached:
            raise typer.Exit(1)
        return
    _print_result(train_on_backend(resolved, backend, (fewest, most)))


def _dry_run(config: RunConfig, workers: tuple[int, int]) -> None:
    """Say what would be trained and what it takes; exit status 1 where memory does not suffice."""
    from radiotrain.data.patients import part_ids
    from radiotrain.runs.epoch_metrics import human_time
    from radiotrain.runs.locations import open_inputs
    from radiotrain.split.split import notes_on
    from radiotrain.training.resources import demand_of, epoch_s, needed_bytes, time_run
    from radiotrain.training.validate import check_fits

    check_fits(config, workers)
    store, split = open_inputs(config.store, config.split)
    parts = {p: len(part_ids(split, config.fold, p)) for p in ("train", "validation")}
    validate = (
        "no validation set" if config.fold is None else f"{parts['validation']} validation patients"
    )
    typer.echo(
        f"{config.network.name} on {', '.join(config.targets)}: {parts['train']} training patients,"
        f" {validate}; {len(split.test_ids)} stay sealed"
    )
    for note in notes_on(split, store, config.split):
        typer.echo(f"note: {note}")
    fewest, _ = workers
    timing = time_run(config, fewest)
    needed = needed_bytes(demand_of(config, fewest), timing, store.image_shape)
    seconds = epoch_s(timing, split, config.fold) / fewest
    typer.echo(
        f"memory{' of a worker' if fewest > 1 else ''}: {needed / 1e9:.1f} GB of"
        f" {timing.device_bytes / 1e9:.1f} GB, {timing.device}"
    )
    typer.echo(
        f"an epoch takes {human_time(seconds)}, at most {config.train.epochs} of them"
        f" {human_time(config.train.epochs * seconds)}; reading the cohort is not counted"
    )
    if not timing.is_gpu and config.train.epochs * seconds > _LONG_S:
        typer.echo(
            "for a first look on a CPU: --set network.name=ResNet10-narrow --set train.epochs=10,"
            " or a store of smaller crops"
        )
    if needed > timing.device_bytes:
        typer.echo(
            "does not fit: lower train.micro_batch_size or train.batch_size, or set"
            " speed.activation_checkpointing",
            err=True,
        )
        raise typer.Exit(1)


def _parse_workers(text: str) -> tuple[int, int]:
    """Return the fewest and the most workers that ``8`` or ``2-8`` stands for."""
    from preprocessing.common.errors import InputError

    found = re.fullmatch(r"([1-9]\d*)(?:-([1-9]\d*))?", text.strip())
    fewest, most = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
    if fewest > most:
        raise InputError(
            f"--workers is {text!r}, expected a number from 1 on, or a range with the fewest"
            " first: give it as 8 or 2-8"
        )
    return fewest, most


def _print_result(result: RunResult) -> None:
    aucs = ", ".join(f"{t} {v:.3f}" for t, v in result.validation_auc_per_target.items())
    typer.echo(
        f"{result.status}: epoch {result.best_epoch + 1} of {len(result.history)} is kept,"
        f" validation AUC {aucs}, in {result.run_url}"
    )
