"""The element structure of plain DICOM files: tags, lengths and where the pixels begin.

DICOM part 5, section 7 (data set structure) and part 10, section 7 (file format): a preamble,
a group of file meta elements, then elements in ascending order of their tags. Only little endian
is known here, with the value representation spelt out (explicit) or not (implicit).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

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
_LONG_VRS = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UR", b"UT", b"UN",
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
    if vr in _LONG_VRS:
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
