"""Options with another name than before: the old name is taken for one release, and warned about."""

from __future__ import annotations

import logging

import pytest

from radiotrain.cli.renamed_options import RENAMED_OPTIONS
from tests.commands import attempt, every_command

COMMANDS = {
    "--by": [("evaluate", "nowhere", "--out", "report", "--external", "other", "--by", "site")],
    "--every": [("status", "nowhere", "--watch", "--every", "0.2")],
    "--how": [("promote", "nowhere", "--how", "retrain"), ("promote", "nowhere", "--how=ensemble")],
    "--on": [
        ("preprocess", "nowhere", "store", "--on", "local"),
        ("promote", "nowhere", "--on", "local"),
        ("reproduce", "nowhere", "--out", "out", "--on", "local"),
        ("train", "--config", "nowhere.yaml", "--on", "local"),
    ],
    "--unfinished": [("promote", "nowhere", "--unfinished")],
}


class Warnings(logging.Handler):
    """Keeps the texts of warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(record.getMessage())


def test_each_old_name_is_tried_here() -> None:
    assert COMMANDS.keys() == RENAMED_OPTIONS.keys()


@pytest.mark.parametrize(
    ("old", "words"),
    [(old, words) for old, calls in COMMANDS.items() for words in calls],
    ids=lambda value: value[0] if isinstance(value, tuple) else value,
)
def test_the_old_name_does_the_same_and_warns(
    tmp_path, monkeypatch: pytest.MonkeyPatch, old: str, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    new = RENAMED_OPTIONS[old]
    heard = Warnings()
    log = logging.getLogger("radiotrain.config.deprecation")
    log.addHandler(heard)
    by_old = attempt(*words)
    (text,) = heard.texts
    assert f"{words[0]}: {old} is now {new};" in text
    by_new = attempt(*(word.replace(old, new) for word in words))
    log.removeHandler(heard)
    assert len(heard.texts) == 1
    assert "nowhere" in by_old.sentence
    assert by_old.sentence == by_new.sentence


def test_both_names_at_once_are_refused() -> None:
    found = attempt("promote", "sweep", "--how", "retrain", "--strategy", "retrain")
    assert found.sentence.endswith("two names of one option: leave out --how")


@pytest.mark.parametrize(("old", "new"), RENAMED_OPTIONS.items())
def test_help_lists_the_new_name_only(old: str, new: str) -> None:
    options = [name for one in every_command().values() for p in one.params for name in p.opts]
    assert new in options
    assert old not in options
