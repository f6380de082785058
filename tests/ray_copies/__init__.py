"""Ray's workers as copies of a process that has loaded what they need.

A training under Ray Train starts seven processes, each of which loads Ray, torch and MONAI before it
does anything: two thirds of what such a test took. Here Ray starts `ask.py` in the place of its own
`setup_worker.py`; that asks `loaded.py` for a copy of itself (fork), which runs Ray's worker. Workers are
processes as always, with their own ids, names, environment and logs, and can be killed as always; only
what they load comes from memory instead of from files.

With `copied_workers`, all Rays that a process of tests starts are such, and those of programs that begin
with `PROGRAM`. A Ray that any other command starts, `ray up` among them, is as a user's.

Nobody but tests does so: the copies know much of Ray's inside, and the version of Ray is pinned.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SOCKET_VARIABLE = "RAY_COPIES_SOCKET"
_ROOT = Path(__file__).parents[2]
# What a Python program of tests begins with, so that its own Ray is such a one.
PROGRAM = f"""
import sys
sys.path.insert(0, {str(_ROOT)!r})
from tests.ray_copies import copy_workers
copy_workers()
"""
# The command, after that as a user's.
COMMAND = PROGRAM + "from radiotrain.cli import main; main()"


def copy_workers() -> None:
    """Let Rays that this process starts have such workers, where there is a process to copy."""
    if _SOCKET_VARIABLE in os.environ:
        from ray._private import ray_constants

        # Joined to the folder of Ray's own, an absolute path stays as it is.
        ray_constants.SETUP_WORKER_FILENAME = str(Path(__file__).with_name("ask.py"))


@contextmanager
def copied_workers() -> Iterator[None]:
    """Start the process to copy, for Rays of this process and of programs that it starts."""
    from ray._private import ray_constants

    with tempfile.TemporaryDirectory(prefix="rc-", dir="/tmp") as folder:
        socket = Path(folder, "socket")
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-m", f"{__name__}.loaded", str(socket)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            cwd=_ROOT,
            process_group=0,
            # As Ray itself sets it for a worker of one CPU.
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        own = ray_constants.SETUP_WORKER_FILENAME
        os.environ[_SOCKET_VARIABLE] = str(socket)
        copy_workers()
        try:
            yield
        finally:
            ray_constants.SETUP_WORKER_FILENAME = own
            del os.environ[_SOCKET_VARIABLE]
            # It ends with its input.
            process.communicate()
