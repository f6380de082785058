"""Duke-Breast-Cancer-MRI as TCIA ships it: two workbooks (or CSV copies) and a DICOM folder a patient."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from preprocessing import files
from preprocessing.cohort import Box, Cohort, DicomExamination, Finding, Patient
from preprocessing.errors import MissingPathError
from preprocessing.readers import manifest
from preprocessing.readers.duke_mapping import read_mapping
from preprocessing.readers.duke_tables import (
    OWN_NAMES,
    TARGETS,
    ClinicalRow,
    is_clinical,
    own_name,
    read_boxes,
    read_clinical,
)
from preprocessing.readers.options import NOTHING_SAID, TableOptions
from preprocessing.readers.tables import EXTENSIONS, only_table, tables_named

EXPECTS = "a folder with Clinical_and_Other_Features.xlsx, Annotation_Boxes.xlsx and the DICOM"

_CLINICAL = re.compile(rf"clinical.*{EXTENSIONS}", re.IGNORECASE)
# As a copy of it may be called: "Copy of Clinical_and_Other_Features.xlsx".
_MAYBE_CLINICAL = re.compile(rf".*clinical.*{EXTENSIONS}", re.IGNORECASE)
_CLINICAL_AS_SHIPPED = re.compile(rf".*clinical[\W_]?and[\W_]?other.*{EXTENSIONS}", re.IGNORECASE)
_OF_MAMA_MIA = re.compile(r".*clinical_and_imaging_info", re.IGNORECASE)
_BOXES = re.compile(rf".*annotation.*box.*{EXTENSIONS}", re.IGNORECASE)
_MAPPING = re.compile(rf".*filepath.*mapping.*{EXTENSIONS}", re.IGNORECASE)
_PATIENT = re.compile(r"Breast_MRI_\d+")
# root / manifest-… / Duke-Breast-Cancer-MRI / Breast_MRI_001
_DEEPEST_PATIENT_FOLDER = 3


def recognises(path: Path) -> bool:
    """Tell whether `path` is a folder with the clinical workbook or patients' folders."""
    if not path.is_dir():
        return False
    return bool(tables_named(path, _CLINICAL_AS_SHIPPED)) or (
        # Anyone's own cohort may have a table or folders called so.
        not manifest.recognises(path) and bool(_named(path, _CLINICAL) or _patient_folders(path))
    )


def tables_in(folder: Path) -> list[Path]:
    """Return the collection's tables in a folder, called as they are shipped."""
    return [*tables_named(folder, _CLINICAL_AS_SHIPPED), *tables_named(folder, _BOXES)]


def read(path: Path, options: TableOptions = NOTHING_SAID) -> Cohort:
    """Read the workbooks and find each patient's folder.

    Raises
    ------
    MissingPathError
        If a workbook is missing.
    InputError
        If a workbook cannot be used, or there are two of a kind.
    """
    options = options.with_known_columns(own_name, tuple(OWN_NAMES)).with_known_targets(TARGETS)
    clinical_path = only_table(_clinical_tables(path, options), "the clinical workbook")
    boxes_path = only_table(tables_named(path, _BOXES), "the workbook of boxes")
    mapping_path = only_table(tables_named(path, _MAPPING), "the table of file paths")
    for found, name in (
        (clinical_path, "Clinical_and_Other_Features.xlsx"),
        (boxes_path, "Annotation_Boxes.xlsx"),
    ):
        if found is None:
            raise MissingPathError(
                f"no {name} in {path}: download it from the collection's page on TCIA into this folder"
            )
    assert clinical_path is not None
    assert boxes_path is not None
    clinical, boxes = read_clinical(clinical_path, options), read_boxes(boxes_path, options)
    options.refuse_unused((clinical.table, boxes.table))
    folders = _patient_folders(path)
    known_phases = read_mapping(mapping_path) if mapping_path else {}
    patient_ids = sorted({*clinical.rows, *folders})
    patients = tuple(
        _patient(i, clinical.rows.get(i), boxes.boxes.get(i), folders.get(i, []),
                 known_phases.get(i, {}))
        for i in patient_ids
    )  # fmt: skip
    notes = [f"{clinical_path.name}: {note}" for note in clinical.notes]
    notes += [f"{boxes_path.name}: {note}" for note in boxes.table.notes]
    return Cohort(path, "duke", TARGETS, patients, tuple(notes), options.to_json())


def _named(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    return [p for p in tables_named(folder, pattern) if not _OF_MAMA_MIA.match(p.name)]


def _clinical_tables(folder: Path, options: TableOptions) -> Sequence[Path]:
    """Return the tables that may be the clinical one, by their names and, of several, contents."""
    found = _named(folder, _MAYBE_CLINICAL)
    if len(found) < 2:
        return found
    shipped = _named(folder, _CLINICAL_AS_SHIPPED)
    return [p for p in found if p in shipped or is_clinical(p, options)] or found


def _patient(
    patient_id: str,
    clinical: ClinicalRow | None,
    box: Box | Finding | None,
    folders: list[Path],
    known_phases: Mapping[str, int],
) -> Patient:
    findings: list[Finding] = []
    patient = Patient(patient_id, labels=dict.fromkeys(TARGETS, -1))
    if clinical is None:
        findings.append(Finding("no-clinical-row", "the clinical workbook has no row for it"))
    else:
        patient = replace(patient, labels=clinical.labels, covariates=clinical.covariates)
        findings.extend(clinical.findings)
    if isinstance(box, Box):
        patient = replace(patient, box=box)
    else:
        findings.append(box or Finding("no-box", "the annotation workbook has no box for it"))
    if not folders:
        findings.append(Finding("no-images", f"no folder {patient_id} with images"))
    else:
        folder = folders[0]
        if len(folders) > 1:
            folder = max(folders, key=lambda f: (len(files.sizes_below(f)), str(f)))
            message = f"{len(folders)} folders of this patient: the one with most files is used"
            findings.append(Finding("several-folders", message, excludes=False))
        patient = replace(patient, examination=DicomExamination(folder, known_phases))
    return patient.with_findings(*findings)


def _patient_folders(root: Path) -> Mapping[str, list[Path]]:
    folders: dict[str, list[Path]] = {}
    level = [root]
    for _ in range(_DEEPEST_PATIENT_FOLDER):
        below = [p for folder in level for p in sorted(folder.iterdir()) if p.is_dir()]
        for place in below:
            if _PATIENT.fullmatch(place.name):
                folders.setdefault(place.name, []).append(place)
        level = [p for p in below if not _PATIENT.fullmatch(p.name)]
    return folders
