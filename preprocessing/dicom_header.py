"""What one DICOM file says about the slice in it, read quickly.

A patient has some thousand files, whose headers cost more than their pixels. The elements of the
two uncompressed little-endian syntaxes (and of compressed files, which are explicit little
endian) are walked here, in the first few kilobytes of the file; everything else, and everything
odd, goes to pydicom, which is also the oracle of the tests.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.datadict import tag_for_keyword
from pydicom.uid import UID

from preprocessing.cohort import Finding
from preprocessing.dicom_elements import NotPlainError, plain_elements
from preprocessing.shown_names import shown_file, shown_maker, shown_reason
from preprocessing.volumes import UnreadableImageError

# Nothing that could identify a patient is read, so that none of it can reach a store.
_KEYWORDS = (
    "SpecificCharacterSet", "SOPClassUID", "Modality", "SeriesDescription", "SeriesNumber",
    "StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "AcquisitionDate", "ContentDate",
    "AcquisitionTime", "AcquisitionDateTime", "ContentTime", "TriggerTime", "AcquisitionNumber",
    "TemporalPositionIdentifier", "NumberOfTemporalPositions", "ImageType", "SequenceName",
    "ContrastBolusAgent", "EchoTime", "FrameOfReferenceUID", "SOPInstanceUID",
    "InstanceNumber", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "BitsAllocated",
    "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "Manufacturer",
    "MagneticFieldStrength", "SamplesPerPixel", "NumberOfFrames",
)  # fmt: skip
_TAGS = {int(tag_for_keyword(k) or 0): k for k in _KEYWORDS}
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN")
# Most headers fit; one that does not is read a second time, larger.
_FIRST_BYTES = 16 * 1024
_MORE_BYTES = 1024 * 1024
_UID = re.compile(r"[0-2](\.\d+){4,}")
# Segmentation Storage and Label Map Segmentation Storage.
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_PLAIN_CHARACTER_SETS = ("", "ISO_IR 6", "ISO_IR 100")

# Where pydicom warns of a value, it quotes it.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


@dataclass(frozen=True, slots=True)
class SliceHeader:
    """What one image file says about itself.

    Parameters
    ----------
    image_type
        Values of ImageType in capitals, e.g. ``("ORIGINAL", "PRIMARY", "M")``.
    has_contrast
        Whether a contrast agent is named.
    time_s
        Acquisition (else content) date and time, seconds since some day; only differences mean
        anything.
    is_dated
        Whether that date is the acquisition's or the image's own, and not the study's.
    content_time_s
        When the image was made of the data: tells phases apart that were acquired in one go.
    position_mm, row_direction, column_direction
        ImagePositionPatient and the two halves of ImageOrientationPatient, LPS.
    spacing_mm
        Between rows, between columns.
    pixel_offset
        Byte at which raw pixels begin, or None where they are compressed.
    study, series, frame_of_reference, instance
        UIDs. They tell files apart and must not reach a store or a message.
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

    @property
    def normal(self) -> NDArray[np.float64]:
        """Unit vector across the slice."""
        return np.cross(self.row_direction, self.column_direction)


@dataclass(frozen=True)
class _RawHeader:
    """Elements as text, by keyword, and where the pixels are."""

    values: dict[str, str]
    syntax: str
    pixel_offset: int | None
    file_size: int


def read_header(path: Path) -> SliceHeader:
    """Read one file's header.

    Raises
    ------
    UnreadableImageError
        With code ``dicom-damaged`` (not DICOM, empty, truncated), ``dicom-not-an-image`` or
        ``dicom-multiframe``.
    """
    try:
        try:
            raw = _read_plain(path)
        except (NotPlainError, struct.error, UnicodeDecodeError):
            raw = read_with_pydicom(path)
        return _parse(path, raw)
    except UnreadableImageError:
        raise
    # pydicom raises many types on damaged input; all of them mean the same to a user.
    except Exception as error:
        raise damaged(path, shown_reason(error)) from error


def read_header_or_finding(path: Path) -> SliceHeader | Finding:
    """Return a file's header, or the finding that says why it has none."""
    try:
        return read_header(path)
    except UnreadableImageError as error:
        return error.finding


def read_slices_or_finding(path: Path) -> tuple[SliceHeader, ...] | Finding:
    """Return the headers of a file's slices, or the finding that says why it has none."""
    found = read_header_or_finding(path)
    return (found,) if isinstance(found, SliceHeader) else found


