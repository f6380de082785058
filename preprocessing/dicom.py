"""DICOM series as volumes: true geometry from the headers, and only the slices that are needed."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import SimpleITK as sitk
from numpy.typing import NDArray

from preprocessing.cohort import Box, DicomSeries, Finding
from preprocessing.geometry import Grid
from preprocessing.volumes import UnreadableImageError

# Nothing that could identify a patient is read, so that none of it can reach a store.
_TAGS = (
    "SOPClassUID", "Modality", "SeriesDescription", "SeriesNumber", "SeriesInstanceUID",
    "AcquisitionTime", "ContentTime", "InstanceNumber", "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "BitsAllocated",
    "PixelRepresentation", "RescaleSlope", "RescaleIntercept", "Manufacturer",
    "MagneticFieldStrength", "SamplesPerPixel", "NumberOfFrames",
)  # fmt: skip
_LONG_VRS = (b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN")
_MAX_GAP_DEVIATION = 0.25
_MAX_DIRECTION_DEVIATION = 1e-3


@dataclass(frozen=True)
class SliceHeader:
    """What one image file says about itself.

    Parameters
    ----------
    position_mm, row_direction, column_direction
        ImagePositionPatient and the two halves of ImageOrientationPatient, LPS.
    spacing_mm
        Between rows, between columns.
    pixel_offset
        Byte at which raw pixels begin, or None where they are compressed.
    """

    path: Path
    description: str
    series_number: int | None
    instance_number: int | None
    time_s: float | None
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


def read_header(path: Path) -> SliceHeader:
    """Read one file's header.

    Raises
    ------
    UnreadableImageError
        With code ``dicom-damaged`` (not DICOM, empty, truncated) or ``dicom-not-an-image``.
    """
    try:
        with path.open("rb") as file:
            data = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
            tail = file.read(12)
            end_of_header = file.tell() - len(tail)
        return _parse(path, data, tail, end_of_header)
    except UnreadableImageError:
        raise
    # pydicom raises many types on damaged input; all of them mean the same to a user.
    except Exception as error:
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise _damaged(path, reason) from error


def read_header_or_finding(path: Path) -> SliceHeader | Finding:
    """Return a file's header, or the finding that says why it has none."""
    try:
        return read_header(path)
    except UnreadableImageError as error:
        return error.finding


def open_series(source: DicomSeries) -> DicomVolume:
    """Read all headers of one phase and arrange its slices by position.

    Raises
    ------
    UnreadableImageError
        If the files do not make one volume, with the finding that says why.
    """
    headers, findings = [], []
    for path in source.files:
        header = read_header_or_finding(path)
        if isinstance(header, SliceHeader):
            headers.append(header)
        elif header.excludes:
            raise UnreadableImageError(
                replace(header, message=f"series {source.name!r}: {header.message}")
            )
        else:
            findings.append(header)
    if not headers:
        raise UnreadableImageError(
            Finding("series-empty", f"series {source.name!r} has no image files")
        )
    return arrange(headers, source.name, findings)


def arrange(
    headers: Sequence[SliceHeader], name: str, findings: Iterable[Finding] = ()
) -> DicomVolume:
    """Sort slices by position along their normal and check that they make one volume.

    Raises
    ------
    UnreadableImageError
        On mixed sizes or directions, a missing slice, or a single slice.
    """
    first = headers[0]
    for attribute, word in (("shape", "matrix sizes"), ("spacing_mm", "pixel spacings")):
        if len({getattr(h, attribute) for h in headers}) > 1:
            found = sorted({getattr(h, attribute) for h in headers})
            raise _refused("series-mixed", f"series {name!r} mixes {word} {found}")
    directions = np.array([(*h.row_direction, *h.column_direction) for h in headers])
    if np.abs(directions - directions[0]).max() > _MAX_DIRECTION_DEVIATION:
        raise _refused("series-mixed", f"series {name!r} mixes slice orientations")
    depth = np.array([h.position_mm for h in headers]) @ first.normal
    order = np.argsort(depth, kind="stable")
    ordered = [headers[i] for i in order]
    depth = depth[order]
    repeated = np.flatnonzero(np.diff(depth) < 1e-3)
    notes = list(findings)
    if repeated.size:
        ordered = [h for i, h in enumerate(ordered) if i - 1 not in repeated]
        depth = np.delete(depth, repeated + 1)
        message = f"series {name!r} has {repeated.size} slices at a position already taken: ignored"
        notes.append(Finding("duplicate-slices", message, excludes=False))
    if len(ordered) < 2:
        raise _refused("series-too-short", f"series {name!r} has {len(ordered)} slice, expected 2+")
    gaps = np.diff(depth)
    usual = float(np.median(gaps))
    wide = np.flatnonzero(np.abs(gaps - usual) > _MAX_GAP_DEVIATION * usual)
    if wide.size:
        message = (
            f"series {name!r} has a gap of {gaps[wide[0]]:.2f} mm after slice {wide[0] + 1} of"
            f" {len(ordered)}, expected {usual:.2f} mm: a slice is missing"
        )
        raise _refused("slice-missing", message)
    return DicomVolume(name, tuple(ordered), tuple(notes))


