"""Changes to local files that are on the disk, in their order, when a function returns.

A file system may write to its disk in any order what was not synced: a renamed file before its content, a
record before the voxels that it vouches for. So a file is synced before it gets its name, and the folder that
holds the name after. A folder's own name lies in the folder above it.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import IO

# How a file is called while it is being written.
PARTIAL = ".partial"
# What file systems answer that do not sync folders, or only when they see fit.
_UNSYNCED = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EROFS, errno.ENOSYS}


def write(path: Path, content: bytes | bytearray | memoryview, *, permissions: int = 0o666) -> None:
    """Replace a file's content: after a loss of power it is the old or the new one.

    Parameters
    ----------
    permissions
        Of the file, less those that the user's umask takes away.
    """
    make_folder(path.parent)
    temporary = partial_name(path)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, permissions)
        with open(descriptor, "wb") as file:  # noqa: PTH123 - a file of other permissions
            file.write(content)
            sync_file(file)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def remove(paths: Iterable[Path]) -> None:
    """Remove files, those that are there; they do not come back after a loss of power."""
    changed = set()
    for path in paths:
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        changed.add(path.parent)
    for folder in sorted(changed):
        sync_folder(folder)


def make_folder(folder: Path) -> None:
    """Make a folder, and those above it, unless they are there."""
    new = []
    above = folder
    while not above.exists():
        new.append(above)
        above = above.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        # A file stands in the way, which is another matter than a file that is there already.
        place = next(p for p in (folder, *folder.parents) if p.exists())
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place)) from error
    for made in reversed(new):
        sync_folder(made.parent)
    # One that is there may have been made just now, by a process that has not synced it yet or was killed.
    _sync_names(above)


def move_folder(temporary: Path, target: Path) -> None:
    """Give a filled folder its name: after a loss of power it is there whole or not at all."""
    sync_tree(temporary)
    temporary.replace(target)
    sync_folder(target.parent)


def sync_tree(folder: Path) -> None:
    """Sync all files and folders below a folder, and itself."""
    for place, _, names in os.walk(folder, topdown=False):
        for name in names:
            with (Path(place) / name).open("rb") as file:
                sync_file(file)
        sync_folder(Path(place))


def sync_together(paths: Iterable[Path], below: Path) -> None:
    """Sync some files, those that are there, and then all folders between them and the one they lie below."""
    folders = set()
    for path in paths:
        folders |= {above for above in path.parents if above.is_relative_to(below)}
        with suppress(FileNotFoundError), path.open("rb") as file:
            sync_file(file)
    for folder in sorted(folders, key=lambda folder: len(folder.parts), reverse=True):
        if folder.is_dir():
            sync_folder(folder)


def sync_file(file: IO[bytes]) -> None:
    """Sync an open file's content."""
    file.flush()
    os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder, where its file system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return  # a folder that may be written to and not be listed
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSYNCED:
            raise
    finally:
        os.close(descriptor)


def partial_name(path: Path) -> Path:
    """Return how a file or folder is called, beside its place, until it is whole."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")


@lru_cache(maxsize=10_000)
def _sync_names(folder: Path) -> None:
    """Sync the names of a folder and of those above it on its file system, once a process."""
    if folder != folder.parent and not folder.is_mount():
        sync_folder(folder.parent)
        _sync_names(folder.parent)
