"""Files that hold whole volumes: NIfTI, NRRD, MetaImage, and DICOM segmentations as masks.

Axis legend: (row, column, slice), then the volume of files that hold several.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Box, Finding, VolumeFile
from preprocessing.common.errors import is_disk_full, storage_trouble
from preprocessing.common.redaction import shown_reason
from preprocessing.images.dicom.segmentation import is_segmentation, other_object, read_segmentation
from preprocessing.images.geometry import Grid
from preprocessing.images.itk import (
    ItkHeader,
    check_data_files,
    check_length,
    read_header,
    read_itk,
)
from preprocessing.images.nifti import count_volumes, is_nifti, read_nifti
from preprocessing.images.volumes import (
    Segment,
    UnreadableImageError,
    Volume,
    VolumeData,
    check_regular,
    note,
    refused,
)
from preprocessing.storage.file_cache import FileCache

# Which voxels a mask marks: labels, probabilities, and what may be either.
#
# Axis legend: (row, column, slice), then the layers of a segmentation that has several.

# From here on a voxel of a probability map counts as inside.
HALF = 0.5
# Values nearer to a whole number than this are that number: labels that were scaled, or resampled.
_ROUNDING = 1e-3
_MOST_SHOWN = 8


@dataclass(frozen=True)
class Marked:
    """Bool (r, c, s), and what is to be said about it."""

    inside: NDArray[np.bool_]
    findings: tuple[Finding, ...] = ()


def choose_inside(voxels: NDArray[np.float32], label: int | None, what: str) -> Marked:
    """Return the voxels that a mask marks.

    Parameters
    ----------
    voxels
        float32 (r, c, s); values that are not finite mark nothing.
    label
        Which one of several; None where there is one only.

    Raises
    ------
    UnreadableImageError
        If its values do not tell, or the label is not there.
    """
    finite = np.isfinite(voxels)
    findings: tuple[Finding, ...] = ()
    if not finite.all():
        num = int((~finite).sum())
        message = f"{what} has {num} voxels that are not finite (NaN, Inf): taken as outside"
        findings = (note("not-finite", message),)
        voxels = np.where(finite, voxels, 0)
    nearest = np.rint(voxels)
    is_whole = bool((np.abs(voxels - nearest) <= _ROUNDING).all())
    if voxels.min() < -_ROUNDING:
        message = f"{what} has values down to {voxels.min():g}, expected 0 outside of the tumour"
        raise refused("mask-values-unclear", message)
    if not is_whole:
        return _of_probabilities(voxels, label, findings, what)
    labels, counts = np.unique(nearest, return_counts=True)
    found = {int(v): int(n) for v, n in zip(labels, counts, strict=True) if v != 0}
    if label is None:
        label = _only(found, what)
    elif label not in found and found:
        message = f"{what} has no label {label}, got {_shown(found)}"
        raise refused("mask-label-missing", message)
    return Marked(nearest == label if found else np.zeros(voxels.shape, dtype=bool), findings)


def choose_segment(segments: Sequence[Segment], wanted: int | None, what: str) -> Segment:
    """Return a segment by its label; by its place from 1 where labels repeat in several layers.

    Raises
    ------
    UnreadableImageError
        If there is no such segment, or several to choose from.
    """
    named = ", ".join(f"{n} ({s.name}, label {s.label})" for n, s in enumerate(segments, 1))
    if wanted is None:
        if len(segments) == 1:
            return segments[0]
        message = (
            f"{what} has {len(segments)} segments, {named}: say which is the tumour (mask_label)"
        )
        raise refused("mask-labels-unclear", message)
    is_told = len({s.label for s in segments}) == len(segments)
    found = [s for n, s in enumerate(segments, 1) if wanted == (s.label if is_told else n)]
    if found:
        return found[0]
    raise refused("mask-label-missing", f"{what} has no segment {wanted}, got {named}")


def _only(found: dict[int, int], what: str) -> int:
    if len(found) > 1:
        message = (
            f"{what} has {len(found)} labels, {_shown(found)}: say which is the tumour (mask_label)"
        )
        raise refused("mask-labels-unclear", message)
    return next(iter(found), 1)


def _of_probabilities(
    voxels: NDArray[np.float32], label: int | None, findings: tuple[Finding, ...], what: str
) -> Marked:
    largest = float(voxels.max())
    if largest > 1 + _ROUNDING or label not in (None, 1):
        message = (
            f"{what} has values that are neither whole labels nor probabilities, up to {largest:g}"
        )
        raise refused("mask-values-unclear", message)
    message = f"{what} holds probabilities: inside from {HALF} on"
    return Marked(voxels >= HALF, (*findings, note("mask-thresholded", message)))


def _shown(found: dict[int, int]) -> str:
    parts = [f"{label} ({count} voxels)" for label, count in sorted(found.items())]
    more = f" and {len(parts) - _MOST_SHOWN} more" if len(parts) > _MOST_SHOWN else ""
    return ", ".join(parts[:_MOST_SHOWN]) + more


# No scanner's value: what some write for "no data" where others write NaN, as 1e20 or the largest float.
_NO_VALUE = 1e15
# Below this no image is asked for its range, which takes time.
_USUAL_VALUE = 1e5
# Of the largest value to the 99th percentile; 16 bits then have three steps for nearly all voxels.
_LARGEST_RATIO = 1e4


class FileVolume:
    """One volume of a file. Columns are its first axis, rows its second, slices its third.

    Voxels without a value are NaN in what `read` returns.

    Parameters
    ----------
    is_part
        Whether it is a mask that lies by its place in the patient, 0 beyond its edge.
    has_place
        Whether the header says where the voxels lie in the patient.
    """

    def __init__(
        self,
        name: str,
        grid: Grid,
        voxels: NDArray[np.float32],
        *,
        is_part: bool = False,
        has_place: bool = True,
        findings: tuple[Finding, ...] = (),
        time_s: float | None = None,
    ) -> None:
        self.name = name
        self.is_part = is_part
        self.has_place = has_place
        self.grid = grid
        self.time_s = time_s
        self.covariates: dict[str, str | float | None] = {}
        self.findings = findings
        self._voxels = voxels

    def box_to_positions(self, box: Box) -> Box:
        """Return the box: the file's own slices are its positions."""
        return box

    def read(self, part: Box, step: int = 1) -> NDArray[np.float32]:
        """Return the voxels of `part`, every `step`-th slice; NaN where there is no value."""
        (r0, c0, s0), (r1, c1, s1) = part.start, part.stop
        return self._voxels[r0:r1, c0:c1, s0:s1:step]


