"""The options for a store and a split that have moved since a run was trained with them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

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
