"""Small phantom cohorts, written once for the whole run and read back with pydicom alone.

Axis legend: (k, r, c) slice in order of InstanceNumber, pixel row, pixel column.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
import pytest

from preprocessing.phantom.settings import PhantomSettings
from preprocessing.phantom.truth import read_mask
from preprocessing.phantom.write import COLLECTION, write_phantom

MATRIX, SLICES = 64, 24


@dataclass(frozen=True)
class Series:
    """One series as read from its folder; headers and voxels in order of InstanceNumber."""

    folder: Path
    paths: list[Path]
    headers: list[pydicom.Dataset]
    phase: int | None

    @property
    def first(self):
        return self.headers[0]

    @property
    def voxels(self):
        """(K, R, C) float64."""
        return np.stack([h.pixel_array for h in self.headers]).astype(np.float64)

    @property
    def positions(self):
        """(K, 3) ImagePositionPatient."""
        return np.array([h.ImagePositionPatient for h in self.headers], dtype=np.float64)

    @property
    def directions(self):
        """Row direction, column direction and their normal, (3,) each."""
        orientation = np.array(self.first.ImageOrientationPatient, dtype=np.float64)
        along_row, along_column = orientation[:3], orientation[3:]
        return along_row, along_column, np.cross(along_row, along_column)

    def lps(self, k, r, c):
        """Positions in LPS of voxels, by the headers alone."""
        along_row, along_column, _ = self.directions
        down, across = map(float, self.first.PixelSpacing)
        k, r, c = np.broadcast_arrays(k, r, c)
        return (
            self.positions[k]
            + r[..., None] * down * along_column
            + c[..., None] * across * along_row
        )

    def index(self, lps):
        """(k, r, c) of a position, not rounded."""
        along_row, along_column, normal = self.directions
        offset = np.asarray(lps) - self.positions[0]
        step = (self.positions[1] - self.positions[0]) @ normal
        down, across = map(float, self.first.PixelSpacing)
        return offset @ normal / step, offset @ along_column / down, offset @ along_row / across


@dataclass(frozen=True)
class Patient:
    patient_id: str
    truth: dict
    series: list[Series]
    arrays: dict

    @property
    def phases(self):
        """Dynamic series, pre-contrast first."""
        return sorted((s for s in self.series if s.phase is not None), key=lambda s: s.phase)

    @property
    def box(self):
        """The workbook's box as (k, r, c) slices, half open, from 0."""
        box = self.truth["box"]
        return tuple(
            slice(box[f"Start {a}"] - 1, box[f"End {a}"]) for a in ("Slice", "Row", "Column")
        )

    @property
    def mask(self):
        """(K, R, C) bool."""
        return read_mask(self.arrays, (SLICES, MATRIX, MATRIX))


@dataclass(frozen=True)
class Cohort:
    folder: Path
    settings: PhantomSettings
    truth: dict
    patients: list[Patient]

    def of(self, vendor):
        found = [p for p in self.patients if p.truth["vendor"] == vendor]
        assert found
        return found


def read_series(folder, patient_truth):
    headers = [(pydicom.dcmread(path), path) for path in folder.iterdir()]
    headers.sort(key=lambda pair: int(pair[0].InstanceNumber))
    phases = {s["number"]: s["phase"] for s in patient_truth["series"]}
    phase = phases[int(headers[0][0].SeriesNumber)]
    return Series(folder, [p for _, p in headers], [h for h, _ in headers], phase)


def make_cohort(folder, **values):
    settings = PhantomSettings(**{"matrix": MATRIX, "slices": SLICES, **values})
    write_phantom(folder, settings)
    truth = json.loads((folder / "truth.json").read_text())
    patients = []
    for patient_id, entry in truth["patients"].items():
        folders = sorted((folder / COLLECTION / patient_id).glob("*/*"))
        with np.load(folder / "truth" / f"{patient_id}.npz") as arrays:
            series = [read_series(f, entry) for f in folders]
            patients.append(Patient(patient_id, entry, series, dict(arrays)))
    return Cohort(folder, settings, truth, patients)


@pytest.fixture(scope="session")
def cohort(tmp_path_factory):
    """As a person gets it: noise, motion, field, both layouts, both vendors."""
    return make_cohort(tmp_path_factory.mktemp("phantom"), patients=12)


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    """Neither noise nor motion: every voxel is what the truth says, up to rounding."""
    return make_cohort(tmp_path_factory.mktemp("clean"), patients=6, noise=0.0, motion=0.0)


@pytest.fixture(scope="session")
def fieldless(tmp_path_factory):
    """The first patients of `clean`, without a coil field."""
    folder = tmp_path_factory.mktemp("fieldless")
    return make_cohort(folder, patients=3, noise=0.0, motion=0.0, field_sd=0.0)


@pytest.fixture(scope="session")
def digest():
    """Return a function: path inside a folder to hash of the content, for all its files."""

    def of(folder):
        files = (p for p in sorted(Path(folder).rglob("*")) if p.is_file())
        return {
            p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in files
        }

    return of