def num_volumes(source: VolumeFile) -> int:
    """Return how many volumes a file holds by its header.

    Raises
    ------
    UnreadableImageError
        If that cannot be read.
    """
    path, what = source.path, f"image file {source.name}"
    check_regular(path, what)
    with _as_findings(what), path.open("rb") as file:
        if is_nifti(path):
            return count_volumes(file, what)
        header = read_header(file, what)
        return 1 if header is None else header.num_volumes


def phase_openers(source: VolumeFile, cache: FileCache) -> list[Callable[[], FileVolume]]:
    """Return what opens each phase of a patient who has one file.

    Raises
    ------
    UnreadableImageError
        If it cannot be read.
    """
    num = num_volumes(source)
    if num == 1:
        volume = open_file(source, cache)
        return [lambda: volume]

    @lru_cache(maxsize=1)
    def load() -> VolumeData:
        return _load(source, cache)

    return [lambda n=n: _phase(load(), n, source) for n in range(num)]  # type: ignore[misc]


def several_volumes(name: str, num: int) -> UnreadableImageError:
    """Return the error of a file of several volumes among the phases."""
    message = (
        f"image file {name} holds {num} volumes, expected one: name it alone, as phase_0, if they are"
        " the phases"
    )
    return refused("phases-in-one-file", message)


def open_file(source: VolumeFile, cache: FileCache) -> FileVolume:
    """Open a phase: a NIfTI, NRRD, MetaImage or other file that ITK reads.

    Raises
    ------
    UnreadableImageError
        If it is missing, damaged, no 3D image, or one whose place or voxels cannot be.
    """
    data = _load(source, cache)
    num = data.voxels.shape[3]
    if num > 1:
        raise several_volumes(source.name, num)
    return _phase(data, 0, source)


