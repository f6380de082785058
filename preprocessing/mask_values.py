"""Which voxels a mask marks: labels, probabilities, and what may be either.

Axis legend: (row, column, slice), then the layers of a segmentation that has several.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort import Finding
from preprocessing.volume_data import Segment, note, refused

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
