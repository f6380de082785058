"""``radiotrain promote``: from a sweep's best trials to models ready for evaluation."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from radiotrain.cli import complete
from radiotrain.cli.moved import SplitOption, StoreOption
from radiotrain.cli.where import Where, train_there

if TYPE_CHECKING:
    from radiotrain.config import RunConfig


class How(StrEnum):
    """What is made of the best trial."""

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
        typer.Option(help="Each target's model gets a folder in it; by default SWEEP/promoted."),
    ] = None,
    how: Annotated[
        How,
        typer.Option(
            help="retrain: one network, on all development patients. ensemble: the networks of the"
            " trial's folds. auto: ensemble where there are several folds."
        ),
    ] = How.auto,
    target: Annotated[
        list[str] | None,
        typer.Option(
            autocompletion=complete.targets_of_sweep,
            help="Of the sweep; may be repeated; by default all.",
        ),
    ] = None,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="Although trials of the target have not ended.")
    ] = False,
    store: StoreOption = None,
    split: SplitOption = None,
    on: Annotated[Where, typer.Option(help="Retrain in this process, or by Ray Train.")] = (
        Where.local
    ),
    workers: Annotated[int, typer.Option(min=1, help="Ray workers, one GPU each.")] = 1,
) -> None:
    """Make a model of each target's best trial; the test set stays sealed. Run it again to resume.

    The threshold of its evaluation comes from the trial's predictions of patients that its networks
    had not been trained on.

    Example: `radiotrain promote sweep`

    Example: `radiotrain promote sweep --target ER --how retrain --out models`
    """
    from cluster.sweep.promote import plan_promotions
    from cluster.sweep.promote import promote as make
    from preprocessing.errors import InputError

    if on is Where.local and workers > 1:
        raise InputError(f"--workers is {workers}, expected 1 without Ray: add --on ray")
    promotions = plan_promotions(
        sweep,
        out=out,
        how=how.value,
        targets=target or [],
        unfinished=unfinished,
        store=store,
        split=split,
    )

    def train_until(config: RunConfig, epochs: int) -> None:
        train_there(config, on, workers, until_epoch=epochs)

    for promotion in promotions:
        was_made = promotion.is_made
        typer.echo(f"{promotion.describe()}{' (made before)' if was_made else ''}")
        make(promotion, train_until)
    urls = " ".join(promotion.url for promotion in promotions)
    typer.echo(f"next: radiotrain evaluate {urls} --out {sweep.rstrip('/')}/report")
