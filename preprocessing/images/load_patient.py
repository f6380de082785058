"""A patient's images opened: phases chosen, grids compared, tumour located; no voxel read yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preprocessing.cohort.cohort import Box, DicomSeries, Finding, Patient, PhaseSource, VolumeFile
from preprocessing.common.config import PreprocessConfig
from preprocessing.common.errors import storage_trouble
from preprocessing.images.alignment import align_phases, check_grid, slice_headers
from preprocessing.images.crop import box_in_part, check_box, check_size
from preprocessing.images.dicom.header import is_dicom, shown_name
from preprocessing.images.dicom.segmentation import is_segmentation
from preprocessing.images.dicom.series import count_volumes, on_one_scale, open_series
from preprocessing.images.geometry import Orientation, Shape
from preprocessing.images.phases.examination import (
    FoundPhases,
    TumourPlace,
    find_phases,
    find_phases_among,
)
from preprocessing.images.tumour_mask import (
    box_around,
    check_frame,
    choose_lesions,
    cut_mask,
    place_mask,
)
from preprocessing.images.volume_files import (
    num_volumes,
    open_file,
    open_mask,
    phase_openers,
    several_volumes,
)
from preprocessing.images.volumes import (
    UnreadableImageError,
    Volume,
    check_regular,
    finding_of,
    is_of_one_patient,
)
from preprocessing.storage import files
from preprocessing.storage.file_cache import FileCache, file_cache


def input_digest(patient: Patient) -> str:
    """Return a short digest over what a reader found and the names and sizes of its files.

    Contents are not read: that would cost more than the work they are read for.
    """
    found: dict[str, Any] = {
        "phases": [_sizes(source) for source in patient.phases],
        "mask": _sizes(patient.mask) if patient.mask else None,
        "box": asdict(patient.box) if patient.box else None,
        "findings": [asdict(f) for f in patient.findings],
    }
    if patient.mask is not None and patient.mask.label is not None:
        found["mask_label"] = patient.mask.label
    if patient.examination is not None:
        found["examination"] = sorted(files.sizes_below(patient.examination.folder).items())
        found["known_phases"] = sorted(patient.examination.known_phases.items())
        if patient.examination.table:
            found["table"] = sorted(patient.examination.table.items())
    text = json.dumps(found, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _sizes(source: PhaseSource) -> list[tuple[str, int]]:
    paths = source.files if isinstance(source, DicomSeries) else (source.path,)
    return [(path.name, _size(path)) for path in paths]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        if storage_trouble(error) is not None and not isinstance(error, FileNotFoundError):
            raise  # what cannot be asked is not known to be gone
        return -1


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
    phases_by
        What the order of the phases was taken from, e.g. ``("names", "acquisition time")``.
    phase_series
        The used phases' series, as a table of phases names them; empty where images are files.
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
    phases_by: tuple[str, ...] = ()
    phase_series: tuple[str, ...] = ()


def open_patient(
    patient: Patient, config: PreprocessConfig, cache: FileCache
) -> OpenedPatient | tuple[Finding, ...]:
    """Open a patient's images and check that a tensor can be made of them.

    Parameters
    ----------
    cache
        Where files of an object store are brought to; the opened patient lives as long as it.

    Returns
    -------
    The opened patient, or all findings where one of them excludes the patient.
    """
    findings = list(patient.findings)
    if patient.usable:
        try:
            return _open(patient, config, cache, findings)
        except Exception as error:
            if not is_of_one_patient(error):
                raise
            findings.append(finding_of(error))
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
    patient: Patient, config: PreprocessConfig, cache: FileCache, findings: list[Finding]
) -> OpenedPatient:
    found_phases = _find_phases(patient, config, cache, findings)
    openers = _phase_openers(patient, config, found_phases, cache)
    chosen = choose_phases(len(openers), config)
    volumes = tuple(openers[i]() for i in chosen)
    for volume in volumes:
        check_grid(volume)
    volumes, value_findings = on_one_scale(volumes)
    pre, mask = volumes[0], None
    if patient.mask is not None:
        mask = _read_mask(patient, pre, config, cache, findings)
    elif patient.box is not None:
        box = pre.box_to_positions(_counted_from_0(patient.box, volumes, findings))
    else:
        raise UnreadableImageError(
            Finding("no-box", "neither a tumour box nor a mask is given for this patient")
        )
    for volume in volumes:
        findings.extend(volume.findings)
    findings.extend(value_findings)
    whole = pre.grid.shape
    aligned = align_phases(volumes, config.align)
    findings.extend(aligned.findings)
    volumes, pre = aligned.volumes, aligned.volumes[0]
    if mask is not None and patient.mask is not None:
        mask = cut_mask(mask, aligned.part, patient.mask.name, findings)
        box = box_around(mask)
    else:
        _refuse_cut_tumour(box, whole, aligned.part)
        box = box_in_part(box, aligned.part)
    orientation = Orientation.of(pre.grid)
    image_shape = orientation.shape(pre.grid.shape)
    rows, columns, slices = np.minimum(orientation.box(box, pre.grid.shape).shape, image_shape)
    tumour_shape = (int(rows), int(columns), int(slices))
    box, box_findings = check_box(box, pre.grid.shape, _crop_in_own_voxels(pre, config))
    for finding in box_findings:
        if finding.excludes:
            raise UnreadableImageError(finding)
    if mask is None or box.shape == (1, 1, 1):
        box_findings = (*box_findings, *check_size(box, pre.grid.shape))
    if config.region == "box":
        mask = None
    found = tuple(dict.fromkeys((*findings, *box_findings)))
    series = [s.key for s in found_phases.in_order] if found_phases else []
    return OpenedPatient(
        volumes,
        box,
        mask,
        found,
        len(openers),
        image_shape,
        tumour_shape,
        phases_by=found_phases.evidence if found_phases else ("the cohort's table",),
        phase_series=tuple(series[i] for i in chosen) if series else (),
    )


# Of a tumour's box, what all phases have to show.
_SMALLEST_SHARE_SHOWN = 0.75


def _refuse_cut_tumour(box: Box, whole: Shape, part: Box) -> None:
    """Refuse phases of which one lacks slices (rows, columns) of the tumour in the pre-contrast."""
    shown, there = 1.0, 1.0
    for axis in range(3):
        start, stop = max(box.start[axis], 0), min(box.stop[axis], whole[axis])
        there *= max(0, stop - start)
        shown *= max(0, min(stop, part.stop[axis]) - max(start, part.start[axis]))
    if 0 < shown < _SMALLEST_SHARE_SHOWN * there:
        message = (
            f"all phases together show {100 * shown / there:.0f} % of the tumour's box, expected"
            f" {100 * _SMALLEST_SHARE_SHOWN:.0f} %: one of them lacks slices there"
        )
        raise UnreadableImageError(Finding("tumour-cut", message))


def find_patient_phases(
    patient: Patient, config: PreprocessConfig, cache: FileCache, *, list_all: bool = False
) -> FoundPhases | None:
    """Find the phases of a patient's examination; None where the images are files, a phase each."""
    tumour = TumourPlace(patient.box, _side(patient))
    if patient.examination is None:
        series = _all_in_one(patient.phases, cache)
        if series is None:
            return None
        return find_phases_among(
            series.files, config.num_phases, cache, images=config.phase_images, tumour=tumour
        )
    return find_phases(
        patient.examination,
        config.num_phases,
        cache,
        images=config.phase_images,
        tumour=tumour,
        list_all=list_all,
    )


