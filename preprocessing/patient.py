"""One patient, from files to the tensor and the record that are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preprocessing.bias import fit_bias_field
from preprocessing.cohort import Box, Finding, Patient
from preprocessing.config import PreprocessConfig
from preprocessing.crop import check_box, choose_crop
from preprocessing.geometry import Orientation
from preprocessing.store import PatientRecord, PatientTensor
from preprocessing.volumes import UnreadableImageError, Volume, open_file, open_volume

_MAX_APART_VOXELS = 0.5


@dataclass(frozen=True)
class OpenedPatient:
    """A patient whose images have been opened and found usable, voxels not read yet.

    Parameters
    ----------
    box
        Tumour box by position, in the volumes' own axes.
    """

    volumes: tuple[Volume, ...]
    box: Box
    mask: NDArray[np.bool_] | None
    findings: tuple[Finding, ...]


def open_patient(patient: Patient, config: PreprocessConfig) -> OpenedPatient | tuple[Finding, ...]:
    """Open a patient's images and check that a tensor can be made of them.

    Returns
    -------
    The opened patient, or all findings where one of them excludes the patient.
    """
    findings = list(patient.findings)
    if patient.usable:
        try:
            return _open(patient, config)
        except UnreadableImageError as error:
            findings.append(error.finding)
    return tuple(findings)


def process_patient(
    patient: Patient, index: int, config: PreprocessConfig
) -> tuple[PatientRecord, PatientTensor | None]:
    """Turn one patient into what is stored: a tensor and a record, or a record that says why not.

    Any failure becomes a finding, so that one bad patient never ends a run.
    """
    opened = open_patient(patient, config)
    if isinstance(opened, tuple):
        return _excluded(patient, index, opened), None
    try:
        return _process(patient, index, opened, config)
    except UnreadableImageError as error:
        return _excluded(patient, index, (*opened.findings, error.finding)), None
    except (ValueError, ArithmeticError) as error:
        message = f"processing failed: {' '.join(str(error).split())[:200]}"
        finding = Finding("processing-failed", message)
        return _excluded(patient, index, (*opened.findings, finding)), None


def _open(patient: Patient, config: PreprocessConfig) -> OpenedPatient:
    if len(patient.phases) < config.num_phases:
        message = f"{len(patient.phases)} phases found, {config.num_phases} needed"
        raise UnreadableImageError(Finding("too-few-phases", message))
    volumes = tuple(open_volume(p) for p in patient.phases[: config.num_phases])
    findings = [*patient.findings]
    for volume in volumes:
        findings.extend(volume.findings)
    findings.extend(_compare_grids(volumes))
    pre = volumes[0]
    if patient.mask is not None:
        mask, box = _read_mask(patient, pre)
    elif patient.box is not None:
        mask, box = None, pre.box_to_positions(patient.box)
    else:
        raise UnreadableImageError(
            Finding("no-box", "neither a tumour box nor a mask is given for this patient")
        )
    orientation = Orientation.of(pre.grid)
    crop = orientation.box_to_own(Box((0, 0, 0), config.crop_shape), config.crop_shape).shape
    box, box_findings = check_box(box, pre.grid.shape, crop)
    for finding in box_findings:
        if finding.excludes:
            raise UnreadableImageError(finding)
    return OpenedPatient(volumes, box, mask, (*findings, *box_findings))


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
        apart = pre.grid.largest_distance_voxels(volume.grid)
        if apart > _MAX_APART_VOXELS:
            message = f"phase {volume.name!r} lies {apart:.1f} voxels from the pre-contrast"
            findings.append(Finding("phases-apart", message, excludes=False))
    return findings


def _read_mask(patient: Patient, pre: Volume) -> tuple[NDArray[np.bool_], Box]:
    assert patient.mask is not None
    opened = open_file(patient.mask)
    if opened.grid.shape != pre.grid.shape:
        message = (
            f"mask {opened.name} has shape {opened.grid.shape}, the images {pre.grid.shape}"
            " (row, column, slice)"
        )
        raise UnreadableImageError(Finding("mask-differs", message))
    mask = opened.read(Box((0, 0, 0), opened.grid.shape)) > 0
    if not mask.any():
        raise UnreadableImageError(Finding("mask-empty", f"mask {opened.name} marks no voxel"))
    spans = []
    for axis in range(3):
        marked = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
        spans.append((int(marked[0]), int(marked[-1]) + 1))
    (r0, r1), (c0, c1), (s0, s1) = spans
    return mask, Box((r0, c0, s0), (r1, c1, s1))


def _process(
    patient: Patient, index: int, opened: OpenedPatient, config: PreprocessConfig
) -> tuple[PatientRecord, PatientTensor]:
    pre = opened.volumes[0]
    own = pre.grid.shape
    orientation = Orientation.of(pre.grid)
    box = orientation.box(opened.box, own)
    crop = choose_crop(box, orientation.shape(own), config.crop_shape)
    part = orientation.box_to_own(crop.inside, own)
    gain = np.ones((1, 1, 1), dtype=np.float32)
    if config.bias_engine != "none":
        gain = np.exp(-fit_bias_field(pre, config).log_field(part)).astype(np.float32)
    images = np.stack([crop.place(orientation.apply(v.read(part) * gain)) for v in opened.volumes])
    if not np.isfinite(images).all():
        raise ValueError("the images hold values that are not finite")
    if not images.any():
        raise ValueError("the images are all zero inside the crop")
    tumour: Box | NDArray[np.bool_] = box
    if opened.mask is not None:
        (r0, c0, s0), (r1, c1, s1) = part.start, part.stop
        cut = opened.mask[r0:r1, c0:c1, s0:s1].astype(np.float32)
        tumour = crop.place(orientation.apply(cut)) > 0
    in_crop = crop.box_in_crop(box)
    record = PatientRecord(
        index=index,
        patient_id=patient.patient_id,
        status="stored",
        findings=opened.findings,
        # What the images say stands beside what the tables say, which wins.
        covariates={**pre.covariates, **_known(patient.covariates)},
        spacing_mm=orientation.spacing(pre.grid.spacing_mm),
        box_in_crop=(in_crop.start, in_crop.stop),
        phase_names=tuple(v.name for v in opened.volumes),
        phase_times_s=_relative_times(opened.volumes),
    )
    return record, PatientTensor(images, crop.region_bits(tumour))


def _known(covariates: Mapping[str, str | float | None]) -> dict[str, str | float | None]:
    return {k: v for k, v in covariates.items() if v is not None}


def _relative_times(volumes: tuple[Volume, ...]) -> tuple[float | None, ...]:
    """Seconds after the pre-contrast: times of day stay out of the store."""
    start = volumes[0].time_s
    return tuple(
        round(v.time_s - start, 3) if v.time_s is not None and start is not None else None
        for v in volumes
    )


def _excluded(patient: Patient, index: int, findings: tuple[Finding, ...]) -> PatientRecord:
    return PatientRecord(
        index=index,
        patient_id=patient.patient_id,
        status="excluded",
        findings=findings,
        covariates=dict(patient.covariates),
    )
