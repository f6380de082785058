"""DICOM segmentations (SEG): one of their segments as a mask with its place in the patient."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from preprocessing.cohort.cohort import Finding
from preprocessing.common.redaction import shown_series
from preprocessing.images.dicom.header import SEGMENTATIONS
from preprocessing.images.volumes import UnreadableImageError

if TYPE_CHECKING:
    from highdicom.seg import Segmentation

# What pydicom raises on files that are damaged, or no DICOM.
DAMAGED = (
    InvalidDicomError, AttributeError, EOFError, KeyError, NotImplementedError, TypeError, ValueError,
    struct.error,
)  # fmt: skip
# From here on a voxel of a fractional segmentation counts as inside.
_HALF = 0.5


_CONTOURS = "1.2.840.10008.5.1.4.1.1.481.3"


def is_segmentation(path: Path) -> bool:
    """Tell whether a file is a DICOM segmentation; False for what is no DICOM."""
    return _sop_class(path) in SEGMENTATIONS


def other_object(path: Path) -> str | None:
    """Say what a DICOM file is that is no segmentation; None for what is no DICOM."""
    found = _sop_class(path)
    if found is None or found in SEGMENTATIONS:
        return None
    return "a DICOM RTSTRUCT of contours" if found == _CONTOURS else "a DICOM file of another kind"


def _sop_class(path: Path) -> str | None:
    """Return a DICOM file's class, empty where it has none; None for what is no DICOM."""
    with path.open("rb") as file:
        if file.read(132)[128:] != b"DICM":
            return None
        file.seek(0)
        try:
            found = pydicom.dcmread(file, specific_tags=["SOPClassUID"], stop_before_pixels=True)
        except DAMAGED:
            return ""
    return str(found.get("SOPClassUID", ""))


def read_segmentation(
    path: Path, segment: int | None
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return one segment's voxels, (row, column, slice), 1 inside and 0 elsewhere, and their place.

    Only slices between the first and the last that the file has are there; files leave out those
    with nothing marked.

    Parameters
    ----------
    segment
        Its number in the file; None where the file has one only.

    Returns
    -------
    float32 (r, c, s) and the 3×4 affine from (row, column, slice, 1) to LPS mm.

    Raises
    ------
    UnreadableImageError
        If there is no such segment, several to choose from, or no regular volume.
    """
    # Masks are DICOM now and then, and it takes its time to load.
    from highdicom.seg import segread

    found = segread(path)
    number = _choose(found, segment)
    if found.get_volume_geometry() is None:
        raise _refused("segmentation-no-volume", "the segmentation's slices make no regular volume")
    volume = found.get_volume(segment_numbers=[number])
    voxels = np.asarray(volume.array[..., 0] >= _HALF, dtype=np.float32)
    # highdicom's axes are (slice, row, column).
    affine = np.asarray(volume.affine, dtype=np.float64)[:3, [1, 2, 0, 3]]
    return np.moveaxis(voxels, 0, 2), affine


def _choose(found: Segmentation, segment: int | None) -> int:
    numbers = [int(n) for n in found.segment_numbers]
    named = ", ".join(
        f"{n} ({shown_series(str(found.get_segment_description(n).segment_label))})"
        for n in numbers
    )
    if segment is None and len(numbers) > 1:
        message = f"the segmentation has {len(numbers)} segments, {named}: say which is the tumour"
        raise _refused("segment-unclear", message)
    if segment is not None and segment not in numbers:
        raise _refused("segment-missing", f"the segmentation has no segment {segment}, got {named}")
    return numbers[0] if segment is None else segment


def _refused(code: str, message: str) -> UnreadableImageError:
    return UnreadableImageError(Finding(code, message))
