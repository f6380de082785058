"""Models, patients who are new to them, and how their files are read, written and spoilt."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest

from preprocessing.cohort.cohort import Box, DicomExamination
from preprocessing.cohort.read_cohort import read_cohort
from preprocessing.images.dicom.series import DicomVolume
from preprocessing.images.phases.examination import find_phases
from preprocessing.storage.file_cache import FileCache
from preprocessing.store import Store

FILES = {"report.html", "prediction.json", "report-sr.dcm"}


@dataclass(frozen=True)
class World:
    """A cohort, two models of it, and the report of their test."""

    folder: Path

    @property
    def cohort(self) -> Path:
        return self.folder / "cohort"

    @property
    def store(self) -> Store:
        return Store.open(str(self.folder / "store"))

    @property
    def models(self) -> tuple[Path, Path]:
        return self.folder / "ER_run", self.folder / "PR_run"


@dataclass(frozen=True)
class NewPatient:
    """One of whom no store knows."""

    folder: Path
    box: Box

    @property
    def words(self) -> list[str]:
        """The box as the command takes it."""
        pairs = zip(self.box.start, self.box.stop, strict=True)
        return ["--box", *(str(n) for pair in pairs for n in pair)]


def newcomer(cohort: Path, number: int = 0) -> NewPatient:
    patient = read_cohort(cohort).patients[number]
    assert patient.box is not None
    assert patient.examination is not None
    return NewPatient(patient.examination.folder, patient.box)


def read_json(out: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads((out / "prediction.json").read_text("utf-8"))
    return values


def spoil(path: Path, **values: Any) -> None:
    data = pydicom.dcmread(path)
    for keyword, value in values.items():
        setattr(data, keyword, value)
    data.save_as(path)


def volumes_of(patient: NewPatient) -> list[DicomVolume]:
    return [p.open() for p in find_phases(DicomExamination(patient.folder), 4, FileCache()).phases]


def write_nifti(path: Path, voxels: np.ndarray, volume: DicomVolume) -> Path:
    matrix = np.vstack([volume.grid.matrix[:, [1, 0, 2, 3]], [0, 0, 0, 1]])
    lps = np.diag([-1.0, -1.0, 1.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(voxels.swapaxes(0, 1), lps @ matrix), path)
    return path


def tumour_of(patient: NewPatient, pre: DicomVolume) -> np.ndarray:
    mask = np.zeros(pre.grid.shape, dtype=np.uint8)
    box = pre.box_to_positions(patient.box)
    mask[tuple(slice(a, b) for a, b in zip(box.start, box.stop, strict=True))] = 1
    return mask


def check_dicom(path: Path) -> None:
    """Let dicom3tools' validator judge a file."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy is not here: apt-get install dicom3tools")
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    assert "EnhancedSR" in lines
    assert [line for line in lines if line.startswith("Error")] == []
    assert done.returncode == 0
