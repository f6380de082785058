"""Read one patient's images and make the tensor of the store.

Either DICOM files (pre-contrast and posts, found as in a Duke download), or one NIfTI or NRRD file a
phase, or one such file of all phases. The tumour is told by a box, by a segmentation that is named,
or by the only segmentation that lies in the folder.

Axis legend: P phases, R rows, C columns, S slices.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import torch
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from torch import Tensor

from preprocessing.cohort.cohort import Box, DicomExamination, Finding, Patient, VolumeFile
from preprocessing.common.config import PreprocessConfig
from preprocessing.common.errors import InputError, MissingPathError
from preprocessing.common.redaction import shown_file
from preprocessing.images.alignment import slice_headers
from preprocessing.images.dicom.segmentation import DAMAGED, is_segmentation
from preprocessing.images.dicom.slice_header import SliceHeader
from preprocessing.images.load_patient import OpenedPatient, open_patient
from preprocessing.images.volumes import UnreadableImageError, finding_of, is_of_one_patient
from preprocessing.pipeline.process_patient import place_crop, process_opened
from preprocessing.storage import files
from preprocessing.storage.file_cache import file_cache
from preprocessing.store import REGION_PADDING, REGION_TUMOUR, PatientRecord, quantise
from preprocessing.store.layout import bias_shape
from radiotrain.data.storage import NormalisationRule, for_network

_KEYWORDS = ["PatientID", "PatientName", "PatientBirthDate", "FrameOfReferenceUID"]


def check_one_person(folder: Path) -> None:
    """Refuse a folder whose series are of several people; the first and last file of each are read.

    Raises
    ------
    InputError
        If they are.
    """
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name in sorted(files.sizes_below(folder)):
        by_folder[name.rpartition("/")[0]].append(name)
    ends = {name for names in by_folder.values() for name in (names[0], names[-1])}
    check_same_person(
        header for name in sorted(ends) if (header := read_identity(folder / name)) is not None
    )


def check_same_person(headers: Iterable[Dataset]) -> None:
    """Refuse images of several people.

    Raises
    ------
    InputError
        If they are.
    """
    people = {person_of(header) for header in headers}
    if len(people) > 1:
        raise InputError(
            f"the patient folder holds images of {len(people)} people by their headers (PatientID,"
            " PatientBirthDate): name the folder of one, or give --batch for a folder of patient"
            " folders"
        )


def check_belongs(segmentation: Path, images: Sequence[Dataset]) -> None:
    """Refuse a DICOM segmentation of another person, or of other images.

    Parameters
    ----------
    images
        Headers of the pre-contrast.

    Raises
    ------
    InputError
        If it is one.
    """
    found = read_identity(segmentation)
    if found is None or not images:
        return
    if person_of(found) != person_of(images[0]):
        raise InputError(
            "the segmentation is of another person than the images, by PatientID and"
            " PatientBirthDate: name the one of this patient"
        )
    theirs = {str(image.get("FrameOfReferenceUID", "")) for image in images}
    own = str(found.get("FrameOfReferenceUID", ""))
    if own and any(theirs) and own not in theirs:
        raise InputError(
            "the segmentation was drawn on other images than these, by FrameOfReferenceUID: name one"
            " that was drawn on this examination"
        )


def person_of(header: Mapping[str, object] | Dataset) -> tuple[str, str]:
    """Return what tells a person from others; never to be shown."""
    return str(header.get("PatientID", "")).strip(), str(header.get("PatientBirthDate", "")).strip()


def read_identity(path: Path) -> Dataset | None:
    """Return who a file says it is of, or None where it is no DICOM file."""
    try:
        return pydicom.dcmread(path, specific_tags=_KEYWORDS, stop_before_pixels=True)
    except DAMAGED:
        return None


_VOLUME_ENDS = (".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd")
_MASK = re.compile(
    r"(?:^|[^a-z])(?:seg|segmentation|mask|roi|tumou?r|lesion)(?:[^a-z]|$)", re.IGNORECASE
)
_PRE = re.compile(r"(?:^|[^a-z])pre(?:[^a-z]|$)", re.IGNORECASE)
_NUMBER = re.compile(r"(\d+)\D*$")

NO_REGION = (
    "no tumour location given: give --box with its rows, columns and slices, or --segmentation"
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


# What the SR says of each image that it refers to.
_REFERENCE = [
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientID",
    "PatientBirthDate", "FrameOfReferenceUID", "InstanceNumber", "Modality", "Rows", "Columns",
    "NumberOfFrames",
]  # fmt: skip


@dataclass(frozen=True)
class DicomSource:
    """The images that were read, with the patient's own identification.

    Parameters
    ----------
    head
        Header of the pre-contrast's first slice, whole but for its pixels: who and which study.
    phases
        Headers of each phase's files, in order of position; only what a reference needs.
    tumour
        Those of the pre-contrast that cut the tumour, each with the numbers of its frames that do,
        from 1; None where it has no frames.
    model
        Of the scanner, as the maker writes it; None where the files do not say.
    """

    head: Dataset
    phases: tuple[tuple[Dataset, ...], ...]
    tumour: tuple[tuple[Dataset, tuple[int, ...] | None], ...]
    model: str | None

    @property
    def images(self) -> Iterator[Dataset]:
        """All files that were read, each once: one may hold several phases."""
        images = (image for phase in self.phases for image in phase)
        return iter({image.SOPInstanceUID: image for image in images}.values())


def read_source(opened: OpenedPatient) -> DicomSource | None:
    """Return what is behind an opened patient, or None where it is not DICOM.

    Raises
    ------
    UnreadableImageError
        If a header cannot be read whole.
    """
    try:
        return _read(opened)
    except DAMAGED as error:
        message = f"a DICOM header cannot be read whole ({type(error).__name__})"
        raise UnreadableImageError(Finding("dicom-damaged", message)) from error


def _read(opened: OpenedPatient) -> DicomSource | None:
    slices = [headers for v in opened.volumes if (headers := slice_headers(v)) is not None]
    if len(slices) < len(opened.volumes):
        return None
    references: dict[Path, Dataset] = {}
    phases = tuple(tuple(_references(headers, references)) for headers in slices)
    head = pydicom.dcmread(slices[0][0].path, stop_before_pixels=True)
    model = str(head.get("ManufacturerModelName", "") or "").strip()
    first, last = opened.box.start[2], opened.box.stop[2]
    tumour = tuple(_with_frames(slices[0][first:last], references))
    return DicomSource(head, phases, tumour, model or None)


def instance_numbers(opened: OpenedPatient) -> Sequence[int | None] | None:
    """Return the number that each slice of the pre-contrast has for who looks at the series."""
    headers = slice_headers(opened.volumes[0])
    return None if headers is None else [h.instance_number for h in headers]


def _references(headers: Sequence[SliceHeader], known: dict[Path, Dataset]) -> Iterator[Dataset]:
    """Read each file's header once, however many frames of it there are."""
    for path in dict.fromkeys(h.path for h in headers):
        if path not in known:
            known[path] = pydicom.dcmread(path, specific_tags=_REFERENCE, stop_before_pixels=True)
        yield known[path]


