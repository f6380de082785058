"""No part of the program reads a file in a way that could run what is in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("preprocessing", "radiotrain", "cluster")
# Reading with any of these runs code that the file names.
UNSAFE_MODULES = {
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "jsonpickle",
    "pandas.io.pickle",
}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
UNSAFE_ENDS = {
    "read_pickle", "to_pickle", "unsafe_load", "full_load", "load_module", "mktemp", "system", "popen",
}  # fmt: skip
UNSAFE_FULL = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "yaml.load", "yaml.load_all",
    "torch.jit.load", "torch.hub.load", "torch.package.PackageImporter",
}  # fmt: skip


def problems(code: str) -> list[str]:
    """Return what is unsafe in a module's source."""
    return [f"line {node.lineno}: {what}" for node, what in _problems(ast.parse(code))]


def _problems(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    names = _imported(tree)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                if module in UNSAFE_MODULES or module.partition(".")[0] in UNSAFE_MODULES:
                    yield node, f"imports {module}"
        elif isinstance(node, ast.Call):
            yield from ((node, what) for what in _unsafe_call(node, names))


def _imported(tree: ast.Module) -> dict[str, str]:
    """Return what each imported name stands for."""
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {
                (a.asname or a.name.partition(".")[0]): (a.asname and a.name)
                or a.name.partition(".")[0]
                for a in node.names
            }
        elif isinstance(node, ast.ImportFrom):
            names |= {(a.asname or a.name): f"{node.module}.{a.name}" for a in node.names}
    return names


def _unsafe_call(node: ast.Call, names: dict[str, str]) -> Iterator[str]:
    parts: list[str] = []
    called = node.func
    while isinstance(called, ast.Attribute):
        parts.insert(0, called.attr)
        called = called.value
    if isinstance(called, ast.Name):
        parts.insert(0, names.get(called.id, called.id))
    else:
        parts.insert(0, "value")
    full = ".".join(parts)
    keywords = {k.arg: k.value for k in node.keywords}
    if full in UNSAFE_CALLS or full in UNSAFE_FULL or full.rpartition(".")[2] in UNSAFE_ENDS:
        yield f"calls {full}"
    if full == "torch.load" and not _is(keywords.get("weights_only"), True):
        yield "calls torch.load without weights_only=True"
    if "allow_pickle" in keywords and not _is(keywords["allow_pickle"], False):
        yield f"calls {full} with allow_pickle"
    if "shell" in keywords and not _is(keywords["shell"], False):
        yield f"calls {full} with a shell"
    if "object_codec" in keywords or full.endswith(("Pickle", "MsgPack")):
        yield f"calls {full} with a codec of objects"
    if full.endswith("zarr.open_group") and not _is(keywords.get("zarr_format"), 3):
        yield "opens a Zarr group of any format: version 2 has codecs of objects"


def _is(value: ast.expr | None, wanted: bool) -> bool:
    return isinstance(value, ast.Constant) and value.value is wanted


MODULES = sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))


def test_all_modules_are_looked_at() -> None:
    assert len(MODULES) > 250


def test_nothing_is_read_in_a_way_that_could_run_it() -> None:
    found = {str(p.relative_to(ROOT)): problems(p.read_text("utf-8")) for p in MODULES}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle\npickle.load(file)",
        "from pickle import loads as read\nread(b'')",
        "import joblib",
        "from cloudpickle import loads",
        "import torch\ntorch.load(file)",
        "import torch\ntorch.load(file, weights_only=False)",
        "import torch\ntorch.load(file, weights_only=flag)",
        "from torch import load\nload(file)",
        "import numpy as np\nnp.load(file, allow_pickle=True)",
        "import yaml\nyaml.load(text, Loader=yaml.Loader)",
        "import yaml\nyaml.unsafe_load(text)",
        "eval(text)",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "import os\nos.system(text)",
        "import pandas as pd\npd.read_pickle(file)",
        "import zarr\nzarr.open_group(url)",
        "import zarr\nzarr.array(values, object_codec=codec)",
    ],
)
def test_the_check_sees_what_it_is_for(code: str) -> None:
    assert problems(code)


@pytest.mark.parametrize(
    "code",
    [
        "import torch\ntorch.load(file, weights_only=True)",
        "import pickle\ntry: x()\nexcept pickle.UnpicklingError: pass",
        "import yaml\nyaml.safe_load(text)",
        "copy(network).eval()",
        "import re\nre.compile(text)",
    ],
)
def test_the_check_lets_the_rest_pass(code: str) -> None:
    assert problems(code) == []
