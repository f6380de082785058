"""Folders that other users of a machine cannot look into, and folders for sockets."""

from __future__ import annotations

import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

from preprocessing import files
from preprocessing.errors import InputError

# Read, write and search for the owner; nothing for anybody else.
_PRIVATE = 0o700
# The longest name of a socket with a file, on Linux.
_SOCKET_BYTES = 107


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


def socket_folder(name_bytes: int, wanted: str | None = None) -> str:
    """Return a folder in which sockets can have names so long: that for temporary files, or ``/tmp``.

    Batch systems like long names for folders for temporary files.

    Parameters
    ----------
    name_bytes
        Of a socket, from the slash after the folder.
    wanted
        Instead of the folder for temporary files.

    Raises
    ------
    InputError
        If both have names that are too long, or cannot be written.
    """
    wanted = wanted or tempfile.gettempdir()
    for folder in (wanted, "/tmp"):
        fits = len(os.fsencode(folder)) + name_bytes <= _SOCKET_BYTES
        if fits and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise InputError(
        f"sockets cannot be made in {wanted}, whose name may have {_SOCKET_BYTES - name_bytes} bytes, nor"
        " in /tmp: set TMPDIR to a folder with a short name that can be written"
    )