def _all_in_one(phases: Sequence[PhaseSource], cache: FileCache) -> DicomSeries | None:
    """Return the DICOM files that are named alone and hold several volumes."""
    series = _dicom_series(phases[0], cache) if len(phases) == 1 else None
    return series if series is not None and count_volumes(series) > 1 else None


def _side(patient: Patient) -> str | None:
    """Return L or R where a table tells the tumour's side."""
    side = str(patient.covariates.get("side") or "").strip().upper()[:1]
    return side if side in ("L", "R") else None


def _find_phases(
    patient: Patient, config: PreprocessConfig, cache: FileCache, findings: list[Finding]
) -> FoundPhases | None:
    """Find the phases; what is odd about the examination goes to `findings`."""
    found = find_patient_phases(patient, config, cache)
    if found is not None:
        findings.extend(f for f in found.findings if not f.excludes)
        for finding in found.findings:
            if finding.excludes:
                raise UnreadableImageError(finding)
    return found


def _counted_from_0(box: Box, volumes: Sequence[Volume], findings: list[Finding]) -> Box:
    """Return the box as the pre-contrast's InstanceNumbers count it.

    Where another phase's begin with 0 and the pre-contrast's do not, it lacks its first slice: the
    n-th slice of the examination has the number n - 1.
    """
    lowest = [
        min((h.instance_number for h in headers if h.instance_number is not None), default=1)
        for volume in volumes
        if (headers := slice_headers(volume)) is not None
    ]
    if len(lowest) < len(volumes) or lowest[0] <= 0 or 0 not in lowest[1:] or box.start[2] < 0:
        return box
    message = (
        "slices are numbered from 0, the pre-contrast's first ones are missing; the tumour box's"
        " slice n is taken for the one numbered n - 1"
    )
    findings.append(Finding("instance-numbers-counted", message, excludes=False))
    return Box((*box.start[:2], box.start[2] - 1), (*box.stop[:2], box.stop[2] - 1))


