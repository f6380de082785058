"""A patient's images opened: phases chosen, grids compared, tumour located; no voxel read yet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort import Box, DicomSeries, Finding, Patient, PhaseSource, VolumeFile
from preprocessing.config import PreprocessConfig
from preprocessing.crop import check_box
from preprocessing.dicom import open_series
from preprocessing.examination import find_phases
from preprocessing.geometry import Grid, Orientation, Shape
from preprocessing.staging import Stage
from preprocessing.volume_files import check_one_volume_each, open_file, open_mask, phase_openers
from preprocessing.volumes import UnreadableImageError, Volume

_MAX_APART_VOXELS = 0.5


@dataclass(frozen=True)
class OpenedPatient:
    """A patient whose images have been opened and found usable, voxels not read yet.

    Parameters
    ----------
    box
        Tumour box by position, in the volumes' own axes.
    mask
        Tumour voxels, in the volumes' own axes and shape.
    num_phases_found
        Phases there are, used or not.
    image_shape, tumour_shape
        Rows, columns, slices in the common orientation, in the volumes' own voxels; of the tumour what lies
        in the images, before it is cut to the crop.
    """

    volumes: tuple[Volume, ...]
    box: Box
    mask: NDArray[np.bool_] | None
    findings: tuple[Finding, ...]
    num_phases_found: int
    image_shape: Shape
    tumour_shape: Shape


def open_patient(
    patient: Patient, config: PreprocessConfig, stage: Stage
) -> OpenedPatient | tuple[Finding, ...]:
    """Open a patient's images and check that a tensor can be made of them.

    Parameters
    ----------
    stage
        Where files of an object store are brought to; the opened patient lives as long as it.

    Returns
    -------
    The opened patient, or all findings where one of them excludes the patient.
    """
    findings = list(patient.findings)
    if patient.usable:
        try:
            return _open(patient, config, stage, findings)
        except UnreadableImageError as error:
            findings.append(error.finding)
    return tuple(dict.fromkeys(findings))


def choose_phases(num_found: int, config: PreprocessConfig) -> tuple[int, ...]:
    """Return which of a patient's phases are used, the pre-contrast (0) first.

    Raises
    ------
    UnreadableImageError
        If there are too few.
    """
    wanted = config.num_phases
    if num_found < wanted:
        message = f"{num_found} phases found, {wanted} needed"
        raise UnreadableImageError(Finding("too-few-phases", message))
    if config.phase_choice == "last":
        return (0, *range(num_found - wanted + 1, num_found))
    if config.phase_choice == "even" and wanted > 1:
        posts = np.rint(np.linspace(1, num_found - 1, wanted - 1)).astype(int)
        return (0, *posts.tolist())
    return tuple(range(wanted))


def _open(
    patient: Patient, config: PreprocessConfig, stage: Stage, findings: list[Finding]
) -> OpenedPatient:
    openers = _phase_openers(patient, config, stage, findings)
    volumes = tuple(openers[i]() for i in choose_phases(len(openers), config))
    pre = volumes[0]
    if patient.mask is not None:
        mask, box = _read_mask(patient, pre, stage, findings)
    elif patient.box is not None:
        mask, box = None, pre.box_to_positions(patient.box)
    else:
        raise UnreadableImageError(
            Finding("no-box", "neither a tumour box nor a mask is given for this patient")
        )
    for volume in volumes:
        findings.extend(volume.findings)
    findings.extend(_compare_grids(volumes))
    orientation = Orientation.of(pre.grid)
    image_shape = orientation.shape(pre.grid.shape)
    rows, columns, slices = np.minimum(orientation.box(box, pre.grid.shape).shape, image_shape)
    tumour_shape = (int(rows), int(columns), int(slices))
    box, box_findings = check_box(box, pre.grid.shape, _crop_in_own_voxels(pre, config))
    for finding in box_findings:
        if finding.excludes:
            raise UnreadableImageError(finding)
    if config.region == "box":
        mask = None
    found = tuple(dict.fromkeys((*findings, *box_findings)))
    return OpenedPatient(volumes, box, mask, found, len(openers), image_shape, tumour_shape)


def _phase_openers(
    patient: Patient, config: PreprocessConfig, stage: Stage, findings: list[Finding]
) -> Sequence[Callable[[], Volume]]:
    """Return what opens each phase; what is odd about the examination goes to `findings`."""
    if patient.examination is None:
        if len(patient.phases) == 1 and isinstance(patient.phases[0], VolumeFile):
            return phase_openers(patient.phases[0], stage)
        if len(patient.phases) < config.num_phases:
            check_one_volume_each(patient.phases)
        return [lambda s=source: _open_volume(s, stage) for source in patient.phases]  # type: ignore[misc]
    found = find_phases(patient.examination, config.num_phases, stage)
    for finding in found.findings:
        if finding.excludes:
            raise UnreadableImageError(finding)
    findings.extend(found.findings)
    return [phase.open for phase in found.phases]


def _open_volume(source: PhaseSource, stage: Stage) -> Volume:
    if isinstance(source, DicomSeries):
        return open_series(DicomSeries(tuple(stage.local(source.files)), source.name))
    return open_file(source, stage)


def _crop_in_own_voxels(pre: Volume, config: PreprocessConfig) -> tuple[int, int, int]:
    """Return the crop's size in the volume's own axes and voxels."""
    orientation = Orientation.of(pre.grid)
    shape = config.crop_shape
    if config.resample_mm is not None:
        own_mm = orientation.spacing(pre.grid.spacing_mm)
        r, c, s = (
            max(1, int(n * new / old))
            for n, new, old in zip(shape, config.resample_mm, own_mm, strict=True)
        )
        shape = (r, c, s)
    return orientation.box_to_own(Box((0, 0, 0), shape), shape).shape


def _compare_grids(volumes: tuple[Volume, ...]) -> list[Finding]:
    """Refuse phases of other shapes; note those whose headers place them elsewhere."""
    pre = volumes[0]
    findings = []
    for volume in volumes[1:]:
        if volume.grid.shape != pre.grid.shape:
            message = (
                f"phase {volume.name!r} has shape {volume.grid.shape},"
                f" the pre-contrast {pre.grid.shape} (row, column, slice)"
            )
            raise UnreadableImageError(Finding("phases-differ", message))
        apart = _apart(pre.grid, volume.grid)
        if apart > _MAX_APART_VOXELS:
            message = f"phase {volume.name!r} lies {apart:.1f} voxels from the pre-contrast"
            findings.append(Finding("phases-apart", message, excludes=False))
    return findings


def _apart(one: Grid, other: Grid) -> float:
    return one.largest_distance_voxels(other)


def _read_mask(
    patient: Patient, pre: Volume, stage: Stage, findings: list[Finding]
) -> tuple[NDArray[np.bool_], Box]:
    """Return the segmentation in the volumes' own axes, and the smallest box around it."""
    assert patient.mask is not None
    opened = open_mask(patient.mask, stage, pre)
    findings.extend(opened.findings)
    voxels = opened.read(Box((0, 0, 0), opened.grid.shape))
    axes, flips = opened.grid.turn_towards(pre.grid)
    turned = opened.grid.turned(axes, flips)
    if opened.is_part:
        voxels = np.flip(voxels.transpose(axes), tuple(i for i in range(3) if flips[i]))
        voxels = _place(voxels, turned, pre.grid)
    elif turned.shape == pre.grid.shape and _apart(pre.grid, turned) <= _MAX_APART_VOXELS:
        voxels = np.flip(voxels.transpose(axes), tuple(i for i in range(3) if flips[i]))
    elif opened.grid.shape == pre.grid.shape:
        apart = _apart(pre.grid, opened.grid)
        message = (
            f"mask {opened.name} lies {apart:.1f} voxels from the images by its header: taken voxel"
            " by voxel"
        )
        findings.append(Finding("mask-apart", message, excludes=False))
    else:
        message = (
            f"mask {opened.name} has shape {opened.grid.shape}, the images {pre.grid.shape}"
            " (row, column, slice)"
        )
        raise UnreadableImageError(Finding("mask-differs", message))
    mask = voxels > 0
    if not mask.any():
        raise UnreadableImageError(Finding("mask-empty", f"mask {opened.name} marks no voxel"))
    spans = []
    for axis in range(3):
        marked = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
        spans.append((int(marked[0]), int(marked[-1]) + 1))
    (r0, r1), (c0, c1), (s0, s1) = spans
    return mask, Box((r0, c0, s0), (r1, c1, s1))


def _place(part: NDArray[np.float32], grid: Grid, whole: Grid) -> NDArray[np.float32]:
    """Return a mask's voxels in the images' grid, 0 where it has none."""
    offset, apart = grid.offset_in(whole)
    outside = any(
        a < 0 or a + n > size for a, n, size in zip(offset, grid.shape, whole.shape, strict=True)
    )
    if apart > _MAX_APART_VOXELS or outside:
        message = (
            f"the segmentation does not lie in the images' voxels: {grid.shape} of"
            f" {_shown_mm(grid)} mm, the images {whole.shape} of {_shown_mm(whole)} mm (row, column,"
            f" slice){', and reaches beyond them' if outside else ''}"
        )
        raise UnreadableImageError(Finding("mask-differs", message))
    placed = np.zeros(whole.shape, dtype=np.float32)
    placed[tuple(slice(a, a + n) for a, n in zip(offset, grid.shape, strict=True))] = part
    return placed


def _shown_mm(grid: Grid) -> str:
    return " × ".join(f"{v:.2f}" for v in grid.spacing_mm)
