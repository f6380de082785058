"""A segmentation brought onto the images' voxels, and what of it is the tumour.

Axis legend: (row, column, slice) of the pre-contrast as it was opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydicom
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label

from preprocessing.cohort.cohort import Box, Finding
from preprocessing.common.redaction import shown_file
from preprocessing.images.alignment import (
    LARGEST_APART_VOXELS,
    LARGEST_GAP_MM,
    SAME_VOXELS,
    Alignment,
    Placement,
    ResampledVolume,
    frames_of,
    shown_grid,
)
from preprocessing.images.dicom.segmentation import is_segmentation
from preprocessing.images.geometry import Grid
from preprocessing.images.volume_files import FileVolume
from preprocessing.images.volumes import UnreadableImageError, Volume

Mask = NDArray[np.bool_]
Lesions = Literal["largest", "all"]

# More of the images than this is no tumour but a mask of the body, or one turned inside out.
LARGEST_SHARE = 0.5
# A mask of which less lies in the images was not drawn on them.
_SMALLEST_SHARE_INSIDE = 0.5
# A sphere of 5 mm, below which BI-RADS speaks of a focus and not of a mass. Smaller pieces are
# stray voxels, unless the largest piece is not much larger itself.
SMALLEST_LESION_MM3 = 65.0
SMALLEST_LESION_SHARE = 0.05
# From here on the second largest is said to be about as large as the largest.
_ABOUT_AS_LARGE = 0.8
_MOST_NAMED = 5
_TOUCHING = np.ones((3, 3, 3), dtype=bool)  # by a face, an edge or a corner


@dataclass(frozen=True)
class _Piece:
    """Voxels of a mask that hang together.

    Parameters
    ----------
    number
        In the array of labels.
    part
        Where in the mask they lie.
    """

    number: int
    part: tuple[slice, ...]
    num_voxels: int
    middle_mm: tuple[float, ...]


def place_mask(
    opened: FileVolume,
    voxels: NDArray[np.float32],
    pre: Volume,
    how: Alignment,
    findings: list[Finding],
) -> Mask:
    """Return a segmentation in the images' voxels, by its place in the patient.

    Turned, mirrored and by whole voxels shifted ones are brought onto them, with False where the
    file has no voxel. What is odd goes to `findings`.

    Parameters
    ----------
    voxels
        Of all of `opened`, above 0 where the tumour is.

    Raises
    ------
    UnreadableImageError
        If it does not lie in the images' voxels, or marks none or most of them.
    """
    marked = voxels > 0
    if not marked.any():
        raise _refused("mask-empty", f"mask {shown_file(opened.name)} marks no voxel")
    there = int(marked.sum())
    mask, is_resampled = _placed(opened, marked, pre, how, findings)
    found = int(mask.sum())
    share = found / there
    if is_resampled:
        share *= _voxel_mm3(pre.grid) / _voxel_mm3(opened.grid)
    if share < _SMALLEST_SHARE_INSIDE:
        message = (
            f"{100 * share:.0f} % of what mask {shown_file(opened.name)} marks lie inside of the"
            f" images by its header, expected {100 * _SMALLEST_SHARE_INSIDE:.0f} % or more"
        )
        raise _refused("mask-differs", message)
    if share < 1 and not is_resampled:
        message = (
            f"mask {shown_file(opened.name)} reaches beyond the images:"
            f" {there - found} of {there} voxels are left out"
        )
        findings.append(Finding("mask-cut", message, excludes=False))
    if found > LARGEST_SHARE * mask.size:
        message = (
            f"mask {shown_file(opened.name)} marks {100 * found / mask.size:.0f} % of the images' voxels, at most"
            f" {100 * LARGEST_SHARE:.0f} % expected of a tumour"
        )
        raise _refused("mask-implausible", message)
    return mask


def check_frame(path: Path, pre: Volume) -> tuple[Finding, ...]:
    """Note a DICOM segmentation of another frame of reference than the images'."""
    if not is_segmentation(path):
        return ()
    found = pydicom.dcmread(path, specific_tags=["FrameOfReferenceUID"], stop_before_pixels=True)
    frame, known = str(found.get("FrameOfReferenceUID", "") or ""), frames_of(pre)
    if not frame or not known or frame in known:
        return ()
    message = (
        f"mask {shown_file(path.name)} has another frame of reference than the images: its places"
        " are taken for theirs"
    )
    return (Finding("frames-differ", message, excludes=False),)