def damaged(path: Path, reason: str) -> UnreadableImageError:
    """Return the error for a file that cannot be used."""
    return UnreadableImageError(
        Finding("dicom-damaged", f"DICOM file {shown_name(path)} is damaged: {reason}")
    )


def shown_name(path: Path) -> str:
    """Return a file's name for a message: UIDs and people's have no place in a store or report."""
    return "(named by a UID)" if is_uid(path.name.removesuffix(".dcm")) else shown_file(path.name)


def is_uid(name: str) -> bool:
    """Tell whether a file's name is a UID and no number."""
    return _UID.fullmatch(name) is not None


def seconds_of_day(time: str) -> float | None:
    """Return DICOM time ``HHMMSS.ffffff`` as seconds since midnight, None where it is no time."""
    try:
        return int(time[:2]) * 3600 + int(time[2:4] or 0) * 60 + float(time[4:] or 0)
    except ValueError:
        return None


def _read_plain(path: Path) -> _RawHeader:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        for count in (_FIRST_BYTES, _MORE_BYTES):
            found = plain_elements(os.pread(descriptor, count, 0), _TAGS)
            if found is not None:
                values = {k: v.decode("latin-1").rstrip("\0 ") for k, v in found.text.items()}
                if values.get("SpecificCharacterSet", "") not in _PLAIN_CHARACTER_SETS:
                    raise NotPlainError("text in another character set")
                values |= {k: str(v) for k, v in found.numbers.items()}
                return _RawHeader(values, found.syntax, found.pixel_offset, size)
    finally:
        os.close(descriptor)
    raise NotPlainError("its header is very long")


def read_with_pydicom(path: Path) -> _RawHeader:
    """Read a header with pydicom: slower, and at home in every transfer syntax."""
    with path.open("rb") as file:
        data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_KEYWORDS))
        tail = file.read(12)
        end = file.tell() - len(tail)
    values = {}
    for keyword in _KEYWORDS:
        if keyword in data and data[keyword].value is not None:
            value = data[keyword].value
            many = isinstance(value, (list, tuple, pydicom.multival.MultiValue))
            values[keyword] = "\\".join(map(str, value)) if many else str(value)
    syntax = data.file_meta.TransferSyntaxUID
    order = "<" if syntax.is_little_endian else ">"
    if len(tail) < 8 and "SOPClassUID" not in values:
        raise damaged(path, "it ends inside its header")
    offset = None
    if tail[:4] == struct.pack(f"{order}HH", 0x7FE0, 0x0010):
        offset = end + (12 if not syntax.is_implicit_VR and tail[4:6] in _LONG_VRS else 8)
    return _RawHeader(values, str(syntax), offset, path.stat().st_size)


