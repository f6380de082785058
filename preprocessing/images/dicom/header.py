"""What one DICOM file says about the slice, or the slices, in it, read quickly.

A patient has some thousand files, whose headers cost more than their pixels: `file.py` reads
their elements, which are given a meaning here.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import struct
from contextlib import suppress
from datetime import date
from functools import lru_cache
from pathlib import Path

import numpy as np
import pydicom
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)

from preprocessing.cohort.cohort import Finding
from preprocessing.common.redaction import shown_file, shown_maker, shown_reason
from preprocessing.images.dicom.file import NotPlainError, RawHeader, read_plain, read_with_pydicom
from preprocessing.images.dicom.pixels import (
    COMPRESSED_SYNTAXES,
    LOSSY_SYNTAXES,
    RAW_SYNTAXES,
    PixelValuesError,
    fragment_ranges,
)
from preprocessing.images.dicom.slice_header import Ranges, SliceHeader
from preprocessing.images.volumes import UnreadableImageError

_UID = re.compile(r"[0-2](\.\d+){4,}")
# Segmentation Storage and Label Map Segmentation Storage.
SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_PARAMETRIC_MAP = "1.2.840.10008.5.1.4.1.1.30"
# MR, enhanced MR and legacy converted enhanced MR: what phases are stored as.
_MR_CLASSES = (
    "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1", "1.2.840.10008.5.1.4.1.1.4.4",
)  # fmt: skip
_VIDEO = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.10\d(\.1)?|1\.2\.840\.10008\.1\.2\.7\.\d")
_GREY = ("", "MONOCHROME1", "MONOCHROME2")
_BITS_ALLOCATED = (8, 16, 32)
# float32 numbers this many times larger than the step between values would not tell them apart.
_MOST_STEPS = 2.0**23


def read_slices(path: Path) -> tuple[SliceHeader, ...]:
    """Read the header of one file: one slice, or the slices of a multi-frame file.

    Returns
    -------
    At least one slice, in the order of frames.

    Raises
    ------
    UnreadableImageError
        With code ``dicom-damaged`` (not DICOM, empty, truncated), ``dicom-not-an-image``,
        ``dicom-other-modality``, ``dicom-not-a-phase`` (colour, maps, video), ``dicom-multiframe`` (frames without places),
        ``dicom-pixel-format``, ``modality-lut`` or ``rescale-unusable``.
    """
    try:
        try:
            raw = read_plain(path)
        except (NotPlainError, struct.error, UnicodeDecodeError):
            status = path.stat()
            return _slices_by_pydicom(path, status.st_size, status.st_mtime_ns)
        return _slices_of(path, raw)
    except UnreadableImageError:
        raise
    except PixelValuesError as error:
        raise damaged(path, str(error)) from error
    # pydicom raises many types on damaged input; all of them mean the same to a user.
    except Exception as error:
        raise damaged(path, shown_reason(error)) from error


def read_slices_or_finding(path: Path) -> tuple[SliceHeader, ...] | Finding:
    """Return a file's slices, or the finding that says why it has none."""
    try:
        return read_slices(path)
    except UnreadableImageError as error:
        return error.finding


def glimpse(path: Path) -> tuple[str | None, tuple[str, ...]]:
    """Return the series' name and ImageType in a file that may hold no slice.

    The name is None where it cannot be read.
    """
    tags = ["SpecificCharacterSet", "SeriesDescription", "ImageType"]
    # pydicom raises many types on damaged input.
    with suppress(Exception), path.open("rb") as file:
        data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=tags)
        kinds = data.get("ImageType") or ()
        found = (kinds,) if isinstance(kinds, str) else tuple(kinds)
        name = str(data.get("SeriesDescription") or "").strip() or None
        return name, tuple(str(k).strip().upper() for k in found)
    return None, ()


