"""What a program does to files, recorded by ``strace`` while it runs.

The kernel's own calls are recorded, with all that was written, of every thread and child of a real process:
whichever library made them. That nothing is left out shows in the end, when replaying all of it must give the
tree that the program left (`disk.Disk.volatile_tree`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_CALLS = (
    "open", "openat", "creat", "write", "pwrite64", "writev", "pwritev", "ftruncate", "truncate", "lseek",
    "fallocate", "rename", "renameat", "renameat2", "unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "link",
    "linkat", "symlink", "symlinkat", "fsync", "fdatasync", "access", "faccessat", "faccessat2",
    "copy_file_range", "sendfile", "sync_file_range",
)  # fmt: skip
_LINE = re.compile(r"(\d+) +(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)(?:<([^>]*)>)?")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_MARK = "/power-loss-mark/"

Kind = Literal[
    "open",
    "write",
    "seek",
    "truncate",
    "rename",
    "link",
    "unlink",
    "mkdir",
    "rmdir",
    "sync",
    "mark",
]


@dataclass(frozen=True)
class Operation:
    """One call that changed or synced something.

    Parameters
    ----------
    path, other
        As they were named; `other` is where a file was moved or linked to.
    number
        Where it was written, or how long it was made; -1: where the file's last write ended.
    flags
        What a file was opened with.
    """

    kind: Kind
    path: str
    other: str = ""
    content: bytes = b""
    number: int = -1
    flags: str = ""


def why_not() -> str | None:
    """Tell why nothing can be recorded here; None where it can."""
    if shutil.which("strace") is None:
        return "no strace here: apt-get install strace"
    words = ["strace", "-o", os.devnull, "true"]
    probe = subprocess.run(words, capture_output=True, text=True, check=False)
    return f"strace may not trace here: {probe.stderr.strip()}" if probe.returncode else None


def mark(name: str) -> None:
    """Leave a mark in the recording: what came before is promised to last."""
    os.access(_MARK + name, os.F_OK)


def record(folder: Path, scratch: Path, *words: object) -> list[Operation]:
    """Run Python with some arguments; return what it did to files below a folder, in order."""
    log = scratch / "strace.txt"
    command = [
        "strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "100000000", "-qq", "-o", log,
        "-e", f"trace={','.join(_CALLS)}", "-e", "signal=none",
        sys.executable, *words,
    ]  # fmt: skip
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    with log.open(encoding="ascii") as lines:
        found = [op for line in _whole_lines(lines) for op in _operation(line)]
    log.unlink()
    below = f"{folder}/"
    return [op for op in found if op.kind == "mark" or f"{op.path}/".startswith(below)]


def _whole_lines(lines: Iterator[str]) -> Iterator[str]:
    """Join what was written of a call before and after others'; it counts when it has returned."""
    begun: dict[str, str] = {}
    for line in lines:
        match = _LINE.match(line)
        assert match is not None, line[:200]
        pid, text = match[1], match[2].rstrip()
        if text.endswith("<unfinished ...>"):
            begun[pid] = text.removesuffix("<unfinished ...>").rstrip()
        elif text.startswith("<... "):
            yield begun.pop(pid, "") + text.partition(" resumed>")[2]
        else:
            yield text


def _operation(line: str) -> Iterator[Operation]:
    match = _CALL.match(line)
    if match is None:
        return
    name, arguments, result, opened = match[1], match[2], int(match[3]), match[4]
    strings = [_plain(text) for text in _STRING.findall(arguments)]
    if "access" in name:
        path = strings[0].decode()
        if path.startswith(_MARK):
            yield Operation("mark", path.removeprefix(_MARK))
        return
    if result < 0:
        return
    # The paths of descriptors, and what of a path they stand before.
    places = [_plain(text).decode(errors="replace") for text in re.findall(r"<((?:\\x[0-9a-f]{2})*)>", arguments)]  # fmt: skip
    if name in ("open", "openat", "creat"):
        assert opened is not None, line[:200]
        flags = "O_WRONLY|O_CREAT|O_TRUNC" if name == "creat" else arguments
        if "O_WRONLY" in flags or "O_RDWR" in flags:
            yield Operation("open", _plain(opened).decode(errors="replace"), flags=flags)
    elif name in ("write", "writev"):
        yield Operation("write", places[0], content=b"".join(strings)[:result])
    elif name == "pwrite64":
        offset = int(arguments.rsplit(",", 1)[1])
        yield Operation("write", places[0], content=strings[0][:result], number=offset)
    elif name == "lseek":
        yield Operation("seek", places[0], number=result)
    elif name == "ftruncate":
        yield Operation("truncate", places[0], number=int(arguments.rsplit(",", 1)[1]))
    elif name == "truncate":
        yield Operation("truncate", strings[0].decode(), number=int(arguments.rsplit(",", 1)[1]))
    elif name in ("fsync", "fdatasync"):
        yield Operation("sync", places[0])
    elif name in ("rename", "renameat", "renameat2", "link", "linkat"):
        source, target = _paths(strings, places)
        yield Operation("link" if "link" in name else "rename", source, target)
    elif name in ("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat"):
        (path,) = _paths(strings, places)
        is_folder = name == "rmdir" or "AT_REMOVEDIR" in arguments
        kind: Kind = "mkdir" if "mkdir" in name else "rmdir" if is_folder else "unlink"
        yield Operation(kind, path)
    else:
        # Were one of these used below the folder, the replayed tree would be another than the real one.
        return


def _paths(strings: list[bytes], places: list[str]) -> list[str]:
    """Return paths, each in the folder that its descriptor names if it is relative."""
    found = []
    for number, string in enumerate(strings):
        path = string.decode(errors="replace")
        if not path.startswith("/"):
            base = places[number] if number < len(places) else str(Path.cwd())
            path = f"{base}/{path}"
        found.append(os.path.normpath(path))
    return found


def _plain(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))
