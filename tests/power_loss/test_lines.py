"""Files that grow: the access log of a test set, and what a sweep keeps."""

from __future__ import annotations

import shutil
from pathlib import Path

from cluster.sweep.folder import SweepFolder
from preprocessing.common.errors import MissingPathError
from radiotrain.split.access_log import read_access_log
from radiotrain.split.split import Split, SplitPatients, load_split, save_split
from radiotrain.split.test_set_access import open_test_set
from tests.power_loss.conftest import Recorder
from tests.power_loss.disk import write_tree

PURPOSES = ["first", "second", "third"]


def test_an_access_to_the_test_set_outlasts_a_loss_of_power(
    recorded: Recorder, memory: Path, disk: Path
) -> None:
    split = memory / "splits.json"
    save_split(
        Split(
            0,
            ("ER",),
            0.2,
            ("a",),
            (("b",), ("c",)),
            SplitPatients(("ER",), {}, dict.fromkeys("abc", "0")),
        ),
        str(split),
    )
    for loss in recorded("access", split).losses:
        write_tree(loss.tree, disk)
        url = str(disk / "splits.json")
        log = read_access_log(url)
        found = [record.purpose for record in log.records]
        assert found == PURPOSES[: len(found)], loss.how
        # The first mark is of the split.
        assert len(found) >= loss.marks - 1, f"after {loss.after} operations, {loss.how}"
        assert log.problems == (), loss.how
        try:
            load_split(url)
        except MissingPathError:
            assert loss.marks == 0
        else:
            open_test_set(url, "later", [])
            assert read_access_log(url).records[-1].purpose == "later"
        shutil.rmtree(disk)


def test_what_a_sweep_keeps_outlasts_a_loss_of_power(recorded: Recorder, disk: Path) -> None:
    for loss in recorded("sweep").losses:
        write_tree(loss.tree, disk)
        kept = SweepFolder(str(disk / "sweep"))
        suggestions, timeline = kept.read_suggestions(), kept.read_timeline()
        assert [s.number for s in suggestions] == list(range(len(suggestions)))
        assert [s.rung for s in timeline] == list(range(len(timeline)))
        what = f"after {loss.after} operations, {loss.how}"
        assert len(suggestions) + len(timeline) >= loss.marks, what
        shutil.rmtree(disk)
