"""The folder that pages are written to: claimed by a marker file, cleared of former patients."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from preprocessing import files
from preprocessing.errors import InputError
from preprocessing.lock_holder import is_lock

MARKER = ".radiotrain-qc"
PATIENTS = "patients"
PICTURES = "pictures"


def local_folder(out: str | Path) -> Path:
    """Return where the folder is.

    Raises
    ------
    InputError
        If it is no local folder.
    """
    if "://" in files.absolute(out):
        raise InputError(
            f"option --out is {str(out)!r}, expected a folder on this machine: name one"
        )
    folder = Path(files.absolute(out))
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file, expected a folder: name a new or empty one")
    return folder


def claim(out: str | Path) -> Path:
    """Return the folder, marked as ours. Its lock is held.

    Raises
    ------
    InputError
        If it is no local folder, or holds files that are not ours.
    """
    folder = local_folder(out)
    others = [
        name
        for name in files.list_names(str(folder))
        if not (is_lock(name) or name.endswith(files.PARTIAL))
    ]
    if others and MARKER not in others:
        raise InputError(
            f"{folder} holds files that 'radiotrain qc' did not make, expected a new or empty"
            " folder or one of its own: name another with --out"
        )
    try:
        files.write_text(str(folder / MARKER), "Pages of 'radiotrain qc', made anew by it.\n")
    except PermissionError as error:
        raise InputError(
            f"{folder} cannot be written to ({error.strerror}): name another folder with --out"
        ) from error
    files.remove_partial(str(folder))
    return folder


def page_path(folder: Path, name: str) -> Path:
    """Return where a patient's page is."""
    return folder / PATIENTS / f"{name}.html"


def picture_path(folder: Path, name: str, kind: str) -> Path:
    """Return where a patient's pictures of a kind (``grey``, ``field``) are."""
    return folder / PICTURES / f"{name}-{kind}.png"


def remove_stale(folder: Path, kept: Collection[Path]) -> None:
    """Remove the pages and pictures that are not among `kept`."""
    for place, suffix in ((PATIENTS, ".html"), (PICTURES, ".png")):
        for path in (folder / place).glob(f"*{suffix}"):
            if path not in kept:
                path.unlink()
