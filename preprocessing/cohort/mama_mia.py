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
from dataclasses import replace
from pathlib import Path

from preprocessing.cohort.cohort import MISSING_LABEL, Cohort, Finding, Patient, VolumeFile
from preprocessing.cohort.labels import LabelColumn, read_label_column
from preprocessing.cohort.options import NOTHING_SAID, TableOptions
from preprocessing.cohort.tables import (
    COPY,
    EXTENSIONS,
    Table,
    Wanted,
    normalised,
    only_table,
    refuse_repeated,
    tables_named,
)
from preprocessing.cohort.values import identifies, is_missing, parse_covariate, parse_number
from preprocessing.common.errors import InputError, MissingPathError, nearest_hint
from preprocessing.common.redaction import shown_covariate, shown_file

EXPECTS = "a folder of MAMA-MIA with images/, segmentations/ and clinical_and_imaging_info.xlsx"
TARGETS = ("ER", "PR", "HER2", "HR")

_WORKBOOK = "clinical_and_imaging_info.xlsx"
_SHEET = "dataset_info"
_TABLE = re.compile(rf"(?:copy of )?clinical_and_imaging_info{COPY}{EXTENSIONS}", re.IGNORECASE)
_NEEDED = ("patient_id", *(t.lower() for t in TARGETS))
_MANIFEST = re.compile(rf"manifest{COPY}{EXTENSIONS}", re.IGNORECASE)
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

# Column to cell; its number in the table as well.
_Row = tuple[int, Mapping[str, str]]
# Name without extension, in capitals, to the files called so.
_Images = Mapping[str, Sequence[Path]]


def recognises(path: Path) -> bool:
    """Tell whether `path` has MAMA-MIA's folders or workbook."""
    if not path.is_dir():
        return False
    names = {p.name for p in path.iterdir()}
    # Anyone's own cohort may well have its images and segmentations in folders called so.
    unlabelled = "segmentations" in names and not any(_MANIFEST.fullmatch(n) for n in names)
    has_workbook = any(_TABLE.fullmatch(name) for name in names)
    return "images" in names and (has_workbook or unlabelled)


def tables_in(folder: Path) -> list[Path]:
    """Return the collection's tables in a folder."""
    return tables_named(folder, _TABLE)


def read(path: Path, options: TableOptions = NOTHING_SAID) -> Cohort:
    """Read the workbook and find each case's images and segmentation.

    Raises
    ------
    MissingPathError
        If the workbook is missing.
    InputError
        If it cannot be used.
    """
    options = options.with_known_columns(_own_name, _NEEDED).with_known_targets(TARGETS)
    table = _read_table(path, options)
    decimal = table.decimal()
    records = [dict(zip(table.columns, row.cells, strict=True)) for row in table.rows]
    labels = {
        target: read_label_column(
            [record[target.lower()] for record in records],
            target,
            f"workbook {table.title}",
            told=options.labels.get(target),
            numbers=[row.number for row in table.rows],
        )
        for target in TARGETS
    }
    rows: dict[str, list[_Row]] = defaultdict(list)
    for i, record in enumerate(records):
        if not is_missing(record["patient_id"]):
            rows[record["patient_id"].upper()].append((i, record))
    cases = _by_case(path / "images")
    expert = _images(path / "segmentations" / "expert")
    automatic = _images(path / "segmentations" / "automatic")
    patients = tuple(
        _patient(key, rows.get(key, []), labels, decimal, cases.get(key, []), expert, automatic)
        for key in sorted({*rows, *cases})
    )
    return Cohort(
        root=path,
        layout="mama-mia",
        targets=TARGETS,
        patients=patients,
        notes=(
            *(f"{table.path.name} {note}" for note in (*table.notes, *_nameless(records))),
            *(note for column in labels.values() for note in column.notes),
        ),
        tables=options.to_json(),
    )


def _patient(
    key: str,
    rows: Sequence[_Row],
    labels: Mapping[str, LabelColumn],
    decimal: str,
    folders: Sequence[Path],
    expert: _Images,
    automatic: _Images,
) -> Patient:
    findings: list[Finding] = []
    index, row = _only_row(rows, findings)
    phases = _phases(key, folders, findings)
    _compare_with_row(phases, row, findings)
    return Patient(
        patient_id=key,
        phases=phases,
        mask=_mask(key, expert, automatic, findings),
        labels=_labels(index, labels, findings),
        covariates=_covariates(row, decimal),
        findings=tuple(findings),
    )


def _only_row(
    rows: Sequence[_Row], findings: list[Finding]
) -> tuple[int | None, Mapping[str, str]]:
    if not rows:
        message = "the workbook has no row for it: labels are missing"
        findings.append(Finding("no-clinical-row", message, excludes=False))
        return None, {}
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


def _compare_with_row(
    phases: Sequence[VolumeFile], row: Mapping[str, str], findings: list[Finding]
) -> None:
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


def _labels(
    index: int | None, columns: Mapping[str, LabelColumn], findings: list[Finding]
) -> dict[str, int]:
    if index is None:
        return dict.fromkeys(TARGETS, MISSING_LABEL)
    findings.extend(f for c in columns.values() if (f := c.findings[index]) is not None)
    return {target: columns[target].labels[index] for target in TARGETS}


def _covariates(row: Mapping[str, str], decimal: str) -> dict[str, str | float | None]:
    return {
        _RENAMED.get(name, name): shown_covariate(name, parse_covariate(value, decimal))
        for name, value in row.items()
        if name and name not in _NEEDED and not identifies(name, value)
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


def _nameless(records: Sequence[Mapping[str, str]]) -> list[str]:
    count = sum(is_missing(record["patient_id"]) for record in records)
    return [f"has {count} rows without a patient_id: they are left out"] if count else []


def _own_name(name: str) -> str | None:
    return next((own for own in _NEEDED if normalised(own) == normalised(name)), None)


def _read_table(folder: Path, options: TableOptions) -> Table:
    """Read the workbook, or the CSV copy of its sheet; column names in small letters."""
    path = only_table(tables_in(folder), "the workbook of MAMA-MIA")
    if path is None:
        raise MissingPathError(f"no {_WORKBOOK} in {folder}: {_DOWNLOAD} into this folder")
    wanted = Wanted("workbook", _NEEDED[1:], f"{_DOWNLOAD} again", _SHEET, needs_sheet=True)
    table = options.read(path, "patient_id", wanted)
    refuse_repeated(table.columns, table.title)
    columns = tuple(_own_name(c) or c.lower() for c in table.columns)
    for needed in _NEEDED:
        if needed not in columns:
            hint = nearest_hint(needed, [c for c in columns if c and c not in _NEEDED])
            raise InputError(
                f"workbook {table.title} has no column {needed!r}{hint}, expected"
                f" {', '.join(_NEEDED)}: {_DOWNLOAD} again"
            )
    return replace(table, columns=columns)
