"""Stored pixel values of one DICOM slice: raw, compressed, in part of the bits.

DICOM part 5, section 8.1.1 (which bits of a word are the pixel's) and annex A.4 (compressed
frames). Values are those of PixelData itself; what they mean (rescale) is `series.py`'s.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.encaps import encapsulate
from pydicom.pixels.common import PhotometricInterpretation
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from preprocessing.images.dicom.slice_header import Ranges, SliceHeader

RAW_SYNTAXES = (
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)  # fmt: skip
# JPEG baseline, extended, lossless; JPEG-LS; JPEG 2000; RLE: what GDCM decodes.
COMPRESSED_SYNTAXES = (
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81",
    "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", RLELossless,
)  # fmt: skip
# Those that cannot but lose something.
LOSSY_SYNTAXES = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81")
_SECONDARY_CAPTURE = b"1.2.840.10008.5.1.4.1.1.7\0"
_ITEM, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE0DD


class PixelValuesError(Exception):
    """Pixels that are not what their header says; the message is for a person."""


def fragment_ranges(descriptor: int, start: int, num_frames: int) -> list[Ranges]:
    """Return where each compressed frame's bytes lie: (offset, length) of its fragments.

    Parameters
    ----------
    start
        Where the value of PixelData begins: an item with the table of offsets, then fragments.

    Raises
    ------
    PixelValuesError
        If the fragments end early, or do not tell which frame they belong to.
    """
    size = os.fstat(descriptor).st_size
    items: list[tuple[int, int]] = []
    position = start
    while True:
        head = os.pread(descriptor, 8, position)
        if not head and len(items) == num_frames + 1:
            # Some writers leave out the end of the sequence.
            break
        if len(head) < 8:
            raise PixelValuesError("its pixels are cut short")
        group, element, length = struct.unpack("<HHL", head)
        if group << 16 | element == _SEQUENCE_END:
            break
        if group << 16 | element != _ITEM or position + 8 + length > size:
            raise PixelValuesError("its pixels are cut short")
        items.append((position + 8, length))
        position += 8 + length
    if len(items) < 2:
        raise PixelValuesError("it has no pixel data")
    table, fragments = items[0], items[1:]
    if num_frames == 1:
        return [tuple(fragments)]
    if len(fragments) == num_frames:
        return [(f,) for f in fragments]
    offsets = np.frombuffer(os.pread(descriptor, table[1], table[0]), dtype="<u4")
    if len(offsets) != num_frames:
        raise PixelValuesError(f"{len(fragments)} pieces of pixel data for {num_frames} frames")
    # Offsets count from the first fragment's item.
    starts = np.array([at - 8 for at, _ in fragments]) - (fragments[0][0] - 8)
    frame_of = np.searchsorted(offsets, starts, side="right") - 1
    return [
        tuple(f for f, n in zip(fragments, frame_of, strict=True) if n == i)
        for i in range(num_frames)
    ]


def read_stored(header: SliceHeader, first_row: int, last_row: int) -> NDArray[Any]:
    """Return a slice's stored values from one row to another, (row, column).

    Raises
    ------
    PixelValuesError
        If the pixels are not what the header says.
    """
    if header.pixel_offset is not None:
        return _own_bits(header, _read_raw(header, first_row, last_row))
    if header.fragments and header.syntax == RLELossless:
        return _own_bits(header, _decode_runs(header)[first_row:last_row])
    if header.fragments:
        return _decode_jpeg(header)[first_row:last_row]
    return _own_bits(header, _read_inflated(header)[first_row:last_row])


def _read_raw(header: SliceHeader, first_row: int, last_row: int) -> NDArray[Any]:
    assert header.pixel_offset is not None
    columns, dtype = header.shape[1], np.dtype(header.dtype)
    row_bytes = columns * dtype.itemsize
    descriptor = os.open(header.path, os.O_RDONLY)
    try:
        raw = os.pread(
            descriptor,
            (last_row - first_row) * row_bytes,
            header.pixel_offset + first_row * row_bytes,
        )
    finally:
        os.close(descriptor)
    return np.frombuffer(raw, dtype=dtype).reshape(last_row - first_row, columns)


def _read_inflated(header: SliceHeader) -> NDArray[Any]:
    """Return a slice of a file that has to be unpacked whole: deflated, or bytes in swapped pairs."""
    dtype = np.dtype(header.dtype)
    content = _unpacked(header.path)
    if header.syntax == ExplicitVRBigEndian and dtype.itemsize == 1:
        # Two pixels a big-endian word (part 5, annex A.3).
        content = np.frombuffer(content[: len(content) // 2 * 2], dtype="<u2").byteswap().tobytes()
    count = header.shape[0] * header.shape[1]
    start = (header.frame or 0) * count * dtype.itemsize
    plane = content[start : start + count * dtype.itemsize]
    return np.frombuffer(plane, dtype=dtype).reshape(header.shape)


@lru_cache(maxsize=1)
def _unpacked(path: Path) -> bytes:
    return bytes(pydicom.dcmread(path).PixelData)


def forget_unpacked() -> None:
    """Let go of the file that was unpacked last."""
    _unpacked.cache_clear()


def _own_bits(header: SliceHeader, words: NDArray[Any]) -> NDArray[Any]:
    """Return the bits of each word that are the pixel's; the others may hold anything."""
    allocated = words.dtype.itemsize * 8
    stored, high = header.bits_stored or allocated, header.high_bit
    shift = 0 if high is None else high + 1 - stored
    if stored == allocated:
        return words
    unsigned = words.astype(f"u{words.dtype.itemsize}").view() >> shift & ((1 << stored) - 1)
    if words.dtype.kind == "u":
        return unsigned
    return _signed(unsigned.astype(np.int64), stored)


