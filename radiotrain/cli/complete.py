"""Shell completion: names that only the program or a store knows. Never raises."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel


def networks(incomplete: str) -> list[str]:
    """Names of networks."""
    from radiotrain.networks.registry import NETWORKS

    return _beginning(NETWORKS, incomplete)


def run_keys(incomplete: str) -> list[str]:
    """Keys of a run, for --set."""
    from radiotrain.config import RunConfig

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
    from radiotrain.config_template import fields_of

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
