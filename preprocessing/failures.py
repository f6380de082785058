"""An unforeseen error in the work on one patient: that patient's finding, not the run's end."""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from pathlib import Path

from preprocessing.cohort import Finding
from preprocessing.errors import RadiotrainError, is_disk_full, storage_trouble
from preprocessing.shown_names import shown_reason
from preprocessing.volumes import UnreadableImageError

CODE = "internal-error"
_ROOT = Path(__file__).parents[1]
_PACKAGES = ("preprocessing", "radiotrain", "cluster")

HOW_TO_REPORT = (
    "an error in radiotrain, not in your files alone: please report it with the line that names the"
    " place in the code, the version of radiotrain and, if you may, the header of one file; the patient"
    " is tried again when the command is run again"
)


def is_of_one_patient(error: BaseException) -> bool:
    """Tell whether an error is about one patient, and not about the storage, the disk or the user's input."""
    if isinstance(error, UnreadableImageError):
        return True
    if not isinstance(error, Exception) or isinstance(error, RadiotrainError):
        return False
    return not is_disk_full(error) and storage_trouble(error) is None


def finding_of(error: Exception) -> Finding:
    """Return the finding of an error: what it was and where in the code, nothing of the patient."""
    if isinstance(error, UnreadableImageError):
        return error.finding
    if isinstance(error, MemoryError):
        return Finding("out-of-memory", "the memory does not suffice for its images")
    if isinstance(error, OSError) and error.strerror:
        return Finding("files-unreadable", f"one of its files cannot be read: {error.strerror}")
    reason = shown_reason(error)
    name = type(error).__name__
    said = name if reason == name else f"{name} ({reason})"
    return Finding(CODE, f"{said} in {_place(error)}")


def _place(error: Exception) -> str:
    """Return the innermost line of our own code, and the library's below it."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = _in_our_code(frame.filename)
        if file is not None:
            return f"{file}, line {frame.lineno}, {frame.name}"
    return "an unknown place"


def _in_our_code(filename: str) -> str | None:
    """Return a file of our packages relative to them; None for any other file."""
    path = Path(filename)
    if not path.is_relative_to(_ROOT) or path.relative_to(_ROOT).parts[0] not in _PACKAGES:
        return None
    return path.relative_to(_ROOT).as_posix()


def any_internal(findings: Iterable[Finding]) -> bool:
    """Tell whether one of some findings is an unforeseen error."""
    return any(f.code == CODE for f in findings)
