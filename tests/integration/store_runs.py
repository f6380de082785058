"""Preprocessing as real processes: started, watched, ended; and stores compared byte for byte."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path

import dask
from distributed import LocalCluster

from preprocessing.dask_home import SCHEDULER_SETTINGS
from radiotrain.cli import main

CROP = ("--crop-shape", "32", "32", "16")
# A rest before each patient wherever Dask's workers begin with this in their environment.
SLOWLY = {"DASK_DISTRIBUTED__WORKER__PRELOAD": str([str(Path(__file__).with_name("slowly.py"))])}
_started: list[subprocess.Popen[str]] = []
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "160"}


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "radiotrain", *map(str, words)]


def start(*words: object, slowly: bool = False) -> subprocess.Popen[str]:
    """Start a command as the leader of a session of its own."""
    process = subprocess.Popen(
        command(*words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **_ENVIRONMENT, **(SLOWLY if slowly else {})},
    )
    _started.append(process)
    return process


def end_all() -> None:
    """Kill what a failed test has left running."""
    while _started:
        process = _started.pop()
        if process.returncode is None:
            kill_session(process)


def end(process: subprocess.Popen[str], status: int = 0, timeout_s: float = 120) -> tuple[str, str]:
    """Wait for a command's end and check its exit status; return its output and errors."""
    try:
        out, error = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        kill_session(process)
        raise
    assert process.returncode == status, f"{process.args}: {out[-2000:]}\n{error[-4000:]}"
    return out, error


def call(*words: object, status: int = 0) -> tuple[str, str]:
    """Run a command in this process, which takes less time; check its exit status.

    Returns its output and errors.
    """
    out, error = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["radiotrain", *map(str, words)]
    found = 0
    try:
        with redirect_stdout(out), redirect_stderr(error):
            main()
    except SystemExit as ended:
        found = ended.code
    finally:
        sys.argv = before
    assert found == status, f"{words}: {out.getvalue()[-2000:]}\n{error.getvalue()[-4000:]}"
    return out.getvalue(), error.getvalue()


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


def the_sentence(error: str) -> str:
    """Return the one sentence that a user's mistake is told in."""
    assert "Traceback" not in error, error
    sentences = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1, error
    return sentences[0]


def kill_session(process: subprocess.Popen[str]) -> None:
    """Kill -9 a command with all its workers, and the commands that it has started."""
    started = descendants(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    for pid in started:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s in vain for {what}"
        time.sleep(0.01)


def workers_of(pid: int) -> list[int]:
    """Return the Dask worker processes below a process."""
    return [p for p in descendants(pid) if b"multiprocessing.spawn" in command_line(p)]


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def descendants(pid: int) -> list[int]:
    """Return the processes below a process."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


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