class DicomVolume:
    """Slices of one phase, sorted by position; voxels are read on demand."""

    def __init__(
        self, name: str, headers: tuple[SliceHeader, ...], findings: tuple[Finding, ...]
    ) -> None:
        first, last = headers[0], headers[-1]
        step = (np.array(last.position_mm) - np.array(first.position_mm)) / (len(headers) - 1)
        affine = np.column_stack(
            [
                np.array(first.column_direction) * first.spacing_mm[0],
                np.array(first.row_direction) * first.spacing_mm[1],
                step,
                first.position_mm,
            ]
        )
        self.name = name
        self.headers = headers
        self.findings = findings
        self.grid = Grid.from_array((*first.shape, len(headers)), affine)
        times = [h.time_s for h in headers if h.time_s is not None]
        self.time_s = min(times) if times else None
        self.covariates: dict[str, str | float | None] = {
            "manufacturer": first.manufacturer,
            "field_strength_t": first.field_strength_t,
        }

    def box_to_positions(self, box: Box) -> Box:
        """Map slices counted by InstanceNumber - 1 to positions in the sorted volume.

        Raises
        ------
        UnreadableImageError
            If InstanceNumber does not tell the slices apart, or no slice of the box is there.
        """
        numbers = [h.instance_number for h in self.headers]
        known = [n for n in numbers if n is not None]
        if len(set(known)) < len(numbers):
            message = f"series {self.name!r}: InstanceNumber does not tell its slices apart"
            raise _refused("instance-numbers", message)
        # Series that hold all phases count on; each phase then starts at its own first number.
        base = min(known) - 1 if min(known) > len(known) else 0
        wanted = range(box.start[2], box.stop[2])
        found = [i for i, n in enumerate(known) if n - 1 - base in wanted]
        if not found:
            message = (
                f"the tumour box has slices {wanted.start + 1}-{wanted.stop}, series {self.name!r}"
                f" has {min(known)}-{max(known)}"
            )
            raise _refused("box-outside", message)
        return Box((*box.start[:2], min(found)), (*box.stop[:2], max(found) + 1))

    def read(self, part: Box, step: int = 1) -> NDArray[np.float32]:
        """Return the voxels of `part` (row, column, slice), every `step`-th slice.

        Raises
        ------
        UnreadableImageError
            If a file changed or broke since its header was read.
        """
        (r0, c0, s0), (r1, c1, s1) = part.start, part.stop
        chosen = self.headers[s0:s1:step]
        # Slices first in memory, since each file is one slice.
        out = np.empty((len(chosen), r1 - r0, c1 - c0), dtype=np.float32)
        for plane, header in zip(out, chosen, strict=True):
            plane[...] = _read_plane(header, r0, r1)[:, c0:c1]
            if (header.slope, header.intercept) != (1.0, 0.0):
                plane *= header.slope
                plane += header.intercept
        return np.moveaxis(out, 0, 2)


