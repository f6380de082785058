"""The pages of configurations, from the docs of the models' own fields."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydantic import BaseModel

from cluster.sweep.config import Distribution, SweepConfig
from preprocessing.common.config import PreprocessConfig
from radiotrain.config.config_template import FieldDoc, as_yaml, fields_of
from radiotrain.config.reproduction import ReproduceConfig
from radiotrain.config.run_config import RunConfig

_SET = "`--set section.key=value` wins over the file. An unknown key is refused, and the nearest one named."
_PAGES: dict[str, tuple[str, str, type[BaseModel]]] = {
    "run": (
        "A run's configuration",
        "`radiotrain train --config run.yaml`; `radiotrain init run STORE` writes such a file.",
        RunConfig,
    ),
    "sweep": (
        "A sweep's configuration",
        "`radiotrain tune --config sweep.yaml`; `radiotrain init sweep STORE` writes such a file.",
        SweepConfig,
    ),
    "preprocess": (
        "Preprocessing's configuration",
        "`radiotrain preprocess COHORT STORE --config prep.yaml`. All of it is kept in the store.",
        PreprocessConfig,
    ),
    "reproduce": (
        "The paper's road, configured",
        "`radiotrain reproduce COHORT --out DIR --config road.yaml`: what is to differ from the paper.",
        ReproduceConfig,
    ),
}


def configuration_pages() -> dict[str, str]:
    """Return all pages by their places."""
    return {
        f"generated/{name}.md": "\n".join(_page(title, use, model)) + "\n"
        for name, (title, use, model) in _PAGES.items()
    }


def _page(title: str, use: str, model: type[BaseModel]) -> Iterator[str]:
    yield from (f"# {title}", "", f"{use} {_SET}", "")
    fields = list(fields_of(model))
    yield from _table(field for field in fields if field.depth == 0 and field.section is None)
    for section in (field for field in fields if field.section is not None):
        inside = [f for f in fields if f.key.rpartition(".")[0] == section.key]
        yield from (f"## {section.key}", "", section.doc, "")
        yield from _table(field for field in inside if field.section is None)
    if model is SweepConfig:
        yield from (
            "## search: where values come from",
            "",
            "Exactly one of these for each field.",
            "",
        )
        yield from _table(fields_of(Distribution))


def _table(fields: Iterable[FieldDoc]) -> Iterator[str]:
    yield from ("| key | what it takes | default | |", "|---|---|---|---|")
    for field in fields:
        default = "needed" if field.is_required else f"`{as_yaml(field.default)}`"
        cells = (f"`{field.name}`", field.kind, default, field.doc)
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
    yield ""
