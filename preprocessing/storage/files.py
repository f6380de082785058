"""Small files on a folder or an object store, written whole or not at all; private folders."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import fsspec

from preprocessing.common.errors import InputError, MissingPathError, StorageFullError, is_disk_full
from preprocessing.storage import durable
from preprocessing.storage.s3_options import storage_options

# How a file is called while it is being written.
PARTIAL = durable.PARTIAL
# Called with the URL before a file is written, to refuse it; see `preprocessing.storage.folder_lock`.
before_write: list[Callable[[str], None]] = []

_LOCAL_SCHEMES = ("file://", "local://")

# What a file system that has no hard links says.
_NO_LINKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EMLINK, errno.EXDEV)


def filesystem(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of `url` and the path inside it."""
    fs, path = fsspec.core.url_to_fs(url, **storage_options(url))
    return fs, path.rstrip("/")


def is_local(url: str) -> bool:
    """Tell whether `url` is a folder on this machine rather than an object store."""
    return "file" in _protocols(filesystem(url)[0])


def absolute(url: str | Path) -> str:
    """Return a local path made absolute; leave ``s3://…`` and other URLs as they are.

    A place on this machine has one name, whether it comes as a path, by a link or as ``file://…``.
    """
    text = _without_scheme(str(url))
    return text.rstrip("/") if "://" in text else str(Path(text).expanduser().resolve())


def _without_scheme(text: str) -> str:
    """Return the path that ``file://…`` names; anything else as it is."""
    if not text.startswith(_LOCAL_SCHEMES):
        return text
    return str(filesystem(text)[1]) or "/"


def join(url: str, *parts: str) -> str:
    """Append path parts to a folder or URL."""
    return "/".join((url.rstrip("/"), *parts))


def exists(url: str) -> bool:
    """Tell whether a file or folder is there."""
    fs, path = filesystem(url)
    if is_local(url):
        return bool(fs.exists(path))
    try:
        # Not `exists`, which takes a bucket that it may not or cannot look at for a missing one.
        fs.info(path)
    except FileNotFoundError:
        return False
    return True


def list_names(url: str) -> list[str]:
    """Return the sorted names in a folder; empty where there is no such folder."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    try:
        return sorted(str(p).rstrip("/").rsplit("/", 1)[-1] for p in fs.ls(path, detail=False))
    except FileNotFoundError:
        return []


def to_path(text: str | Path) -> Path:
    """Return a place on this machine as `Path`, one on an object store as what acts like it."""
    text = _without_scheme(text) if isinstance(text, str) else text
    if isinstance(text, str) and "://" in text:
        from upath import UPath

        # A cohort does not change while it is read, and is looked at folder by folder.
        options = storage_options(text) | {"use_listings_cache": True}
        path = UPath(text.rstrip("/"), **options)
        path.fs.invalidate_cache()
        return cast(Path, path)
    return Path(text).expanduser().resolve() if isinstance(text, (str, Path)) else text


def sizes_below(folder: Path) -> dict[str, int]:
    """Return the size in bytes of all files below a folder, by path relative to it."""
    if isinstance(folder, Path):
        return dict(_walk_sizes(str(folder), "", frozenset()))
    fs, path = filesystem(str(folder))
    found = fs.find(path, detail=True)
    return {name[len(path) :].lstrip("/"): int(info["size"]) for name, info in found.items()}


def _walk_sizes(folder: str, prefix: str, above: frozenset[str]) -> Iterator[tuple[str, int]]:
    """Yield relative paths and sizes; a link back to one of the folders above is not followed."""
    here = above | {os.path.realpath(folder)}
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                if not (entry.is_symlink() and os.path.realpath(entry.path) in here):
                    yield from _walk_sizes(entry.path, f"{prefix}{entry.name}/", here)
            elif entry.is_file():
                yield prefix + entry.name, entry.stat().st_size


def read_bytes(url: str) -> bytes:
    """Return a file's content.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    fs, path = filesystem(url)
    content: bytes = fs.cat_file(path)
    return content


def read_text(url: str) -> str:
    """Return a file's content as UTF-8 text."""
    return read_bytes(url).decode("utf-8")