def _phase_openers(
    patient: Patient, config: PreprocessConfig, found: FoundPhases | None, cache: FileCache
) -> Sequence[Callable[[], Volume]]:
    """Return what opens each phase."""
    if found is None:
        if len(patient.phases) == 1:
            return _openers_of_one(patient.phases[0], cache)
        if len(patient.phases) < config.num_phases:
            _check_one_volume_each(patient.phases, cache)
        return [lambda s=source: _open_volume(s, cache) for source in patient.phases]  # type: ignore[misc]
    return [phase.open for phase in found.phases]


def num_phases_of_one(source: PhaseSource) -> int | None:
    """Return how many phases one file or folder holds; None where that cannot be read."""
    try:
        with file_cache() as cache:
            return _num_volumes(source, cache)
    except Exception as error:
        if not is_of_one_patient(error):
            raise
        return None  # opening it says what is wrong with it


def _num_volumes(source: PhaseSource, cache: FileCache) -> int:
    series = _dicom_series(source, cache)
    if series is not None:
        return max(count_volumes(series), 1)
    assert isinstance(source, VolumeFile)
    return num_volumes(source)


def _check_one_volume_each(sources: Sequence[PhaseSource], cache: FileCache) -> None:
    """Refuse a file of several volumes among the phases: how many phases there are is not told."""
    for source in sources:
        if (num := _num_volumes(source, cache)) > 1:
            raise several_volumes(source.name, num)


def _openers_of_one(source: PhaseSource, cache: FileCache) -> Sequence[Callable[[], Volume]]:
    """Return what opens each phase of a patient who has one file or folder."""
    series = _dicom_series(source, cache)
    if series is not None:
        return [lambda: open_series(series)]
    assert isinstance(source, VolumeFile)
    return phase_openers(source, cache)


def _open_volume(source: PhaseSource, cache: FileCache) -> Volume:
    series = _dicom_series(source, cache)
    if series is not None:
        return open_series(series)
    assert isinstance(source, VolumeFile)
    return open_file(source, cache)


def _dicom_series(source: PhaseSource, cache: FileCache) -> DicomSeries | None:
    """Return the DICOM files of a phase, on this machine; None where it is a file of another kind.

    SimpleITK would take the frames of one file in the file's order and rescale all of them alike.
    """
    if isinstance(source, DicomSeries):
        return DicomSeries(tuple(cache.local(source.files)), source.name)
    check_regular(source.path, f"image file {source.name}")
    # Where it lies: of an object store's file all is fetched only if it is needed.
    if is_dicom(source.path) and not is_segmentation(source.path):
        return DicomSeries(tuple(cache.local([source.path])), shown_name(source.path))
    return None


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


def _read_mask(
    patient: Patient,
    pre: Volume,
    config: PreprocessConfig,
    cache: FileCache,
    findings: list[Finding],
) -> NDArray[np.bool_]:
    """Return the tumour's voxels by the segmentation, in the volume's own axes."""
    assert patient.mask is not None
    opened = open_mask(patient.mask, cache, pre)
    findings.extend(opened.findings)
    voxels = opened.read(Box((0, 0, 0), opened.grid.shape))
    findings.extend(check_frame(cache.local([patient.mask.path])[0], pre))
    check_grid(opened)
    mask = place_mask(opened, voxels, pre, config.align, findings)
    return choose_lesions(mask, pre.grid, opened.name, config.lesions, findings)
