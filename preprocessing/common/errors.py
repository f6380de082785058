"""Every error a user can cause: one sentence that says what, got, expected, what to do.

The command line turns any `RadiotrainError` into that sentence and exit status 2.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable

# Of a sentence: a file may hold anything where a name is expected.
_LONGEST = 2000

# What talks to an object store, from the top to the bottom.
_CLIENTS = ("fsspec", "aiobotocore", "botocore", "aiohttp")

# What the system says of a place where nothing can be written or read, whoever asks.
_OF_PLACES = {
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST,
    errno.ENAMETOOLONG,
}  # fmt: skip


def _escaped(char: str) -> str:
    return char if char.isprintable() else ascii(char)[1:-1]


class RadiotrainError(Exception):
    """Base of every error that is the input's fault, not the program's."""

    def __str__(self) -> str:
        """Return the sentence on one line, without the middle of what is too long to be read."""
        # A file's name or content may hold line breaks, a terminal's codes or halves of characters.
        text = "".join(_escaped(char) for char in super().__str__())
        if len(text) <= _LONGEST:
            return text
        return f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 4 :]}"


class InputError(RadiotrainError, ValueError):
    """A value, file content or setting that cannot be used."""


class MissingPathError(RadiotrainError, FileNotFoundError):
    """A file or folder that is not there."""


class SchemaError(RadiotrainError, ValueError):
    """A store, split or run written by another version of the format."""


class DamagedFileError(InputError):
    """A file whose content is not what was written: its checksum says so.

    Parameters
    ----------
    message
        The whole sentence.
    what
        Of it, what is wrong with the file, for lists of files.
    """

    def __init__(self, message: str, what: str = "is damaged") -> None:
        super().__init__(message)
        self.what = what

    def __reduce__(self) -> tuple[type[DamagedFileError], tuple[str, str]]:
        """Keep both when the error crosses processes."""
        return type(self), (str(self), self.what)


class SealedTestSetError(RadiotrainError, PermissionError):
    """Test patients were asked for by anything but an evaluation."""


class StorageFullError(RadiotrainError, OSError):
    """The disk (or quota) is full; nothing already written is lost."""


class StorageAwayError(OSError):
    """An object store has not answered for as long as one is waited for; the text is its client's."""


class LockLostError(RadiotrainError):
    """Another process has taken over what this one was writing to."""


def is_disk_full(error: BaseException) -> bool:
    """Tell whether an error, or any of its causes, means that the storage is full."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def storage_trouble(error: BaseException) -> str | None:
    """Return what an object store's client said, if it is behind an error; None otherwise.

    Told by module name: the clients need not be installed where nothing lies on an object store.
    """
    seen: BaseException | None = error
    while seen is not None:
        # Of another process comes the error alone, without its cause.
        is_away = isinstance(seen, StorageAwayError)
        if is_away or type(seen).__module__.partition(".")[0] in _CLIENTS:
            return " ".join(str(seen).split())
        seen = seen.__cause__ or seen.__context__
    return None


def place_trouble(error: BaseException) -> str | None:
    """Return a sentence where a file or folder that was named cannot be used; None otherwise."""
    if isinstance(error, OSError) and error.errno in _OF_PLACES and error.filename is not None:
        reason = (error.strerror or type(error).__name__).lower()
        return f"{error.filename} cannot be used ({reason}): name another place, or fix its permissions"
    return None


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word nearest to `word`, or None where all are far from it."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)), None)


def hint(meant: str | None) -> str:
    """Return ``" (did you mean 'x'?)"``, or an empty string for None."""
    return "" if meant is None else f" (did you mean {meant!r}?)"


def nearest_hint(word: str, known: Iterable[str]) -> str:
    """Return the hint at the known word nearest to `word`, or an empty string."""
    return hint(nearest(word, known))
