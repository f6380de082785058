"""One patient, from files to the tensor and the record that are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Box, Finding, Patient
from preprocessing.common.config import PreprocessConfig
from preprocessing.common.redaction import shown_reason
from preprocessing.images.bias import BiasField, fit_bias_field
from preprocessing.images.clipping import OutlierClip
from preprocessing.images.crop import CropGrid, check_region
from preprocessing.images.geometry import Orientation
from preprocessing.images.load_patient import OpenedPatient, open_patient
from preprocessing.images.motion import LARGEST_SHIFT_MM, Motion, find_motion
from preprocessing.images.plausibility import Acquired, find_implausible
from preprocessing.images.volumes import UnreadableImageError, Volume, finding_of, is_of_one_patient
from preprocessing.storage.file_cache import file_cache
from preprocessing.store import (
    BIAS_STEP,
    REGION_PADDING,
    REGION_TUMOUR,
    PatientRecord,
    PatientTensor,
)

# What the median of the pre-contrast tissue becomes where intensities are normalised.
_TISSUE_UNITS = 1000.0
# Of the tumour's voxels, how many may have no value in a phase. A box holds air as well.
_LARGEST_LOSS_OF_MASK, _LARGEST_LOSS_OF_BOX = 0.1, 0.5
# Of a voxel without a value in an interpolated one; less is rounding.
_LEAST_SHARE = 1e-6
_SLICES_AT_ONCE = 16


@dataclass(frozen=True)
class _View:
    """How one patient's volumes become crops: orientation, place, bias field, gain."""

    orientation: Orientation
    grid: CropGrid
    field: BiasField | None
    gain: float
    own_shape: tuple[int, int, int]

    def read(self, volume: Volume, part: Box) -> NDArray[np.float32]:
        """Return the corrected voxels of part of a volume (both in the common orientation).

        NaN where the volume has no value.
        """
        own = self.orientation.box_to_own(part, self.own_shape)
        voxels = volume.read(own)
        if self.field is not None:
            voxels = voxels * np.exp(-self.field.log_field(own)).astype(np.float32)
        if self.gain != 1.0:
            voxels = voxels * np.float32(self.gain)
        return self.orientation.apply(voxels)


def process_patient(
    patient: Patient, index: int, config: PreprocessConfig
) -> tuple[PatientRecord, PatientTensor | None]:
    """Turn one patient into what is stored: a tensor and a record, or a record that says why not.

    Any failure becomes a finding, so that one bad patient never ends a run.
    """
    with file_cache() as cache:
        return process_opened(patient, index, open_patient(patient, config, cache), config)


def process_opened(
    patient: Patient,
    index: int,
    opened: OpenedPatient | tuple[Finding, ...],
    config: PreprocessConfig,
) -> tuple[PatientRecord, PatientTensor | None]:
    """Do the same with a patient whose images `open_patient` has opened, or has refused."""
    if isinstance(opened, tuple):
        return _excluded(patient, index, opened), None
    try:
        return _process(patient, index, opened, config)
    except Exception as error:
        if not is_of_one_patient(error):
            raise
        return _excluded(patient, index, (*opened.findings, finding_of(error))), None


@dataclass(frozen=True)
class CropPlace:
    """Where a patient's crop lies in their volumes: turned by `orientation`, then cut by `grid`."""

    orientation: Orientation
    grid: CropGrid

    def own_slices(self, own_shape: tuple[int, int, int]) -> tuple[int, ...] | None:
        """Return the volume's slice that each slice of the crop shows, or is nearest to.

        Slices in the padding lie outside the volume. None where the volume's slices are not the crop's: sagittal and coronal images.
        """
        if self.orientation.axes[2] != 2:
            return None
        positions = np.rint(self.grid.positions(2)).astype(int)
        if self.orientation.flips[2]:
            positions = own_shape[2] - 1 - positions
        return tuple(int(n) for n in positions)


def place_crop(opened: OpenedPatient, config: PreprocessConfig) -> CropPlace:
    """Decide where the crop lies; no voxel is read."""
    pre = opened.volumes[0]
    own = pre.grid.shape
    orientation = Orientation.of(pre.grid)
    own_mm = orientation.spacing(pre.grid.spacing_mm)
    grid = CropGrid.around(
        orientation.box(opened.box, own),
        orientation.shape(own),
        own_mm,
        config.crop_shape,
        config.resample_mm or own_mm,
    )
    return CropPlace(orientation, grid)