def is_dicom(path: Path) -> bool:
    """Tell whether a file is laid out as DICOM part 10 says."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


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
    """Return DICOM time ``HHMMSS.ffffff`` as seconds since midnight, None where it is no time.

    ``HH:MM:SS`` is what DICOM's predecessor wrote.
    """
    time = time.replace(":", "")
    try:
        return int(time[:2]) * 3600 + int(time[2:4] or 0) * 60 + float(time[4:] or 0)
    except ValueError:
        return None


# A file of a thousand frames takes a second, and is asked for twice: for its name, for its slices.
@lru_cache(maxsize=16)
def _slices_by_pydicom(path: Path, _size: int, _changed: int) -> tuple[SliceHeader, ...]:
    return _slices_of(path, read_with_pydicom(path))


def _slices_of(path: Path, raw: RawHeader) -> tuple[SliceHeader, ...]:
    values = raw.values
    num_frames = int(_number(values.get("NumberOfFrames"), 1)) or 1
    _refuse_other_kinds(path, raw, num_frames)
    if raw.frames is None and num_frames == 1:
        return (_parse(path, raw, values, _pixels(path, raw, 1)[0], None),)
    frames = raw.frames or ()
    if len(frames) != num_frames:
        described = (
            f"says of {len(frames)} where they lie" if frames else "does not say where they lie"
        )
        message = f"DICOM file {shown_name(path)} holds {num_frames} frames and {described}"
        raise UnreadableImageError(Finding("dicom-multiframe", message))
    for i, frame in enumerate(frames, start=1):
        missing = [k for k in _PLACE if not frame.get(k)]
        if missing:
            message = f"DICOM file {shown_name(path)} does not say of frame {i} its {missing[0]}"
            raise UnreadableImageError(Finding("dicom-multiframe", message))
    pixels = _pixels(path, raw, num_frames)
    return tuple(
        _parse(path, raw, frame, where, i)
        for i, (frame, where) in enumerate(zip(frames, pixels, strict=True))
    )


_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")


def _refuse_other_kinds(path: Path, raw: RawHeader, num_frames: int) -> None:
    """Raise for what is no slice of a phase, or whose pixels cannot be read."""
    values = raw.values
    kind = values.get("SOPClassUID", "")
    if kind in SEGMENTATIONS:
        raise _ignored(path, "dicom-not-an-image", "a segmentation, no phase")
    is_placed = raw.frames is not None or "ImagePositionPatient" in values
    if "Rows" not in values or not (is_placed or num_frames > 1):
        if "Rows" not in values and "Image Storage" in UID(kind).name:
            raise damaged(path, "it ends inside its header")
        is_derived = _image_type(values.get("ImageType", ""))[:1] == ("DERIVED",)
        if kind in _MR_CLASSES and not is_derived:
            raise damaged(path, "it does not say where its slice lies (ImagePositionPatient)")
        raise _ignored(path, "dicom-not-an-image", "no image slice")
    photometric = values.get("PhotometricInterpretation", "").strip()
    if _number(values.get("SamplesPerPixel"), 1) != 1 or photometric not in _GREY:
        raise _ignored(path, "dicom-not-a-phase", "a colour image, no phase")
    if kind == _PARAMETRIC_MAP:
        raise _ignored(path, "dicom-not-a-phase", "a parametric map, no phase")
    if _VIDEO.fullmatch(raw.syntax):
        raise _ignored(path, "dicom-not-a-phase", "a video, no phase")
    if kind not in _MR_CLASSES and values.get("Modality", "MR").strip() not in ("", "MR"):
        raise _ignored(path, "dicom-other-modality", "an image of another modality, no phase")
    if num_frames > 1 and raw.frames is None and kind not in ("", *_MR_CLASSES):
        raise _ignored(path, "dicom-not-a-phase", "frames that are no MR slices, no phase")
    _refuse_pixel_formats(path, raw)


def _refuse_pixel_formats(path: Path, raw: RawHeader) -> None:
    values = raw.values
    if raw.has_float_pixels:
        raise _unreadable_pixels(path, "floating-point pixels, expected whole numbers")
    if raw.syntax not in RAW_SYNTAXES and raw.syntax not in COMPRESSED_SYNTAXES:
        known = UID(raw.syntax)
        name = known.name if known.name != known else "an unknown one"
        raise _unreadable_pixels(path, f"pixels in a transfer syntax that is not read: {name}")
    bits = int(values["BitsAllocated"])
    stored = int(values.get("BitsStored", bits))
    high = int(values.get("HighBit", stored - 1))
    if not (int(values["Rows"]) and int(values["Columns"])):
        raise _unreadable_pixels(path, "no rows or no columns")
    if bits not in _BITS_ALLOCATED or not 1 <= stored <= high + 1 <= bits:
        raise _unreadable_pixels(
            path,
            f"pixels of {stored} bits up to bit {high} in words of {bits}, expected words of 8, 16"
            " or 32 bits that hold them",
        )
    if raw.syntax in COMPRESSED_SYNTAXES and raw.syntax != _RLE and high != stored - 1:
        raise _unreadable_pixels(path, f"compressed pixels of {stored} bits up to bit {high}")


_RLE = "1.2.840.10008.1.2.5"


def _ignored(path: Path, code: str, what: str) -> UnreadableImageError:
    message = f"DICOM file {shown_name(path)} holds {what}: ignored"
    return UnreadableImageError(Finding(code, message, excludes=False))


def _unreadable_pixels(path: Path, what: str) -> UnreadableImageError:
    return UnreadableImageError(
        Finding("dicom-pixel-format", f"DICOM file {shown_name(path)} has {what}")
    )


def _pixels(path: Path, raw: RawHeader, num_frames: int) -> list[int | Ranges]:
    """Return where each frame's pixels begin, or lie where they are compressed."""
    values = raw.values
    plane = int(values["Rows"]) * int(values["Columns"]) * int(values["BitsAllocated"]) // 8
    if raw.syntax == DeflatedExplicitVRLittleEndian:
        return [()] * num_frames
    if raw.pixel_offset is None:
        raise damaged(path, "it has no pixel data")
    if raw.syntax in COMPRESSED_SYNTAXES:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return list(fragment_ranges(descriptor, raw.pixel_offset, num_frames))
        finally:
            os.close(descriptor)
    if raw.pixel_length is None:
        raise damaged(
            path, "its pixels are encapsulated, and its transfer syntax is not a compressed one"
        )
    there = min(raw.pixel_length, raw.file_size - raw.pixel_offset)
    if there < plane * num_frames:
        raise damaged(path, f"its pixels are cut short by {plane * num_frames - there} bytes")
    if raw.is_swapped:
        return [()] * num_frames
    return [raw.pixel_offset + i * plane for i in range(num_frames)]


