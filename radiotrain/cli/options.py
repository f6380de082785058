"""Options that several commands share, and shell completion."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel

    from preprocessing.cohort.options import TableOptions
    from preprocessing.images.phases.table import PhaseTable
    from radiotrain.config.run_config import RunConfig
    from radiotrain.training.loop import RunResult


def networks(incomplete: str) -> list[str]:
    """Names of networks."""
    from radiotrain.networks.registry import NETWORKS

    return _beginning(NETWORKS, incomplete)


def run_keys(incomplete: str) -> list[str]:
    """Keys of a run, for --set."""
    from radiotrain.config.run_config import RunConfig

    return _keys(RunConfig, incomplete)


def sweep_keys(incomplete: str) -> list[str]:
    """Keys of a sweep, for --set."""
    from cluster.sweep.config import SweepConfig

    return _keys(SweepConfig, incomplete)


def preprocess_keys(incomplete: str) -> list[str]:
    """Keys of preprocessing, for --set."""
    from preprocessing.common.config import PreprocessConfig

    return _keys(PreprocessConfig, incomplete)


def bias_engines(incomplete: str) -> list[str]:
    """Names of the bias-field engines."""
    from typing import get_args

    from preprocessing.common.config import PreprocessConfig

    return _beginning(get_args(PreprocessConfig.model_fields["bias_engine"].annotation), incomplete)


def quirks(incomplete: str) -> list[str]:
    """Names of the phantom's quirks."""
    from preprocessing.phantom.quirks import QUIRKS

    return _beginning(("all", *(quirk.name for quirk in QUIRKS)), incomplete)


def targets_of_store(ctx: typer.Context, incomplete: str) -> list[str]:
    """Targets of the store that stands on the line already."""
    with _silent():
        from preprocessing.store import Store

        return _beginning(Store.open(_first(ctx, "store")).targets, incomplete)
    return []


def targets_of_sweep(ctx: typer.Context, incomplete: str) -> list[str]:
    """Targets of the sweep that stands on the line already."""
    with _silent():
        from cluster.sweep.config import group_of
        from cluster.sweep.progress import open_sweep

        return _beginning(map(group_of, open_sweep(_first(ctx, "sweep")).targets), incomplete)
    return []


def _keys(model: type[BaseModel], incomplete: str) -> list[str]:
    from radiotrain.config.config_template import fields_of

    names = (f"{field.key}=" for field in fields_of(model) if field.section is None)
    return _beginning(names, incomplete)


def _first(ctx: typer.Context, name: str) -> str:
    """Return the first argument: while an option has no value yet, it is not parsed."""
    found = ctx.params.get(name) or next(word for word in ctx.args if not word.startswith("-"))
    return str(found)


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


@contextmanager
def _silent() -> Iterator[None]:
    # A traceback in the middle of a line that is being typed helps nobody.
    with suppress(Exception):
        yield


StoreOption = Annotated[
    str | None,
    typer.Option("--store", help="The store, if it has moved.", show_default=False),
]
SplitOption = Annotated[
    str | None,
    typer.Option("--split", help="The split, if it has moved.", show_default=False),
]


def as_overrides(store: str | None, split: str | None) -> list[str]:
    """Return the two as texts of ``--set``, which win over those of a configuration's file."""
    given = {"store": store, "split": split}
    return [
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in given.items()
        if value is not None
    ]


PhasesOption = Annotated[
    str | None,
    typer.Option(
        "--phases",
        metavar="FILE",
        help="Table of phases: read where it exists, else written by `radiotrain cohort check`.",
    ),
]
NumPhasesOption = Annotated[
    int | None,
    typer.Option("--num-phases", min=1, help="Phases a patient must have [default: the layout's]."),
]


def read_phases_options(
    phases: str | None, num_phases: int | None, *, must_exist: bool = False
) -> tuple[PhaseTable | None, int | None]:
    """Return the table of phases, where there is one, and the number of phases.

    Parameters
    ----------
    must_exist
        Whether a table that is not there is a mistake, and not one to be written.

    Raises
    ------
    MissingPathError
        If a table must exist and does not.
    InputError
        If it cannot be used.
    """
    from preprocessing.common.errors import InputError, MissingPathError
    from preprocessing.images.phases.table import read_phase_table
    from preprocessing.storage import files

    if phases is None:
        return None, num_phases
    if phases.isdigit():
        if int(phases) < 1 or num_phases is not None:
            raise InputError(f"--phases is {phases}, expected a table of phases (a CSV file)")
        typer.echo(f"note: --phases {phases} is --num-phases {phases} now", err=True)
        return None, int(phases)
    if files.exists(phases):
        return read_phase_table(phases), num_phases
    if must_exist:
        raise MissingPathError(
            f"no table of phases at {phases}: let 'radiotrain cohort check COHORT --phases {phases}'"
            " write one"
        )
    return None, num_phases


ColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column",
        metavar="OURS=THEIRS",
        help="Name of a column in the table, e.g. patient_id=ID or ER=Estrogen; may be repeated.",
    ),
]
LabelOption = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        metavar="TARGET:WORD=VALUE",
        help="Value of a word in a target's column: 0, 1 or missing, e.g. HER2:2+=missing; may be repeated.",
    ),
]


def table_options(column: list[str] | None, label: list[str] | None) -> TableOptions:
    """Return what both options say."""
    from preprocessing.cohort.options import TableOptions

    return TableOptions.parse(column or (), label or ())


def as_words(column: list[str] | None, label: list[str] | None) -> list[str]:
    """Return both options as words of a command line."""
    words = [word for text in column or () for word in ("--column", text)]
    return words + [word for text in label or () for word in ("--label", text)]


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
