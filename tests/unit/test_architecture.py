"""The tree is as docs/architecture.md says, and has no import cycles."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from benchmarks.code_size import import_graph, package_cycles, strong_components

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/architecture.md").read_text("utf-8")
ANSWERS = re.findall(r"^\| (.+?) \| `([\w/]+\.py)` \| `(\w+)` \|$", TEXT, re.MULTILINE)


def names_of(path: Path) -> set[str]:
    body = ast.parse(path.read_text("utf-8")).body
    defined = {n.name for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef)}
    assigned = [n.target for n in body if isinstance(n, ast.AnnAssign)]
    assigned += [t for n in body if isinstance(n, ast.Assign) for t in n.targets]
    return defined | {t.id for t in assigned if isinstance(t, ast.Name)}


@pytest.mark.parametrize(("question", "path", "name"), ANSWERS, ids=[a[0] for a in ANSWERS])
def test_a_question_is_answered_by_the_file_that_is_named(question, path, name):
    assert name in names_of(ROOT / path)


def test_there_are_at_least_twenty_questions():
    assert len(ANSWERS) >= 20


@pytest.mark.parametrize("package", ["preprocessing", "radiotrain", "cluster"])
def test_every_folder_is_in_the_tree(package):
    section = TEXT.split(f"`{package}/`:")[1].split("\n`")[0]
    listed = set(re.findall(r"^\| `(\w+)/` \|", section, re.MULTILINE))
    folders = {p.parent.name for p in (ROOT / package).glob("*/__init__.py")}
    assert listed == folders


def test_no_module_or_package_imports_itself_in_a_circle():
    graph = import_graph(ROOT)
    assert strong_components(graph) == []
    assert package_cycles(graph) == []
