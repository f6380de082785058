"""The elements of one DICOM file as text, and where its pixels lie.

The elements of the two uncompressed little-endian syntaxes (and of compressed files, which are
explicit little endian) are walked in the first few kilobytes of the file; everything else, and
everything odd, goes to pydicom, which is also the oracle of the tests.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.datadict import tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from preprocessing.images.dicom.frames import (
    FRAME_KEYWORDS,
    PHILIPS_CREATOR,
    frame_values,
    philips_scale_slope,
    text_of,
)

# The element structure of plain DICOM files: tags, lengths and where the pixels begin.
#
# DICOM part 5, section 7 (data set structure) and part 10, section 7 (file format): a preamble,
# a group of file meta elements, then elements in ascending order of their tags. Only little endian
# is known here, with the value representation spelt out (explicit) or not (implicit).

_IMPLICIT = "1.2.840.10008.1.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_SYNTAX_TAG = 0x00020010
_PIXELS_TAG = 0x7FE00010
# Float Pixel Data, Double Float Pixel Data.
_FLOAT_PIXELS_TAGS = (0x7FE00008, 0x7FE00009)
# Shared and per-frame functional groups: a file of several slices, which is read otherwise.
_FRAME_TAGS = (0x52009229, 0x52009230)
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_VRS_WITH_LONG_LENGTH = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UR", b"UT", b"UN",
                       b"SV", b"UV"))  # fmt: skip
# SamplesPerPixel, Rows, Columns, BitsAllocated, BitsStored, HighBit, PixelRepresentation: 16-bit
# numbers.
_NUMBERS = frozenset((0x00280002, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102,
                      0x00280103))  # fmt: skip
_START = 132

_tag_and_length = struct.Struct("<HHL").unpack_from
_tag_vr_length = struct.Struct("<HH2sH").unpack_from
_long = struct.Struct("<L").unpack_from
_short = struct.Struct("<H").unpack_from


class NotPlainError(Exception):
    """A file that is not laid out in one of the plain ways; pydicom may still read it."""


@dataclass(frozen=True)
class PlainElements:
    """Wanted elements by keyword: text as bytes, 16-bit numbers as integers.

    Parameters
    ----------
    pixel_offset, pixel_length
        Where the value of PixelData begins, and how many bytes it says it has; None where there is
        none, and the length where the pixels are compressed.
    has_float_pixels
        Whether the pixels are floating-point numbers.
    has_frames
        Whether functional groups say where each of several slices lies; nothing after them was
        read.
    """

    text: dict[str, bytes]
    numbers: dict[str, int]
    syntax: str
    pixel_offset: int | None = None
    pixel_length: int | None = None
    has_float_pixels: bool = False
    has_frames: bool = False


def plain_elements(start: bytes, wanted: Mapping[int, str]) -> PlainElements | None:
    """Find elements in the first bytes of a file.

    Parameters
    ----------
    start
        The file's first bytes, or all of them.
    wanted
        Tag to keyword.

    Returns
    -------
    The elements and where the pixel data's value begins, or None if `start` ends before them.

    Raises
    ------
    NotPlainError
        If the file is laid out in another way, or is no DICOM.
    struct.error
        If it ends inside an element's tag or length.
    """
    if start[128:_START] != b"DICM":
        raise NotPlainError("no DICM after the preamble")
    syntax, position = _meta(start)
    if syntax in (_DEFLATED, _BIG_ENDIAN):
        raise NotPlainError(f"transfer syntax {syntax}")
    explicit = syntax != _IMPLICIT
    text: dict[str, bytes] = {}
    numbers: dict[str, int] = {}
    last, end = 0, len(start)
    while position + 12 <= end:
        tag, value, length = _element(start, position, explicit)
        if tag <= last:
            raise NotPlainError("tags are not in ascending order")
        last = tag
        if tag >= _FRAME_TAGS[0]:
            if tag in _FRAME_TAGS:
                return PlainElements(text, numbers, syntax, has_frames=True)
            if tag == _PIXELS_TAG:
                known = None if length == _UNDEFINED else length
                return PlainElements(text, numbers, syntax, value, known)
            if tag > _PIXELS_TAG or tag in _FLOAT_PIXELS_TAGS:
                floating = tag in _FLOAT_PIXELS_TAGS
                return PlainElements(text, numbers, syntax, has_float_pixels=floating)
        if length == _UNDEFINED:
            past = _skip_sequence(start, value, explicit)
            if tag in wanted and past > value + 8:
                text[wanted[tag]] = b"sequence"
            position = past
            continue
        if tag in wanted:
            if value + length > end:
                return None
            if tag in _NUMBERS:
                if length >= 2:
                    numbers[wanted[tag]] = _short(start, value)[0]
            elif length:
                text[wanted[tag]] = start[value : value + length]
        position = value + length
    return None


def _meta(start: bytes) -> tuple[str, int]:
    """Return the transfer syntax and where the data set begins."""
    position, syntax = _START, ""
    while _short(start, position)[0] == 2:
        tag, value, length = _element(start, position, explicit=True)
        if tag == _SYNTAX_TAG:
            syntax = start[value : value + length].rstrip(b"\0 ").decode("ascii")
        position = value + length
    if not syntax:
        raise NotPlainError("no transfer syntax")
    return syntax, position


def _element(data: bytes, position: int, explicit: bool) -> tuple[int, int, int]:
    """Return tag, start of the value, and length."""
    if not explicit:
        group, element, length = _tag_and_length(data, position)
        return group << 16 | element, position + 8, length
    group, element, vr, length = _tag_vr_length(data, position)
    tag = group << 16 | element
    if group == 0xFFFE:  # items have no value representation
        return tag, position + 8, _long(data, position + 4)[0]
    if vr in _VRS_WITH_LONG_LENGTH:
        return tag, position + 12, _long(data, position + 8)[0]
    if not vr.isalpha():
        raise NotPlainError("no value representation where one is due")
    return tag, position + 8, length


def _skip_sequence(data: bytes, position: int, explicit: bool) -> int:
    """Return the position after a sequence of undefined length whose items begin at `position`."""
    while True:
        tag, value, length = _element(data, position, explicit)
        if tag == _SEQUENCE_END:
            return value
        if tag != _ITEM:
            raise NotPlainError("something else where a sequence's item is due")
        position = _skip_item(data, value, explicit) if length == _UNDEFINED else value + length


def _skip_item(data: bytes, position: int, explicit: bool) -> int:
    while True:
        tag, value, length = _element(data, position, explicit)
        if tag == _ITEM_END:
            return value
        position = _skip_sequence(data, value, explicit) if length == _UNDEFINED else value + length


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
_PIXEL_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN")
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
    is_long = not implicit and tail[4:6] in _PIXEL_VRS
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
