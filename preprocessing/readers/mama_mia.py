"""MAMA-MIA: 1,506 breast DCE-MRI cases of four collections, as NIfTI with segmentations.

``images/DUKE_001/duke_001_0000.nii.gz`` is the pre-contrast of case DUKE_001, ``_0001`` … its
posts; ``segmentations/expert/duke_001.nii.gz`` its tumour, or ``segmentations/automatic/…``;
``clinical_and_imaging_info.xlsx`` (sheet ``dataset_info``) its row. Upper and lower case vary.
All columns of the sheet become covariates but the ones that hold names, UIDs or days.

References
----------
Garrucho et al., "A large-scale multicenter breast cancer DCE-MRI benchmark dataset with expert
segmentations", Scientific Data 12, 453, 2025.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd

from preprocessing.cohort import Cohort, Finding, Patient, VolumeFile
from preprocessing.errors import InputError, MissingPathError, nearest_hint
from preprocessing.readers.values import (
    identifies,
    is_missing,
    parse_covariate,
    parse_label,
    parse_number,
)
from preprocessing.shown_names import shown_file

EXPECTS = "a folder of MAMA-MIA with images/, segmentations/ and clinical_and_imaging_info.xlsx"
TARGETS = ("ER", "PR", "HER2", "HR")

_WORKBOOK = "clinical_and_imaging_info.xlsx"
_SHEET = "dataset_info"
_NEEDED = ("patient_id", *(t.lower() for t in TARGETS))
_DOWNLOAD = "download it from Synapse (syn60868042)"
# A leading dot is a file that macOS or a synchroniser left beside the real one.
_IMAGE = re.compile(r"([^.].*?)\.nii(\.gz)?", re.IGNORECASE)
# Names that the collection gives; others may be anyone's.
_GIVEN = re.compile(r"(?:DUKE|ISPY[12]|NACT)_\d{1,6}(?:_\d{4})?", re.IGNORECASE)
_PHASE = re.compile(r"(.+)_(\d{4})")
# Under the names that the other cohorts have them.
_RENAMED = {
    "age": "age_years",
    "field_strength": "field_strength_t",
    "scanner_model": "model",
    "slice_thickness": "slice_thickness_mm",
}

_Row = Mapping[str, Any]
# Name without extension, in capitals, to the files called so.
_Images = Mapping[str, Sequence[Path]]


def recognises(path: Path) -> bool:
    """Tell whether `path` has MAMA-MIA's folders or workbook."""
    if not path.is_dir():
        return False
    names = {p.name for p in path.iterdir()}
    # Anyone's own cohort may well have its images and segmentations in folders called so.
    unlabelled = "segmentations" in names and "manifest.csv" not in names
    return "images" in names and (_WORKBOOK in names or unlabelled)


def read(path: Path) -> Cohort:
    """Read the workbook and find each case's images and segmentation.

    Raises
    ------
    MissingPathError
        If the workbook is missing.
    InputError
        If it cannot be used.
    """
    rows = _read_rows(path / _WORKBOOK)
    cases = _by_case(path / "images")
    expert = _images(path / "segmentations" / "expert")
    automatic = _images(path / "segmentations" / "automatic")
    patients = tuple(
        _patient(key, rows.get(key, []), cases.get(key, []), expert, automatic)
        for key in sorted({*rows, *cases})
    )
    return Cohort(root=path, layout="mama-mia", targets=TARGETS, patients=patients)


def _patient(
    key: str, rows: Sequence[_Row], folders: Sequence[Path], expert: _Images, automatic: _Images
) -> Patient:
    findings: list[Finding] = []
    row = _only_row(rows, findings)
    phases = _phases(key, folders, findings)
    _compare_with_row(phases, row, findings)
    return Patient(
        patient_id=key,
        phases=phases,
        mask=_mask(key, expert, automatic, findings),
        labels=_labels(row, findings),
        covariates=_covariates(row),
        findings=tuple(findings),
    )


def _only_row(rows: Sequence[_Row], findings: list[Finding]) -> _Row:
    if not rows:
        message = "the workbook has no row for it: labels are missing"
        findings.append(Finding("no-clinical-row", message, excludes=False))
        return {}
    if len(rows) > 1:
        message = f"{len(rows)} rows of the workbook have this patient_id"
        findings.append(Finding("patient-repeated", message))
    return rows[0]


