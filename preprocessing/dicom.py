"""DICOM series as volumes: true geometry from the headers, and only the slices that are needed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort import Box, DicomSeries, Finding
from preprocessing.dicom_header import SliceHeader, damaged, is_uid, read_slices_or_finding
from preprocessing.dicom_pixels import PixelValuesError, forget_unpacked, read_stored
from preprocessing.dicom_values import check_values, floating_divisor
from preprocessing.geometry import Grid
from preprocessing.phases.parts import SeriesPart, split_series
from preprocessing.shown_names import shown_reason
from preprocessing.slice_numbers import count_slices
from preprocessing.volumes import UnreadableImageError, Volume

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
    headers, findings = _read_headers(source)
    part = _only_volume(headers, source.name)
    return arrange(part.headers, source.name, (*findings, *part.findings))


def count_volumes(source: DicomSeries) -> int:
    """Return how many volumes that may be phases a folder or file holds.

    Raises
    ------
    UnreadableImageError
        If a file is damaged, none is an image, or nothing tells volumes at one place apart.
    """
    headers, _ = _read_headers(source)
    parts = [part for part in split_series(headers, same_pixels) if part.kind.is_phase]
    for finding in (f for part in parts for f in part.findings if f.excludes):
        raise UnreadableImageError(finding)
    return len(parts)


def _read_headers(source: DicomSeries) -> tuple[list[SliceHeader], list[Finding]]:
    """Return the headers of a series' slices, and what is odd about other files.

    Raises
    ------
    UnreadableImageError
        If a file is damaged, or none is an image.
    """
    headers: list[SliceHeader] = []
    findings: list[Finding] = []
    for path in source.files:
        slices = read_slices_or_finding(path)
        if not isinstance(slices, Finding):
            headers.extend(slices)
        elif slices.excludes:
            raise UnreadableImageError(
                replace(slices, message=f"series {source.name!r}: {slices.message}")
            )
        else:
            findings.append(slices)
    if not headers:
        reason = f": {findings[0].message}" if findings else ""
        raise UnreadableImageError(
            Finding("series-empty", f"series {source.name!r} has no image files{reason}")
        )
    return headers, findings


def _only_volume(headers: Sequence[SliceHeader], name: str) -> SeriesPart:
    """Return the one volume that a folder holds, beside images that are no phases.

    Raises
    ------
    UnreadableImageError
        If there are several.
    """
    parts = split_series(headers, same_pixels)
    usual = [part for part in parts if part.kind.is_phase] or parts
    if len(usual) > 1:
        told = usual[0].told_by or "the kind of image"
        message = f"series {name!r} holds {len(usual)} volumes ({told} differs), expected one phase"
        raise _refused("series-several-volumes", message)
    (part,) = usual
    for finding in part.findings:
        if finding.excludes:
            raise UnreadableImageError(finding)
    if part.kind.is_phase:
        return part
    message = f"series {name!r} holds a {part.kind.value}, no acquired image: used, as it is named"
    return replace(
        part, findings=(*part.findings, Finding("phases-derived", message, excludes=False))
    )


def _refuse_other_copies(
    ordered: Sequence[SliceHeader], depth: NDArray[np.float64], name: str
) -> None:
    """Raise if slices at one position differ in their pixels: none of them is known to be right."""
    first = 0
    for i in range(1, len(ordered)):
        if depth[i] - depth[i - 1] >= _SAME_POSITION_MM:
            first = i
        elif not np.array_equal(_whole_plane(ordered[first]), _whole_plane(ordered[i])):
            message = f"series {name!r} has different slices at one position, expected one of them"
            raise _refused("duplicate-slices-differ", message)


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
    kept = sorted(kept, key=lambda h: (h.instance_number or 0, h.path.name, h.frame or 0))
    depth = np.array([h.position_mm for h in kept]) @ first.normal
    order = np.argsort(depth, kind="stable")
    ordered = [kept[i] for i in order]
    depth = depth[order]
    repeated = np.flatnonzero(np.diff(depth) < _SAME_POSITION_MM) + 1
    if repeated.size:
        _refuse_other_copies(ordered, depth, name)
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
        num_stacks = len({h.stack for h in ordered})
        if num_stacks > 1:
            message = (
                f"series {name!r} holds {num_stacks} stacks of slices that do not make one volume"
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
            f"series {name!r} mixes slices of {len(set(map(_geometry, headers)))} sizes or directions"
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
    """Slices of one phase, sorted by position; voxels are read on demand.

    Parameters
    ----------
    is_floating
        Whether voxels are Philips's floating-point values; see `preprocessing.dicom_values`.
    """

    def __init__(
        self,
        name: str,
        headers: tuple[SliceHeader, ...],
        findings: tuple[Finding, ...],
        is_floating: bool = False,
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
        self.is_floating = is_floating
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
            divisor = floating_divisor(header) if self.is_floating else 1.0
            plane[...] = _rescaled(header, (r0, r1), (c0, c1), divisor)
        forget_unpacked()
        return np.moveaxis(out, 0, 2)


def same_pixels(one: SliceHeader, other: SliceHeader) -> bool:
    """Tell whether two slices hold the same values, and are no empty slices.

    Raises
    ------
    UnreadableImageError
        If one of them cannot be read.
    """
    if one.shape != other.shape:
        return False
    a, b = _whole_plane(one), _whole_plane(other)
    return bool(np.array_equal(a, b) and a.min() < a.max())


def _whole_plane(header: SliceHeader) -> NDArray[np.generic]:
    return _rescaled(header, (0, header.shape[0]), (0, header.shape[1]))


def _rescaled(
    header: SliceHeader, rows: tuple[int, int], columns: tuple[int, int], divisor: float = 1.0
) -> NDArray[np.generic]:
    """Return part of a slice's values: stored ones rescaled, and divided by `divisor`.

    Raises
    ------
    UnreadableImageError
        If the pixels are not what the header says.
    """
    try:
        stored = read_stored(header, *rows)[:, columns[0] : columns[1]]
    except PixelValuesError as error:
        raise damaged(header.path, str(error)) from error
    # Decoders raise many types on damaged input.
    except Exception as error:
        raise damaged(header.path, shown_reason(error)) from error
    if (header.slope, header.intercept, divisor) == (1.0, 0.0, 1.0):
        return stored
    values: NDArray[np.generic] = (
        stored.astype(np.float64) * header.slope + header.intercept
    ) / divisor
    return values


def _number_in_name(header: SliceHeader) -> int | None:
    """Return the last number in a file's name; UIDs are no numbers."""
    stem = header.path.name.removesuffix(".dcm")
    found = re.findall(r"\d+", stem)
    return int(found[-1]) if found and not is_uid(stem) else None


def _refused(code: str, message: str) -> UnreadableImageError:
    return UnreadableImageError(Finding(code, message))


def on_one_scale(volumes: Sequence[Volume]) -> tuple[tuple[Volume, ...], list[Finding]]:
    """Make the values of one patient's phases comparable, and say what is odd about them.

    Raises
    ------
    UnreadableImageError
        If they cannot be compared.
    """
    checked = check_values([v.headers for v in volumes if isinstance(v, DicomVolume)])
    for finding in checked.findings:
        if finding.excludes:
            raise UnreadableImageError(finding)
    if checked.is_floating:
        volumes = [
            DicomVolume(v.name, v.headers, v.findings, is_floating=True)
            if isinstance(v, DicomVolume)
            else v
            for v in volumes
        ]
    return tuple(volumes), list(checked.findings)
