"""Stores made with little effort, and compared byte for byte."""

from __future__ import annotations

import tempfile
from pathlib import Path

import dask
from distributed import LocalCluster

from preprocessing.processes.dask_client import SCHEDULER_SETTINGS
from tests.commands import call

CROP = ("--crop-shape", "32", "32", "16")


def preprocess_here(*words: object) -> tuple[str, str]:
    """Call ``radiotrain preprocess``, with Dask in this process; return its output and errors.

    For tests that need a store and not how it is made: a worker that is a process takes longer to start than
    the patients take.
    """
    with (
        dask.config.set(SCHEDULER_SETTINGS),
        LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
        ) as cluster,
    ):
        before = tempfile.tempdir
        try:
            return call("preprocess", *words, "--scheduler", cluster.scheduler_address)
        finally:
            # A worker has a folder of its own, which goes with it.
            tempfile.tempdir = before


def content(folder: Path | str) -> dict[str, bytes]:
    """Return every file's bytes, by path relative to the folder."""
    root = Path(folder)
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def assert_same_store(found: Path | str, expected: Path | str) -> None:
    """Every file is there, nothing else is, and every byte is the same."""
    ours, theirs = content(found), content(expected)
    assert sorted(ours) == sorted(theirs)
    assert [name for name in theirs if ours[name] != theirs[name]] == []


def records(store: Path) -> list[Path]:
    """Return the records of the patients that are done."""
    return sorted((store / "records").glob("0*.json"))
