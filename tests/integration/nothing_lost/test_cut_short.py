"""Cut short at every step of writing, with a store so small that there are few."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.nothing_lost.common import needs_root, skip_if_nobody_may_mount


@contextmanager
def memory_folder():
    """A folder in memory where there is one: `fsync` to a disk takes most of the time otherwise."""
    shared = "/dev/shm"
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as folder:
        yield folder


def cut_short(how, *prefix):
    with memory_folder() as folder:
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "tests.integration.cut_short", folder, how],
            cwd=Path(__file__).parents[3],
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )
    if prefix:
        skip_if_nobody_may_mount(done.stderr)
    assert done.returncode == 0, done.stderr
    return {name: int(number) for name, number in map(str.split, done.stdout.splitlines())}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["killed", "refused"])
def test_cut_short_at_any_step_a_store_is_finished_later(how):
    """Kill -9, or no space left, before each single change of a file: making, adding, repairing."""
    steps = cut_short(how)
    assert steps["make"] >= 30
    assert steps["add"] >= 20
    assert steps["repair"] >= 10


def test_a_worker_killed_at_any_step_leaves_nothing_behind():
    """The run goes on, and gives its patient to another."""
    assert cut_short("worker")["write"] >= 8


@needs_root
def test_on_a_disk_of_any_size_a_store_is_finished_later():
    """A real file system with one more free page each time."""
    pages = cut_short("full", "unshare", "--mount")
    assert pages["make"] >= 15
    assert pages["add"] >= 6
    assert pages["repair"] >= 1
