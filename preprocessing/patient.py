"""One patient, from files to the tensor and the record that are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.bias import BiasField, fit_bias_field
from preprocessing.cohort import Box, Finding, Patient
from preprocessing.config import PreprocessConfig
from preprocessing.geometry import Orientation
from preprocessing.motion import LARGEST_SHIFT_MM, Motion, find_motion
from preprocessing.opening import OpenedPatient, open_patient
from preprocessing.plausibility import Acquired, find_implausible
from preprocessing.sampling import CropGrid
from preprocessing.shown_names import shown_reason
from preprocessing.staging import staging
from preprocessing.store import BIAS_STEP, PatientRecord, PatientTensor
from preprocessing.volumes import UnreadableImageError, Volume

# What the median of the pre-contrast tissue becomes where intensities are normalised.
_TISSUE_UNITS = 1000.0
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
        """Return the corrected voxels of part of a volume (both in the common orientation)."""
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
    with staging() as stage:
        return process_opened(patient, index, open_patient(patient, config, stage), config)


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
    except UnreadableImageError as error:
        return _excluded(patient, index, (*opened.findings, error.finding)), None
    except (ValueError, ArithmeticError) as error:
        message = f"processing failed: {shown_reason(error)}"
        finding = Finding("processing-failed", message)
        return _excluded(patient, index, (*opened.findings, finding)), None


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
    view = _make_view(opened, config)
    if view.grid.is_native and config.motion == "none":
        part = view.grid.crop.inside
        images = np.stack([view.grid.crop.place(view.read(v, part)) for v in opened.volumes])
        motions: tuple[Motion | None, ...] = ()
    else:
        images, motions = _sample(opened, view, config)
    if not np.isfinite(images).all():
        raise ValueError("the images hold values that are not finite")
    if not images.any():
        raise ValueError("the images are all zero inside the crop")
    box = view.orientation.box(opened.box, view.own_shape)
    in_crop = view.grid.box_in_crop(box)
    tumour = _tumour(opened, view)
    region = view.grid.crop.region_bits(in_crop if tumour is None else tumour)
    field = _sampled_field(view)
    odd = find_implausible(images, region, field, _acquired(opened, view))
    if config.implausible == "exclude":
        odd = tuple(replace(finding, excludes=True) for finding in odd)
    findings = (*opened.findings, *_implausible(opened.volumes, motions), *odd)
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
        details=_details(view, motions),
    )
    return record, PatientTensor(images, region, field)


def _make_view(opened: OpenedPatient, config: PreprocessConfig) -> _View:
    pre, place = opened.volumes[0], place_crop(opened, config)
    field, gain = None, 1.0
    if config.bias_engine != "none" or config.intensity == "tissue":
        field = fit_bias_field(pre, config)
        if config.intensity == "tissue":
            gain = _TISSUE_UNITS / field.tissue_median
    return _View(place.orientation, place.grid, field, gain, pre.grid.shape)


def _sample(
    opened: OpenedPatient, view: _View, config: PreprocessConfig
) -> tuple[NDArray[np.float32], tuple[Motion | None, ...]]:
    """Return the interpolated crops (P, R, C, S) and each phase's motion (None: left in place)."""
    rigid = config.motion == "rigid"
    part = view.grid.needed_part(LARGEST_SHIFT_MM if rigid else 0.0)
    pre = view.read(opened.volumes[0], part)
    images = [view.grid.sample(part, pre)]
    motions: list[Motion | None] = [None]
    for volume in opened.volumes[1:]:
        post = view.read(volume, part)
        # A copy has not moved: interpolated where it is, it stays equal and is found as one.
        moves = rigid and not np.array_equal(pre, post)
        found = find_motion(part, pre, post, view.grid.volume_mm) if moves else None
        motions.append(found)
        usable = found is not None and found.is_plausible
        images.append(view.grid.sample(part, post, found.transform if found and usable else None))
    return np.stack(images), tuple(motions) if rigid else ()


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


def _tumour(opened: OpenedPatient, view: _View) -> NDArray[np.bool_] | None:
    """Return the segmentation in the crop, or None where there is only a box."""
    if opened.mask is None:
        return None
    part = view.grid.needed_part()
    own = view.orientation.box_to_own(part, view.own_shape)
    (r0, c0, s0), (r1, c1, s1) = own.start, own.stop
    cut = view.orientation.apply(opened.mask[r0:r1, c0:c1, s0:s1].astype(np.float32))
    if view.grid.is_native:
        return view.grid.crop.place(cut) > 0
    return view.grid.sample(part, cut, nearest=True) > 0


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
