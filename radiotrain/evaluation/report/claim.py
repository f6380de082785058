"""The folder of a report or a comparison: one writer at a time, and never over another one's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocessing.common.errors import InputError
from preprocessing.storage import files
from preprocessing.storage.digests import dump_with_digest, load_with_digest
from preprocessing.storage.folder_lock import exclusive
from preprocessing.storage.lock_notes import is_lock

# Written before all else, so that a report that was killed is known as well.
MADE_FROM = "made-from.json"


@dataclass(frozen=True)
class Subject:
    """What a folder's content is about.

    Parameters
    ----------
    kind
        ``report`` or ``comparison``.
    sources
        Absolute URLs of the runs, tables or reports that it is made from.
    chosen
        What of them is used, where that can be chosen.
    """

    kind: str
    sources: tuple[str, ...]
    chosen: tuple[str, ...] = ()

    @staticmethod
    def of(kind: str, sources: Sequence[str], chosen: Sequence[str] = ()) -> Subject:
        """Return the subject of sources as a user names them."""
        return Subject(kind, tuple(files.absolute(one) for one in sources), tuple(chosen))

    def to_json(self, out: str) -> dict[str, Any]:
        """Return what stands in the folder; its sources may have moved along with it."""
        from_out = [os.path.relpath(one, out) for one in self.sources]
        return {
            "kind": self.kind,
            "sources": sorted(self.sources),
            "sources_from_here": sorted(from_out),
            "chosen": list(self.chosen),
        }


@contextmanager
def claimed(out: str | Path, subject: Subject) -> Iterator[None]:
    """Hold a folder's lock, if the folder may become a report or comparison of this subject.

    Nothing is written yet: see `mark`.

    Raises
    ------
    InputError
        If the folder cannot be written, holds anything else, or is written to by another process.
    DamagedFileError
        If it is not known what the folder holds.
    """
    check_writable(out)
    url = files.absolute(out)
    with exclusive(url, subject.kind, private=True):
        _check_same(url, subject)
        yield


def mark(out: str | Path, subject: Subject) -> None:
    """Write down what a folder is about, before anything else is written to it."""
    url = files.absolute(out)
    files.write_text(files.join(url, MADE_FROM), dump_with_digest(subject.to_json(url)))


def check_writable(out: str | Path) -> None:
    """Refuse a folder that cannot be written, before work is done and a test set opened for it.

    Nothing is made. Of an object store it shows only when the report is written.

    Raises
    ------
    InputError
        If it is a file, lies below one, or may not be written to.
    """
    url = files.absolute(out)
    if not files.is_local(url):
        return
    place = files.to_path(url)
    while not place.exists() and place != place.parent:
        place = place.parent
    if not place.is_dir():
        raise InputError(f"--out is {url}, but {place} is a file, expected a folder: name another")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"--out is {url}, but {place} may not be written to: name another folder")


def _check_same(url: str, subject: Subject) -> None:
    names = [n for n in files.list_names(url) if not (is_lock(n) or n.endswith(files.PARTIAL))]
    if not names:
        return
    wanted, what = subject.to_json(url), f"{subject.kind} of {_named(subject.sources)}"
    found = _read(url)
    if found is None:
        raise InputError(
            f"{url} is not empty and holds no {subject.kind} (found {names[0]!r}), expected a new or"
            f" empty folder, or the {what}: name another --out"
        )
    same = found.get("kind") == subject.kind and found.get("chosen") == wanted["chosen"]
    is_here = any(found.get(key) == wanted[key] for key in ("sources", "sources_from_here"))
    if not (same and is_here):
        sources = found.get("sources")
        holds = f"the {found.get('kind')} of {_named(sources if isinstance(sources, list) else ())}"
        raise InputError(f"{url} holds {holds}, and not the {what}: name another --out")


def _named(sources: Sequence[str]) -> str:
    shown = ", ".join(sources[:3]) or "something else"
    return shown + (f" and {len(sources) - 3} more" if len(sources) > 3 else "")


def _read(url: str) -> dict[str, Any] | None:
    place = files.join(url, MADE_FROM)
    try:
        return load_with_digest(files.read_bytes(place), place, "name another --out")
    except FileNotFoundError:
        return None
