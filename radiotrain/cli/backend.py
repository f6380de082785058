"""The option ``--backend`` of the commands, and a training on either backend."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from radiotrain.config import RunConfig
    from radiotrain.training.loop import RunResult


class Backend(StrEnum):
    """Where the work runs."""

    local = "local"
    ray = "ray"


def train_on_backend(
    config: RunConfig,
    backend: Backend,
    workers: int | tuple[int, int],
    *,
    until_epoch: int | None = None,
) -> RunResult:
    """Train in this process or on Ray workers; see `radiotrain.training.loop.train`.

    Raises
    ------
    typer.Exit
        With status 1 if the workers were lost too often; it has been said then.
    """
    if backend is Backend.ray:
        from cluster.failures import WorkersError
        from cluster.train import train_on_ray

        try:
            return train_on_ray(config, workers, until_epoch=until_epoch)
        except WorkersError as error:
            typer.echo(f"error: {error}: run the same command again to resume", err=True)
            raise typer.Exit(1) from None
    from radiotrain.training.loop import train

    return train(config, until_epoch=until_epoch)
