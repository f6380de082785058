"""A training that loses power at any time, and the export of what it made."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from preprocessing.storage.durable import PARTIAL
from radiotrain.export.load import load_export
from radiotrain.runs.checkpoint import load_newest_checkpoint
from radiotrain.runs.run_folder import RunFolder
from radiotrain.split.split import make_split, save_split
from radiotrain.training.loop import train
from radiotrain.verify import verify
from tests.power_loss.conftest import Recorded, Recorder
from tests.power_loss.disk import Loss, Tree, read_tree, write_tree
from tests.power_loss.runs import EPOCHS, config
from tests.unit.training.cut_training import must_equal
from tests.unit.training.synthetic import write_store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(memory: Path) -> tuple[str, str]:
    """A store and its split."""
    store, split = str(memory / "training" / "store"), str(memory / "training" / "splits.json")
    save_split(make_split(write_store(store, 24), seed=3, num_folds=3), split)
    return store, split


@pytest.fixture(scope="module")
def trained(recorded: Recorder, inputs: tuple[str, str]) -> Recorded:
    return recorded("train", *inputs)


def test_a_run_has_at_any_time_what_its_record_says(trained: Recorded, disk: Path) -> None:
    # A half-written file beside its place makes no difference to who reads.
    different = {(_read_by_others(loss.tree), loss.marks): loss for loss in trained.losses}
    for loss in different.values():
        write_tree(loss.tree, disk)
        _check(loss, RunFolder(str(disk / "run")))
        shutil.rmtree(disk)


def _read_by_others(tree: Tree) -> frozenset[tuple[str, bytes | None]]:
    return frozenset(
        (name, content) for name, content in tree.items() if not name.endswith(PARTIAL)
    )


def _check(loss: Loss, folder: RunFolder) -> None:
    what = f"after {loss.after} operations, {loss.how}"
    record = folder.read_record()
    if record is None:
        assert loss.marks == 0, what
        return
    assert [r.problems for r in verify(folder.url, lambda _: []) if r.problems] == [], what
    assert len(folder.read_history(record)) >= record.num_epochs, what
    assert loss.marks == 0 or record.status == "finished", what
    if record.num_epochs:
        assert load_newest_checkpoint(folder.checkpoints) is not None, what
        folder.read_predictions()
    if record.status == "finished":
        assert record.num_epochs == EPOCHS, what


def test_some_lost_runs_are_finished_later(
    trained: Recorded, inputs: tuple[str, str], disk: Path
) -> None:
    """To the undisturbed run's bits."""
    chosen = [loss for loss in trained.losses if loss.tree]
    for loss in random.Random(0).sample(chosen, 12):
        write_tree(loss.tree, disk)
        train(config(*inputs, disk / "run"), reporter=lambda _: None)
        must_equal(str(trained.folder / "run"), str(disk / "run"), loss.after)
        shutil.rmtree(disk)


def test_an_export_is_whole_or_not_there(recorded: Recorder, trained: Recorded, disk: Path) -> None:
    exported = recorded("export", trained.folder / "run")
    whole = read_tree(exported.folder / "exports" / "model")
    found = [_exported(loss, disk, whole) for loss in exported.losses]
    assert True in found
    assert False in found


def _exported(loss: Loss, disk: Path, whole: dict[str, bytes | None]) -> bool:
    write_tree(loss.tree, disk)
    model = disk / "exports" / "model"
    is_there = model.exists()
    if is_there:
        assert read_tree(model) == whole, f"after {loss.after} operations, {loss.how}"
        load_export(str(model))
    assert is_there or loss.marks == 0
    shutil.rmtree(disk)
    return is_there