def _with_frames(
    headers: Sequence[SliceHeader], references: Mapping[Path, Dataset]
) -> Iterator[tuple[Dataset, tuple[int, ...] | None]]:
    frames: dict[Path, list[int]] = {}
    for header in headers:
        numbers = frames.setdefault(header.path, [])
        if header.frame is not None:
            numbers.append(header.frame + 1)
    for path, numbers in frames.items():
        yield references[path], tuple(sorted(numbers)) or None


_WHAT_TO_DO = {
    "box-outside": "correct the box; rows, columns and slices count from 0",
    "mask-differs": "name a segmentation that was drawn on these images",
    "mask-empty": "name one that marks the tumour",
    "mask-implausible": "name one that marks the tumour alone",
    "mask-labels-unclear": "name it by --segment",
    "phase-constant": "give the phase's images, or leave the phase out",
    "phase-mostly-zero": "give the phase's images, or leave the phase out",
    "phases-equal": "give each phase once",
    "segment-unclear": "name it by --segment",
    "too-few-phases": "give the whole examination, or a model that reads fewer phases",
}


class UnusablePatientError(InputError):
    """Images that no prediction can be made of, with the finding that says why."""

    def __init__(self, finding: Finding) -> None:
        what_to_do = _WHAT_TO_DO.get(finding.code)
        super().__init__(
            f"no prediction can be made: {finding.message} ({finding.code})"
            + (f": {what_to_do}" if what_to_do else "")
        )
        self.finding = finding

    def __reduce__(self) -> tuple[type[UnusablePatientError], tuple[Finding]]:
        """Keep the finding when crossing processes."""
        return type(self), (self.finding,)


