"""Every command, one after the other, on a small cohort: a program for `closed_network`.

Between commands it writes their names into the record of what the network is asked. Most run in this process,
as a process that has ended sends nothing more.
"""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import yaml

from tests.commands import attempt, end, kill_session, start

CROP = ("--crop-shape", 16, 16, 8)
TRAINING = {
    "targets": ["ER"],
    "network": {"name": "ResNet10-narrow"},
    "train": {"epochs": 2, "batch_size": 6, "warmup_epochs": 0.5},
    "device": "cpu",
}
# onnxruntime's first upload is due some 10 s after it was loaded.
_LINGER_S = 15
_PAGES = ("", "data/environment", "data/plugins_listing", "data/runs")


class Commands:
    """Runs commands in a folder.

    Parameters
    ----------
    record
        What the network is asked, which the names of commands are added to.
    """

    def __init__(self, folder: Path, record: Path) -> None:
        self.folder, self._record = folder, record

    def run(self, *words: object, status: int = 0) -> str:
        """Run a command here, which may name files of the folder as ``@name``."""
        words = self._begin(*words)
        done = attempt(*words)
        if done.status != status:
            sys.exit(f"{words}: {done.out[-2000:]}\n{done.error[-4000:]}")
        return done.out

    def start(self, *words: object) -> subprocess.Popen[str]:
        """Start one in a process of its own."""
        return start(*self._begin(*words))

    def _begin(self, *words: object) -> tuple[object, ...]:
        placed = tuple(re.sub("^@", f"{self.folder}/", str(word)) for word in words)
        with self._record.open("a") as file:
            file.write(f"# {' '.join(placed)}\n")
        print(f"{time.monotonic():.0f}", *placed, flush=True)
        return placed


def main(folder: Path, record: Path) -> None:
    """Run them all."""
    commands = Commands(folder, record)
    _prepare(commands)
    _train(commands)
    _travel(commands)
    _sweep(commands)
    _look(commands)
    time.sleep(_LINGER_S)


def _prepare(commands: Commands) -> None:
    run = commands.run
    run("phantom", "@cohort", "--patients", 30, "--matrix", 48, "--slices", 16)
    run("cohort", "check", "@cohort", "--json", "@check.json")
    run("init", "manifest", "@cohort/Duke-Breast-Cancer-MRI", "--out", "@manifest.csv")
    run("preprocess", "@cohort", "@store", *CROP, "--workers", 1)
    run("store", "verify", "@store")
    run("qc", "@store", "--out", "@qc", "--workers", 1)
    run("split", "@store", "--out", "@splits.json", "--folds", 2)
    run("models", "--crop-shape", 16, 16, 8)
    run("init", "run", "@store", "--split", "@splits.json", "--out", "@run-draft.yaml")
    run("init", "sweep", "@store", "--split", "@splits.json", "--out", "@sweep-draft.yaml")


def _train(commands: Commands) -> None:
    run, folder = commands.run, commands.folder
    values = {"store": f"{folder}/store", "split": f"{folder}/splits.json", **TRAINING}
    _write(folder / "run.yaml", {**values, "out": f"{folder}/run"})
    run("train", "--config", "@run.yaml", "--dry-run")
    run("train", "--config", "@run.yaml")
    on_ray = ("--backend", "ray", "--workers", 2, "--set", f"out={folder}/run-ray")
    run("train", "--config", "@run.yaml", *on_ray)
    sweep = {k: v for k, v in values.items() if k != "network"}
    sweep |= {"networks": ["ResNet10-narrow"], "out": f"{folder}/sweep", "folds": [0]}
    _write(folder / "sweep.yaml", sweep)


def _travel(commands: Commands) -> None:
    run, cohort = commands.run, commands.folder / "cohort"
    for form in ("onnx", "safetensors", "bundle"):
        run("export", "@run", "--format", form, "--out", f"@{form}")
    patient = min((cohort / "Duke-Breast-Cancer-MRI").iterdir())
    box = ("--box", 4, 16, 4, 16, 2, 8)
    run("predict", "@run", patient, *box, "--out", "@predicted")
    run("predict", "@safetensors", patient, *box, "--out", "@predicted-of-export")


def _sweep(commands: Commands) -> None:
    run = commands.run
    run("tune", "--config", "@sweep.yaml")
    run("status", "@sweep", "--html", "@sweep.html")
    _look_at_board(commands)
    run("promote", "@sweep", "--out", "@promoted")


def _look(commands: Commands) -> None:
    run = commands.run
    quick = ("--no-baselines", "--saliency", 0, "--resamples", 100, "--purpose", "test")
    run("evaluate", "@run", "--out", "@report", *quick)
    run("evaluate", "@run-ray", "--out", "@report-ray", *quick)
    run("compare", "@report", "@report-ray", "--out", "@comparison")
    run("verify", "@run")
    run("reproduce", "@cohort", "--out", "@reproduced", "--quick", "--dry-run")
    run("doctor", "--storage", commands.folder)


def _look_at_board(commands: Commands) -> None:
    board = commands.start("board", "@sweep", "--port", 0)
    try:
        assert board.stdout is not None
        address = re.search(r"http://\S+", board.stdout.readline())
        assert address, board.communicate()
        for page in _PAGES:
            urllib.request.urlopen(address[0] + page, timeout=20).read()
        board.send_signal(signal.SIGINT)
        end(board, status=130)
    finally:
        if board.returncode is None:
            kill_session(board)


def _write(path: Path, values: object) -> None:
    path.write_text(yaml.safe_dump(values))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