def _parse(
    path: Path, raw: RawHeader, values: dict[str, str], where: int | Ranges, frame: int | None
) -> SliceHeader:
    rows, columns, bits = (int(values[k]) for k in ("Rows", "Columns", "BitsAllocated"))
    for keyword in _PLACE:
        if keyword not in values:
            raise damaged(path, f"it lacks {keyword}")
    orientation = _floats(values["ImageOrientationPatient"], 6)
    x, y, z = _floats(values["ImagePositionPatient"], 3)
    between_rows, between_columns = _floats(values["PixelSpacing"], 2)
    content_time = _time_s(values, "Content")
    time, is_dated = _time_s(values, "Acquisition"), _day(values.get("AcquisitionDate", "")) > 0
    if time is None:
        time = _moment_s(values.get("AcquisitionDateTime", ""))
        is_dated = time is not None
    if time is not None:
        time += float(values.get("TimeOffset", 0))
    kind = "i" if _number(values.get("PixelRepresentation"), 0) else "u"
    instance = values.get("SOPInstanceUID", "")
    slope, intercept = _rescale(path, values)
    stored = int(values.get("BitsStored", bits))
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
        echo_time_ms=_finite(values.get("EchoTime")),
        has_contrast=_names_agent(values.get("ContrastBolusAgent", "")),
        frame_of_reference=values.get("FrameOfReferenceUID", ""),
        instance=instance if frame is None else f"{instance} {frame}",
        acquisition_number=_integer(values.get("AcquisitionNumber")),
        trigger_time_ms=_finite(values.get("TriggerTime")),
        time_s=time,
        is_dated=is_dated,
        content_time_s=content_time,
        position_mm=(x, y, z),
        row_direction=(orientation[0], orientation[1], orientation[2]),
        column_direction=(orientation[3], orientation[4], orientation[5]),
        spacing_mm=(between_rows, between_columns),
        shape=(rows, columns),
        dtype=f"{'>' if raw.syntax == ExplicitVRBigEndian else '<'}{kind}{bits // 8}",
        slope=slope,
        intercept=intercept,
        pixel_offset=where if isinstance(where, int) else None,
        manufacturer=shown_maker(values.get("Manufacturer", "")),
        field_strength_t=_finite(values.get("MagneticFieldStrength")),
        frame=frame,
        stack=values.get("StackID", ""),
        syntax=raw.syntax,
        bits_stored=stored,
        high_bit=int(values.get("HighBit", stored - 1)),
        photometric=values.get("PhotometricInterpretation", "").strip() or "MONOCHROME2",
        rescale_type=values.get("RescaleType", "").strip().upper(),
        scale_slope=_scale_slope(values),
        is_lossy=values.get("LossyImageCompression") == "01" or raw.syntax in LOSSY_SYNTAXES,
        fragments=() if isinstance(where, int) else where,
        patient=_digest(values.get("PatientID", "")),
    )