def _process(
    patient: Patient, index: int, opened: OpenedPatient, config: PreprocessConfig
) -> tuple[PatientRecord, PatientTensor | None]:
    pre = opened.volumes[0]
    # Before voxels are read and a field is fitted for nothing.
    region, notes = _region(opened, place_crop(opened, config))
    view = _make_view(opened, config)
    clip = OutlierClip(config.outlier_margin)
    if view.grid.is_native and config.motion == "none":
        part = view.grid.crop.inside
        images = np.stack(
            [view.grid.crop.place(clip.clip(view.read(v, part))) for v in opened.volumes]
        )
        motions: tuple[Motion | None, ...] = ()
        images, no_data = _split_no_data(images)
    else:
        images, no_data, motions = _sample(opened, view, config, clip)
    if not np.isfinite(images).all():
        raise UnreadableImageError(
            Finding("not-finite", "the images hold values that are not finite")
        )
    if not images.any():
        raise UnreadableImageError(Finding("crop-empty", "the images are all zero inside the crop"))
    box = view.orientation.box(opened.box, view.own_shape)
    in_crop = view.grid.box_in_crop(box)
    region, lost = _leave_out(region, no_data, opened.mask is not None)
    field = _sampled_field(view)
    odd = find_implausible(images, region, field, _acquired(opened, view))
    if config.implausible == "exclude":
        odd = tuple(replace(finding, excludes=True) for finding in odd)
    moved = _implausible(opened.volumes, motions)
    findings = (*opened.findings, *notes, *lost, *clip.findings(), *moved, *odd)
    if any(finding.excludes for finding in odd):
        return _excluded(patient, index, findings), None
    record = PatientRecord(
        index=index,
        patient_id=patient.patient_id,
        status="stored",
        findings=findings,
        # What the images say stands beside what the tables say, which wins.
        covariates={**pre.covariates, **_known(patient.covariates)},
        spacing_mm=view.grid.voxel_mm,
        box_in_crop=(in_crop.start, in_crop.stop),
        phase_names=tuple(v.name for v in opened.volumes),
        phase_times_s=_relative_times(opened.volumes),
        details={
            **_details(view, motions),
            **clip.details(),
            **_phase_details(patient, opened),
        },
    )
    return record, PatientTensor(images, region, field)


def _make_view(opened: OpenedPatient, config: PreprocessConfig) -> _View:
    pre, place = opened.volumes[0], place_crop(opened, config)
    field, gain = None, 1.0
    if config.bias_engine != "none" or config.intensity == "tissue":
        try:
            field = fit_bias_field(pre, config)
        except ValueError as error:
            message = f"no bias field can be fitted: {shown_reason(error)}"
            raise UnreadableImageError(Finding("bias-field-failed", message)) from error
        if config.intensity == "tissue":
            gain = _TISSUE_UNITS / field.tissue_median
    return _View(place.orientation, place.grid, field, gain, pre.grid.shape)


def _sample(
    opened: OpenedPatient, view: _View, config: PreprocessConfig, clip: OutlierClip
) -> tuple[NDArray[np.float32], NDArray[np.bool_], tuple[Motion | None, ...]]:
    """Return the interpolated crops (P, R, C, S), where any has no data (R, C, S), and motions.

    A phase's motion is None where it was left in place.
    """
    rigid = config.motion == "rigid"
    part = view.grid.needed_part(LARGEST_SHIFT_MM if rigid else 0.0)
    # Before interpolation, which would spread a broken voxel over its neighbours.
    pre, lost = _split_no_data(clip.clip(view.read(opened.volumes[0], part))[None])
    first, no_data = _sample_one(view, part, pre[0], lost, None)
    images = [first]
    motions: list[Motion | None] = [None]
    for volume in opened.volumes[1:]:
        post, lost = _split_no_data(clip.clip(view.read(volume, part))[None])
        # A copy has not moved: interpolated where it is, it stays equal and is found as one.
        moves = rigid and not np.array_equal(pre[0], post[0])
        try:
            found = find_motion(part, pre[0], post[0], view.grid.volume_mm) if moves else None
        except ValueError as error:
            finding = Finding("motion-failed", f"phase {volume.name!r}: {shown_reason(error)}")
            raise UnreadableImageError(finding) from error
        motions.append(found)
        usable = found is not None and found.is_plausible
        transform = found.transform if found and usable else None
        image, its_no_data = _sample_one(view, part, post[0], lost, transform)
        images.append(image)
        no_data |= its_no_data
    return np.stack(images), no_data, tuple(motions) if rigid else ()


