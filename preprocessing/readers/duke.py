"""Duke-Breast-Cancer-MRI as TCIA ships it: two workbooks and a DICOM folder a patient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from preprocessing import files
from preprocessing.cohort import Box, Cohort, DicomExamination, Finding, Patient
from preprocessing.errors import MissingPathError
from preprocessing.readers.duke_mapping import read_mapping
from preprocessing.readers.duke_tables import TARGETS, ClinicalRow, read_boxes, read_clinical

EXPECTS = "a folder with Clinical_and_Other_Features.xlsx, Annotation_Boxes.xlsx and the DICOM"

_CLINICAL = re.compile(r"clinical.*\.xlsx", re.IGNORECASE)
_BOXES = re.compile(r"annotation.*box.*\.xlsx", re.IGNORECASE)
_MAPPING = re.compile(r".*filepath.*mapping.*\.(xlsx|csv)", re.IGNORECASE)
_PATIENT = re.compile(r"Breast_MRI_\d+")
# root / manifest-… / Duke-Breast-Cancer-MRI / Breast_MRI_001
_DEEPEST_PATIENT_FOLDER = 3


def recognises(path: Path) -> bool:
    """Tell whether `path` is a folder with the clinical workbook or patients' folders."""
    if not path.is_dir():
        return False
    return _workbook(path, _CLINICAL) is not None or bool(_patient_folders(path))


def read(path: Path) -> Cohort:
    """Read the workbooks and find each patient's folder.

    Raises
    ------
    MissingPathError
        If a workbook is missing.
    InputError
        If a workbook cannot be used.
    """
    clinical_path, boxes_path = _workbook(path, _CLINICAL), _workbook(path, _BOXES)
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
    clinical, boxes = read_clinical(clinical_path), read_boxes(boxes_path)
    folders = _patient_folders(path)
    mapping_path = _workbook(path, _MAPPING)
    known_phases = read_mapping(mapping_path) if mapping_path else {}
    patient_ids = sorted({*clinical, *folders})
    patients = tuple(
        _patient(i, clinical.get(i), boxes.get(i), folders.get(i, []), known_phases.get(i, {}))
        for i in patient_ids
    )
    return Cohort(root=path, layout="duke", targets=TARGETS, patients=patients)


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


def _workbook(folder: Path, pattern: re.Pattern[str]) -> Path | None:
    found = [p for p in sorted(folder.iterdir()) if pattern.fullmatch(p.name)]
    return found[0] if found else None


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