def read_many(urls: Sequence[str]) -> list[bytes]:
    """Return some files' content; an object store is asked for all at once."""
    if not urls:
        return []
    fs, _ = filesystem(urls[0])
    paths = [filesystem(url)[1] for url in urls]
    contents = fs.cat(paths)
    if isinstance(contents, bytes):  # what fsspec makes of a list of one
        return [contents]
    return [contents[path] for path in paths]


def remove(*urls: str) -> None:
    """Remove files, those that are there; what is written later is on the disk later."""
    local = []
    for url in urls:
        fs, path = filesystem(url)
        if "file" in _protocols(fs):
            local.append(Path(path))
            continue
        with suppress(FileNotFoundError):
            fs.rm_file(path)
    durable.remove(local)


def write_bytes(url: str, content: bytes, *, private: bool = False) -> None:
    """Write a file so that a reader sees the old content, the new content, or an error.

    A local file is written beside its place, synced and renamed, and its folder synced: it is on
    the disk before what is written next. An object store's put is whole and lasting by itself.

    Parameters
    ----------
    private
        Whether other users of the machine may not read it.

    Raises
    ------
    StorageFullError
        If the disk is full. The old content is still there.
    MissingPathError
        If there is no such bucket.
    """
    for check in before_write:
        check(url)
    fs, path = filesystem(url)
    if "file" not in _protocols(fs):
        _put(fs, path, content)
        return
    try:
        durable.write(Path(path), content, permissions=0o600 if private else 0o666)
    except OSError as error:
        if is_disk_full(error):
            raise StorageFullError(
                f"disk full while writing {path}: free some space and run the same command again"
            ) from error
        raise


def write_new(url: str, text: str) -> None:
    """Write a file whole, unless there is one: of several writers at once, one does.

    An object store that does not know conditional writes replaces what there is.

    Raises
    ------
    FileExistsError
        If there is one (or one is being written). On an object store it may be ours: an answer
        that was lost on its way makes the client ask again.
    """
    for check in before_write:
        check(url)
    fs, path = filesystem(url)
    if "file" in _protocols(fs):
        _link_new(Path(path), text.encode("utf-8"))
        return
    try:
        _put(fs, path, text.encode("utf-8"), mode="create")
    except OSError as error:
        response = getattr(error.__cause__, "response", {})
        code = response.get("Error", {}).get("Code")
        if code == "NotImplemented":
            _put(fs, path, text.encode("utf-8"))
        elif code in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise FileExistsError(url) from error
        else:
            raise


def _link_new(target: Path, content: bytes) -> None:
    """Write a file beside its place, and give it its name where that is free."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}{PARTIAL}")
    write_bytes(str(temporary), content)
    try:
        os.link(temporary, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        with target.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    finally:
        temporary.unlink(missing_ok=True)


def _put(fs: Any, path: str, content: bytes, **options: Any) -> None:
    try:
        fs.pipe_file(path, content, **options)
    except FileNotFoundError as error:
        bucket = path.partition("/")[0]
        raise MissingPathError(
            f"there is no bucket {bucket!r} to write to: make it first, or correct its name"
        ) from error


def remove_partial(folder: str) -> None:
    """Remove what killed writers left behind in a local folder."""
    for place, _, names in os.walk(folder):
        for name in names:
            if name.endswith(PARTIAL):
                (Path(place) / name).unlink(missing_ok=True)


def write_text(url: str, text: str) -> None:
    """Write UTF-8 text whole or not at all; see `write_bytes`."""
    write_bytes(url, text.encode("utf-8"))


def _protocols(fs: Any) -> tuple[str, ...]:
    protocol = fs.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


# Read, write and search for the owner; nothing for anybody else.
_PRIVATE = 0o700
# The longest name of a socket with a file, on Linux.
_SOCKET_BYTES = 107


def make_private(url: str) -> None:
    """Make a folder that its owner alone can look into; one that exists keeps its permissions.

    Folders above it are made as the user's umask says. On an object store nothing is done.
    """
    if is_local(url):
        path = Path(absolute(url))
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
