"""Files of an object store, brought to this machine for as long as a patient is worked on."""

from __future__ import annotations

import shutil
import socket
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from preprocessing.common.errors import StorageFullError, is_disk_full
from preprocessing.storage import files


class FileCache:
    """Gives local paths of files, wherever they lie."""

    def __init__(self) -> None:
        self._folder: Path | None = None
        self._fetched: dict[str, Path] = {}

    def local(self, paths: Sequence[Path]) -> list[Path]:
        """Return local paths of some files, fetching those that lie elsewhere, all at once.

        Raises
        ------
        StorageFullError
            If this machine has no room for them: that is no fault of the patient's.
        """
        if all(isinstance(p, Path) for p in paths):
            return list(paths)
        missing = [str(p) for p in paths if str(p) not in self._fetched]
        if missing:
            try:
                self._fetch(missing)
            except OSError as error:
                if not is_disk_full(error):
                    raise
                raise StorageFullError(
                    f"disk full in {tempfile.gettempdir()} on {socket.gethostname()}, where files of"
                    " an object store are brought to: free some space there and run the same"
                    " command again"
                ) from error
        return [self._fetched[str(p)] for p in paths]

    def _fetch(self, urls: Sequence[str]) -> None:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="radiotrain-"))
        # Folders are numbered, since names of files need not differ between them.
        places: list[Path] = []
        for url in urls:
            place = self._folder / str(len(self._fetched) + len(places)) / url.rsplit("/", 1)[-1]
            place.parent.mkdir(parents=True)
            places.append(place)
        fs, _ = files.filesystem(urls[0])
        fs.get([files.filesystem(u)[1] for u in urls], [str(p) for p in places])
        self._fetched.update(zip(urls, places, strict=True))

    def close(self) -> None:
        """Remove what was fetched."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


@contextmanager
def file_cache() -> Iterator[FileCache]:
    """Fetch files for the length of a block."""
    cache = FileCache()
    try:
        yield cache
    finally:
        cache.close()
