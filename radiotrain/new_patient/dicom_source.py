"""What the DICOM files behind a tensor say of themselves: kept for the SR, and for nothing else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from preprocessing.cohort.cohort import Finding
from preprocessing.images.alignment import slice_headers
from preprocessing.images.dicom.segmentation import DAMAGED
from preprocessing.images.dicom.slice_header import SliceHeader
from preprocessing.images.load_patient import OpenedPatient
from preprocessing.images.volumes import UnreadableImageError

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
