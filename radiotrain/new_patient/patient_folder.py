"""A folder of one patient's images, as a patient of a cohort.

Either DICOM files (pre-contrast and posts, found as in a Duke download), or one NIfTI or NRRD file a
phase, or one such file of all phases. The tumour is told by a box, by a segmentation that is named,
or by the only segmentation that lies in the folder.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from preprocessing.cohort.cohort import Box, DicomExamination, Patient, VolumeFile
from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.common.redaction import shown_file
from preprocessing.images.dicom.segmentation import is_segmentation
from preprocessing.storage import files
from radiotrain.new_patient.identity import check_one_person

_VOLUME_ENDS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_MASK = re.compile(
    r"(?:^|[^a-z])(?:seg|segmentation|mask|roi|tumou?r|lesion)(?:[^a-z]|$)", re.IGNORECASE
)
_PRE = re.compile(r"(?:^|[^a-z])pre(?:[^a-z]|$)", re.IGNORECASE)
_NUMBER = re.compile(r"(\d+)\D*$")

NO_REGION = (
    "nobody says where the tumour is: give --box with its rows, columns and slices, or --segmentation"
    " with a NIfTI, NRRD or DICOM SEG file"
)


@dataclass(frozen=True)
class Region:
    """Where the tumour is, as the user says it: a box, a segmentation, or neither."""

    box: Box | None = None
    segmentation: VolumeFile | None = None


def read_patient(folder: Path, region: Region, patient_id: str = "patient") -> Patient:
    """Return a folder as a patient; no image is opened.

    Parameters
    ----------
    patient_id
        Never the person's name or record number: it may be shown.

    Raises
    ------
    MissingPathError
        If there is no such folder, or no such segmentation.
    InputError
        If it holds no images, or does not tell its phases or its tumour.
    """
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is not there"
        raise MissingPathError(
            f"patient folder {folder} {what}: name the folder of one examination, DICOM or one NIfTI or"
            " NRRD file a phase"
        )
    names = sorted(files.sizes_below(folder))
    volumes = [name for name in names if name.lower().endswith(_VOLUME_ENDS)]
    others = [name for name in names if name not in set(volumes)]
    region = _complete(folder, region, volumes, others)
    mask = region.segmentation
    left = [n for n in volumes if mask is None or (folder / n).resolve() != mask.path.resolve()]
    images = [name for name in left if not _is_mask(name)]
    # A segmentation may lie as NIfTI or NRRD among DICOM images.
    if volumes and (images or not others):
        ordered = order_phase_files(images)
        phases = tuple(VolumeFile(folder / name, root=folder) for name in ordered)
        patient = Patient(patient_id, phases=phases)
    elif others:
        check_one_person(folder)
        patient = Patient(patient_id, examination=DicomExamination(folder))
    else:
        raise InputError(
            f"patient folder {folder} is empty: expected DICOM files, or one NIfTI or NRRD file a phase"
        )
    return replace(patient, box=region.box, mask=region.segmentation)


def order_phase_files(names: Sequence[str]) -> tuple[str, ...]:
    """Return files in the order of their phases: ``pre`` and the numbers in their names tell.

    Raises
    ------
    InputError
        If the names do not tell, or one is missing.
    """
    if len(names) == 1:
        return (names[0],)
    numbered: dict[int, str] = {}
    for name in names:
        number = _phase_number(name.rpartition("/")[2])
        if number is None or number in numbered:
            shown = ", ".join(shown_file(n.rpartition("/")[2]) for n in names[:6])
            raise InputError(
                f"the names of the {len(names)} image files ({shown}) do not tell the phases: number"
                " them, pre-contrast first, as phase_0.nii.gz, phase_1.nii.gz"
            )
        numbered[number] = name
    order = sorted(numbered)
    if order != list(range(order[0], order[0] + len(order))) or (order and order[0] > 1):
        raise InputError(
            f"the image files are of phases {', '.join(map(str, order))}, expected 0, 1, 2 … without"
            " gaps: add the one that is missing, or number them anew"
        )
    return tuple(numbered[n] for n in order)


def _phase_number(name: str) -> int | None:
    """Return the phase that a file's name tells: the last number in it, or 0 for ``pre``."""
    stem = name
    for end in sorted(_VOLUME_ENDS, key=len, reverse=True):
        if name.lower().endswith(end):
            stem = name[: -len(end)]
            break
    if _PRE.search(stem):
        return 0
    found = _NUMBER.search(stem)
    return int(found[1]) if found else None


def _is_mask(name: str) -> bool:
    return _MASK.search(name.rpartition("/")[2]) is not None


def _complete(
    folder: Path, region: Region, volumes: Sequence[str], others: Sequence[str]
) -> Region:
    """Return where the tumour is; where nobody says, the only segmentation in the folder does."""
    if region.segmentation is not None and region.segmentation.path.is_dir():
        region = replace(region, segmentation=_only_file(region.segmentation))
    if region.segmentation is not None and not region.segmentation.path.is_file():
        raise MissingPathError(
            f"no segmentation at {region.segmentation.path}: name a NIfTI, NRRD or DICOM SEG file"
        )
    if region.box is not None or region.segmentation is not None or not (volumes or others):
        return region
    found = [folder / name for name in volumes if _is_mask(name)]
    if not found:
        found = [folder / name for name in others if is_segmentation(folder / name)]
    if not found:
        raise InputError(NO_REGION)
    if len(found) > 1:
        raise InputError(
            f"the patient folder holds {len(found)} segmentations: say which by --segmentation FILE"
        )
    return Region(segmentation=VolumeFile(found[0], root=folder))


def _only_file(segmentation: VolumeFile) -> VolumeFile:
    """Return the file in a folder that is given as the segmentation, as downloads have them."""
    folder = segmentation.path
    names = [n for n in sorted(files.sizes_below(folder)) if not n.startswith(".")]
    if len(names) != 1:
        raise InputError(
            f"the segmentation {folder} is a folder of {len(names)} files, expected a NIfTI, NRRD or"
            " DICOM SEG file, or a folder with one"
        )
    return replace(segmentation, path=folder / names[0])
