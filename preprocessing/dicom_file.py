"""The elements of one DICOM file as text, and where its pixels lie.

The elements of the two uncompressed little-endian syntaxes (and of compressed files, which are
explicit little endian) are walked in the first few kilobytes of the file; everything else, and
everything odd, goes to pydicom, which is also the oracle of the tests.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from preprocessing.dicom_elements import NotPlainError, plain_elements
from preprocessing.dicom_frames import (
    FRAME_KEYWORDS,
    PHILIPS_CREATOR,
    frame_values,
    philips_scale_slope,
    text_of,
)

# Nothing that could identify a patient is read, so that none of it can reach a store.
_KEYWORDS = (
    "SpecificCharacterSet", "SOPClassUID", "Modality", "PatientID", "SeriesDescription", "SeriesNumber",
    "StudyInstanceUID", "SeriesInstanceUID", "StudyDate", "AcquisitionDate", "ContentDate",
    "AcquisitionTime", "AcquisitionDateTime", "ContentTime", "TriggerTime", "AcquisitionNumber",
    "TemporalPositionIdentifier", "NumberOfTemporalPositions", "ImageType", "SequenceName",
    "ContrastBolusAgent", "EchoTime", "FrameOfReferenceUID", "SOPInstanceUID",
    "InstanceNumber", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "BitsAllocated",
    "BitsStored", "HighBit", "PixelRepresentation", "PhotometricInterpretation",
    "RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence",
    "LossyImageCompression", "Manufacturer",
    "MagneticFieldStrength", "SamplesPerPixel", "NumberOfFrames",
)  # fmt: skip
# Philips's private elements lie in the block whose first element names their creator.
_PHILIPS_BLOCKS = range(0x10, 0x20)
_PHILIPS = {0x20050000 | b: f"PhilipsCreator{b}" for b in _PHILIPS_BLOCKS} | {
    0x2005000E | b << 8: f"PhilipsScaleSlope{b}" for b in _PHILIPS_BLOCKS
}
_TAGS = {int(tag_for_keyword(k) or 0): k for k in _KEYWORDS} | _PHILIPS
_PYDICOM_TAGS = [*_TAGS, *(int(tag_for_keyword(k) or 0) for k in FRAME_KEYWORDS)]
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN")
# Most headers fit; one that does not is read a second time, larger.
_FIRST_BYTES = 16 * 1024
_MORE_BYTES = 1024 * 1024
_PLAIN_CHARACTER_SETS = ("", "ISO_IR 6", "ISO_IR 100")

# Where pydicom warns of a value, it quotes it.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


@dataclass(frozen=True, slots=True)
class RawHeader:
    """Elements as text, by keyword, and where the pixels are.

    Parameters
    ----------
    pixel_offset, pixel_length
        Where PixelData's value begins and how long it says it is; None where there is none, and
        the length where it is compressed. The offset is None in a deflated file.
    is_swapped
        Whether 8-bit pixels lie in big-endian words.
    frames
        Each frame's elements, where functional groups tell them.
    """

    values: dict[str, str]
    syntax: str
    pixel_offset: int | None
    pixel_length: int | None
    file_size: int
    has_float_pixels: bool = False
    is_swapped: bool = False
    frames: tuple[dict[str, str], ...] | None = None


def read_plain(path: Path) -> RawHeader:
    """Read a header quickly.

    Raises
    ------
    NotPlainError, struct.error, UnicodeDecodeError
        If it is not laid out in one of the plain ways, or has functional groups; pydicom may still
        read it.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        for count in (_FIRST_BYTES, _MORE_BYTES):
            found = plain_elements(os.pread(descriptor, count, 0), _TAGS)
            if found is not None:
                if found.has_frames:
                    raise NotPlainError("functional groups")
                scale = _philips_scale(found.text)
                values = {k: v.decode("latin-1").rstrip("\0 ") for k, v in found.text.items()}
                if values.get("SpecificCharacterSet", "") not in _PLAIN_CHARACTER_SETS:
                    raise NotPlainError("text in another character set")
                values |= {k: str(v) for k, v in found.numbers.items()}
                if scale is not None:
                    values["PhilipsScaleSlope"] = repr(scale)
                return RawHeader(
                    values,
                    found.syntax,
                    found.pixel_offset,
                    found.pixel_length,
                    size,
                    found.has_float_pixels,
                )
    finally:
        os.close(descriptor)
    raise NotPlainError("its header is very long")


def _philips_scale(text: dict[str, bytes]) -> float | None:
    """Take Philips's elements out of those found, and return its Scale Slope."""
    scale = None
    for block in _PHILIPS_BLOCKS:
        creator = text.pop(f"PhilipsCreator{block}", b"")
        value = text.pop(f"PhilipsScaleSlope{block}", b"")
        if len(value) == 4 and creator.decode("latin-1").strip("\0 ") == PHILIPS_CREATOR:
            scale = struct.unpack("<f", value)[0]
    return scale


def read_with_pydicom(path: Path) -> RawHeader:
    """Read a header with pydicom: slower, and at home in every transfer syntax."""
    with path.open("rb") as file:
        data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_PYDICOM_TAGS)
        tail = file.read(12)
        end = file.tell() - len(tail)
    values = text_of(data, _KEYWORDS)
    values.pop("ModalityLUTSequence", None)
    if data.get("ModalityLUTSequence"):
        values["ModalityLUTSequence"] = "sequence"
    scale = philips_scale_slope(data)
    if scale is not None:
        values["PhilipsScaleSlope"] = repr(scale)
    syntax = data.file_meta.TransferSyntaxUID
    if len(tail) < 8 and "SOPClassUID" not in values:
        raise ValueError("it ends inside its header")
    frames = None
    if "PerFrameFunctionalGroupsSequence" in data:
        frames = tuple(frame_values(data, values))
    pixels = (
        _PixelElement()
        if syntax == DeflatedExplicitVRLittleEndian
        else _pixel_element(
            tail, end, "<" if syntax.is_little_endian else ">", syntax.is_implicit_VR
        )
    )
    is_swapped = (
        syntax == ExplicitVRBigEndian and pixels.is_words and values.get("BitsAllocated") == "8"
    )
    return RawHeader(
        values,
        str(syntax),
        pixels.offset,
        pixels.length,
        path.stat().st_size,
        pixels.is_float,
        is_swapped,
        frames,
    )


@dataclass(frozen=True)
class _PixelElement:
    offset: int | None = None
    length: int | None = None
    is_float: bool = False
    is_words: bool = False


def _pixel_element(tail: bytes, start: int, order: str, implicit: bool) -> _PixelElement:
    """Read the head of the element that begins at `start` of the file."""
    if len(tail) < 8:
        return _PixelElement()
    group, element = struct.unpack(f"{order}HH", tail[:4])
    if (group, element) != (0x7FE0, 0x0010):
        return _PixelElement(is_float=(group, element) in ((0x7FE0, 0x0008), (0x7FE0, 0x0009)))
    is_long = not implicit and tail[4:6] in _LONG_VRS
    if is_long and len(tail) < 12:
        return _PixelElement()
    if is_long or implicit:
        length = struct.unpack(f"{order}L", tail[8:12] if is_long else tail[4:8])[0]
    else:
        length = struct.unpack(f"{order}H", tail[6:8])[0]
    return _PixelElement(
        start + (12 if is_long else 8),
        None if length == 0xFFFFFFFF else length,
        is_words=not implicit and tail[4:6] == b"OW",
    )
