"""What a cohort is: patients with ordered phases, a tumour box or mask, labels and findings.

Readers (`preprocessing.cohort.read_cohort`) make these values; everything after them is independent of
how a cohort lies on disk. All values are frozen and picklable, so that Dask can send them.

Axis legend: (row, column, slice) of the patient's own images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from preprocessing.common.redaction import shown_file

MISSING_LABEL = -1


@dataclass(frozen=True)
class Finding:
    """Something a person should know about one patient.

    Parameters
    ----------
    code
        Stable short name, e.g. ``too-few-phases``.
    message
        One sentence for a person.
    excludes
        Whether the patient cannot be used because of it.
    """

    code: str
    message: str
    excludes: bool = True


@dataclass(frozen=True)
class Box:
    """A tumour box, half-open and counted from 0, in the images' own (row, column, slice).

    Slices count as the files do: for DICOM by InstanceNumber - 1, whatever way the
    scanner ran; the volume reader maps them to positions.
    """

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Size in voxels along (row, column, slice)."""
        r, c, s = (b - a for a, b in zip(self.start, self.stop, strict=True))
        return r, c, s


@dataclass(frozen=True)
class DicomSeries:
    """One phase as the DICOM files of one series (or the part of a series that is this phase)."""

    files: tuple[Path, ...]
    name: str


@dataclass(frozen=True)
class DicomExamination:
    """A patient's folder of DICOM files, whose headers tell the phases.

    Parameters
    ----------
    known_phases
        What a table says: folder, or folder/file, relative to `folder`, to 0 (pre-contrast),
        1, … (post-contrast) or -1 (no phase). Empty where there is no table.
    table
        What a table of phases (`preprocessing.images.phases.table`) says: a series' key to its phase, -1 for
        none. It decides over everything else; empty where there is none.
    is_table_shared
        Whether that table holds series of other patients, too.
    """

    folder: Path
    known_phases: Mapping[str, int] = field(default_factory=dict)
    table: Mapping[str, int] = field(default_factory=dict)
    is_table_shared: bool = False


@dataclass(frozen=True)
class VolumeFile:
    """One NIfTI or NRRD file: a phase, all phases of a patient who has no other file, or a mask.

    A mask may be a DICOM segmentation.

    Parameters
    ----------
    segment
        Which one of a segmentation; None where it has one only.
    label
        The value that marks the tumour in a mask of several labels (or its segment).
    root
        What it names in turn lies below this folder; None: below its own.
    title
        What may be shown of it, where the reader knows that its name tells no more than the patient's id.
    """

    path: Path
    segment: int | None = None
    label: int | None = None
    root: Path | None = field(default=None, compare=False)
    title: str | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """What may be shown of the file's name: people name files after patients."""
        return self.title or shown_file(self.path.name)


PhaseSource = DicomSeries | VolumeFile


@dataclass(frozen=True)
class Patient:
    """One patient of a cohort.

    Parameters
    ----------
    patient_id
        Unique in the cohort.
    phases
        Image sources, pre-contrast first, then post-contrast in order of time.
    examination
        Instead of `phases`: DICOM files whose headers have yet to be read.
    box
        Tumour box, if one was given.
    mask
        Tumour segmentation, if one was given.
    labels
        Target name to 0, 1 or -1 (missing).
    covariates
        Clinical and technical values known without reading pixels (age_years, manufacturer, …).
    findings
        All that is worth knowing, in the order found.
    phases_table
        Digest of the table of phases that decides on this patient's; empty where there is none.
    """

    patient_id: str
    phases: tuple[PhaseSource, ...] = ()
    examination: DicomExamination | None = None
    box: Box | None = None
    mask: VolumeFile | None = None
    labels: Mapping[str, int] = field(default_factory=dict)
    covariates: Mapping[str, str | float | None] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    phases_table: str = ""

    @property
    def usable(self) -> bool:
        """Whether no finding excludes the patient."""
        return not any(f.excludes for f in self.findings)

    def with_findings(self, *findings: Finding) -> Patient:
        """Return the patient with findings appended."""
        return replace(self, findings=(*self.findings, *findings))


@dataclass(frozen=True)
class Cohort:
    """Patients in a fixed order (by id), and the names of their targets.

    Parameters
    ----------
    root
        Folder or file that was read.
    layout
        Name of the layout.
    targets
        Names of the targets, T of them.
    patients
        The patients, sorted by id.
    notes
        What a person should know of the tables as a whole.
    tables
        How the user said the tables are to be read, as JSON values; empty where nothing was said.
    """

    root: Path
    layout: str
    targets: tuple[str, ...]
    patients: tuple[Patient, ...]
    notes: tuple[str, ...] = ()
    tables: Mapping[str, Any] = field(default_factory=dict)
