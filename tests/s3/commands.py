"""The command line, called as a user does, and what it leaves behind."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from radiotrain.cli import main

CROP = ("--crop-shape", 24, 24, 12)


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    status: int
    out: str
    error: str

    @property
    def sentence(self) -> str:
        """What a failed command says: one line, and no traceback."""
        assert self.status == 2, self
        assert "Traceback" not in self.error, self.error
        (line,) = [x for x in self.error.splitlines() if x.startswith("error: ")]
        return line


def call(*words: object) -> Ended:
    """Run a command in this process."""
    before, sys.argv = sys.argv, ["radiotrain", *map(str, words)]
    out, error = io.StringIO(), io.StringIO()
    status = 0
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
            main()
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.argv = before
    return Ended(status, out.getvalue(), error.getvalue())


def start(
    *words: object, temporary: Path, program: tuple[str, str] = ("-m", "radiotrain")
) -> subprocess.Popen[str]:
    """Run a command in a session of its own, with a folder for its temporary files."""
    return subprocess.Popen(
        [sys.executable, *program, *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)},
    )


def ended(process: subprocess.Popen[str], timeout: float) -> Ended:
    out, error = process.communicate(timeout=timeout)
    return Ended(process.returncode, out, error)


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def objects(bucket: Any, url: str) -> dict[str, bytes]:
    """Return all objects below a URL, by name relative to it."""
    root = url.removeprefix("s3://")
    found = bucket.find(root)
    return {k[len(root) + 1 :]: v for k, v in bucket.cat(found).items()} if found else {}
