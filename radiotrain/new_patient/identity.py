"""Whether DICOM files are of one person: a prediction filed under another name is worse than none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from preprocessing.common.errors import InputError
from preprocessing.images.dicom.segmentation import DAMAGED
from preprocessing.storage import files

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