def _signed(values: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    """Return numbers of so many bits as two's complement says."""
    sign = 1 << (bits - 1)
    return (values ^ sign) - sign


def _decode_runs(header: SliceHeader) -> NDArray[Any]:
    """Return the words of a slice in run lengths (RLE), which keep bits that are no pixel's."""
    dtype = np.dtype(header.dtype)
    options: dict[str, Any] = {
        "rows": header.shape[0],
        "columns": header.shape[1],
        "bits_allocated": dtype.itemsize * 8,
        "bits_stored": dtype.itemsize * 8,
        "pixel_representation": 0,
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "photometric_interpretation": PhotometricInterpretation.MONOCHROME2,
        "pixel_keyword": "PixelData",
    }
    frame = encapsulate([b"".join(_fragments(header))])
    # GDCM refuses small images, and is slower.
    words, _ = get_decoder(RLELossless).as_array(frame, index=0, **options)
    return words.reshape(header.shape).view(f"{dtype.kind}{dtype.itemsize}")


def _decode_jpeg(header: SliceHeader) -> NDArray[np.int64]:
    """Return a slice compressed by a JPEG, JPEG-LS or JPEG 2000.

    GDCM, inside SimpleITK, decodes them all. It is given a file with that one frame, which says
    nothing of rescaling, so that the values are those stored.
    """
    is_signed = np.dtype(header.dtype).kind == "i"
    stored = header.bits_stored or np.dtype(header.dtype).itemsize * 8
    with tempfile.TemporaryDirectory(prefix="radiotrain-") as folder:
        path = Path(folder) / "frame.dcm"
        path.write_bytes(_one_frame(header))
        image = sitk.ReadImage(str(path))
    values = sitk.GetArrayFromImage(image).reshape(header.shape).astype(np.int64)
    low = -(1 << (stored - 1)) if is_signed else 0
    if values.min() < low or values.max() >= 1 << stored:
        raise PixelValuesError(
            f"its pixels go from {values.min()} to {values.max()}, expected"
            f" {'signed' if is_signed else 'unsigned'} numbers of {stored} bits"
        )
    # Lossless JPEG knows no sign: it gives the bits of negative numbers.
    return _signed(values & ((1 << stored) - 1), stored) if is_signed else values


def _one_frame(header: SliceHeader) -> bytes:
    """Return a DICOM file with one compressed frame and what its decoding needs."""
    dtype = np.dtype(header.dtype)
    # GDCM drops bits above BitsStored in silence; here it has none to drop.
    bits, signed = dtype.itemsize * 8, int(dtype.kind == "i")
    uid = b"1.2.3.4.5\0"
    syntax = header.syntax.encode()
    meta = _element(0x00020001, b"OB", b"\0\1") + b"".join(
        _element(tag, b"UI", value)
        for tag, value in (
            (0x00020002, _SECONDARY_CAPTURE), (0x00020003, uid), (0x00020010, syntax),
        )
    )  # fmt: skip
    numbers = (
        (0x00280010, header.shape[0]), (0x00280011, header.shape[1]),
        (0x00280100, bits), (0x00280101, bits), (0x00280102, bits - 1),
        (0x00280103, signed),
    )  # fmt: skip
    out = BytesIO()
    out.write(bytes(128) + b"DICM" + _element(0x00020000, b"UL", struct.pack("<L", len(meta))))
    out.write(meta)
    out.write(_element(0x00080016, b"UI", _SECONDARY_CAPTURE) + _element(0x00080018, b"UI", uid))
    out.write(_element(0x00280002, b"US", struct.pack("<H", 1)))
    out.write(_element(0x00280004, b"CS", b"MONOCHROME2 "))
    for tag, number in numbers:
        out.write(_element(tag, b"US", struct.pack("<H", number)))
    out.write(struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OB", 0, 0xFFFFFFFF))
    out.write(_item(b""))
    for fragment in _fragments(header):
        out.write(_item(fragment))
    out.write(struct.pack("<HHL", _SEQUENCE_END >> 16, _SEQUENCE_END & 0xFFFF, 0))
    return out.getvalue()


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    group, element = tag >> 16, tag & 0xFFFF
    if vr == b"OB":
        return struct.pack("<HH2sHL", group, element, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", group, element, vr, len(value)) + value


def _item(value: bytes) -> bytes:
    return struct.pack("<HHL", _ITEM >> 16, _ITEM & 0xFFFF, len(value)) + value


def _fragments(header: SliceHeader) -> Sequence[bytes]:
    descriptor = os.open(header.path, os.O_RDONLY)
    try:
        return [os.pread(descriptor, length, at) for at, length in header.fragments]
    finally:
        os.close(descriptor)
