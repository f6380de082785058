"""A folder that is there whole or not at all, on this machine or an object store."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preprocessing import files
from preprocessing.errors import InputError, StorageFullError, is_disk_full


def check_new(url: str) -> None:
    """Refuse a place that holds something.

    Raises
    ------
    InputError
        If it is a file, or a folder that is not empty.
    """
    url = files.absolute(url)
    if files.is_local(url) and Path(url).is_file():
        raise InputError(f"{url} is a file, expected a new folder: name another --out")
    if files.list_names(url):
        raise InputError(f"{url} is not empty, expected a new folder: name another --out")


@contextmanager
def new_folder(url: str, last: str) -> Iterator[Path]:
    """Give a local folder to fill, which is at `url` when the block has ended, and nowhere if it fails.

    Parameters
    ----------
    last
        Name of the file that an object store gets last: a folder without it is not whole.

    Raises
    ------
    StorageFullError
        If the disk is full.
    """
    url = files.absolute(url)
    check_new(url)
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
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}{files.PARTIAL}")
    temporary.mkdir()
    try:
        yield temporary
        temporary.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _uploaded(url: str, last: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        yield folder
        names = [str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()]
        done: list[str] = []
        try:
            for name in sorted(names, key=lambda name: (name == last, name)):
                done.append(files.join(url, name))
                files.write_bytes(done[-1], (folder / name).read_bytes())
        except BaseException:
            for place in done:
                files.remove(place)
            raise
