"""A patient as a lattice of voxels, each of its own value, and series that show parts of it.

Lattice axes are (x, y, z): to the patient's left, back and head. Any series is a box of the
lattice with its axes in any order and direction, so that what each voxel must be is known
without arithmetic on grids.
"""

from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

SIZE = (26, 24, 22)
SPACING = (0.7, 0.8, 1.5)
ORIGIN = (-31.0, 12.5, -70.0)
# Half-open (x, y, z) of what takes up contrast agent.
TUMOUR = ((9, 13), (8, 12), (9, 13))
RISE = 20_000
STUDY, FRAME = generate_uid(), generate_uid()

TURNS = [(a, f) for a in permutations(range(3)) for f in product((False, True), repeat=3)]


def patient(phase=0, size=SIZE):
    """(X, Y, Z) uint16: no two voxels alike; the tumour brighter after contrast agent."""
    rng = np.random.default_rng(5)
    values = rng.permutation(int(np.prod(size))).reshape(size) + 100
    x, y, z = (slice(*span) for span in TUMOUR)
    values[x, y, z] += RISE * (phase > 0) + 100 * phase
    return values.astype(np.uint16)


@dataclass(frozen=True)
class View:
    """How a series shows the lattice.

    Parameters
    ----------
    low, high
        The box of the lattice.
    axes, flips
        Lattice axis along rows, columns, slices, and whether it runs the other way.
    shift_mm, spacing
        What headers say beside the truth.
    """

    low: tuple = (0, 0, 0)
    high: tuple = SIZE
    axes: tuple = (1, 0, 2)
    flips: tuple = (False, False, False)
    shift_mm: tuple = (0.0, 0.0, 0.0)
    spacing: tuple = SPACING
    turn: tuple | None = None

    def voxels(self, values):
        """(row, column, slice) of the series."""
        part = values[tuple(slice(a, b) for a, b in zip(self.low, self.high, strict=True))]
        return np.flip(part.transpose(self.axes), [i for i in range(3) if self.flips[i]])

    @property
    def affine(self):
        """3×4, (row, column, slice, 1) to LPS mm."""
        columns, first = [], list(self.low)
        for axis, flip in zip(self.axes, self.flips, strict=True):
            direction = np.zeros(3)
            direction[axis] = -self.spacing[axis] if flip else self.spacing[axis]
            columns.append(direction)
            if flip:
                first[axis] = self.high[axis] - 1
        origin = np.array(ORIGIN) + np.multiply(first, self.spacing) + self.shift_mm
        turn = np.eye(3) if self.turn is None else np.array(self.turn)
        return turn @ np.column_stack([*columns, origin])


def write_dicom(
    folder: Path, values, view=View(), *, frame=FRAME, name="ax dyn", time="100000", number=5,
    numbers=None, series=None, patient_id="p", edit=None,
):  # fmt: skip
    """Write one file a slice; `numbers` are InstanceNumbers by slice of the view."""
    folder.mkdir(parents=True, exist_ok=True)
    voxels, affine = view.voxels(values), view.affine
    rows_mm, columns_mm = np.linalg.norm(affine[:, :2], axis=0)
    series = series or generate_uid()
    paths = []
    for k in range(voxels.shape[2]):
        data = pydicom.Dataset()
        data.file_meta = pydicom.dataset.FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = MRImageStorage
        uid = generate_uid()
        data.file_meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID = uid
        data.StudyInstanceUID, data.SeriesInstanceUID = STUDY, series
        data.FrameOfReferenceUID = frame
        data.PatientID = data.PatientName = patient_id
        data.PatientBirthDate = data.StudyTime = data.StudyID = data.AccessionNumber = ""
        data.ReferringPhysicianName = ""
        data.Modality, data.Manufacturer, data.MagneticFieldStrength = "MR", "SIEMENS", "1.5"
        data.SeriesDescription, data.SeriesNumber = name, number
        data.StudyDate = data.AcquisitionDate = "20200101"
        data.AcquisitionTime = data.ContentTime = time
        data.InstanceNumber = k + 1 if numbers is None else numbers[k]
        row_direction, column_direction = affine[:, 1] / columns_mm, affine[:, 0] / rows_mm
        data.ImageOrientationPatient = [f"{v:.9g}" for v in (*row_direction, *column_direction)]
        data.ImagePositionPatient = [f"{v:.7g}" for v in affine @ (0, 0, k, 1)]
        data.PixelSpacing = [f"{rows_mm:.6g}", f"{columns_mm:.6g}"]
        data.Rows, data.Columns = voxels.shape[:2]
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated = data.BitsStored = 16
        data.HighBit, data.PixelRepresentation = 15, 0
        data.PixelData = np.ascontiguousarray(voxels[:, :, k]).astype("<u2").tobytes()
        if edit is not None:
            edit(data, k)
        path = folder / f"1-{k + 1:03d}.dcm"
        data.save_as(path, enforce_file_format=True)
        paths.append(path)
    return tuple(paths)


def write_nifti(path: Path, values, view=View(), *, affine=None, codes=None):
    """Write a NIfTI file whose first axis is the view's columns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    place = view.affine[:, [1, 0, 2, 3]]
    ras = np.vstack([np.diag([-1.0, -1.0, 1.0]) @ place, [0, 0, 0, 1]])
    voxels = view.voxels(values).swapaxes(0, 1)
    image = nibabel.Nifti1Image(voxels, ras if affine is None else affine)
    if codes is not None:
        image.header.set_qform(ras, codes)
        image.header.set_sform(ras, codes)
        image = nibabel.Nifti1Image(voxels, None, image.header)
    nibabel.save(image, path)
    return path


def tumour_mask(size=SIZE):
    """(X, Y, Z) uint8."""
    mask = np.zeros(size, np.uint8)
    mask[tuple(slice(*span) for span in TUMOUR)] = 1
    return mask


def expected_crop(first_value, shape, phase):
    """What a phase shows where the pre-contrast's crop begins with a value; (R, C, S)."""
    x, y, z = (int(n[0]) for n in np.nonzero(patient() == first_value))
    rows, columns, slices = shape
    part = patient(phase)[x : x + columns, y : y + rows, z : z + slices]
    return part.swapaxes(0, 1)
