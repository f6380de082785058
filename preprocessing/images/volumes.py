"""Volumes: opened first (geometry, findings), read later; errors that become a finding."""

from __future__ import annotations

import math
import stat
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Box, Finding
from preprocessing.common.errors import RadiotrainError, is_disk_full, storage_trouble
from preprocessing.common.redaction import shown_reason
from preprocessing.images.geometry import Grid


class UnreadableImageError(Exception):
    """An image that cannot be used, with the finding that says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding

    def __reduce__(self) -> tuple[type[UnreadableImageError], tuple[Finding]]:
        """Keep the finding when crossing processes."""
        return type(self), (self.finding,)


class Volume(Protocol):
    """An opened volume: geometry known, voxels not read yet."""

    grid: Grid
    name: str
    time_s: float | None
    covariates: dict[str, str | float | None]
    findings: tuple[Finding, ...]

    def box_to_positions(self, box: Box) -> Box:
        """Map a box whose slices count as the files do to one that counts positions."""
        ...

    def read(self, part: Box, step: int = 1) -> NDArray[np.float32]:
        """Return the voxels of `part` (row, column, slice), every `step`-th slice of it."""
        ...


# What a volume file holds once it is read, and the checks that every format shares.
#
# Axis legend: (row, column, slice, volume) of the file's own images.

# Code of the finding about a file that does not tell where its voxels lie.
NO_GEOMETRY = "no-geometry"
# Eight times a large breast examination; as float32 it takes 8 GiB.
_MOST_VOXELS = 2**31
_SMALLEST_MM, _LARGEST_MM = 0.01, 100.0
# An image lies within a scanner's bore; 100 m is the origin of no image.
_FARTHEST_MM = 1e5
# Cosine between two axes. A crop takes the axes to be perpendicular; below half a degree they are.
_LARGEST_COSINE = 0.01


@dataclass(frozen=True)
class Segment:
    """One segment of a segmentation file.

    Parameters
    ----------
    label
        The value that its voxels have.
    layer
        Which of the file's volumes holds it.
    name
        As it may be shown.
    """

    label: int
    layer: int
    name: str


@dataclass(frozen=True)
class VolumeData:
    """The voxels of a file and where they lie.

    Parameters
    ----------
    voxels
        float32 (r, c, s, v).
    affine
        3×4, (row, column, slice, 1) to LPS mm.
    findings
        What is odd about the file and does not exclude it.
    has_geometry
        Whether the file tells where its voxels lie.
    is_part
        Whether the file says that it holds a part of the images only.
    interval_s
        Between its volumes, where it tells.
    segments
        Where the file lists them.
    is_chosen
        Whether only the wanted one of several segments is there, as 1.
    """

    voxels: NDArray[np.float32]
    affine: NDArray[np.float64]
    findings: tuple[Finding, ...] = ()
    has_geometry: bool = True
    is_part: bool = False
    interval_s: float | None = None
    segments: tuple[Segment, ...] = ()
    is_chosen: bool = False


def refused(code: str, message: str) -> UnreadableImageError:
    """Return the error of an image that cannot be used."""
    return UnreadableImageError(Finding(code, message))


def note(code: str, message: str) -> Finding:
    """Return a finding that does not exclude."""
    return Finding(code, message, excludes=False)


def check_regular(path: Path, what: str) -> None:
    """Refuse what is no file: to open a FIFO waits for ever, a device never ends.

    Raises
    ------
    UnreadableImageError
        If it is missing, a folder, a FIFO, a socket or a device.
    """
    if isinstance(path, Path):
        try:
            regular = stat.S_ISREG(path.stat().st_mode)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise refused("image-missing", f"{what} is not there") from error
        except OSError as error:
            message = f"{what} cannot be opened: {error.strerror}"
            raise refused("image-unreadable", message) from error
    elif not path.exists():
        raise refused("image-missing", f"{what} is not there")
    else:
        regular = not path.is_dir()
    if not regular:
        raise refused("not-a-file", f"{what} is a folder, a pipe or a device, expected a file")


def check_size(sizes: Sequence[int], what: str) -> None:
    """Refuse images without voxels, and those that no memory holds, before a voxel is read.

    Raises
    ------
    UnreadableImageError
        If it is one.
    """
    shown = " × ".join(str(n) for n in sizes)
    if any(n < 1 for n in sizes):
        raise refused("image-empty", f"{what} has {shown} voxels: it holds none")
    if math.prod(sizes) > _MOST_VOXELS:
        message = f"{what} has {shown} voxels by its header, at most {_MOST_VOXELS} can be read"
        raise refused("image-too-large", message)


def check_axes(sizes: Sequence[int], what: str) -> None:
    """Refuse what has no extent along two axes: a point or a line is no image.

    Raises
    ------
    UnreadableImageError
        If it has none.
    """
    if sum(n < 2 for n in sizes) >= 2:
        shown = " × ".join(str(n) for n in sizes)
        raise refused("image-not-3d", f"{what} has {shown} voxels, expected a volume")


def check_spacing(spacing_mm: Sequence[float], what: str) -> None:
    """Refuse voxel sizes that no scanner makes.

    Raises
    ------
    UnreadableImageError
        If one is not finite, not positive, or below 0.01 mm or above 100 mm.
    """
    if not all(_SMALLEST_MM <= mm <= _LARGEST_MM for mm in spacing_mm):  # NaN is not
        shown = " × ".join(f"{mm:g}" for mm in spacing_mm)
        message = f"{what} has voxels of {shown} mm, expected {_SMALLEST_MM:g} to {_LARGEST_MM:g}"
        raise refused("spacing-implausible", message)


def check_affine(affine: NDArray[np.float64], what: str) -> None:
    """Refuse axes that are not perpendicular, coincide, or lie nowhere.

    Parameters
    ----------
    affine
        3×4.

    Raises
    ------
    UnreadableImageError
        If they do.
    """
    if not np.isfinite(affine).all() or np.abs(affine[:, 3]).max() > _FARTHEST_MM:
        raise refused("geometry-impossible", f"{what} lies nowhere by its header")
    spacing = np.linalg.norm(affine[:, :3], axis=0)
    check_spacing(spacing.tolist(), what)
    directions = affine[:, :3] / spacing
    cosines = np.abs(directions.T @ directions - np.eye(3))
    if cosines.max() > _LARGEST_COSINE:
        degrees = math.degrees(math.acos(min(float(cosines.max()), 1.0)))
        message = f"{what} has axes at {degrees:.1f} degrees to each other, expected 90"
        raise refused("image-sheared", message)


CODE = "internal-error"
_ROOT = Path(__file__).parents[2]
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