def choose_lesions(
    mask: Mask, grid: Grid, name: str, lesions: Lesions, findings: list[Finding]
) -> Mask:
    """Return what of a mask is the tumour: its largest piece, or all but stray voxels.

    Pieces hang together by faces, edges or corners of voxels. What is left out goes to `findings`.
    """
    part = box_around(mask)
    # A whole series is large, and tumours are small.
    where = tuple(slice(a, b) for a, b in zip(part.start, part.stop, strict=True))
    labels, num_pieces = label(mask[where], structure=_TOUCHING)
    if num_pieces == 1:
        return mask
    pieces = _pieces(labels, grid.part(part))
    if pieces[0].num_voxels == 1:
        # None is the largest: marks at a lesion's corners, say.
        message = f"mask {shown_file(name)} marks {num_pieces} single voxels, none beside another: all are used"
        findings.append(Finding("mask-scattered", message, excludes=False))
        return mask
    voxel_mm3 = _voxel_mm3(grid)
    smallest = min(SMALLEST_LESION_MM3, SMALLEST_LESION_SHARE * pieces[0].num_voxels * voxel_mm3)
    large = [p for p in pieces if p.num_voxels * voxel_mm3 >= smallest]
    stray = pieces[len(large) :]
    if len(large) > 1:
        findings.append(_several(large, name, voxel_mm3, lesions))
    if stray:
        num_voxels = sum(p.num_voxels for p in stray)
        message = (
            f"mask {shown_file(name)} has {len(stray)} stray {_plural(len(stray), 'piece')} of less than"
            f" {smallest:.3g} mm³, {num_voxels} {_plural(num_voxels, 'voxel')} together: left out"
        )
        findings.append(Finding("stray-voxels", message, excludes=False))
    kept = large if lesions == "all" else large[:1]
    chosen = np.zeros_like(mask)
    chosen[where] = np.isin(labels, [p.number for p in kept])
    return chosen


def box_around(mask: Mask) -> Box:
    """Return the smallest box that holds a mask's voxels."""
    spans = []
    for axis in range(3):
        marked = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
        spans.append((int(marked[0]), int(marked[-1]) + 1))
    (r0, r1), (c0, c1), (s0, s1) = spans
    return Box((r0, c0, s0), (r1, c1, s1))


def cut_mask(mask: Mask, part: Box, name: str, findings: list[Finding]) -> Mask:
    """Return a mask in part of the images; what that loses goes to `findings`.

    Raises
    ------
    UnreadableImageError
        If most of it is lost.
    """
    (r0, c0, s0), (r1, c1, s1) = part.start, part.stop
    cut = mask[r0:r1, c0:c1, s0:s1]
    marked, left = int(mask.sum()), int(cut.sum())
    if left < _SMALLEST_SHARE_INSIDE * marked:
        message = (
            f"{left} of {marked} voxels of mask {shown_file(name)} lie in the part of the patient that"
            f" all phases show, expected {100 * _SMALLEST_SHARE_INSIDE:.0f} % or more"
        )
        raise _refused("mask-differs", message)
    if left < marked:
        message = (
            f"{marked - left} of {marked} voxels of mask {shown_file(name)} lie outside of the part of"
            " the patient that all phases show: left out"
        )
        findings.append(Finding("mask-cut", message, excludes=False))
    return cut


