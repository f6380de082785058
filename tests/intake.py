"""A small Duke-like cohort written with pydicom alone, whose every voxel is known.

The product's own phantom has another writer: what both get wrong alike would show nowhere else.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openpyxl
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

SHAPE = (20, 24, 10)
BOX = {"Row": (6, 12), "Column": (8, 15), "Slice": (3, 7)}  # from 1, ends inclusive
NAMES = ("ax dyn pre", "ax dyn 1st pass", "ax dyn 2nd pass", "ax dyn 3rd pass", "ax dyn 4th pass")
TIMES = ("100000", "100200", "100400", "100600", "100800")
SPACING = (1.2, 1.1, 2.0)
COLLECTION = "Duke-Breast-Cancer-MRI"


def truth(phase: int) -> np.ndarray:
    """Return what a phase must hold, int (rows, columns, slices).

    One anatomy, each phase with noise of its own, and more contrast agent in the box of the tumour.
    """
    voxels = np.random.default_rng(99).integers(100, 900, SHAPE)
    voxels += np.random.default_rng(100 + phase).integers(0, 100, SHAPE)
    voxels[tuple(slice(first - 1, last) for first, last in BOX.values())] += 100 * phase
    return voxels


class Examination:
    """Writes series of one patient; every call is one series, and returns its folder."""

    def __init__(self, root: Path, patient_id: str) -> None:
        self.study = generate_uid()
        self.folder = root / COLLECTION / patient_id / self.study
        self.patient_id = patient_id
        self._count = 0

    def series(
        self,
        voxels,
        *,
        name="ax dyn",
        time="100000",
        number=None,
        image_type=("ORIGINAL", "PRIMARY", "M"),
        place=None,
        uid=None,
        first=1,
        origin=(0.0, 0.0, 0.0),
        spacing=SPACING,
        keep=lambda index: True,
        edit=None,
        **elements,
    ) -> Path:
        """Write a series, one file a slice.

        Parameters
        ----------
        place
            Folder below the examination's; a new one by default.
        first
            InstanceNumber of the first slice.
        elements
            More elements of every file, by keyword.
        """
        self._count += 1
        folder = self.folder / (place or f"s{self._count}")
        folder.mkdir(parents=True, exist_ok=True)
        uid = uid or generate_uid()
        for index in range(voxels.shape[2]):
            if not keep(index):
                continue
            data = Dataset()
            data.file_meta = FileMetaDataset()
            data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MRImageStorage
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            data.PatientID, data.PatientName, data.Modality = self.patient_id, "A^B", "MR"
            data.StudyInstanceUID, data.SeriesInstanceUID = self.study, uid
            data.FrameOfReferenceUID = self.study
            data.StudyDate = data.AcquisitionDate = data.ContentDate = "20200101"
            data.AcquisitionTime = data.ContentTime = time
            data.SeriesDescription = name
            data.SeriesNumber = self._count if number is None else number
            data.ImageType = list(image_type)
            data.InstanceNumber = first + index
            data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
            position = np.add(origin, (0, 0, spacing[2] * index))
            data.ImagePositionPatient = [f"{v:.4f}" for v in position]
            data.PixelSpacing = list(spacing[:2])
            data.Rows, data.Columns = voxels.shape[:2]
            data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
            data.BitsAllocated = data.BitsStored = 16
            data.HighBit, data.PixelRepresentation = 15, 0
            for keyword, value in elements.items():
                setattr(data, keyword, value)
            if edit is not None:
                edit(data, index)
            data.PixelData = np.ascontiguousarray(voxels[:, :, index], dtype="<u2").tobytes()
            data["PixelData"].VR = "OW"
            data.save_as(folder / f"{self._count}-{index + 1:03d}.dcm", enforce_file_format=True)
        return folder

    def phases(self, num=4, change=lambda phase: {}) -> None:
        """Write phases as named series; `change` gives other options for one of them."""
        for phase in range(num):
            options = {"name": NAMES[phase], "time": TIMES[phase], **change(phase)}
            self.series(options.pop("voxels", truth(phase)), **options)


def write_workbooks(root: Path, patient_ids, *, box=BOX, side=None) -> None:
    """Write the clinical workbook and the workbook of boxes, one flat header row each."""
    book = openpyxl.Workbook()
    book.active.title = "Data"
    book.active.append(["Patient ID", "ER", "PR", "HER2", "Tumor Location"])
    for patient_id in patient_ids:
        book.active.append([patient_id, 1, 0, 1, side])
    book.save(root / "Clinical_and_Other_Features.xlsx")
    book = openpyxl.Workbook()
    book.active.append(["Patient ID", *(f"{e} {axis}" for axis in box for e in ("Start", "End"))])
    for patient_id in patient_ids:
        book.active.append([patient_id, *(v for ends in box.values() for v in ends)])
    book.save(root / "Annotation_Boxes.xlsx")
