"""DICOM series as volumes: true geometry from the headers, and only the slices that are needed."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Box, DicomSeries, Finding
from preprocessing.common.redaction import shown_reason
from preprocessing.images.dicom.header import damaged, is_uid, read_slices_or_finding
from preprocessing.images.dicom.pixels import PixelValuesError, forget_unpacked, read_stored
from preprocessing.images.dicom.series_parts import SeriesPart, split_series
from preprocessing.images.dicom.slice_header import SliceHeader
from preprocessing.images.geometry import Grid
from preprocessing.images.volumes import UnreadableImageError, Volume


def count_slices(known: Sequence[int], box: range) -> tuple[list[int], str | None]:
    """Return the number, from 1, by which a table of boxes means each slice of a series.

    Tables count as the files do, by InstanceNumber. Series that are not numbered 1, 2, … are
    counted from 1 where the box fits that only, and where it may be meant either way:

    - from 0: the n-th slice is n, unless the box itself begins with 0;
    - from a number beyond their length (they hold all phases one after the other): the n-th is n,
      unless the box has numbers of that size;
    - every k-th number (phases take turns): the n-th is n, unless the box begins beyond the last.

    Parameters
    ----------
    known
        InstanceNumber of each slice, all different.
    box
        The box's slices, counted from 0: a table's number less 1.

    Returns
    -------
    The numbers, and what was done in words; None where the files' own are used.
    """
    ordered = sorted(known)
    first, count = ordered[0], len(ordered)
    steps = set(np.diff(ordered).tolist())
    if len(steps) == 1 and steps != {1}:
        (step,) = steps
        if not count < box.start + 1 <= ordered[-1]:
            rank = {n: i for i, n in enumerate(ordered, start=1)}
            return [rank[n] for n in known], f"by {step}s from {first}"
        return list(known), None
    if (first <= 0 and box.start >= 0) or (first > count and box.stop < first):
        return [n - first + 1 for n in known], f"from {first}"
    return list(known), None


# Whether the voxel values of one patient's phases can be compared, and in which scale.
#
# Philips's RescaleSlope (RS) and RescaleIntercept (RI) lead from stored values (PV) to values for
# display, whose scale may differ from one series to the next; its private Scale Slope (SS,
# (2005,100E)) leads to floating-point values that are proportional to the signal in all of them:
# (PV × RS + RI) / (RS × SS).
#
# References
# ----------
# Chenevert TL et al. (2014). Errors in quantitative image analysis due to platform-dependent image
# scaling. Translational Oncology 7(1):65-71. doi:10.1593/tlo.13811

_SAME_SCALE = 1e-6
_NO_UNIT = ("", "US")


@dataclass(frozen=True)
class ValueCheck:
    """What is odd about the values of a patient's phases.

    Parameters
    ----------
    is_floating
        Whether they must be read as Philips's floating-point values to be comparable.
    """

    findings: tuple[Finding, ...]
    is_floating: bool = False


def floating_divisor(header: SliceHeader) -> float:
    """Return what a rescaled value is divided by for Philips's floating-point value."""
    return header.slope * (header.scale_slope or 1.0)


def check_values(phases: Sequence[Sequence[SliceHeader]]) -> ValueCheck:
    """Compare photometric interpretation, unit and scale of all slices of a patient's phases."""
    slices = [h for phase in phases for h in phase]
    findings = [*_check_photometric(slices), *_check_units(slices)]
    if any(h.is_lossy for h in slices):
        message = "images were compressed with loss: voxels are not exactly those acquired"
        findings.append(Finding("lossy-compression", message, excludes=False))
    rescales = {(h.slope, h.intercept) for h in slices}
    scales = {h.scale_slope for h in slices}
    if len(rescales) < 2 and len(scales) < 2:
        return ValueCheck(tuple(findings))
    if None not in scales:
        if _are_same([floating_divisor(h) for h in slices]):
            return ValueCheck(tuple(findings))
        message = (
            "rescale and Philips's scale slope (2005,100E) differ between slices or phases: voxels"
            " were read as Philips's floating-point values"
        )
        findings.append(Finding("philips-scale", message, excludes=False))
        return ValueCheck(tuple(findings), is_floating=True)
    known = [floating_divisor(h) for h in slices if h.scale_slope is not None]
    if known and not _are_same(known):
        message = (
            "Philips's scale slope (2005,100E) differs between slices or phases and some lack it:"
            " their values cannot be compared"
        )
        findings.append(Finding("philips-scale-missing", message))
    elif len(rescales) > 1:
        message = (
            "RescaleSlope or RescaleIntercept differs between slices or phases: each was rescaled by"
            " its own"
        )
        findings.append(Finding("rescale-differs", message, excludes=False))
    return ValueCheck(tuple(findings))


def _are_same(numbers: Sequence[float]) -> bool:
    return max(numbers) - min(numbers) <= _SAME_SCALE * max(map(abs, numbers))


def _check_photometric(slices: Sequence[SliceHeader]) -> list[Finding]:
    found = {h.photometric for h in slices}
    if found == {"MONOCHROME1", "MONOCHROME2"}:
        message = (
            "some images are to be shown inverted (MONOCHROME1) and some are not (MONOCHROME2):"
            " expected one, as the values of one kind may be inverted"
        )
        return [Finding("photometric-mixed", message)]
    if "MONOCHROME1" in found:
        message = "images are to be shown inverted (MONOCHROME1): their values were taken as stored"
        return [Finding("photometric-inverted", message, excludes=False)]
    return []


def _check_units(slices: Sequence[SliceHeader]) -> list[Finding]:
    units = {h.rescale_type for h in slices if h.rescale_type not in _NO_UNIT}
    if len(units) > 1:
        message = (
            f"values of slices or phases are in {len(units)} units (RescaleType), expected one"
        )
        return [Finding("rescale-units", message)]
    return []


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
        Whether voxels are Philips's floating-point values; see `preprocessing.images.dicom.series`.
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
