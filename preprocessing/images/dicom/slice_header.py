"""What one DICOM file, or one frame of a multi-frame file, says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import ExplicitVRLittleEndian

Ranges = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What one image file, or one frame of a multi-frame file, says about itself.

    Parameters
    ----------
    instance_number
        Number of the slice for people who look at the series; of a frame, its number in its stack.
    image_type
        Values of ImageType in capitals, e.g. ``("ORIGINAL", "PRIMARY", "M")``.
    has_contrast
        Whether a contrast agent is named.
    time_s
        Acquisition date and time, seconds since some day; only differences mean anything.
    is_dated
        Whether that date is the acquisition's own. Else it is the study's, or there is none and the
        time is of the day alone.
    content_time_s
        When the image was made of the data: tells phases apart that were acquired in one go.
    position_mm, row_direction, column_direction
        ImagePositionPatient and the two halves of ImageOrientationPatient, LPS.
    spacing_mm
        Between rows, between columns.
    trigger_time_ms
        TriggerTime; of a frame without one, its time since the temporal series began.
    slope, intercept
        Of the stored value, as DICOM's rescale says.
    pixel_offset
        Byte at which raw pixels begin, or None where they are compressed or the file is deflated.
    patient
        Digest of PatientID: equal for images of one person.
    study, series, frame_of_reference, instance
        UIDs. They tell files (and frames) apart and must not reach a store or a message.
    frame
        Which frame of a multi-frame file, from 0; None in a file of one slice.
    stack
        StackID: which of several volumes in a multi-frame file.
    syntax
        UID of the transfer syntax.
    bits_stored, high_bit
        Which bits of each word are the pixel's; None for all of them.
    photometric
        ``MONOCHROME2``, or ``MONOCHROME1`` where the lowest value is to be shown white.
    rescale_type
        Unit of the rescaled values; empty where none is named.
    scale_slope
        Philips's Scale Slope (2005,100E).
    is_lossy
        Whether compression changed the values.
    fragments
        Where the compressed pixels lie: offset and length of each piece.
    """

    path: Path
    description: str
    study: str
    series: str
    series_number: int | None
    instance_number: int | None
    temporal_position: int | None
    num_temporal_positions: int | None
    image_type: tuple[str, ...]
    sequence: str
    echo_time_ms: float | None
    has_contrast: bool
    frame_of_reference: str
    instance: str
    acquisition_number: int | None
    trigger_time_ms: float | None
    time_s: float | None
    is_dated: bool
    content_time_s: float | None
    position_mm: tuple[float, float, float]
    row_direction: tuple[float, float, float]
    column_direction: tuple[float, float, float]
    spacing_mm: tuple[float, float]
    shape: tuple[int, int]
    dtype: str
    slope: float
    intercept: float
    pixel_offset: int | None
    manufacturer: str | None
    field_strength_t: float | None
    frame: int | None = None
    stack: str = ""
    syntax: str = ExplicitVRLittleEndian
    bits_stored: int | None = None
    high_bit: int | None = None
    photometric: str = "MONOCHROME2"
    rescale_type: str = ""
    scale_slope: float | None = None
    is_lossy: bool = False
    fragments: Ranges = ()
    patient: str = ""

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice."""
        return np.cross(self.row_direction, self.column_direction)
