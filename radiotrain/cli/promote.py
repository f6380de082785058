"""``radiotrain promote``: from a sweep's best trials to models ready for evaluation."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from radiotrain.cli import options
from radiotrain.cli.options import Backend, SplitOption, StoreOption, train_on_backend

if TYPE_CHECKING:
    from radiotrain.config.run_config import RunConfig


class Strategy(StrEnum):
    """How a model is made of the best trial."""

    auto = "auto"
    retrain = "retrain"
    ensemble = "ensemble"


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command()(promote)


def promote(
    sweep: Annotated[str, typer.Argument(help="Folder of the sweep.")],
    out: Annotated[
        str | None,
        typer.Option(
            help="Folder of the models, one subfolder a target [default: SWEEP/promoted]."
        ),
    ] = None,
    strategy: Annotated[
        Strategy,
        typer.Option(
            help="retrain: one network on all development patients. ensemble: the networks of the"
            " folds. auto: ensemble if there are several folds."
        ),
    ] = Strategy.auto,
    target: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=options.targets_of_sweep,
            help="A target of the sweep; may be repeated [default: all].",
        ),
    ] = None,
    allow_unfinished: Annotated[
        bool,
        typer.Option("--allow-unfinished", help="Promote although trials have not ended."),
    ] = False,
    store: StoreOption = None,
    split: SplitOption = None,
    backend: Annotated[Backend, typer.Option(help="Retrain in this process or by Ray Train.")] = (
        Backend.local
    ),
    workers: Annotated[int, typer.Option(min=1, help="Ray workers, one GPU each.")] = 1,
) -> None:
    """Make a model of each target's best trial; the test set stays sealed. Rerun to resume.

    Its threshold comes from out-of-fold predictions of the trial.

    Example: `radiotrain promote sweep`

    Example: `radiotrain promote sweep --target ER --strategy retrain --out models`
    """
    from cluster.sweep.promote import plan_promotions
    from cluster.sweep.promote import promote as make
    from preprocessing.common.errors import InputError

    if backend is Backend.local and workers > 1:
        raise InputError(f"--workers is {workers}, expected 1 without Ray: add --backend ray")
    promotions = plan_promotions(
        sweep,
        out=out,
        how=strategy.value,
        targets=target or [],
        unfinished=allow_unfinished,
        store=store,
        split=split,
    )

    def train_until(config: RunConfig, epochs: int) -> None:
        train_on_backend(config, backend, workers, until_epoch=epochs)

    for promotion in promotions:
        was_made = promotion.is_made
        typer.echo(f"{promotion.describe()}{' (made before)' if was_made else ''}")
        make(promotion, train_until)
    urls = " ".join(promotion.url for promotion in promotions)
    typer.echo(f"next: radiotrain evaluate {urls} --out {sweep.rstrip('/')}/report")
