"""Commands that are steps of a longer one: each in a process of its own, printed as it is typed."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import typer

_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


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
        env={**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
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