def _phases(key: str, folders: Sequence[Path], findings: list[Finding]) -> tuple[VolumeFile, ...]:
    if not folders:
        findings.append(Finding("no-images", f"no folder images/{key}"))
        return ()
    images = max((_images(f) for f in folders), key=len)
    if len(folders) > 1:
        names = ", ".join(f.name for f in folders)
        message = f"folders {names} differ in upper and lower case only: the fullest is used"
        findings.append(Finding("several-folders", message, excludes=False))
    numbered = {
        int(m.group(2)): stem
        for stem in images
        if (m := _PHASE.fullmatch(stem)) and m.group(1) == key
    }
    others = sorted(set(images) - set(numbered.values()))
    if others:
        message = (
            f"images {', '.join(map(_shown, others))} are not named as phases of {key}: left out"
        )
        findings.append(Finding("images-misplaced", message, excludes=False))
    if not numbered:
        findings.append(Finding("no-images", f"folder {folders[0].name} has no {key}_0000.nii.gz"))
    missing = sorted(set(range(max(numbered, default=-1))) - set(numbered))
    if missing:
        message = f"phase {missing[0]} (_{missing[0]:04d}) is not there, phase {max(numbered)} is"
        findings.append(Finding("phase-missing", message))
    return tuple(_only_file(images[numbered[n]], findings) for n in sorted(numbered))


def _shown(stem: str) -> str:
    return stem if _GIVEN.fullmatch(stem) else shown_file(stem)


def _compare_with_row(phases: Sequence[VolumeFile], row: _Row, findings: list[Finding]) -> None:
    """Note phases that have not been downloaded, where no gap in the numbers shows it."""
    told = parse_number(row.get("num_phases"))
    if phases and told is not None and told != len(phases):
        message = f"{len(phases)} phases are there, the workbook says {told:g}"
        findings.append(Finding("phases-incomplete", message, excludes=False))


def _mask(
    key: str, expert: _Images, automatic: _Images, findings: list[Finding]
) -> VolumeFile | None:
    if key in expert:
        return _only_file(expert[key], findings)
    if key in automatic:
        message = "the tumour was segmented automatically, no expert's segmentation is there"
        findings.append(Finding("segmentation-automatic", message, excludes=False))
        return _only_file(automatic[key], findings)
    message = "neither an expert's nor an automatic segmentation is there"
    findings.append(Finding("no-segmentation", message))
    return None


def _only_file(files: Sequence[Path], findings: list[Finding]) -> VolumeFile:
    if len(files) > 1:
        message = f"files {', '.join(f.name for f in files)} are the same image: the first is used"
        findings.append(Finding("image-repeated", message, excludes=False))
    # Called as the patient's id is, which is shown anyway.
    return VolumeFile(files[0], title=files[0].name)


def _labels(row: _Row, findings: list[Finding]) -> dict[str, int]:
    labels = {}
    for target in TARGETS:
        labels[target], finding = parse_label(row.get(target.lower()), target)
        findings.extend([finding] if finding else [])
    return labels


def _covariates(row: _Row) -> dict[str, str | float | None]:
    return {
        _RENAMED.get(name, name): parse_covariate(value)
        for name, value in row.items()
        if name not in _NEEDED and not identifies(name, value)
    }


def _by_case(images: Path) -> dict[str, list[Path]]:
    """Return the folders of each case, whose id is their name in capitals."""
    found: dict[str, list[Path]] = defaultdict(list)
    for folder in _listing(images):
        if folder.is_dir() and not folder.name.startswith("."):
            found[folder.name.upper()].append(folder)
    return found


def _images(folder: Path) -> _Images:
    found: dict[str, list[Path]] = defaultdict(list)
    for file in _listing(folder):
        if match := _IMAGE.fullmatch(file.name):
            found[match.group(1).upper()].append(file)
    return found


def _listing(folder: Path) -> list[Path]:
    return sorted(folder.iterdir(), key=str) if folder.is_dir() else []


def _read_rows(path: Path) -> dict[str, list[_Row]]:
    """Return the rows of each case."""
    table = _read_table(path)
    table.columns = [str(c).strip().lower() for c in table.columns]
    for needed in _NEEDED:
        if needed not in table.columns:
            hint = nearest_hint(needed, [c for c in table.columns if c not in _NEEDED])
            raise InputError(
                f"sheet {_SHEET!r} of workbook {path} has no column {needed!r}{hint}, expected"
                f" {', '.join(_NEEDED)}: {_DOWNLOAD} again"
            )
    rows: dict[str, list[_Row]] = defaultdict(list)
    for record in table.to_dict("records"):
        if not is_missing(record["patient_id"]):
            rows[str(record["patient_id"]).strip().upper()].append(
                {str(name): value for name, value in record.items()}
            )
    return rows


def _read_table(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise MissingPathError(f"no {_WORKBOOK} in {path.parent}: {_DOWNLOAD} into this folder")
    try:
        sheets = pd.read_excel(BytesIO(path.read_bytes()), sheet_name=None, dtype=object)
    except Exception as error:  # pandas passes on whatever the parsers raise
        raise InputError(f"workbook {path} cannot be read ({error}): {_DOWNLOAD} again") from error
    if _SHEET not in sheets:
        names = [str(name) for name in sheets]
        raise InputError(
            f"workbook {path} has no sheet {_SHEET!r}{nearest_hint(_SHEET, names)}, got"
            f" {', '.join(names)}: {_DOWNLOAD} again"
        )
    return sheets[_SHEET]