def _sample_one(
    view: _View,
    part: Box,
    voxels: NDArray[np.float32],
    lost: NDArray[np.bool_],
    transform: sitk.Transform | None,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return one phase's crop, and where a voxel without a value has a share in it: 0 there."""
    image = view.grid.sample(part, voxels, transform)
    if not lost.any():
        return image, np.zeros(image.shape, dtype=bool)
    no_data = view.grid.sample(part, lost.astype(np.float32), transform) > _LEAST_SHARE
    image[no_data] = 0
    return image, no_data


def _split_no_data(
    images: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return phases (P, …) with 0 in place of NaN, and where any phase had it."""
    # One sum tells faster than a look at each voxel that nothing is lost: NaN is in every sum.
    if not np.isnan(images.sum(dtype=np.float64)):
        return images, np.zeros(images.shape[1:], dtype=bool)
    lost: NDArray[np.bool_] = np.isnan(images)
    if lost.any():
        images = np.where(lost, np.float32(0), images)
    return images, np.logical_or.reduce(lost, axis=0)


def _leave_out(
    region: NDArray[np.uint8], no_data: NDArray[np.bool_], is_mask: bool
) -> tuple[NDArray[np.uint8], tuple[Finding, ...]]:
    """Return the region with voxels without data as padding, and no tumour in them.

    Raises
    ------
    UnreadableImageError
        If too much of the tumour has none.
    """
    no_data = no_data & ((region & REGION_PADDING) == 0)
    if not no_data.any():
        return region, ()
    tumour = (region & REGION_TUMOUR) != 0
    share = float((tumour & no_data).sum() / max(int(tumour.sum()), 1))
    if share > (_LARGEST_LOSS_OF_MASK if is_mask else _LARGEST_LOSS_OF_BOX):
        message = f"{100 * share:.0f} % of the tumour has no data (NaN, Inf) in a phase"
        raise UnreadableImageError(Finding("not-finite-tumour", message))
    message = (
        f"{int(no_data.sum())} voxels of the crop have no data (NaN, Inf) in a phase: stored as"
        f" padding, {int((tumour & no_data).sum())} of them in the tumour's place"
    )
    region = np.where(no_data, np.uint8(REGION_PADDING), region)
    return region, (Finding("not-finite", message, excludes=False),)


def _implausible(
    volumes: tuple[Volume, ...], motions: tuple[Motion | None, ...]
) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            "motion-implausible",
            f"phase {volume.name!r} seems to have moved by {motion.shift_mm} mm and turned by"
            f" {motion.rotation_deg} degrees: left where it was",
            excludes=False,
        )
        for volume, motion in zip(volumes, motions, strict=False)
        if motion is not None and not motion.is_plausible
    )


def _region(
    opened: OpenedPatient, place: CropPlace
) -> tuple[NDArray[np.uint8], tuple[Finding, ...]]:
    """Return the crop's region, and what is odd about it.

    Raises
    ------
    UnreadableImageError
        If the tumour is not in it.
    """
    own = opened.volumes[0].grid.shape
    box = place.orientation.box(opened.box, own)
    tumour = _tumour(opened, place)
    # A box beyond the last whole voxel of the crop's size is moved onto it: it is not there.
    marked = np.zeros(place.grid.crop.shape, bool) if not place.grid.covers(box) else tumour
    region = place.grid.crop.region_bits(place.grid.box_in_crop(box) if marked is None else marked)
    findings = check_region(region, place.grid.crop)
    for finding in findings:
        if finding.excludes:
            raise UnreadableImageError(finding)
    return region, findings


def _acquired(opened: OpenedPatient, view: _View) -> Acquired:
    own = view.orientation.box_to_own(view.grid.needed_part(), view.own_shape)
    volumes = opened.volumes
    return Acquired(lambda p: volumes[p].read(own), lambda a, b: _are_equal(volumes[a], volumes[b]))


def _are_equal(one: Volume, other: Volume) -> bool:
    """Tell whether two volumes of one shape hold the same voxels; a few slices at a time."""
    rows, columns, slices = one.grid.shape
    return all(
        np.array_equal(one.read(part), other.read(part))
        for s in range(0, slices, _SLICES_AT_ONCE)
        for part in [Box((0, 0, s), (rows, columns, min(s + _SLICES_AT_ONCE, slices)))]
    )


def _tumour(opened: OpenedPatient, place: CropPlace) -> NDArray[np.bool_] | None:
    """Return the segmentation in the crop, or None where there is only a box."""
    if opened.mask is None:
        return None
    grid, part = place.grid, place.grid.needed_part()
    own = place.orientation.box_to_own(part, opened.volumes[0].grid.shape)
    (r0, c0, s0), (r1, c1, s1) = own.start, own.stop
    cut = place.orientation.apply(opened.mask[r0:r1, c0:c1, s0:s1].astype(np.float32))
    if grid.is_native:
        return grid.crop.place(cut) > 0
    return grid.sample(part, cut, nearest=True) > 0


def _sampled_field(view: _View) -> NDArray[np.float32] | None:
    """Return the log field at every `BIAS_STEP`-th voxel of the crop, (R, C, S)."""
    if view.field is None:
        return None
    own: list[NDArray[np.float64]] = [np.empty(0)] * 3
    for common, (axis, flip) in enumerate(
        zip(view.orientation.axes, view.orientation.flips, strict=True)
    ):
        positions = view.grid.positions(common, BIAS_STEP)
        own[axis] = view.own_shape[axis] - 1 - positions if flip else positions
    turned = np.transpose(view.field.at((own[0], own[1], own[2])), view.orientation.axes)
    return np.ascontiguousarray(turned, dtype=np.float32)


def _details(view: _View, motions: tuple[Motion | None, ...]) -> dict[str, Any]:
    details: dict[str, Any] = {
        "orientation": view.orientation.code,
        "own_shape": list(view.own_shape),
    }
    if view.field is not None:
        details["volume_digest"] = view.field.volume_digest
    if view.gain != 1.0:
        details["intensity_gain"] = view.gain
    if not view.grid.is_native:
        details["own_spacing_mm"] = view.grid.volume_mm
    if motions:
        details["motion"] = [
            {"shift_mm": m.shift_mm, "rotation_deg": m.rotation_deg} if m else None for m in motions
        ]
    return details


def _phase_details(patient: Patient, opened: OpenedPatient) -> dict[str, Any]:
    """Return which evidence decided on the phases, and which series they are."""
    details: dict[str, Any] = {"phases_by": list(opened.phases_by)}
    if patient.phases_table:
        details["phases_table"] = patient.phases_table
    if opened.phase_series:
        details["phase_series"] = list(opened.phase_series)
    return details


def _known(covariates: Mapping[str, str | float | None]) -> dict[str, str | float | None]:
    return {k: v for k, v in covariates.items() if v is not None}


def _relative_times(volumes: tuple[Volume, ...]) -> tuple[float | None, ...]:
    """Seconds after the pre-contrast: times of day stay out of the store.

    None where files do not say, or say of a phase that it was not after the one before.
    """
    times = [v.time_s for v in volumes]
    start = times[0]
    if start is None:
        return (None,) * len(times)
    known = [t for t in times if t is not None]
    if any(later <= earlier for earlier, later in pairwise(known)):
        return (None,) * len(times)
    return tuple(round(t - start, 3) if t is not None else None for t in times)


def _excluded(patient: Patient, index: int, findings: tuple[Finding, ...]) -> PatientRecord:
    return PatientRecord(
        index=index,
        patient_id=patient.patient_id,
        status="excluded",
        findings=findings,
        covariates=dict(patient.covariates),
    )
