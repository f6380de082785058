"""A cohort with every quirk and its clean twin, files read with pydicom alone.

Slices are known by their SOPInstanceUID.
"""

import json
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import openpyxl
import pydicom

from preprocessing.phantom.quirks import QUIRKS
from preprocessing.phantom.truth import read_mask
from preprocessing.phantom.write import COLLECTION

MATRIX, SLICES = 48, 16
# With this seed no clean twin has by chance what a quirk gives its patient.
SMALL = {"matrix": MATRIX, "slices": SLICES, "seed": 2}
NAMES = [quirk.name for quirk in QUIRKS]
TIMES = {"SeriesTime", "AcquisitionTime", "ContentTime"}


@dataclass(frozen=True)
class Cohort:
    folder: Path

    @cache  # noqa: B019 - a cohort lives as long as its tests
    def patient(self, name):
        number = NAMES.index(name) + 1
        return Patient(self.folder, f"Breast_MRI_{number:03d}")


@dataclass(frozen=True)
class Patient:
    cohort: Path
    patient_id: str

    @property
    def folder(self):
        return self.cohort / COLLECTION / self.patient_id

    @property
    def paths(self):
        return sorted(p for p in self.folder.rglob("*") if p.is_file())

    @cached_property
    def files(self):
        """Data set by SOPInstanceUID, of all whole DICOM files; each with its `path`."""
        found = {}
        for path in self.paths:
            if path.read_bytes()[128:132] == b"DICM":
                data = pydicom.dcmread(path)
                data.path = path
                found[data.SOPInstanceUID] = data
        return found

    @cached_property
    def truth(self):
        return json.loads((self.cohort / "truth.json").read_text())["patients"][self.patient_id]

    @cached_property
    def phases(self):
        """Slices of each dynamic series, in order of time and then of position."""
        series = {}
        for data in self.files.values():
            if data.get("MRAcquisitionType") == "3D":
                series.setdefault((data.AcquisitionTime, data.SeriesInstanceUID), []).append(data)
        return [sorted(series[k], key=lambda d: d.ImagePositionPatient[2]) for k in sorted(series)]

    @property
    def names(self):
        return [phase[0].SeriesDescription for phase in self.phases]

    @cached_property
    def box(self):
        return sheet(self.cohort / "Annotation_Boxes.xlsx").get(self.patient_id)

    @property
    def tumour(self):
        """(K, R, C) bool, slices in order of InstanceNumber."""
        with np.load(self.cohort / "truth" / f"{self.patient_id}.npz") as arrays:
            return read_mask(arrays, (SLICES, MATRIX, MATRIX))


def sheet(path):
    """Rows by their first cell, as dicts."""
    header, *rows = openpyxl.load_workbook(path).worksheets[0].values
    return {row[0]: dict(zip(header, row, strict=True)) for row in rows}


def voxels(phase):
    return np.stack([data.pixel_array for data in phase]).astype(int)


def differing(one, other):
    """Keywords of the elements in which two data sets differ."""
    keywords = {e.keyword for e in one} | {e.keyword for e in other}
    return {k for k in keywords if one.get(k) != other.get(k)}
