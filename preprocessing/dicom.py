"""DICOM series as volumes: true geometry from the headers, and only the slices that are needed."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from preprocessing.cohort import Box, DicomSeries, Finding
from preprocessing.dicom_header import SliceHeader, damaged, is_uid, read_header_or_finding
from preprocessing.geometry import Grid
from preprocessing.shown_names import shown_reason
from preprocessing.slice_numbers import count_slices
from preprocessing.volumes import UnreadableImageError

_MAX_GAP_DEVIATION = 0.25
_MAX_DIRECTION_DEVIATION = 1e-3
_MAX_STRAY_SHARE = 0.1
_SAME_POSITION_MM = 1e-3


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
    notes = list(findings)
    kept = _of_one_geometry(headers, name, notes)
    first = kept[0]
    # Of two slices at one position the one that was numbered first stays.
    kept = sorted(kept, key=lambda h: (h.instance_number or 0, h.path.name))
    depth = np.array([h.position_mm for h in kept]) @ first.normal
    order = np.argsort(depth, kind="stable")
    ordered = [kept[i] for i in order]
    depth = depth[order]
    repeated = np.flatnonzero(np.diff(depth) < _SAME_POSITION_MM) + 1
    if repeated.size:
        ordered = [h for i, h in enumerate(ordered) if i not in set(repeated.tolist())]
        depth = np.delete(depth, repeated)
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


def _of_one_geometry(
    headers: Sequence[SliceHeader], name: str, notes: list[Finding]
) -> list[SliceHeader]:
    """Return the slices of the usual size and direction; a stray few others are left out."""
    usual = Counter(_geometry(h) for h in headers).most_common(1)[0][0]
    kept = [h for h in headers if _same_geometry(_geometry(h), usual)]
    strays = len(headers) - len(kept)
    if strays > _MAX_STRAY_SHARE * len(headers):
        found = sorted({(*h.shape, *h.spacing_mm) for h in headers})
        raise _refused(
            "series-mixed",
            f"series {name!r} mixes slices of {len(found)} sizes or directions"
            f" (rows, columns, spacings: {found[:3]}), expected one",
        )
    if strays:
        message = f"series {name!r} has {strays} slices of another size or direction: ignored"
        notes.append(Finding("other-geometry-ignored", message, excludes=False))
    return kept


def _geometry(header: SliceHeader) -> tuple[float, ...]:
    return (*header.shape, *header.spacing_mm, *header.row_direction, *header.column_direction)


def _same_geometry(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one[:4] == other[:4] and all(
        abs(a - b) <= _MAX_DIRECTION_DEVIATION for a, b in zip(one[4:], other[4:], strict=True)
    )


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
        wanted = range(box.start[2], box.stop[2])
        numbers = self._slice_numbers(wanted)
        found = [i for i, n in enumerate(numbers) if n - 1 in wanted]
        if not found:
            message = (
                f"the tumour box has slices {wanted.start + 1}-{wanted.stop}, series {self.name!r}"
                f" has {min(numbers)}-{max(numbers)}"
            )
            raise _refused("box-outside", message)
        if max(found) - min(found) >= len(found):
            message = f"series {self.name!r}: the slices that the tumour box names do not lie side by side"
            raise _refused("instance-numbers", message)
        # A box that reaches beyond the numbered slices reaches beyond the volume as far.
        low, high = min(numbers) - 1, max(numbers)
        before, after = max(low - wanted.start, 0), max(wanted.stop - high, 0)
        if numbers[-1] < numbers[0]:
            before, after = after, before
        return Box((*box.start[:2], min(found) - before), (*box.stop[:2], max(found) + 1 + after))

    def _slice_numbers(self, wanted: range) -> list[int]:
        """Return the number, from 1, that each position has for people who look at the series."""
        known = [h.instance_number for h in self.headers if h.instance_number is not None]
        if len(set(known)) < len(self.headers):
            known = [n for h in self.headers if (n := _number_in_name(h)) is not None]
            if len(set(known)) < len(self.headers):
                message = f"series {self.name!r}: InstanceNumber does not tell its slices apart"
                raise _refused("instance-numbers", message)
            message = f"series {self.name!r}: slices are numbered as their files are named"
            note = Finding("instance-numbers-from-names", message, excludes=False)
            self.findings = (*self.findings, note)
        numbers, counted = count_slices(known, wanted)
        if counted:
            message = (
                f"series {self.name!r}: slices are numbered {counted}; the tumour box's slice n is"
                " taken for the n-th"
            )
            note = Finding("instance-numbers-counted", message, excludes=False)
            self.findings = (*self.findings, note)
        return numbers

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


def _number_in_name(header: SliceHeader) -> int | None:
    """Return the last number in a file's name; UIDs are no numbers."""
    stem = header.path.name.removesuffix(".dcm")
    found = re.findall(r"\d+", stem)
    return int(found[-1]) if found and not is_uid(stem) else None


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
        offset = header.pixel_offset + first_row * columns * dtype.itemsize
        descriptor = os.open(header.path, os.O_RDONLY)
        try:
            raw = os.pread(descriptor, (last_row - first_row) * columns * dtype.itemsize, offset)
        finally:
            os.close(descriptor)
        return np.frombuffer(raw, dtype=dtype).reshape(last_row - first_row, columns)
    except Exception as error:
        raise damaged(header.path, shown_reason(error)) from error


def _refused(code: str, message: str) -> UnreadableImageError:
    return UnreadableImageError(Finding(code, message))