def open_mask(source: VolumeFile, cache: FileCache, pre: Volume) -> FileVolume:
    """Open a segmentation: what it marks as 1, all else as 0.

    Parameters
    ----------
    pre
        The pre-contrast.

    Raises
    ------
    UnreadableImageError
        If it cannot be read, or does not tell which voxels are the tumour.
    """
    what = f"mask {source.name}"
    wanted = source.segment if source.label is None else source.label
    data = _load(source, cache, is_mask=True)
    voxels, label = _layer(data, wanted, what)
    marked = choose_inside(voxels, label, what)
    grid = Grid.from_array(_shape(voxels), data.affine)
    _refuse_copied_header(grid, pre.grid, data, what)
    is_cut = data.is_part or any(a < b for a, b in zip(grid.shape, pre.grid.shape, strict=True))
    if marked.inside.all() and not is_cut:
        raise refused("mask-full", f"{what} marks every voxel of its grid: it tells no place")
    findings = (*data.findings, *marked.findings)
    inside = marked.inside.astype(np.float32)
    return FileVolume(
        source.name,
        grid,
        inside,
        is_part=data.is_part,
        has_place=data.is_part or _tells_place(data),
        findings=findings,
    )


def _layer(
    data: VolumeData, wanted: int | None, what: str
) -> tuple[NDArray[np.float32], int | None]:
    """Return the volume of a mask that holds the tumour, and its label there."""
    num = data.voxels.shape[3]
    if data.segments:
        segment = choose_segment(data.segments, wanted, what)
        if not 0 <= segment.layer < num:
            raise refused(
                "mask-label-missing", f"{what} lacks the layer of segment {segment.label}"
            )
        layer = data.voxels[..., segment.layer]
        if not (layer == segment.label).any():
            raise refused("mask-empty", f"{what} marks no voxel as segment {segment.label}")
        return layer, segment.label
    if num > 1:
        raise refused("image-not-3d", f"{what} holds {num} volumes, expected one")
    return data.voxels[..., 0], None if data.is_chosen else wanted


def _refuse_copied_header(grid: Grid, images: Grid, data: VolumeData, what: str) -> None:
    """Refuse a mask that was cut, perhaps under the images' own header: its place is not known."""
    axes, flips = grid.turn_towards(images)
    turned = grid.turned(axes, flips)
    if data.is_part or turned.shape == images.shape or not data.has_geometry:
        return
    if any(n > size for n, size in zip(turned.shape, images.shape, strict=True)):
        return
    if turned.offset_in(images)[0] == (0, 0, 0):
        message = (
            f"{what} is smaller than the images and begins at their first voxel by its header, which"
            " may be a copy of theirs: its place is not known"
        )
        raise refused("mask-differs", message)


def _load(source: VolumeFile, cache: FileCache, *, is_mask: bool = False) -> VolumeData:
    what = f"{'mask' if is_mask else 'image file'} {source.name}"
    check_regular(source.path, what)
    # Outside of the block below: a network that fails says nothing about the image.
    local = cache.local([source.path])[0]
    with _as_findings(what):
        return _read(source, local, cache, what, is_mask=is_mask)


@contextmanager
def _as_findings(what: str) -> Iterator[None]:
    """Make of any error of a reader in the block the finding that the file cannot be read."""
    try:
        yield
    except UnreadableImageError:
        raise
    # The readers raise anything from EOFError to their own types on damaged files.
    except Exception as error:
        if is_disk_full(error) or storage_trouble(error) is not None:
            raise
        message = f"{what} cannot be read: {shown_reason(error)}"
        raise refused("image-unreadable", message) from error


def _read(
    source: VolumeFile, local: Path, cache: FileCache, what: str, *, is_mask: bool
) -> VolumeData:
    path = source.path
    if is_nifti(path):
        return read_nifti(local, what)
    if is_segmentation(local):
        if not is_mask:
            raise refused("image-is-segmentation", f"{what} is a segmentation, expected images")
        wanted = source.segment if source.label is None else source.label
        voxels, affine = read_segmentation(local, wanted)
        return VolumeData(voxels[..., None], affine, is_part=True, is_chosen=True)
    if (found := other_object(local)) is not None:
        if is_mask:
            message = f"{what} is {found}, expected a DICOM segmentation (SEG), NIfTI or NRRD"
            raise refused("mask-no-segmentation", message)
        # ITK takes the frames of one for slices, whatever they are, and a slice for a volume.
        message = f"{what} is {found}, expected NIfTI or NRRD: name the folder of its DICOM series"
        raise refused("image-is-dicom", message)
    if path.suffix.lower() in (".hdr", ".img"):
        return _read_pair(source, cache, what)
    with local.open("rb") as file:
        header = read_header(file, what)
    if header is not None:
        if header.is_segmentation and not is_mask:
            raise refused("image-is-segmentation", f"{what} is a segmentation, expected images")
        _check_detached(header, source, what)
        check_length(header, local, what)
    data = read_itk(local, header, what)
    return data if header is None else _with_segments(data, header)


