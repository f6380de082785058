"""MAMA-MIA: 1,506 breast DCE-MRI cases of four collections, as NIfTI with segmentations.

``images/DUKE_001/duke_001_0000.nii.gz`` is the pre-contrast of case DUKE_001, ``_0001`` … its
posts; ``segmentations/expert/duke_001.nii.gz`` its tumour, or ``segmentations/automatic/…``;
``clinical_and_imaging_info.xlsx`` (sheet ``dataset_info``) its row. Upper and lower case vary.

References
----------
Garrucho et al., "A large-scale multicenter breast cancer DCE-MRI benchmark dataset with expert
segmentations", Scientific Data 12, 2025.
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
from preprocessing.readers.values import is_missing, parse_covariate, parse_label

EXPECTS = "a folder of MAMA-MIA with images/, segmentations/ and clinical_and_imaging_info.xlsx"
TARGETS = ("ER", "PR", "HER2", "HR")

_WORKBOOK = "clinical_and_imaging_info.xlsx"
_SHEET = "dataset_info"
_PHASE = re.compile(r"(.+)_(\d{4})\.nii(\.gz)?", re.IGNORECASE)
_SEGMENTATION = re.compile(r"(.+?)\.nii(\.gz)?", re.IGNORECASE)
# Names and days identify people, and tell nothing about tumours.
_IDENTIFYING = re.compile(r"name|date|birth|address|uid", re.IGNORECASE)

_Row = Mapping[str, Any]
_Paths = Mapping[str, Path]


def recognises(path: Path) -> bool:
    """Tell whether `path` has MAMA-MIA's folders or workbook."""
    if not path.is_dir():
        return False
    names = {p.name for p in path.iterdir()}
    return "images" in names and bool({_WORKBOOK, "segmentations"} & names)


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
    expert = _segmentations(path / "segmentations" / "expert")
    automatic = _segmentations(path / "segmentations" / "automatic")
    patients = tuple(
        _patient(key, rows.get(key), cases.get(key, []), expert, automatic)
        for key in sorted({*rows, *cases})
    )
    return Cohort(root=path, layout="mama-mia", targets=TARGETS, patients=patients)


def _patient(
    key: str, row: _Row | None, folders: Sequence[Path], expert: _Paths, automatic: _Paths
) -> Patient:
    findings: list[Finding] = []
    phases = _phases(folders, findings)
    mask = expert.get(key) or automatic.get(key)
    if mask is None:
        findings.append(
            Finding("no-segmentation", "neither an expert nor an automatic one is there")
        )
    elif key not in expert:
        message = "the tumour was segmented automatically, no expert's segmentation is there"
        findings.append(Finding("segmentation-automatic", message, excludes=False))
    labels = dict.fromkeys(TARGETS, -1)
    if row is None:
        message = "the workbook has no row for it: labels are missing"
        findings.append(Finding("no-clinical-row", message, excludes=False))
    else:
        for target in TARGETS:
            labels[target], finding = parse_label(row.get(target.lower()), target)
            findings.extend([finding] if finding else [])
    return Patient(
        patient_id=key,
        phases=phases,
        mask=VolumeFile(mask) if mask else None,
        labels=labels,
        covariates=_covariates(row or {}),
        findings=tuple(findings),
    )


def _phases(folders: Sequence[Path], findings: list[Finding]) -> tuple[VolumeFile, ...]:
    if not folders:
        findings.append(Finding("no-images", "no folder with images"))
        return ()
    if len(folders) > 1:
        names = ", ".join(sorted(f.name for f in folders))
        message = f"folders {names} differ in upper and lower case only: the first is used"
        findings.append(Finding("several-folders", message, excludes=False))
    numbered: dict[int, Path] = {}
    for file in sorted(folders[0].iterdir(), key=str):
        if match := _PHASE.fullmatch(file.name):
            numbered.setdefault(int(match.group(2)), file)
    missing = sorted(set(range(max(numbered, default=-1) + 1)) - set(numbered))
    if not numbered:
        findings.append(
            Finding("no-images", f"folder {folders[0].name} holds no phase _0000.nii.gz")
        )
    elif missing:
        which = f"phase {missing[0]} (_{missing[0]:04d}) is not there, phase {max(numbered)} is"
        findings.append(Finding("phase-missing", which))
    return tuple(VolumeFile(numbered[n]) for n in sorted(numbered))


def _by_case(images: Path) -> dict[str, list[Path]]:
    """Return the folders of each case, whose id is their name in capitals."""
    found: dict[str, list[Path]] = defaultdict(list)
    for folder in sorted(_listing(images), key=str):
        if folder.is_dir():
            found[folder.name.upper()].append(folder)
    return dict(found)


def _segmentations(folder: Path) -> dict[str, Path]:
    matches = ((p, _SEGMENTATION.fullmatch(p.name)) for p in sorted(_listing(folder), key=str))
    return {m.group(1).upper(): p for p, m in matches if m}


def _listing(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _covariates(row: _Row) -> dict[str, str | float | None]:
    used = {"patient_id", *(t.lower() for t in TARGETS)}
    covariates = {
        name: parse_covariate(value)
        for name, value in row.items()
        if name and name not in used and not _IDENTIFYING.search(name)
    }
    # Under the names that the other cohorts have them.
    for theirs, ours in (("age", "age_years"), ("field_strength", "field_strength_t")):
        if theirs in covariates:
            covariates[ours] = covariates.pop(theirs)
    return covariates


def _read_rows(path: Path) -> dict[str, _Row]:
    if not path.is_file():
        raise MissingPathError(
            f"no {_WORKBOOK} in {path.parent}: download it with the images from Synapse"
        )
    try:
        sheets = pd.read_excel(BytesIO(path.read_bytes()), sheet_name=None, dtype=object)
    except Exception as error:  # pandas passes on whatever the parsers raise
        raise InputError(f"workbook {path} cannot be read: {error}") from error
    if _SHEET not in sheets:
        hint = nearest_hint(_SHEET, [str(s) for s in sheets])
        raise InputError(
            f"workbook {path} has no sheet {_SHEET!r}{hint}, got {', '.join(map(str, sheets))}:"
            " download it again"
        )
    table = sheets[_SHEET]
    table.columns = [str(c).strip().lower() for c in table.columns]
    for needed in ("patient_id", "her2"):
        if needed not in table.columns:
            hint = nearest_hint(needed, list(table.columns))
            raise InputError(
                f"workbook {path} has no column {needed!r}{hint} in sheet {_SHEET!r}: download it again"
            )
    return _by_id(path, [{str(k): v for k, v in r.items()} for r in table.to_dict("records")])


def _by_id(path: Path, records: Sequence[_Row]) -> dict[str, _Row]:
    rows: dict[str, _Row] = {}
    for record in records:
        if is_missing(record["patient_id"]):
            continue
        key = str(record["patient_id"]).strip().upper()
        if key in rows:
            raise InputError(f"workbook {path} has patient {key} twice: remove one row")
        rows[key] = record
    return rows