def _parse(path: Path, raw: _RawHeader) -> SliceHeader:
    values = raw.values
    if values.get("SOPClassUID") in SEGMENTATIONS:
        message = f"DICOM file {shown_name(path)} holds a segmentation, no phase: ignored"
        raise UnreadableImageError(Finding("dicom-not-an-image", message, excludes=False))
    if _number(values.get("NumberOfFrames"), 1) > 1:
        frames = values["NumberOfFrames"]
        message = f"DICOM file {shown_name(path)} holds {frames} frames, expected one slice a file"
        raise UnreadableImageError(Finding("dicom-multiframe", message))
    if "Rows" not in values or "ImagePositionPatient" not in values:
        if "Rows" not in values and "Image Storage" in UID(values.get("SOPClassUID", "")).name:
            raise damaged(path, "it ends inside its header")
        message = f"DICOM file {shown_name(path)} holds no image slice: ignored"
        raise UnreadableImageError(Finding("dicom-not-an-image", message, excludes=False))
    rows, columns, bits = (int(values[k]) for k in ("Rows", "Columns", "BitsAllocated"))
    channels = int(_number(values.get("SamplesPerPixel"), 1))
    if channels != 1 or bits not in (8, 16, 32):
        raise damaged(path, f"{bits} bits in {channels} channels")
    syntax = UID(raw.syntax)
    offset = (
        None if syntax.is_compressed else _checked_offset(path, raw, rows * columns * bits // 8)
    )
    orientation = _floats(values["ImageOrientationPatient"], 6)
    x, y, z = _floats(values["ImagePositionPatient"], 3)
    between_rows, between_columns = _floats(values["PixelSpacing"], 2)
    content_time = _time_s(values, "Content")
    acquisition_time = _time_s(values, "Acquisition")
    time, is_dated = acquisition_time, bool(values.get("AcquisitionDate"))
    if time is None:
        time = _moment_s(values.get("AcquisitionDateTime", ""))
        is_dated = time is not None
    if time is None:
        time, is_dated = content_time, bool(values.get("ContentDate"))
    strength = values.get("MagneticFieldStrength")
    kind = "i" if _number(values.get("PixelRepresentation"), 0) else "u"
    return SliceHeader(
        path=path,
        description=values.get("SeriesDescription", "").strip(),
        study=values.get("StudyInstanceUID", ""),
        series=values.get("SeriesInstanceUID", ""),
        series_number=_integer(values.get("SeriesNumber")),
        instance_number=_integer(values.get("InstanceNumber")),
        temporal_position=_integer(values.get("TemporalPositionIdentifier")),
        num_temporal_positions=_integer(values.get("NumberOfTemporalPositions")),
        image_type=_image_type(values.get("ImageType", "")),
        sequence=values.get("SequenceName", "").strip(),
        echo_time_ms=_number(values["EchoTime"], 0) if values.get("EchoTime") else None,
        has_contrast=bool(values.get("ContrastBolusAgent", "").strip()),
        frame_of_reference=values.get("FrameOfReferenceUID", ""),
        instance=values.get("SOPInstanceUID", ""),
        acquisition_number=_integer(values.get("AcquisitionNumber")),
        trigger_time_ms=_number(values["TriggerTime"], 0) if values.get("TriggerTime") else None,
        time_s=time,
        is_dated=is_dated,
        content_time_s=content_time,
        position_mm=(x, y, z),
        row_direction=(orientation[0], orientation[1], orientation[2]),
        column_direction=(orientation[3], orientation[4], orientation[5]),
        spacing_mm=(between_rows, between_columns),
        shape=(rows, columns),
        dtype=f"{'<' if syntax.is_little_endian else '>'}{kind}{bits // 8}",
        slope=_number(values.get("RescaleSlope"), 1) or 1.0,
        intercept=_number(values.get("RescaleIntercept"), 0),
        pixel_offset=offset,
        manufacturer=shown_maker(values.get("Manufacturer", "")),
        field_strength_t=_number(strength, 0) if strength else None,
    )


def _checked_offset(path: Path, raw: _RawHeader, num_bytes: int) -> int:
    if raw.pixel_offset is None:
        raise damaged(path, "it has no pixel data")
    missing = raw.pixel_offset + num_bytes - raw.file_size
    if missing > 0:
        raise damaged(path, f"its pixels are cut short by {missing} bytes")
    return raw.pixel_offset


@lru_cache(maxsize=4096)
def _floats(text: str, count: int) -> tuple[float, ...]:
    numbers = tuple(float(part) for part in text.split("\\"))
    if len(numbers) != count:
        raise ValueError(f"{text!r} is not {count} numbers")
    return numbers


def _number(text: str | None, default: float) -> float:
    return float(text.partition("\\")[0]) if text else default


def _integer(text: str | None) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _image_type(text: str) -> tuple[str, ...]:
    return tuple(part.strip().upper() for part in text.split("\\")) if text else ()


def _moment_s(text: str) -> float | None:
    """Return DICOM date and time ``YYYYMMDDHHMMSS.ffffff`` in the seconds of `SliceHeader.time_s`."""
    moment = re.fullmatch(r"(\d{8})(\d{6}(?:\.\d+)?)(?:[+-]\d{4})?", text.strip())
    seconds = seconds_of_day(moment[2]) if moment else None
    return None if moment is None or seconds is None else _day(moment[1]) * 86400.0 + seconds


@lru_cache(maxsize=4096)
def _day(text: str) -> int:
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal()
    except ValueError:
        return 0


def _time_s(values: dict[str, str], which: str) -> float | None:
    seconds = seconds_of_day(values.get(f"{which}Time", "") or "none")
    if seconds is None:
        return None
    day = values.get(f"{which}Date") or values.get("StudyDate", "")
    return _day(day) * 86400.0 + seconds