def _read_pair(source: VolumeFile, cache: FileCache, what: str) -> VolumeData:
    """Read a NIfTI header that has its voxels in a file beside it."""
    header, image = source.path.with_suffix(".hdr"), source.path.with_suffix(".img")
    for path in (header, image):
        check_regular(path, what)
        if isinstance(path, Path) and not path.resolve().is_relative_to(_root(source).resolve()):
            message = f"{what} has a file of voxels that lies outside of the cohort's folder"
            raise refused("path-outside", message)
    local_header, local_image = cache.local([header, image])
    return read_nifti(local_header, what, local_image)


def _check_detached(header: ItkHeader, source: VolumeFile, what: str) -> None:
    if not header.data_files:
        return
    if not isinstance(source.path, Path):
        message = (
            f"{what} has its voxels in other files, which are not fetched from an object store: store"
            " it as one file (.nrrd, .mha)"
        )
        raise refused("image-detached", message)
    check_data_files(header, source.path, _root(source), what)


def _root(source: VolumeFile) -> Path:
    return source.root or source.path.parent


def _with_segments(data: VolumeData, header: ItkHeader) -> VolumeData:
    if not header.is_segmentation:
        return data
    return replace(data, segments=header.segments, is_part=data.has_geometry)


def _tells_place(data: VolumeData) -> bool:
    """Tell whether a header says where its voxels lie.

    Voxels of 1 mm along the axes, the first at the origin, are what programs write that know of no
    place.
    """
    by_axes = np.abs(np.asarray(data.affine)[:, [1, 0, 2, 3]])
    return data.has_geometry and not np.array_equal(by_axes, np.eye(3, 4))


def _shape(voxels: NDArray[np.float32]) -> tuple[int, int, int]:
    rows, columns, slices = voxels.shape
    return rows, columns, slices


def _phase(data: VolumeData, number: int, source: VolumeFile) -> FileVolume:
    """Return one volume of a file, with what is to be said about its voxels."""
    several = data.voxels.shape[3] > 1
    name = f"{source.name}, volume {number + 1}" if several else source.name
    voxels, findings = _without_no_data(data.voxels[..., number], f"image file {name}")
    grid = Grid.from_array(_shape(voxels), data.affine)
    time_s = None if data.interval_s is None or not several else number * data.interval_s
    return FileVolume(
        name,
        grid,
        voxels,
        has_place=_tells_place(data),
        findings=(*data.findings, *findings),
        time_s=time_s,
    )


def _check_range(voxels: NDArray[np.float32], largest: float, what: str) -> None:
    """Refuse values so far beyond the others that nothing is left of these in 16 bits."""
    if largest <= _USUAL_VALUE:
        return
    usual = float(np.percentile(np.abs(voxels), 99))
    if usual > 0 and largest > _LARGEST_RATIO * usual:
        message = (
            f"{what} has values up to {largest:.3g}, {largest / usual:.0f} times those of nearly all its"
            " voxels: beside them the others cannot be stored"
        )
        raise refused("intensity-outlier", message)


def _without_no_data(
    voxels: NDArray[np.float32], what: str
) -> tuple[NDArray[np.float32], Sequence[Finding]]:
    """Return voxels whose every value that is none is NaN, and how many there are."""
    with np.errstate(invalid="ignore"):
        largest = max(float(voxels.max()), -float(voxels.min()))
    if largest < _NO_VALUE and not np.isnan(largest) and not np.isnan(voxels.min()):
        _check_range(voxels, largest, what)
        return voxels, ()
    with np.errstate(invalid="ignore"):
        lost = ~(np.abs(voxels) < _NO_VALUE)
    num = int(lost.sum())
    if num == voxels.size:
        raise refused("not-finite", f"{what} has no voxel with a finite value")
    finite = voxels[~lost]
    _check_range(finite, float(np.abs(finite).max()), what)
    message = f"{what} has {num} of {voxels.size} voxels without a value (NaN, Inf or beyond 1e15)"
    return np.where(lost, np.float32(np.nan), voxels), (note("not-finite", message),)
