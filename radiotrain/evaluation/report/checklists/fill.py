"""Checklists with their answers."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import yaml

from radiotrain.evaluation.report.checklists.answers import (
    Answer,
    By,
    known_from_context,
    known_from_facts,
    known_from_results,
)
from radiotrain.evaluation.report.context import ReportContext
from radiotrain.evaluation.results import Evaluation
from radiotrain.evaluation.tables import as_text

_FILES = (
    "claim_2024.yaml",
    "tripod_ai.yaml",
    "stard_ai.yaml",
    "probast_ai.yaml",
    "metrics_2024.yaml",
)
_AUTHOR = Answer("author")


@dataclass(frozen=True)
class Item:
    """One item of a checklist, in our own words.

    Parameters
    ----------
    number
        As published, e.g. ``12a``.
    key
        Of its answer; empty where only the author can give one.
    weight
        Of a checklist that is a score; None elsewhere.
    """

    number: str
    section: str
    text: str
    key: str = ""
    weight: float | None = None


@dataclass(frozen=True)
class Filled:
    """A checklist and the answer to each of its items, in its order."""

    name: str
    source: str
    items: tuple[tuple[Item, Answer], ...]

    def count(self, by: By) -> int:
        """Return how many items are answered in this way."""
        return sum(answer.by == by for _, answer in self.items)

    @property
    def summary(self) -> str:
        """How far the run gets, in a sentence."""
        return (
            f"{self.name}: {self.count('run')} of {len(self.items)} answered by this run,"
            f" {self.count('author')} for the author, {self.count('not applicable')} not applicable"
        )

    @property
    def score_sentence(self) -> str:
        """How much of a score's weight is answered; empty of a checklist that is no score."""
        weights = [(item.weight, a) for item, a in self.items if item.weight is not None]
        if not weights:
            return ""
        judged = [(w, a.met) for w, a in weights if a.by == "run" and a.met is not None]
        no_object = sum(w for w, a in weights if a.by == "not applicable")
        total = sum(w for w, _ in weights) - no_object
        done, known = sum(w for w, met in judged if met), sum(w for w, _ in judged)
        return (
            f"Items with {known:.2f} of the weight of {total:.2f} that applies are answered; those"
            f" that were met weigh {done:.2f}. No score is given while items wait for the author."
        )


def fill_checklists(evaluation: Evaluation, context: ReportContext) -> tuple[Filled, ...]:
    """Return all checklists, answered only where this evaluation knows the answer."""
    answers = {
        **known_from_results(evaluation),
        **known_from_context(evaluation, context),
        **known_from_facts(evaluation, context),
    }
    return tuple(_fill(name, answers) for name in _FILES)


def checklists_csv(filled: tuple[Filled, ...]) -> str:
    """Return a table with one line an item."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(
        (
            "checklist",
            "item",
            "section",
            "asks for",
            "answered by",
            "answer",
            "where",
            "met",
            "weight",
        )
    )
    for checklist in filled:
        for item, answer in checklist.items:
            met = {None: "", True: "yes", False: "no"}[answer.met]
            where = _place(answer.where)
            values = (item.number, item.section, item.text, answer.by, answer.text, where, met)
            writer.writerow((checklist.name, *map(as_text, values), item.weight))
    return buffer.getvalue()


def _place(where: str) -> str:
    """Return the place of an answer: a file, or a section of the report."""
    return f"report.html#{where}" if where and "." not in where else where


def read_items(name: str) -> tuple[str, str, tuple[Item, ...]]:
    """Return the name, the source and the items of a checklist's file."""
    values = _read(name)
    items = tuple(
        Item(i["number"], i["section"], i["text"], i.get("answer", ""), i.get("weight"))
        for i in values["items"]
    )
    return values["name"], values["source"], items


@cache
def _read(name: str) -> dict[str, Any]:
    text = (resources.files(__package__) / name).read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def _fill(file: str, answers: Mapping[str, Answer]) -> Filled:
    name, source, items = read_items(file)
    return Filled(name, source, tuple((item, answers.get(item.key, _AUTHOR)) for item in items))
