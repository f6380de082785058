"""A report that is written over another one, and loses power at any time."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from radiotrain.verify import verify
from tests.power_loss.conftest import Recorder
from tests.power_loss.disk import Loss, Tree, read_tree, write_tree

pytestmark = pytest.mark.slow


def test_a_report_is_one_of_the_two_or_not_there(recorded: Recorder, disk: Path) -> None:
    done = recorded("report")
    last = read_tree(done.folder)
    first = next(loss.tree for loss in done.losses if loss.marks == 1)
    for loss in done.losses:
        _check(loss, [first, last])
        if "report/metrics.json" in loss.tree and "report/report.html" in loss.tree:
            write_tree(loss.tree, disk)
            assert [r.problems for r in verify(str(disk), lambda _: []) if r.problems] == []
            shutil.rmtree(disk)


def _check(loss: Loss, whole: list[Tree]) -> None:
    what = f"after {loss.after} operations, {loss.how}"
    page = loss.tree.get("report/report.html")
    if page is None:
        # Before the first was written, and while the second was.
        assert loss.marks < 2, what
        return
    (expected,) = [tree for tree in whole if tree["report/report.html"] == page]
    for name, content in expected.items():
        assert loss.tree[name] == content, f"{what}: {name}"
    assert loss.marks < 2 or expected is whole[1], what
    assert json.loads(loss.tree["report/metrics.json"] or b"")
