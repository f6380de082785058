"""Phases brought onto the voxels of the pre-contrast, by their places in the patient.

Voxels of one index show one place only where grids agree. Turned, mirrored and by whole voxels
shifted grids are made to agree without touching a value; others are refused, or interpolated
where the settings ask for it (docs/decisions/0017-phases-on-one-grid.md).

Axis legend: (row, column, slice) of a volume's own axes, or of the pre-contrast's where it is the
reference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, gaussian_filter1d

from preprocessing.cohort.cohort import Box, Finding
from preprocessing.common.redaction import shown_file
from preprocessing.images.dicom.series import DicomVolume
from preprocessing.images.dicom.slice_header import SliceHeader
from preprocessing.images.geometry import Grid, Shape
from preprocessing.images.volume_files import FileVolume
from preprocessing.images.volumes import UnreadableImageError, Volume

Alignment = Literal["exact", "resample"]
Axes = tuple[int, int, int]
Flips = tuple[bool, bool, bool]

# Up to here two grids are one: headers are rounded.
SAME_VOXELS = 0.1
# Up to here voxels show more of the same place than of their neighbour's.
LARGEST_APART_VOXELS = 0.5
# How far one field of view may reach beyond the other at both ends: phases lie farther apart only
# where something else was imaged, or the header is wrong.
LARGEST_GAP_MM = 20.0
# Less of the pre-contrast than this is no examination of the same breast.
SMALLEST_SHARE = 0.5
# Volume of a voxel of unit edges: 1 where they are perpendicular.
_FLATTEST = 0.1
# Cosine of two axes: 1 degree from perpendicular.
_SKEWED = 0.0175
# Directions of a DICOM header have length 1, but for rounding.
_NOT_OF_LENGTH_1 = 0.01
# As of the crop's own interpolation (`sampling.CropGrid.sample`).
_REACH_SD = 3.0
_UNTURNED: tuple[Axes, Flips] = ((0, 1, 2), (False, False, False))
_AXIS_NAMES = ("rows", "columns", "slices")


@dataclass(frozen=True)
class Placement:
    """How one grid lies in another, the reference.

    Parameters
    ----------
    axes, flips
        What turns it to run as the reference does (`Grid.turned`).
    shape
        Once turned.
    offset
        Voxels of the reference before its first one, once turned.
    apart
        Largest distance of its corners from where whole voxels of the reference put them, in
        voxels of the reference.
    drift
        What of it is due to voxel size and directions, and not to a shift.
    gap_mm
        How far it would have to be moved for one field of view to lie within the other.
    """

    axes: Axes
    flips: Flips
    shape: Shape
    offset: Shape
    apart: float
    drift: float
    gap_mm: float

    @staticmethod
    def of(grid: Grid, reference: Grid) -> Placement:
        """Find how `grid` lies in `reference`."""
        axes, flips = grid.turn_towards(reference)
        turned = grid.turned(axes, flips)
        own, theirs = turned.matrix, reference.matrix
        middle = (np.array(turned.shape) - 1) / 2
        in_reference = np.linalg.solve(theirs[:, :3], own @ (*middle, 1.0) - theirs[:, 3])
        r, c, s = (int(n) for n in np.rint(in_reference - middle))
        corners = _corners((0, 0, 0), np.array(turned.shape) - 1) - middle
        # Rounding errors are spread over both ends when grids are compared at their middles.
        shift = theirs[:, :3] @ (in_reference - middle - (r, c, s))
        drift = corners @ (own[:, :3] - theirs[:, :3]).T
        voxel = min(reference.spacing_mm)
        return Placement(
            axes,
            flips,
            turned.shape,
            (r, c, s),
            float(np.linalg.norm(drift + shift, axis=1).max() / voxel),
            float(np.linalg.norm(drift, axis=1).max() / voxel),
            _gap_mm(turned, reference),
        )

    @property
    def is_turned(self) -> bool:
        """Whether axes run otherwise."""
        return (self.axes, self.flips) != _UNTURNED

    @property
    def covered(self) -> Box:
        """Where it lies, in voxels of the reference: maybe beyond its edges."""
        r, c, s = (a + n for a, n in zip(self.offset, self.shape, strict=True))
        return Box(self.offset, (r, c, s))

    def is_same(self, reference: Grid) -> bool:
        """Whether it has the reference's voxels, all of them, in whatever order."""
        return (self.offset, self.shape) == ((0, 0, 0), reference.shape) and (
            self.apart <= LARGEST_APART_VOXELS
        )

    def is_exchanged(self, reference: Grid) -> bool:
        """Whether it begins where the reference does and has its shape with axes exchanged.

        Its header was not turned when its voxels were, or the other way round.
        """
        same = self.shape == reference.shape or any(self.offset)
        return not same and sorted(self.shape) == sorted(reference.shape)

    def describe(self) -> str:
        """Say in words what is done to the axes."""
        said = []
        if self.axes != _UNTURNED[0]:
            said.append("axes exchanged")
        turned_over = [name for name, flip in zip(_AXIS_NAMES, self.flips, strict=True) if flip]
        if turned_over:
            said.append(f"{' and '.join(turned_over)} turned over")
        if any(self.offset):
            said.append(f"moved by {self.offset} voxels (row, column, slice)")
        return ", ".join(said)


