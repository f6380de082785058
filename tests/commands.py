"""The command line, called or started as a user does."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from radiotrain.cli import command_line, main
from tests.processes import descendants

# A rest before each patient wherever Dask's workers begin with this in their environment.
SLOWLY = {"DASK_DISTRIBUTED__WORKER__PRELOAD": str([str(Path(__file__).with_name("slowly.py"))])}
_started: list[subprocess.Popen[str]] = []
_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "COLUMNS": "160"}


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    error: str

    @property
    def sentence(self) -> str:
        """What a user's mistake is told in."""
        assert self.status == 2, self
        return the_sentence(self.error)


def attempt(*words: object) -> Ended:
    """Run a command in this process, which takes less time, however it ends."""
    out, error = io.StringIO(), io.StringIO()
    before, sys.argv = sys.argv, ["radiotrain", *map(str, words)]
    status = 0
    try:
        with redirect_stdout(out), redirect_stderr(error):
            main()
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.argv = before
    return Ended(status, out.getvalue(), error.getvalue())


def call(*words: object, status: int = 0) -> tuple[str, str]:
    """Run a command in this process and check its exit status; return its output and errors."""
    done = attempt(*words)
    assert done.status == status, f"{words}: {done.out[-2000:]}\n{done.error[-4000:]}"
    return done.out, done.error


@cache
def every_command() -> dict[tuple[str, ...], Any]:
    """Return all commands and groups by the words that call them, the program itself by none."""
    found: dict[tuple[str, ...], Any] = {(): command_line()}
    todo: list[tuple[str, ...]] = [()]
    while todo:
        path = todo.pop()
        for name, inner in getattr(found[path], "commands", {}).items():
            if inner.hidden:  # an earlier name
                continue
            found[*path, name] = inner
            todo.append((*path, name))
    return found


def name_of(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words that name a command, of a whole line."""
    return max((path for path in every_command() if tuple(words[: len(path)]) == path), key=len)


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "radiotrain", *map(str, words)]


def start(
    *words: object,
    slowly: bool = False,
    program: tuple[str, str] = ("-m", "radiotrain"),
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a command as the leader of a session of its own.

    Parameters
    ----------
    slowly
        With a rest before each patient that Dask's workers preprocess.
    program
        What Python is given to run instead.
    environment
        Variables beside those that there are.
    """
    process = subprocess.Popen(
        [sys.executable, *program, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **_ENVIRONMENT, **(SLOWLY if slowly else {}), **(environment or {})},
    )
    _started.append(process)
    return process


def end(process: subprocess.Popen[str], status: int = 0, timeout_s: float = 120) -> tuple[str, str]:
    """Wait for a command's end and check its exit status; return its output and errors."""
    done = ended(process, timeout_s)
    assert done.status == status, f"{process.args}: {done.out[-2000:]}\n{done.error[-4000:]}"
    return done.out, done.error


def ended(process: subprocess.Popen[str], timeout_s: float = 120) -> Ended:
    """Wait for a command's end, whatever it is."""
    try:
        out, error = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        kill_session(process)
        raise
    return Ended(process.returncode, out, error)


def end_all() -> None:
    """Kill what a failed test has left running."""
    while _started:
        process = _started.pop()
        if process.returncode is None:
            kill_session(process)


def kill_session(process: subprocess.Popen[str]) -> None:
    """Kill -9 a command with all its workers, and the commands that it has started."""
    started = descendants(process.pid)
    os.killpg(process.pid, signal.SIGKILL)
    for pid in started:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.communicate()


def the_sentence(error: str) -> str:
    """Return the one sentence that a user's mistake is told in."""
    assert "Traceback" not in error, error
    sentences = [line for line in error.splitlines() if line.startswith("error: ")]
    assert len(sentences) == 1, error
    return sentences[0]
