"""Run commands as steps of a longer one, each in its own process."""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import Thread

import typer

from preprocessing.processes.stop_notice import NOTICES

# Names the process that a step must not outlast.
_STEP_OF = "RADIOTRAIN_STEP_OF"
_PR_SET_PDEATHSIG = 1
_FORWARDED = (signal.SIGINT, *NOTICES)


def run_step(*words: object, quiet: bool = False) -> None:
    """Run one of radiotrain's commands as a person would.

    Parameters
    ----------
    quiet
        Print only the last two lines of its output.

    Raises
    ------
    typer.Exit
        With its exit status, if that is not 0.
    """
    command = [str(word) for word in words]
    typer.secho(f"\n$ {as_typed(command)}", bold=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "radiotrain", *command],
        stdout=subprocess.PIPE if quiet else None,
        text=True,
        env={
            **os.environ,
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
            _STEP_OF: str(os.getpid()),
        },
        # Ctrl-C then reaches it once, through us, and we can wait until it has ended in order.
        process_group=0,
    )
    with _forwarding_signals(process):
        output, _ = process.communicate()
    if quiet and output:
        typer.echo("\n".join(output.splitlines()[-2:]))
    if process.returncode:
        # A step that a signal has ended counts as ended by the shell's rule.
        status = process.returncode if process.returncode > 0 else 128 - process.returncode
        raise typer.Exit(status)


def end_with_parent() -> None:
    """Where this process is a step of a longer command, end when that is killed.

    To be called first of all. A step is killed as its command was: run again, that finds no other writer.
    """
    parent = os.environ.pop(_STEP_OF, None)
    if parent is None:
        return
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        Thread(target=_end_after, args=(int(parent),), daemon=True).start()
    if os.getppid() != int(parent):  # killed before
        os.kill(os.getpid(), signal.SIGKILL)


def _end_after(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os.kill(os.getpid(), signal.SIGKILL)


def as_typed(words: Sequence[object]) -> str:
    """Return a command as a person would type it."""
    return shlex.join(["radiotrain", *map(str, words)])


@contextmanager
def _forwarding_signals(process: subprocess.Popen[str]) -> Iterator[None]:
    before = {
        number: signal.signal(number, lambda n, _: process.send_signal(n)) for number in _FORWARDED
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
