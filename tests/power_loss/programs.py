"""What is recorded: ``python -m tests.power_loss.programs NAME FOLDER INPUT…``.

Each writes below FOLDER only, and leaves a mark when what it was asked for is done.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.power_loss.recording import mark


def store(folder: Path) -> None:
    """Make a store, append a patient, take one back and make it again."""
    from tests.integration.cut_short import LARGER, SPEC, fill, make_again

    url = str(folder / "store")
    for name, work in (
        ("made", lambda: fill(url, SPEC)),
        ("repaired", lambda: make_again(url)),
        ("added", lambda: fill(url, LARGER)),
    ):
        work()
        mark(name)


def train(folder: Path, store: str, split: str) -> None:
    """Train a network for some epochs."""
    from radiotrain.training.loop import train as train_run
    from tests.power_loss.runs import config

    train_run(config(store, split, folder / "run"), reporter=lambda _: None)
    mark("trained")


def access(folder: Path, split: str) -> None:
    """Open a test set three times."""
    from preprocessing.storage import files
    from radiotrain.split.test_set_access import open_test_set

    here = str(folder / "splits.json")
    files.write_text(here, Path(split).read_text())
    mark("split")
    for purpose in ("first", "second", "third"):
        open_test_set(here, purpose, ["a"])
        mark(purpose)


def sweep(folder: Path) -> None:
    """Keep what a sweep suggests and trains."""
    from cluster.sweep.folder import Suggestion, SweepFolder, TrialInterval

    kept = SweepFolder(str(folder / "sweep"))
    for number in range(3):
        kept.add_suggestion(Suggestion("ER", number, "ResNet10-narrow", {"train.lr": 0.1 * number}))
        mark(f"suggestion {number}")
        kept.add_segment(TrialInterval("ER_0", number, 1, "host", 1, 0.0, 1.0, 2.0, 1.0))
        mark(f"segment {number}")


def export(folder: Path, run: str) -> None:
    """Export a trained run."""
    from tests.commands import call

    call("export", run, "--format", "safetensors", "--out", folder / "exports" / "model")
    mark("exported")


def report(folder: Path) -> None:
    """Write a report, and another one over it."""
    from radiotrain.evaluation.evaluate import evaluate_table
    from radiotrain.evaluation.report.write import write_report
    from tests.unit.evaluation.test_report_order import make_table

    table = make_table()
    for name, rows in (("first", table), ("second", table[table["run"] == "net"])):
        evaluation = evaluate_table(rows, num_resamples=100)
        write_report(evaluation, rows, folder / "report")
        mark(name)


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]), *sys.argv[3:])