def _read_plane(header: SliceHeader, first_row: int, last_row: int) -> NDArray[Any]:
    rows, columns = header.shape
    dtype = np.dtype(header.dtype)
    try:
        if header.pixel_offset is None:
            # GDCM, inside SimpleITK, decodes every compressed syntax seen in the field.
            image = sitk.GetArrayFromImage(sitk.ReadImage(str(header.path)))
            plane: NDArray[Any] = image.reshape(rows, columns).astype(np.float64)
            stored: NDArray[Any] = (plane - header.intercept) / header.slope
            return stored[first_row:last_row]
        with header.path.open("rb") as file:
            file.seek(header.pixel_offset + first_row * columns * dtype.itemsize)
            raw = file.read((last_row - first_row) * columns * dtype.itemsize)
        return np.frombuffer(raw, dtype=dtype).reshape(last_row - first_row, columns)
    except Exception as error:
        raise _damaged(header.path, " ".join(str(error).split())[:160]) from error


def _parse(path: Path, data: pydicom.Dataset, tail: bytes, end_of_header: int) -> SliceHeader:
    if "Rows" not in data or "ImagePositionPatient" not in data:
        if len(tail) < 8 and "SOPClassUID" not in data:
            raise _damaged(path, "it ends inside its header")
        raise UnreadableImageError(
            Finding("dicom-not-an-image", f"DICOM file {path.name} holds no image slice: ignored",
                    excludes=False)
        )  # fmt: skip
    rows, columns = int(data.Rows), int(data.Columns)
    bits = int(data.BitsAllocated)
    if int(data.get("SamplesPerPixel", 1)) != 1 or bits not in (8, 16, 32):
        raise _damaged(path, f"{bits} bits in {data.get('SamplesPerPixel', 1)} channels")
    syntax = data.file_meta.TransferSyntaxUID
    order = ">" if not syntax.is_little_endian else "<"
    kind = "i" if int(data.get("PixelRepresentation", 0)) else "u"
    offset = None
    if not syntax.is_compressed:
        offset = _pixel_offset(path, tail, end_of_header, syntax.is_implicit_VR, order)
        missing = offset + rows * columns * bits // 8 - path.stat().st_size
        if missing > 0:
            raise _damaged(path, f"its pixels are cut short by {missing} bytes")
    orientation = [float(v) for v in data.ImageOrientationPatient]
    x, y, z = (float(v) for v in data.ImagePositionPatient)
    between_rows, between_columns = (float(v) for v in data.PixelSpacing)
    time = data.get("AcquisitionTime") or data.get("ContentTime")
    strength = data.get("MagneticFieldStrength")
    return SliceHeader(
        path=path,
        description=str(data.get("SeriesDescription", "")),
        series_number=_integer(data.get("SeriesNumber")),
        instance_number=_integer(data.get("InstanceNumber")),
        time_s=seconds_of_day(str(time)) if time else None,
        position_mm=(x, y, z),
        row_direction=(orientation[0], orientation[1], orientation[2]),
        column_direction=(orientation[3], orientation[4], orientation[5]),
        spacing_mm=(between_rows, between_columns),
        shape=(rows, columns),
        dtype=f"{order}{kind}{bits // 8}",
        slope=float(data.get("RescaleSlope", 1) or 1),
        intercept=float(data.get("RescaleIntercept", 0) or 0),
        pixel_offset=offset,
        manufacturer=str(data.Manufacturer) if data.get("Manufacturer") else None,
        field_strength_t=float(strength) if strength else None,
    )


def seconds_of_day(time: str) -> float | None:
    """Return DICOM time ``HHMMSS.ffffff`` as seconds since midnight, None where it is no time."""
    try:
        return int(time[:2]) * 3600 + int(time[2:4] or 0) * 60 + float(time[4:] or 0)
    except ValueError:
        return None


def _pixel_offset(path: Path, tail: bytes, position: int, implicit: bool, order: str) -> int:
    tag = struct.pack(f"{order}HH", 0x7FE0, 0x0010)
    if tail[:4] != tag:
        raise _damaged(path, "it has no pixel data")
    return position + (12 if not implicit and tail[4:6] in _LONG_VRS else 8)


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _damaged(path: Path, reason: str) -> UnreadableImageError:
    # Folders are named by UIDs, which have no place in a store or report.
    message = f"DICOM file {path.name} is damaged: {reason}"
    return UnreadableImageError(Finding("dicom-damaged", message))


def _refused(code: str, message: str) -> UnreadableImageError:
    return UnreadableImageError(Finding(code, message))