def _placed(
    opened: FileVolume, marked: Mask, pre: Volume, how: Alignment, findings: list[Finding]
) -> tuple[Mask, bool]:
    """Return the mask in the images' voxels, and whether it was taken at the nearest ones."""
    place = Placement.of(opened.grid, pre.grid)
    same_shape = opened.grid.shape == pre.grid.shape
    tells = opened.has_place and not (isinstance(pre, FileVolume) and not pre.has_place)
    if not tells and not place.is_same(pre.grid) and same_shape:
        whose = "its header does" if not opened.has_place else "the images' headers do"
        message = f"mask {shown_file(opened.name)} is taken voxel by voxel, as {whose} not say where voxels lie"
        findings.append(Finding("mask-without-place", message, excludes=False))
        return marked, False
    said = f"mask {shown_file(opened.name)} has {shown_grid(opened.grid)}, the images {shown_grid(pre.grid)}"
    if not tells and not place.is_same(pre.grid):
        message = f"{said} (row, column, slice), and headers do not say where they lie"
        raise _refused("mask-differs", message)
    if place.is_exchanged(pre.grid) and not opened.is_part:
        message = (
            f"{said} (row, column, slice), exchanged: header and voxels do not belong together"
        )
        raise _refused("mask-differs", message)
    if place.gap_mm > LARGEST_GAP_MM:
        message = f"mask {shown_file(opened.name)} lies {place.gap_mm:.0f} mm beside the images by its header"
        raise _refused("mask-differs", message)
    if place.apart > (LARGEST_APART_VOXELS if how == "exact" else SAME_VOXELS):
        if how == "exact":
            message = (
                f"mask {shown_file(opened.name)} does not lie in the images' voxels by its header, but"
                f" {place.apart:.1f} voxels off: it has {shown_grid(opened.grid)}, the images"
                f" {shown_grid(pre.grid)} (row, column, slice); the setting 'align: resample' would"
                " take the nearest"
            )
            raise _refused("mask-differs", message)
        message = f"{said}: taken at the nearest voxels"
        findings.append(Finding("mask-resampled", message, excludes=False))
        return _resampled(opened, marked, pre.grid), True
    if place.apart > SAME_VOXELS:
        message = f"mask {shown_file(opened.name)} lies {place.apart:.2f} voxels from the images': taken as it is"
        findings.append(Finding("mask-apart", message, excludes=False))
    # A DICOM segmentation leaves out slices with nothing marked.
    if not opened.is_part and (any(place.offset) or place.shape != pre.grid.shape):
        message = (
            f"mask {shown_file(opened.name)} covers another part of the patient than the images: brought onto"
            f" them by its place, {place.offset} voxels (row, column, slice) after their first"
        )
        findings.append(Finding("mask-aligned", message, excludes=False))
    turned = np.flip(marked.transpose(place.axes), tuple(i for i in range(3) if place.flips[i]))
    whole = np.zeros(pre.grid.shape, dtype=bool)
    into, of = [], []
    for offset, size, room in zip(place.offset, place.shape, pre.grid.shape, strict=True):
        first, last = max(offset, 0), max(min(offset + size, room), max(offset, 0))
        into.append(slice(first, last))
        of.append(slice(first - offset, last - offset))
    whole[tuple(into)] = turned[tuple(of)]
    return whole, False


def _resampled(opened: FileVolume, marked: Mask, grid: Grid) -> Mask:
    source = FileVolume(opened.name, opened.grid, marked.astype(np.float32))
    found = ResampledVolume(source, grid, is_mask=True).read(Box((0, 0, 0), grid.shape))
    return found > 0


def _pieces(labels: NDArray[np.signedinteger[Any]], grid: Grid) -> list[_Piece]:
    """Return the pieces, the largest first; of equal ones the same whatever way axes run."""
    pieces = []
    sizes = np.bincount(labels.ravel())
    for number, part in enumerate(find_objects(labels), start=1):
        middle = [(s.start + s.stop - 1) / 2 for s in part]
        at = tuple(round(float(v), 3) for v in grid.matrix @ (*middle, 1.0))
        pieces.append(_Piece(number, part, int(sizes[number]), at))
    return sorted(pieces, key=lambda p: (-p.num_voxels, p.middle_mm))


def _several(large: list[_Piece], name: str, voxel_mm3: float, lesions: Lesions) -> Finding:
    sizes = [f"{p.num_voxels * voxel_mm3:.3g}" for p in large[:_MOST_NAMED]]
    more = f" and {len(large) - _MOST_NAMED} smaller" if len(large) > _MOST_NAMED else ""
    used = "all are used" if lesions == "all" else "the largest is the tumour"
    if lesions == "largest" and large[1].num_voxels >= _ABOUT_AS_LARGE * large[0].num_voxels:
        used += ", though the second is about as large"
    message = f"mask {shown_file(name)} marks {len(large)} lesions, of {', '.join(sizes)} mm³{more}: {used}"
    return Finding("several-lesions", message, excludes=False)


def _voxel_mm3(grid: Grid) -> float:
    return abs(float(np.linalg.det(grid.matrix[:, :3])))


def _plural(count: int, word: str) -> str:
    return word if count == 1 else f"{word}s"


def _refused(code: str, message: str) -> UnreadableImageError:
    return UnreadableImageError(Finding(code, message))
