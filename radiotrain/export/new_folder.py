"""A folder that appears whole or not at all, on this machine or an object store."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from preprocessing.common.errors import InputError, StorageFullError, is_disk_full
from preprocessing.storage import durable, files
from preprocessing.storage.folder_lock import exclusive_beside
from preprocessing.storage.lock_notes import is_lock

# Tells whether a path in a folder is of a file that is written there.
IsOurs = Callable[[str], bool]


def check_new(url: str, last: str, is_ours: IsOurs) -> None:
    """Refuse a place that holds something else than an upload that was not finished.

    Parameters
    ----------
    last
        Name of the file that an object store gets last.

    Raises
    ------
    InputError
        If it is a file, or a folder that is not empty.
    """
    url = files.absolute(url)
    if files.is_local(url) and Path(url).is_file():
        raise InputError(f"{url} is a file, expected a new folder: name another --out")
    names = [name for name in files.list_names(url) if not is_lock(name)]
    if not names:
        return
    is_unfinished = not files.is_local(url) and last not in names
    if not (is_unfinished and all(map(is_ours, _paths_below(url)))):
        raise InputError(f"{url} is not empty, expected a new folder: name another --out")


@contextmanager
def new_folder(url: str, last: str, is_ours: IsOurs) -> Iterator[Path]:
    """Give a local folder to fill, which is at `url` when the block has ended, and nowhere if it fails.

    What a writer left behind that was killed is removed.

    Parameters
    ----------
    last
        Name of the file that an object store gets last: a folder without it is not whole.

    Raises
    ------
    InputError
        If the place holds something else, or another process is writing to it.
    StorageFullError
        If the disk is full.
    """
    url = files.absolute(url)
    with exclusive_beside(url, "export"):
        check_new(url, last, is_ours)
        try:
            with _beside(Path(url)) if files.is_local(url) else _uploaded(url, last) as folder:
                yield folder
        except OSError as error:
            if is_disk_full(error) and not isinstance(error, StorageFullError):
                raise StorageFullError(
                    f"disk full while writing {url}: free some space and run the same command again"
                ) from error
            raise


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    durable.make_folder(target.parent)
    # Its lock is held: no other writer lives.
    left = re.compile(rf"\.{re.escape(target.name)}\.[0-9a-f]{{8}}{re.escape(files.PARTIAL)}")
    for path in target.parent.iterdir():
        if left.fullmatch(path.name) and path.is_dir():
            shutil.rmtree(path)
    temporary = durable.partial_name(target)
    temporary.mkdir()
    try:
        yield temporary
        durable.move_folder(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _uploaded(url: str, last: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="radiotrain-export-") as text:
        folder = Path(text)
        yield folder
        names = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
        for path in _paths_below(url):
            files.remove(files.join(url, path))
        done: list[str] = []
        try:
            for name in sorted(names, key=lambda name: (name == last, name)):
                done.append(files.join(url, name))
                files.write_bytes(done[-1], (folder / name).read_bytes())
        except BaseException:
            for place in done:
                files.remove(place)
            raise


def _paths_below(url: str) -> list[str]:
    fs, path = files.filesystem(url)
    fs.invalidate_cache()
    found = (str(name)[len(path) :].lstrip("/") for name in fs.find(path))
    # Some servers keep an empty object for a folder.
    return [name for name in found if name and not is_lock(name)]
