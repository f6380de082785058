"""Folders that other users of a machine cannot look into."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

from preprocessing import files
from preprocessing.errors import InputError

# Read, write and search for the owner; nothing for anybody else.
_PRIVATE = 0o700


def make_private(url: str) -> None:
    """Make a folder that its owner alone can look into; one that exists keeps its permissions.

    Folders above it are made as the user's umask says. On an object store nothing is done.
    """
    if files.is_local(url):
        path = Path(files.absolute(url))
        path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            path.mkdir(mode=_PRIVATE)


def is_private(folder: Path) -> bool:
    """Tell whether a folder is this user's own, closed to others, and no link.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    found = folder.lstat()
    own = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return own and not found.st_mode & ~_PRIVATE & 0o777


def make_own(folder: Path, what: str, remedy: str) -> None:
    """Make a private folder where every user may make some, under a name that others can know.

    Raises
    ------
    InputError
        If what is there under its name belongs to another user, or is open to others.
    """
    with suppress(FileExistsError):
        folder.mkdir(mode=_PRIVATE)
    with suppress(FileNotFoundError):
        if not is_private(folder):
            raise InputError(
                f"{folder}, where {what}, is not this user's own: have it removed, or {remedy}"
            )
