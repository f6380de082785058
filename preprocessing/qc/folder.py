"""The folder that pages are written to: claimed by a marker file, cleared of former patients."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from preprocessing.common.errors import InputError
from preprocessing.storage import files
from preprocessing.storage.lock_notes import is_lock

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,79}")
_LOOKS_MADE = re.compile(r".*-[0-9a-f]{16}")
# Names of devices on Windows, whatever their suffix.
_RESERVED = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)


def file_names(patient_ids: Sequence[str]) -> tuple[str, ...]:
    """Return a file name without suffix for each patient; no two differ by case only.

    An id that is a safe name is its own file name. Any other gets the letters and digits it has,
    and a digest of the whole id.
    """
    folded = Counter(patient_id.casefold() for patient_id in patient_ids)
    return tuple(p if _is_name(p) and folded[p.casefold()] == 1 else _made(p) for p in patient_ids)


def _is_name(patient_id: str) -> bool:
    return (
        _SAFE.fullmatch(patient_id) is not None
        and _RESERVED.fullmatch(patient_id) is None
        and _LOOKS_MADE.fullmatch(patient_id) is None
    )


def _made(patient_id: str) -> str:
    words = re.sub(r"[^A-Za-z0-9]+", "-", patient_id).strip("-")[:40] or "patient"
    # Ids may hold what UTF-8 cannot, such as the halves of a badly decoded letter.
    digest = hashlib.sha256(patient_id.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{words}-{digest}"


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