class AlignedVolume:
    """Part of a volume, its axes exchanged and turned over; still read on demand.

    Parameters
    ----------
    part
        Of the turned volume.
    grid
        Of that part; where voxels are taken for a reference's, the reference's.
    """

    def __init__(self, source: Volume, axes: Axes, flips: Flips, part: Box, grid: Grid) -> None:
        self.source = source
        self.axes, self.flips, self.part = axes, flips, part
        self.grid = grid
        self.name = source.name
        self.time_s = source.time_s
        self.covariates = source.covariates
        self.findings = source.findings

    def box_to_positions(self, box: Box) -> Box:
        """Return the box: slices of a turned volume count positions only."""
        return box

    def read(self, part: Box, step: int = 1) -> NDArray[np.float32]:
        """Return the voxels of `part`, every `step`-th slice."""
        start, stop = [0] * 3, [0] * 3
        own = self.source.grid.shape
        source_step = step if self.axes[2] == 2 else 1
        for axis, (source_axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            a, b = (n + self.part.start[axis] for n in (part.start[axis], part.stop[axis]))
            if axis == 2 and source_step > 1:
                # The last one taken, so that a flipped axis is counted from the right end.
                b = a + source_step * ((b - a - 1) // source_step) + 1
            start[source_axis], stop[source_axis] = (
                (own[source_axis] - b, own[source_axis] - a) if flip else (a, b)
            )
        box = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        voxels = self.source.read(box, source_step).transpose(self.axes)
        turned = np.flip(voxels, tuple(i for i in range(3) if self.flips[i]))
        return turned if source_step == step else turned[:, :, ::step]


class ResampledVolume:
    """A volume interpolated linearly at the voxels of another grid, as far as they are read.

    Parameters
    ----------
    is_mask
        Take the nearest voxel, 0 beyond the edge; else what is at the edge goes on.
    """

    def __init__(self, source: Volume, grid: Grid, *, is_mask: bool = False) -> None:
        self.source = source
        self.grid = grid
        self.name = source.name
        self.time_s = source.time_s
        self.covariates = source.covariates
        self.findings = source.findings
        self._is_mask = is_mask
        own = source.grid.matrix
        inverse = np.linalg.inv(own[:, :3])
        self._turn = inverse @ grid.matrix[:, :3]
        self._origin = inverse @ (grid.matrix[:, 3] - own[:, 3])
        # How many own voxels one new voxel is long, along each own axis.
        lengths = np.abs(self._turn).max(axis=1)
        smooth = [0.0 if is_mask or n <= 1.01 else 0.5 * math.sqrt(n * n - 1) for n in lengths]
        self._smooth = tuple(smooth)

    def box_to_positions(self, box: Box) -> Box:
        """Return the box: the slices of a resampled volume count positions only."""
        return box

    def read(self, part: Box, step: int = 1) -> NDArray[np.float32]:
        """Return the voxels of `part`, every `step`-th slice."""
        r, c, s = part.shape
        shape = (r, c, len(range(0, s, step)))
        turn = self._turn * [1, 1, step]
        origin = self._turn @ part.start + self._origin
        seen = _corners((0, 0, 0), np.array(shape) - 1) @ turn.T + origin
        margin = np.array(self._smooth) * _REACH_SD + 1
        limit = np.array(self.source.grid.shape)
        low = np.clip(np.floor(seen.min(axis=0) - margin).astype(int), 0, limit - 1)
        high = np.clip(np.ceil(seen.max(axis=0) + margin).astype(int) + 1, low + 1, limit)
        (r0, c0, s0), (r1, c1, s1) = low.tolist(), high.tolist()
        voxels = self.source.read(Box((r0, c0, s0), (r1, c1, s1))).astype(np.float32)
        for axis, sigma in enumerate(self._smooth):
            if sigma > 0:
                voxels = gaussian_filter1d(
                    voxels, sigma, axis=axis, mode="nearest", truncate=_REACH_SD
                )
        found = affine_transform(
            voxels,
            turn,
            origin - low,
            output_shape=shape,
            order=0 if self._is_mask else 1,
            mode="constant" if self._is_mask else "nearest",
        )
        return np.asarray(found, dtype=np.float32)


@dataclass(frozen=True)
class AlignedPhases:
    """Phases of one grid.

    Parameters
    ----------
    part
        What of the pre-contrast as it was opened all phases have.
    """

    volumes: tuple[Volume, ...]
    part: Box
    findings: tuple[Finding, ...]


def align_phases(volumes: Sequence[Volume], how: Alignment) -> AlignedPhases:
    """Bring phases onto the voxels of the first, cut to what all of them have.

    Raises
    ------
    UnreadableImageError
        ``phases-differ``, ``phases-apart``, ``phases-overlap`` or ``frames-differ``, where that
        cannot be done.
    """
    pre = volumes[0]
    whole = Box((0, 0, 0), pre.grid.shape)
    findings: list[Finding] = []
    if _is_skewed(pre.grid):
        message = (
            f"the axes of {_shown(pre)} are not perpendicular: what is stored is skewed as they are"
        )
        findings.append(Finding("axes-skewed", message, excludes=False))
    if not _has_place(pre) and not _is_said(pre):
        findings.append(_placeless(pre, "axes are taken to run as they usually do"))
    placed: list[tuple[Placement, bool] | None] = []
    part = whole
    for volume in volumes[1:]:
        place = Placement.of(volume.grid, pre.grid)
        if _is_voxel_by_voxel(volume, pre, place, findings):
            placed.append(None)
            continue
        _check_frames(volume, pre, place, findings)
        resampled = _check_place(volume, pre, place, how, findings)
        placed.append((place, resampled))
        covered = inscribed(pre.grid, volume.grid) if resampled else _common(whole, place.covered)
        part = _common(part, covered)
        _check_share(volume, covered, whole)
    _check_share(None, part, whole)
    if part != whole:
        message = (
            f"phases cover different parts of the patient: of the pre-contrast's {whole.shape}"
            f" voxels (row, column, slice) the {part.shape} that all phases have are used"
        )
        findings.append(Finding("phases-cut", message, excludes=False))
    aligned = [pre if part == whole else AlignedVolume(pre, *_UNTURNED, part, pre.grid.part(part))]
    for volume, found in zip(volumes[1:], placed, strict=True):
        aligned.append(_aligned(volume, found, part, pre.grid))
    return AlignedPhases(tuple(aligned), part, tuple(findings))


def slice_headers(volume: Volume) -> tuple[SliceHeader, ...] | None:
    """Return the header of each slice of a DICOM phase, aligned or not; None of other files.

    Where an aligned phase's slices are not the files' any more, all files'.
    """
    if isinstance(volume, DicomVolume):
        return volume.headers
    if isinstance(volume, ResampledVolume):
        return slice_headers(volume.source)
    if isinstance(volume, AlignedVolume):
        headers = slice_headers(volume.source)
        if headers is None or volume.axes[2] != 2:
            return headers
        turned = headers[::-1] if volume.flips[2] else headers
        return turned[volume.part.start[2] : volume.part.stop[2]]
    return None


def frames_of(volume: Volume) -> frozenset[str]:
    """Return the UIDs of a DICOM phase's frames of reference; of other files none."""
    headers = slice_headers(volume) or ()
    return frozenset(h.frame_of_reference for h in headers if h.frame_of_reference)


def check_grid(volume: Volume) -> None:
    """Refuse a volume whose header gives voxels no size or no place.

    Raises
    ------
    UnreadableImageError
        ``place-damaged``.
    """
    matrix = volume.grid.matrix
    sizes = volume.grid.spacing_mm
    usable = bool(np.isfinite(matrix).all()) and min(sizes) > 0
    if isinstance(volume, DicomVolume):
        # Both would turn or stretch the image beside what its grid's lengths show.
        first = volume.headers[0]
        lengths = np.linalg.norm([first.row_direction, first.column_direction], axis=1)
        usable &= min(first.spacing_mm) > 0 and bool((np.abs(lengths - 1) < _NOT_OF_LENGTH_1).all())
    # Of unit edges: 0 where two axes run alike.
    if not usable or abs(np.linalg.det(matrix[:, :3] / sizes)) < _FLATTEST:
        message = (
            f"the header of {_shown(volume)} gives no place that its voxels could have: voxels of"
            f" {' × '.join(f'{v:.3g}' for v in sizes)} mm"
        )
        raise _refused("place-damaged", message)


def inscribed(reference: Grid, other: Grid) -> Box:
    """Return a box of the reference's voxels that lie within another grid, as large as is easy.

    Voxels at its edge may have their centre up to half a voxel of the other beyond the last
    centre there. Faces are moved in voxel by voxel, until no corner sticks out.
    """
    inverse = np.linalg.inv(other.matrix[:, :3])
    turn = inverse @ reference.matrix[:, :3]
    origin = inverse @ (reference.matrix[:, 3] - other.matrix[:, 3])
    limit = np.array(other.shape) - 0.5 + 1e-6
    low, high = np.zeros(3, dtype=int), np.array(reference.shape)

    def out(low: NDArray[np.int_], high: NDArray[np.int_]) -> float:
        """Return how far corners lie outside, all together."""
        seen = _corners(low, high - 1) @ turn.T + origin
        return float(np.maximum(np.maximum(-0.5 - 1e-6 - seen, seen - limit), 0).sum())

    while (high > low).all() and (before := out(low, high)) > 0:
        # The face that brings most for the voxels that it costs.
        gains = []
        for axis in range(3):
            step = np.eye(3, dtype=int)[axis]
            size = high[axis] - low[axis]
            gains += [
                (before - out(low + step, high)) * size,
                (before - out(low, high - step)) * size,
            ]
        axis, end = divmod(int(np.argmax(gains)), 2)
        if end:
            high[axis] -= 1
        else:
            low[axis] += 1
    (r0, c0, s0), (r1, c1, s1) = low.tolist(), np.maximum(high, low).tolist()
    return Box((r0, c0, s0), (r1, c1, s1))


def shown_grid(grid: Grid) -> str:
    """Describe a grid for a message."""
    return f"{grid.shape} voxels of {' × '.join(f'{v:.2f}' for v in grid.spacing_mm)} mm"


def _aligned(
    volume: Volume, found: tuple[Placement, bool] | None, part: Box, reference: Grid
) -> Volume:
    grid = reference.part(part)
    if found is None:
        # Taken voxel by voxel.
        return AlignedVolume(volume, *_UNTURNED, part, grid)
    place, resampled = found
    if resampled:
        return ResampledVolume(volume, grid)
    own_part = _moved(part, place.offset)
    if not place.is_turned and own_part == Box((0, 0, 0), volume.grid.shape):
        return volume
    return AlignedVolume(volume, place.axes, place.flips, own_part, grid)


def _is_voxel_by_voxel(
    volume: Volume, pre: Volume, place: Placement, findings: list[Finding]
) -> bool:
    """Tell whether a phase is taken voxel by voxel, as one of both headers says nothing."""
    if (_has_place(volume) and _has_place(pre)) or place.is_same(pre.grid):
        return False
    if volume.grid.shape != pre.grid.shape:
        raise _refused(
            "phases-differ",
            f"phase {_shown(volume)} has shape {volume.grid.shape}, the pre-contrast"
            f" {pre.grid.shape} (row, column, slice), and headers do not say where they lie",
        )
    if not _has_place(volume) and not _is_said(volume):
        findings.append(_placeless(volume, "it is taken voxel by voxel"))
    return True


def _is_skewed(grid: Grid) -> bool:
    edges = grid.matrix[:, :3] / grid.spacing_mm
    return bool(np.abs(edges.T @ edges - np.eye(3)).max() > _SKEWED)


def _placeless(volume: Volume, what: str) -> Finding:
    message = f"the header of {_shown(volume)} does not say where its voxels lie: {what}"
    return Finding("place-unknown", message, excludes=False)


def _is_said(volume: Volume) -> bool:
    """Tell whether the file's reader has said already that it tells no place."""
    return any(f.code == "no-geometry" for f in volume.findings)


def _shown(volume: Volume) -> str:
    name = shown_file(volume.name) if isinstance(volume, FileVolume) else volume.name
    return repr(name)


def _has_place(volume: Volume) -> bool:
    return not isinstance(volume, FileVolume) or volume.has_place


def _check_frames(volume: Volume, pre: Volume, place: Placement, findings: list[Finding]) -> None:
    """Note other frames of reference; refuse them where grids differ too."""
    theirs, own = frames_of(pre), frames_of(volume)
    if not theirs or not own or theirs == own:
        return
    said = f"phase {_shown(volume)} has another frame of reference than the pre-contrast"
    if not place.is_same(pre.grid):
        message = f"{said} and other voxels: nothing says how they lie to each other"
        raise _refused("frames-differ", message)
    message = f"{said}, and the same voxels: taken to be in place"
    findings.append(Finding("frames-differ", message, excludes=False))


def _check_place(
    volume: Volume, pre: Volume, place: Placement, how: Alignment, findings: list[Finding]
) -> bool:
    """Refuse what cannot be brought onto the pre-contrast; tell what has to be interpolated."""
    name = f"phase {_shown(volume)}"
    if place.is_exchanged(pre.grid):
        message = (
            f"{name} has {place.shape} voxels along axes along which the pre-contrast has"
            f" {pre.grid.shape} (row, column, slice): header and voxels do not belong together"
        )
        raise _refused("phases-differ", message)
    if place.gap_mm > LARGEST_GAP_MM:
        message = (
            f"{name} lies {place.gap_mm:.0f} mm beside the pre-contrast, at most"
            f" {LARGEST_GAP_MM:.0f} mm expected"
        )
        raise _refused("phases-apart", message)
    if place.apart <= SAME_VOXELS or (how == "exact" and place.apart <= LARGEST_APART_VOXELS):
        if place.is_turned or any(place.offset):
            message = f"{name} is brought onto the pre-contrast's voxels: {place.describe()}"
            findings.append(Finding("phases-aligned", message, excludes=False))
        if place.apart > SAME_VOXELS:
            message = (
                f"{name} lies {place.apart:.2f} voxels from the pre-contrast's: taken as it is"
            )
            findings.append(Finding("phases-apart", message, excludes=False))
        return False
    if how == "resample":
        message = (
            f"{name} has {shown_grid(volume.grid)}, {place.apart:.2f} voxels off the"
            " pre-contrast's: interpolated onto them"
        )
        findings.append(Finding("phases-resampled", message, excludes=False))
        return True
    what_to_do = "the setting 'align: resample' would interpolate"
    if place.drift > LARGEST_APART_VOXELS:
        raise _refused(
            "phases-differ",
            f"{name} has {shown_grid(volume.grid)}, the pre-contrast {shown_grid(pre.grid)} (row,"
            f" column, slice): they agree to {place.apart:.1f} voxels only, in size or direction;"
            f" {what_to_do}",
        )
    raise _refused(
        "phases-apart",
        f"{name} lies {place.apart:.2f} voxels from the pre-contrast's voxels, at most"
        f" {LARGEST_APART_VOXELS} expected; {what_to_do}",
    )


def _check_share(volume: Volume | None, covered: Box, whole: Box) -> None:
    share = math.prod(max(n, 0) for n in covered.shape) / math.prod(whole.shape)
    if share < SMALLEST_SHARE:
        said = "all phases together share" if volume is None else f"phase {_shown(volume)} covers"
        message = (
            f"{said} {100 * share:.0f} % of the pre-contrast's voxels, expected"
            f" {100 * SMALLEST_SHARE:.0f} % or more"
        )
        raise _refused("phases-overlap", message)


def _gap_mm(turned: Grid, reference: Grid) -> float:
    """Return how far `turned` would have to be moved for one field to lie within the other."""
    inverse = np.linalg.inv(reference.matrix[:, :3])
    edges = _corners((-0.5, -0.5, -0.5), np.array(turned.shape) - 0.5)
    seen = (
        edges @ turned.matrix[:, :3].T + turned.matrix[:, 3] - reference.matrix[:, 3]
    ) @ inverse.T
    first = seen.min(axis=0) + 0.5
    last = seen.max(axis=0) + 0.5 - reference.shape
    # Of one sign: the one field reaches beyond at one end and falls short at the other.
    beside = np.where(first * last > 0, np.minimum(np.abs(first), np.abs(last)), 0)
    return float(np.linalg.norm(beside * reference.spacing_mm))


def _corners(low: Sequence[float] | NDArray, high: NDArray) -> NDArray[np.float64]:  # type: ignore[type-arg]
    """Return the eight corners (8, 3) of a box, both ends included."""
    r, c, s = zip(low, high, strict=True)
    return np.array([[x, y, z] for x in r for y in c for z in s], dtype=np.float64)


def _common(one: Box, other: Box) -> Box:
    r0, c0, s0 = (max(a, b) for a, b in zip(one.start, other.start, strict=True))
    r1, c1, s1 = (min(a, b) for a, b in zip(one.stop, other.stop, strict=True))
    return Box((r0, c0, s0), (r1, c1, s1))


def _moved(box: Box, by: Shape) -> Box:
    r0, c0, s0 = (a - n for a, n in zip(box.start, by, strict=True))
    r1, c1, s1 = (a - n for a, n in zip(box.stop, by, strict=True))
    return Box((r0, c0, s0), (r1, c1, s1))


def _refused(code: str, message: str) -> UnreadableImageError:
    return UnreadableImageError(Finding(code, message))
