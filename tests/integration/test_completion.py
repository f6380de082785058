"""What the Tab key offers, asked as bash asks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cluster.sweep.config import SweepConfig
from cluster.sweep.folder import SweepFolder
from preprocessing.phantom.quirks import QUIRKS
from radiotrain.config.run_config import parse_config
from radiotrain.networks.registry import NETWORKS
from tests.unit.training.synthetic import TARGETS, write_store

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent
ASK = """
eval "$(_RADIOTRAIN_COMPLETE=source_bash radiotrain)"
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1))
_radiotrain_completion radiotrain
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    write_store(str(folder / "store"))
    values = {"store": "s", "split": "p", "networks": ["ResNet18"], "out": str(folder / "sweep")}
    sweep = parse_config(SweepConfig, values | {"targets": ["ER", ["PR", "HER2"]]}, "test")
    SweepFolder(sweep.out).write_sweep(sweep)
    return folder


def bash(script: str, *words: str, cwd: Path, **environment: str) -> str:
    bash_path = shutil.which("bash")
    if bash_path is None:
        pytest.skip("no bash here")
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [bash_path, "-c", script, "bash", *words],
        cwd=cwd,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("radiotrain mod", ["models"]),
        ("radiotrain init ", ["run", "sweep", "manifest"]),
        ("radiotrain train --backend ", ["local", "ray"]),
        ("radiotrain models SERes", [name for name in NETWORKS if name.startswith("SERes")]),
        ("radiotrain init sweep store --network DenseNet1", ["DenseNet121", "DenseNet169"]),
        ("radiotrain init run store --target ", list(TARGETS)),
        ("radiotrain init run store --target ER --target H", ["HER2"]),
        ("radiotrain split store --targets E", ["ER"]),
        ("radiotrain split nowhere --targets ", []),
        ("radiotrain promote sweep --target ", ["ER", "PR+HER2"]),
        ("radiotrain promote store --target ", []),
        ("radiotrain train --config run.yaml --set train.l", ["train.lr=", "train.loss="]),
        ("radiotrain tune --set halving.", [f"halving.{k}=" for k in SweepConfig.model_fields[
            "halving"].annotation.model_fields]),
        ("radiotrain preprocess cohort store --set n4", ["n4_iterations=", "n4_convergence="]),
        ("radiotrain preprocess --bias-engine ", ["separable", "simpleitk", "none"]),
        ("radiotrain phantom out --quirk two", [q.name for q in QUIRKS if q.name[:3] == "two"]),
    ],
)  # fmt: skip
def test_offered(folder: Path, words: str, offered: list[str]) -> None:
    found = bash(ASK, *words.split(" "), cwd=folder).split()
    assert found == offered


def test_it_is_installed_by_one_command(tmp_path: Path) -> None:
    # Found by the shell that asks: bash would hand its own place over to a last command.
    said = bash("radiotrain --install-completion; true", cwd=tmp_path, HOME=str(tmp_path))
    assert "bash completion installed" in said
    assert "radiotrain" in (tmp_path / ".bashrc").read_text()
    script = "source ~/.bashrc; complete -p radiotrain"
    assert "_radiotrain_completion" in bash(script, cwd=tmp_path, HOME=str(tmp_path))
    shown = bash("radiotrain --show-completion; true", cwd=tmp_path, HOME=str(tmp_path))
    assert "_radiotrain_completion" in shown
