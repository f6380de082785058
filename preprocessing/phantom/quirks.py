"""Names of the errors that real downloads have, and the result expected of each.

A quirk is given to one patient of a phantom cohort. `quirk_patients` and `quirk_files` make them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from preprocessing.common.errors import InputError, nearest_hint

ALL = "all"

Outcome = Literal["used", "repaired", "excluded"]


@dataclass(frozen=True)
class Quirk:
    """One thing that goes wrong in real downloads.

    Parameters
    ----------
    name
        What it is asked for by.
    description
        What is wrong in the files.
    outcome
        What preprocessing makes of the patient: used as if nothing were wrong, repaired (used,
        and noted) or excluded.
    finding
        Code of the finding that says so; None where there is nothing to say.
    """

    name: str
    description: str
    outcome: Outcome
    finding: str | None = None


def parse_quirks(names: Iterable[str]) -> tuple[str, ...]:
    """Return names with ``all`` replaced by every quirk's, in the order of `QUIRKS`."""
    every = [quirk.name for quirk in QUIRKS]
    return tuple(q for name in names for q in (every if name == ALL else [name]))


def check_quirks(names: tuple[str, ...], patients: int) -> None:
    """Refuse unknown quirks, and more of them than there are patients.

    Raises
    ------
    InputError
        If so.
    """
    known = [quirk.name for quirk in QUIRKS]
    for name in names:
        if name not in known:
            raise InputError(
                f"phantom quirk is {name!r}{nearest_hint(name, known)}, expected one of"
                f" {len(known)} names: choose from those that 'radiotrain phantom --list-quirks'"
                " prints"
            )
    if len(names) > patients:
        raise InputError(
            f"phantom quirks are {len(names)} and patients {patients}, expected at least one"
            f" patient a quirk: ask for {len(names)} or more patients, or for fewer quirks"
        )


def _used(name: str, description: str) -> Quirk:
    return Quirk(name, description, "used")


def _repaired(name: str, finding: str, description: str) -> Quirk:
    return Quirk(name, description, "repaired", finding)


def _excluded(name: str, finding: str, description: str) -> Quirk:
    return Quirk(name, description, "excluded", finding)


# Which series is which.
_SERIES = (
    _used("typo-first-pass", "the first pass is named `ax dyn 1st pas`"),
    _used("vibrant-names", "the pre-contrast has the bare name, each pass a prefix `Ph1/`, `Ph2/`"),
    _used("ordinal-names", "`ax dyn`, `1st ax dyn`, `2nd ax dyn`: no word for the pre-contrast"),
    _used("same-names", "all phases have one name, and series numbers run against time"),
    _repaired(
        "posts-named-pre", "phases-by-time", "every pass is named `ax dyn pre` (Breast_MRI_120)"
    ),
    _repaired(
        "series-repeated", "series-repeated", "the second pass is there twice (Breast_MRI_596)"
    ),
    _repaired(
        "one-folder",
        "series-split",
        "all phases in one series, told apart by acquisition time and temporal position;"
        " instance numbers count on",
    ),
    _repaired(
        "one-folder-by-time",
        "series-split",
        "all phases in one series, told apart by acquisition time alone; instance numbers begin"
        " anew, files lie slice by slice",
    ),
    _repaired(
        "two-studies",
        "several-studies",
        "a whole second examination, a year later at an earlier time of day",
    ),
    _repaired(
        "unknown-names", "phases-by-geometry", "series are named `SER 5`, `SER 6`: nothing told"
    ),
    _used(
        "mapping-workbook",
        "names, times and series numbers do not tell the phases, but the collection's workbook of"
        " file names lies beside the others",
    ),
)

# Where the voxels are.
_GEOMETRY = (
    _used("mirrored", "pictures are turned over: orientation (−1, 0, 0, 0, 1, 0) (Breast_MRI_127)"),
    _used("oblique", "slices are tilted by 4° about the patient's left-right axis"),
    _used("numbers-reversed", "instance numbers run the other way, and the box's slices with them"),
    _used(
        "thickness-not-spacing",
        "slice thickness is twice the distance of slices, which no element tells",
    ),
    _repaired(
        "duplicate-slices",
        "duplicate-slices",
        "some slices of the first pass are there twice, one under its own instance number",
    ),
    _excluded("missing-slice", "slice-missing", "an inner slice of the second pass is missing"),
    _repaired(
        "constant-instance-number",
        "instance-numbers-from-names",
        "every file has instance number 1; file names still count",
    ),
    _excluded(
        "no-instance-numbers",
        "instance-numbers",
        "every file has instance number 1, and file names are UIDs",
    ),
    _excluded("mixed-matrix", "phases-differ", "the third pass has half the matrix"),
    _repaired(
        "mixed-series",
        "other-geometry-ignored",
        "a coronal localiser of another matrix lies among the pre-contrast's slices",
    ),
    _repaired(
        "phase-shifted",
        "phases-aligned",
        "the first pass was acquired three columns beside the pre-contrast, as its headers say",
    ),
)

# What is in the files.
_CONTENTS = (
    _excluded("truncated-file", "dicom-damaged", "a file ends amid its pixels"),
    _excluded("zero-byte-file", "dicom-damaged", "a file is empty"),
    _used("compressed", "phases are compressed: RLE, JPEG 2000, lossless JPEG"),
    _used("big-endian", "one phase in big-endian, another in little-endian explicit encoding"),
    _repaired(
        "not-an-image",
        "dicom-not-an-image",
        "a structured report, a presentation state and a text file lie among the slices",
    ),
    _used("multi-frame", "the first pass is one multi-frame file"),
    _used("no-suffix", "file names have no `.dcm`: `IM-0001-0004`, or the bare UID"),
    _used(
        "unsigned-wrap",
        "pixels are unsigned with slope and intercept: phases subtracted as stored would wrap",
    ),
)

# What the tables say.
_TABLES = (
    _repaired(
        "box-larger-than-crop",
        "box-larger-than-crop",
        "the tumour's box is so large that it meets the image's edge",
    ),
    _used("box-at-edge", "the tumour's box touches the last or first slice"),
    _repaired("box-beyond-edge", "box-cut", "the tumour's box ends three rows below the image"),
    _excluded("box-outside", "box-outside", "the tumour's box has slices that no file has"),
    _excluded("no-box", "no-box", "the workbook of boxes has no row for the patient"),
    _excluded("no-images", "no-images", "the patient is in the workbooks and has no folder"),
    _excluded("too-few-phases", "too-few-phases", "there is a single post-contrast phase"),
    _excluded(
        "first-pass-missing",
        "phase-missing",
        "the first pass is not there, and the names of the others tell",
    ),
    _excluded(
        "first-pass-unreadable",
        "dicom-damaged",
        "all files of the first pass are empty, and the names of the others do not tell",
    ),
    _used("flat-workbook", "the clinical workbook has one header row, for the whole cohort"),
)

QUIRKS = (*_SERIES, *_GEOMETRY, *_CONTENTS, *_TABLES)