def _rescale(path: Path, values: dict[str, str]) -> tuple[float, float]:
    """Return slope and intercept that lead from stored values to those meant."""
    if "ModalityLUTSequence" in values:
        message = (
            f"DICOM file {shown_name(path)} gives its values by a table (ModalityLUTSequence),"
            " expected RescaleSlope and RescaleIntercept"
        )
        raise UnreadableImageError(Finding("modality-lut", message))
    texts = values.get("RescaleSlope"), values.get("RescaleIntercept")
    if texts == (None, None):
        return 1.0, 0.0
    return _usable_rescale(path, *texts)


def _usable_rescale(
    path: Path, slope_text: str | None, intercept_text: str | None
) -> tuple[float, float]:
    try:
        slope, intercept = _number(slope_text, 1.0), _number(intercept_text, 0.0)
    except ValueError:
        slope, intercept = math.nan, math.nan
    largest = abs(intercept) + abs(slope) * 2.0**32
    tells_apart = abs(slope) > 0 and abs(intercept) <= _MOST_STEPS * abs(slope)
    if not (tells_apart and largest < float(np.finfo(np.float32).max)):
        message = (
            f"DICOM file {shown_name(path)} has RescaleSlope {slope:g} and RescaleIntercept"
            f" {intercept:g}: they do not tell its values"
        )
        raise UnreadableImageError(Finding("rescale-unusable", message))
    return slope, intercept


def _scale_slope(values: dict[str, str]) -> float | None:
    scale = float(values.get("PhilipsScaleSlope", "nan"))
    return scale if math.isfinite(scale) and scale > 0 else None


@lru_cache(maxsize=4096)
def _floats(text: str, count: int) -> tuple[float, ...]:
    numbers = tuple(float(part) for part in text.split("\\"))
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{text!r} is not {count} numbers")
    return numbers


def _number(text: str | None, default: float) -> float:
    return float(text.partition("\\")[0]) if text else default


def _finite(text: str | None) -> float | None:
    try:
        number = _number(text, math.nan)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


# What is written where no agent was given.
_NO_AGENT = {
    "", "none", "no", "n/a", "na", "0", "-", "--", "nil", "without", "no contrast", "non contrast",
    "not given", "unknown", "null", "keine", "kein", "sans", "sin", "no agent", "n",
}  # fmt: skip


def _names_agent(text: str) -> bool:
    return text.strip().casefold() not in _NO_AGENT


@lru_cache(maxsize=64)
def _digest(text: str) -> str:
    """Return a digest of what identifies a person; empty for nothing."""
    text = text.strip()
    return hashlib.sha256(text.encode()).hexdigest()[:16] if text else ""


def _integer(text: str | None) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        return None


@lru_cache(maxsize=4096)
def _image_type(text: str) -> tuple[str, ...]:
    return tuple(part.strip().upper() for part in text.split("\\")) if text else ()


_MOMENT = re.compile(r"(\d{8})(\d{2}(?:\d{2}(?:\d{2}(?:\.\d*)?)?)?)([+-]\d{4})?")


def _moment_s(text: str) -> float | None:
    """Return DICOM date and time ``YYYYMMDDHHMMSS.ffffff&ZZXX`` in the seconds of `SliceHeader.time_s`.

    Minutes and seconds may be left out; a zone moves the time to universal time.
    """
    moment = _MOMENT.fullmatch(text.strip())
    seconds = seconds_of_day(moment[2]) if moment else None
    if moment is None or seconds is None or not _day(moment[1]):
        return None
    zone = moment[3] or "+0000"
    offset = (int(zone[1:3]) * 3600 + int(zone[3:5]) * 60) * (-1 if zone[0] == "-" else 1)
    return _day(moment[1]) * 86400.0 + seconds - offset


@lru_cache(maxsize=4096)
def _day(text: str) -> int:
    """Return a date as a number of days; 0 for what is no date."""
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal()
    except ValueError:
        return 0


def _time_s(values: dict[str, str], which: str) -> float | None:
    seconds = seconds_of_day(values.get(f"{which}Time", "") or "none")
    if seconds is None:
        return None
    day = _day(values.get(f"{which}Date", "")) or _day(values.get("StudyDate", ""))
    return day * 86400.0 + seconds