@dataclass(frozen=True)
class Prepared:
    """A patient as a store would hold them, and what is behind it.

    Parameters
    ----------
    voxels
        int16 (P, R, C, S); value = voxel × the record's scale.
    region
        uint8 (R, C, S), bits of tumour and padding.
    bias_field
        float32 (r, c, s), as stored.
    slice_names
        Of each slice of the crop, for who looks at the images; empty in the padding.
    source
        None where the images are not DICOM.
    num_phases_found
        In the examination; those that are used are in the record.
    """

    record: PatientRecord
    voxels: NDArray[np.int16]
    region: NDArray[np.uint8]
    bias_field: NDArray[np.float32]
    slice_names: tuple[str, ...]
    source: DicomSource | None
    num_phases_found: int

    @property
    def tumour(self) -> NDArray[np.bool_]:
        """Bool (R, C, S)."""
        found: NDArray[np.bool_] = (self.region & REGION_TUMOUR) != 0
        return found

    @property
    def padding(self) -> NDArray[np.bool_]:
        """Bool (R, C, S)."""
        found: NDArray[np.bool_] = (self.region & REGION_PADDING) != 0
        return found

    def images(self, rule: NormalisationRule) -> Tensor:
        """Return float32 (1, P, R, C, S) as networks are given it."""
        scale = self.record.scale
        assert scale is not None
        found = for_network(self.voxels, self.region, scale, rule)
        voxels = torch.from_numpy(found.voxels).float()
        offset, gain = torch.tensor(float(found.offset)), torch.tensor(float(found.gain))
        return torch.addcmul(offset, voxels, gain)[None]


def prepare(patient: Patient, config: PreprocessConfig) -> Prepared:
    """Make the tensor of a patient.

    Raises
    ------
    UnusablePatientError
        If none can be made.
    InputError
        If the images are of several people, or the segmentation is not of them.
    """
    with file_cache() as cache:
        opened = open_patient(patient, config, cache)
        source = None
        if isinstance(opened, OpenedPatient):
            try:
                source = read_source(opened)
            except Exception as error:
                if not is_of_one_patient(error):
                    raise
                raise UnusablePatientError(finding_of(error)) from error
            _check_identity(patient, source)
        record, tensor = process_opened(patient, 0, opened, config)
        if tensor is None or isinstance(opened, tuple):
            raise UnusablePatientError(next(f for f in record.findings if f.excludes))
        voxels, scale = quantise(tensor.images)
        field = tensor.bias_field
        if field is None:
            field = np.zeros(bias_shape(config.crop_shape), dtype=np.float32)
        return Prepared(
            record=replace(record, scale=float(scale)),
            voxels=voxels,
            region=tensor.region,
            bias_field=field,
            slice_names=_slice_names(opened, config),
            source=source,
            num_phases_found=opened.num_phases_found,
        )


def _check_identity(patient: Patient, source: DicomSource | None) -> None:
    if source is None:
        return
    check_same_person(source.images)
    if patient.mask is not None:
        check_belongs(patient.mask.path, source.phases[0])


def _slice_names(opened: OpenedPatient, config: PreprocessConfig) -> tuple[str, ...]:
    shape = opened.volumes[0].grid.shape
    own = place_crop(opened, config).own_slices(shape)
    if own is None:
        return tuple(f"crop slice {n + 1}" for n in range(config.crop_shape[2]))
    numbers: Sequence[int | None] = instance_numbers(opened) or range(shape[2])
    word = "image" if instance_numbers(opened) else "slice"
    return tuple(
        f"{word} {numbers[n]}" if 0 <= n < shape[2] and numbers[n] is not None else "" for n in own
    )
